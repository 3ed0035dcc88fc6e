"""The .strm folder follows the library and touches nobody else's files."""

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
