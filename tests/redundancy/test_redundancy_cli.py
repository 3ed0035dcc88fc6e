import json
import os
import signal
import subprocess
import sys

import pytest

from redundancy.cli import main
from redundancy.errors import ExitCode
from redundancy.quantities import parse_size
from support.coded_files import content, flip, snapshot

COMMAND = [sys.executable, "-m", "redundancy"]


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(content(300_000))
    return path


@pytest.fixture
def encoded(film, tmp_path):
    assert main(["encode", str(film), "-o", str(tmp_path / "out"), "--chunk", "64KiB", "-q"]) == 0
    return tmp_path / "out"


def run_json(capsys, *words):
    """Run a command with --json; return its exit code and the one object it printed."""
    code = main([*map(str, words), "--json"])
    printed = capsys.readouterr()
    assert not printed.err
    return code, json.loads(printed.out)


def test_encode_says_what_it_made(film, tmp_path, capsys):
    code, made = run_json(capsys, "encode", film, "-k", 2, "-n", 3, "-o", tmp_path / "out")
    assert code == 0
    assert {key: made[key] for key in ("name", "size", "chunks", "layout", "tolerates")} == {
        "name": "film.mp4",
        "size": 300_000,
        "chunks": 1,
        "layout": "rs:2+1",
        "tolerates": 1,
    }
    assert [os.path.basename(path) for path in made["fragments"]] == [
        f"film.mp4.{index}-of-3.frag" for index in range(3)
    ]
    assert made["stored_bytes"] == sum(os.path.getsize(path) for path in made["fragments"])


def test_encode_for_people_is_one_line(film, tmp_path, capsys):
    assert main(["encode", str(film), "-o", str(tmp_path / "out")]) == 0
    line = capsys.readouterr().out
    assert "film.mp4: 300 kB -> 5 fragments" in line
    assert line.endswith("2 losses tolerated\n")


def test_the_file_comes_back(encoded, film, tmp_path, capsys):
    os.unlink(encoded / "film.mp4.0-of-5.frag")
    code, made = run_json(capsys, "decode", encoded, "-o", tmp_path / "back.mp4")
    assert (code, made["size"]) == (0, 300_000)
    assert (tmp_path / "back.mp4").read_bytes() == film.read_bytes()


def test_verify_ends_with_a_verdict_an_exit_code_and_the_next_command(encoded, capsys):
    assert main(["verify", str(encoded)]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("OK  film.mp4 is whole: 2 more losses tolerated\n")

    os.unlink(encoded / "film.mp4.0-of-5.frag")
    flip(encoded / "film.mp4.4-of-5.frag", 30_000)
    assert main(["verify", str(encoded)]) == ExitCode.PARTIAL
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "DEGRADED  film.mp4 can be rebuilt: 0 more losses tolerated"
    assert lines[1].split() == ["0", "MISSING", "film.mp4.0-of-5.frag"]
    assert lines[5].split() == ["4", "BAD", "film.mp4.4-of-5.frag", "(chunk", "1)"]
    assert lines[-1] == f"next: redundancy repair {encoded}"

    os.unlink(encoded / "film.mp4.1-of-5.frag")
    code, report = run_json(capsys, "verify", encoded)
    assert code == ExitCode.UNRECOVERABLE
    assert (report["status"], report["lost_chunks"]) == ("unrecoverable", [1])
    assert [fragment["state"] for fragment in report["fragments"]] == [
        "MISSING",
        "MISSING",
        "OK",
        "OK",
        "BAD",
    ]


def test_repair_makes_the_directory_what_it_was(encoded, capsys):
    before = snapshot(encoded)
    os.unlink(encoded / "film.mp4.0-of-5.frag")
    flip(encoded / "film.mp4.4-of-5.frag", 30_000)
    code, report = run_json(capsys, "repair", encoded)
    assert code == 0
    assert report["written"] == [str(encoded / f"film.mp4.{i}-of-5.frag") for i in (0, 4)]
    assert snapshot(encoded) == before
    assert main(["repair", str(encoded)]) == 0
    assert "nothing to repair" in capsys.readouterr().out


def test_a_decode_that_cannot_end_well_leaves_no_file(encoded, tmp_path, capsys):
    for index in (0, 1):
        os.unlink(encoded / f"film.mp4.{index}-of-5.frag")
    flip(encoded / "film.mp4.2-of-5.frag", 90_000)  # a late chunk: others are written by then
    before = sorted(path.name for path in tmp_path.iterdir())
    code, report = run_json(capsys, "decode", encoded, "-o", tmp_path / "back.mp4")
    assert code == report["error"]["exit"] == ExitCode.UNRECOVERABLE
    assert report["error"]["code"] == "TOO_FEW_FRAGMENTS"
    assert "film.mp4.1-of-5.frag" in report["error"]["detail"]["missing"]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_decode_replaces_a_file_only_when_told(encoded, film, tmp_path, capsys):
    target = tmp_path / "there"
    target.write_text("precious")
    assert main(["decode", str(encoded), "-o", str(target)]) == ExitCode.CONFLICT
    assert target.read_text() == "precious"
    assert "--force" in capsys.readouterr().err
    assert main(["decode", str(encoded), "-o", str(target), "--force"]) == 0
    assert target.read_bytes() == film.read_bytes()


def test_inspect_shows_what_a_fragment_says(encoded, capsys):
    code, report = run_json(capsys, "inspect", encoded / "film.mp4.1-of-5.frag")
    assert code == 0
    assert [fragment["chunk"] for fragment in report["fragments"]] == [0, 1, 2, 3, 4]
    last = report["fragments"][-1]
    assert (last["layout"], last["index"], last["size"]) == ("rs:3+2", 1, 300_000 - 4 * 65_536)
    assert last["descriptor"]["size"] == 300_000
    assert main(["inspect", str(encoded / "film.mp4.1-of-5.frag")]) == 0
    assert "film.mp4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["encode", "/nowhere/film", "-o", "{tmp}/out"], ExitCode.NOT_FOUND),
        (["encode", "{film}", "-k", "5", "-n", "3", "-o", "{tmp}/out"], ExitCode.USAGE),
        (["encode", "{film}", "-o", "{tmp}/out", "--chunk", "1GiB"], ExitCode.USAGE),
        (["encode", "{film}", "-o", "{tmp}/out", "--chunk", "big"], ExitCode.USAGE),
        (["encode", "{film}", "-o", "{film}"], ExitCode.CONFIG),
        (["encode", "{tmp}", "-o", "{tmp}/out"], ExitCode.CONFIG),
        (["encode", "-", "-o", "{tmp}/out"], ExitCode.USAGE),
        (["encode", "{film}", "-o", "{tmp}/out", "--name", "n" * 300], ExitCode.CONFIG),
        (["decode", "{tmp}/nowhere", "-o", "x"], ExitCode.NOT_FOUND),
        (["decode", "{film}", "-o", "x"], ExitCode.INTEGRITY),
        (["decode", "{film}"], ExitCode.USAGE),
        (["verify", "{tmp}"], ExitCode.NOT_FOUND),
        (["inspect", "{film}"], ExitCode.INTEGRITY),
        (["repair", "{film}"], ExitCode.INTEGRITY),
        (["encod"], ExitCode.USAGE),
        ([], ExitCode.USAGE),
    ],
)
def test_what_goes_wrong_is_said_with_its_own_exit_code(words, code, film, tmp_path, capsys):
    before = snapshot_names(tmp_path)
    said = [word.format(tmp=tmp_path, film=film) for word in words]
    assert main(said) == code
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") or not words
    assert "Traceback" not in printed.err
    assert not printed.out
    assert snapshot_names(tmp_path) - before <= {"out"}


