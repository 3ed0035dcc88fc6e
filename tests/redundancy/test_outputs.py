import os

import pytest

from redundancy.errors import AlreadyExists
from redundancy.outputs import OutputFile


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_file_appears_whole_and_only_when_committed(tmp_path):
    with OutputFile(tmp_path / "film") as output:
        output.write(b"fra")
        output.write(b"gment")
        assert names(tmp_path) != ["film"]
        output.sync()
        output.commit()
    assert names(tmp_path) == ["film"]
    assert (tmp_path / "film").read_bytes() == b"fragment"


def test_without_a_commit_nothing_remains(tmp_path):
    with OutputFile(tmp_path / "film") as output:
        output.write(b"half")
    assert names(tmp_path) == []


def test_a_name_taken_meanwhile_is_not_replaced(tmp_path):
    with OutputFile(tmp_path / "film") as output:
        output.write(b"mine")
        (tmp_path / "film").write_bytes(b"theirs")
        output.sync()
        with pytest.raises(AlreadyExists):
            output.commit()
    assert names(tmp_path) == ["film"]
    assert (tmp_path / "film").read_bytes() == b"theirs"


def test_a_dangling_link_is_something_that_is_there(tmp_path):
    (tmp_path / "film").symlink_to(tmp_path / "nowhere")
    with pytest.raises(AlreadyExists):
        OutputFile(tmp_path / "film")


def test_force_replaces_in_one_step(tmp_path):
    (tmp_path / "film").write_bytes(b"old")
    with OutputFile(tmp_path / "film", force=True) as output:
        output.write(b"new")
        assert (tmp_path / "film").read_bytes() == b"old"
        output.sync()
        output.commit()
    assert (tmp_path / "film").read_bytes() == b"new"


def test_the_umask_decides_who_may_read(tmp_path):
    before = os.umask(0o027)
    try:
        with OutputFile(tmp_path / "film") as output:
            output.sync()
            output.commit()
    finally:
        os.umask(before)
    assert (tmp_path / "film").stat().st_mode & 0o777 == 0o640
