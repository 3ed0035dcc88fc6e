"""What ``put`` says when it stops."""

from pathlib import Path

from redundancy.errors import ExitCode
from smart_client.cli import main


def test_an_upload_without_a_coordinator_can_be_continued_and_says_so(tmp_path: Path, capsys):
    film = tmp_path / "film.mkv"
    film.write_bytes(b"x")
    code = main(["put", str(film), "--coordinator", "http://127.0.0.1:1"])
    assert code == ExitCode.TEMPORARY
    assert "run the same command again: it goes on where it stopped" in capsys.readouterr().err
