"""What ``put`` says when it stops."""

import shlex
from pathlib import Path

from redundancy.errors import ExitCode
from smart_client.cli import main


def test_an_upload_without_a_coordinator_can_be_continued_and_says_so(tmp_path: Path, capsys):
    film = tmp_path / "film.mkv"
    film.write_bytes(b"x")
    code = main(["put", str(film), "--coordinator", "http://127.0.0.1:1"])
    assert code == ExitCode.TEMPORARY
    assert "run the same command again: it goes on where it stopped" in capsys.readouterr().err


def test_files_that_would_have_one_name_are_told_before_any_is_sent(tmp_path: Path, capsys):
    for name in ("it's one.mkv", "it's one.mp4"):
        (tmp_path / name).write_bytes(b"x")
    files = [str(tmp_path / name) for name in ("it's one.mkv", "it's one.mp4")]
    # Nobody is there: what is asked of the coordinator first would end otherwise.
    assert main(["put", *files, "--coordinator", "http://127.0.0.1:1"]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "would both be stored as 'it's one'" in said
    assert f"smart-client put {shlex.quote(files[1])} --name OTHER" in said
    assert main(["put", files[0], files[0], "--coordinator", "http://127.0.0.1:1"]) == (
        ExitCode.TEMPORARY
    )
