"""The .strm folder follows the library and touches nobody else's files."""

import os

import pytest

from redundancy.errors import FileProblem
from smart_client.gateway.strm import LIST_FILE, StrmFolder


@pytest.fixture
def folder(tmp_path):
    async def nothing():
        return {}

    return StrmFolder(tmp_path, nothing)


def files(tmp_path) -> dict[str, str]:
    return {p.name: p.read_text() for p in tmp_path.iterdir() if p.name != LIST_FILE}


def test_it_follows_the_library(tmp_path, folder):
    folder.write({"a": "http://h:1/v/a", "b": "http://h:1/v/b"})
    assert files(tmp_path) == {"a.strm": "http://h:1/v/a\n", "b.strm": "http://h:1/v/b\n"}
    folder.write({"b": "http://h:2/v/b", "c": "http://h:2/v/c"})
    assert files(tmp_path) == {"b.strm": "http://h:2/v/b\n", "c.strm": "http://h:2/v/c\n"}
    folder.write({})
    assert files(tmp_path) == {}


def test_files_of_others_and_edited_ones_stay(tmp_path, folder):
    (tmp_path / "mine.strm").write_text("http://elsewhere/film\n")
    (tmp_path / "holiday.jpg").write_text("picture")
    folder.write({"mine": "http://h:1/v/mine", "b": "http://h:1/v/b"})
    (tmp_path / "b.strm").write_text("http://edited/\n")
    folder.write({"b": "http://h:9/v/b"})
    folder.write({})
    assert files(tmp_path) == {
        "mine.strm": "http://elsewhere/film\n",
        "holiday.jpg": "picture",
        "b.strm": "http://edited/\n",
    }


def test_a_damaged_list_is_told_and_nothing_is_removed(tmp_path, folder):
    folder.write({"a": "http://h:1/v/a"})
    (tmp_path / LIST_FILE).write_text("not json")
    with pytest.raises(FileProblem):
        folder.write({})
    assert "a.strm" in files(tmp_path)


def test_a_list_that_names_files_elsewhere_removes_nothing_there(tmp_path, folder):
    outside = tmp_path.parent / f"{tmp_path.name}-outside.strm"
    outside.write_text("x\n")
    (tmp_path / LIST_FILE).write_text(f'{{"../{outside.name}": "x\\n"}}')
    folder.write({})
    assert outside.exists()
    outside.unlink()


def test_a_name_too_long_for_a_file_keeps_no_other_from_being_written(tmp_path, folder):
    name = "\N{HIRAGANA LETTER A}" * 200
    folder.write({"a": "http://h:1/v/a", name: "http://h:1/v/x", "b": "http://h:1/v/b"})
    assert set(files(tmp_path)) == {"a.strm", "b.strm"}
    folder.write({"b": "http://h:1/v/b"})
    assert set(files(tmp_path)) == {"b.strm"}


def test_a_name_that_just_fits_is_written(tmp_path, folder):
    name = "\N{HIRAGANA LETTER A}" * 80
    folder.write({name: "http://h:1/v/x"})
    assert files(tmp_path) == {f"{name}.strm": "http://h:1/v/x\n"}


def test_nothing_is_written_through_a_link_that_somebody_left(tmp_path, folder):
    outside = tmp_path.parent / f"{tmp_path.name}-outside.txt"
    outside.write_text("mine")
    for name in ("a.strm", ".a.strm.{pid}.part", ".evenflow-strm.{pid}.part"):
        (tmp_path / name.format(pid=os.getpid())).symlink_to(outside)
    folder.write({"a": "http://h:1/v/a", "b": "http://h:1/v/b"})
    assert outside.read_text() == "mine"
    assert (tmp_path / "a.strm").is_symlink(), "somebody else's"
    assert (tmp_path / "b.strm").read_text() == "http://h:1/v/b\n"
    outside.unlink()
