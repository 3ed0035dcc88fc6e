"""The compiled core decides as the sources do: the same sessions, byte for byte."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMPARE = ["compare", "--scenario", "typ-B120", "--scenario", "dripping-node", "--layout", "3of5"]
COMPARE += ["--runs", "2", "--schedulers", "smart,segmented,hedge-p95", "--processes", "1"]

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def compare(out: Path, import_from: Path) -> bytes:
    environment = {**os.environ, "PYTHONPATH": str(import_from)}
    command = [sys.executable, "-P", "-m", "smart_client", *COMPARE, "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=300)
    return (out / "runs.jsonl").read_bytes()


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
def test_compiled_sessions_are_those_of_the_sources(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "scripts" / "compile_core"), "--into"]
    compiled = tmp_path / "compiled"
    built = subprocess.run([*script, str(compiled)], check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    where = subprocess.run(
        [*script, str(compiled), "--where"], check=True, capture_output=True, text=True
    )
    assert where.stdout.strip() == str(compiled), "its sources are the present ones"
    assert compare(tmp_path / "a", compiled) == compare(tmp_path / "b", ROOT)


def test_nothing_is_used_that_was_compiled_of_other_sources(tmp_path: Path) -> None:
    (tmp_path / "SOURCES.sha256").write_text("of other sources")
    script = [sys.executable, str(ROOT / "scripts" / "compile_core")]
    where = subprocess.run(
        [*script, "--into", str(tmp_path), "--where"], check=True, capture_output=True, text=True
    )
    assert not where.stdout