def snapshot_names(directory):
    return {path.name for path in directory.iterdir()}


@pytest.mark.real
def test_pipes_carry_files_of_any_kind_both_ways(tmp_path):
    data = content(500_000)
    out = str(tmp_path / "out")
    encode = [*COMMAND, "encode", "-", "--name", "piped", "-o", out, "--chunk", "64KiB"]
    made = subprocess.run(encode, input=data, capture_output=True, check=True)
    assert b"piped: 500 kB" in made.stdout
    decode = [*COMMAND, "decode", out, "-o", "-"]
    back = subprocess.run(decode, capture_output=True, check=True)
    assert back.stdout == data
    assert back.stderr == b""


@pytest.mark.real
def test_a_full_disk_is_said_plainly(encoded):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "decode", str(encoded), "-o", "-"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == ExitCode.TEMPORARY
    assert b"No space left on device" in done.stderr


@pytest.mark.real
def test_ctrl_c_in_the_middle_leaves_nothing_behind(tmp_path):
    encode = [*COMMAND, "encode", "-", "--name", "endless", "-o", str(tmp_path / "out")]
    process = subprocess.Popen(encode, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        # What a pipe takes at once is far less: when this returns, chunks have been written.
        process.stdin.write(bytes(30 << 20))
        process.stdin.flush()
        assert any((tmp_path / "out").iterdir())
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == ExitCode.INTERRUPTED
    assert said == b"interrupted\n"
    assert not any((tmp_path / "out").iterdir())


@pytest.mark.real
def test_a_reader_that_goes_away_is_no_error_message(encoded):
    decode = subprocess.Popen(
        [*COMMAND, "decode", str(encoded), "-o", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    decode.stdout.read(10)
    decode.stdout.close()
    with decode.stderr as stderr:
        assert stderr.read() == b""
    assert decode.wait(timeout=60) != 0


@pytest.mark.real
def test_help_waits_for_no_numpy():
    code = (
        "import sys\n"
        "from redundancy.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0
    assert b"redundancy encode movie.mp4 -k 3 -n 5" in done.stdout


def test_bench_measures_every_backend_beside_memcpy(capsys):
    code, report = run_json(capsys, "bench", "-k", 2, "-n", 3, "--seconds", 0.1)
    assert code == 0
    assert {"numpy", "zfec"} <= {rate["backend"] for rate in report["rates"]}
    for rate in report["rates"]:
        assert rate["scheme"] == "(2, 3)"
        assert all(value > 0 for key, value in rate.items() if key.endswith("_per_s"))
    assert main(["bench", "--seconds", "0.1"]) == 0
    assert "degraded read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "size"),
    [("2MiB", 2 << 20), ("2 MiB", 2 << 20), ("500kB", 500_000), ("1.5K", 1500), ("4096", 4096)],
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert parse_size(text) == size
