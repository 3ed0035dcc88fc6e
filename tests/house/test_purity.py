"""Decisions are pure: the pure rooms import nothing that does I/O, and do none when they run."""

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def contract() -> tuple[list[str], set[str]]:
    """Return the pure modules and what is forbidden to them, from the import contract itself."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    section = parser["importlinter:contract:pure"]
    return section["source_modules"].split(), set(section["forbidden_modules"].split())


def files_of(module: str) -> list[Path]:
    path = ROOT / Path(*module.split("."))
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


PURE_FILES = [file for module in contract()[0] for file in files_of(module)]


@pytest.mark.parametrize("file", PURE_FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_a_pure_room_imports_nothing_that_does_io(file: Path) -> None:
    forbidden = contract()[1]
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    assert not found & forbidden


GUARDED = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from redundancy.scheme import Layout
from redundancy.codec import CheckedCodec, NumpyEngine
from redundancy.fragment_format import ChunkLabel
from redundancy.fragments import build_fragments
from redundancy import placement
from smart_client.core.schedulers import SCHEDULERS
from smart_client.simulator.network import Fault, FaultKind
from support.session_worlds import chunk_records, engine_for, steady

REFUSED = ("open", "socket.", "subprocess.", "os.", "time.sleep", "shutil.", "urllib.", "ctypes.")
armed = False

def guard(event, args):
    if armed and event.startswith(REFUSED):
        raise AssertionError(f"I/O in a pure room: {{event}} {{args!r}}")

sys.addaudithook(guard)
import time
real = time.monotonic
def no_clock(*_):
    raise AssertionError("a pure room read the clock")
armed = True
time.time = time.monotonic = time.perf_counter = no_clock
for name in SCHEDULERS:
    faults = {{1: (Fault(FaultKind.FREEZE, 2.0),), 3: (Fault(FaultKind.REFUSE, 5.0),)}}
    nodes = [steady(faults=faults.get(i, ())) for i in range(5)]
    engine = engine_for(chunk_records(4), nodes, scheduler=name)
    engine.play()
    engine.session.check_invariants()
    assert engine.session.state.buffer.readers[0].state == "ended"
layout = Layout.parse("rs:3+2")
codec = CheckedCodec(layout.scheme, NumpyEngine())
label = ChunkLabel(b"v" * 16, "original", 0)
assert len(build_fragments(b"x" * 100_000, layout, codec, label)) == 5
armed = False
print("pure")
"""


def test_sessions_codecs_and_formats_run_without_io_or_clock() -> None:
    """In a process of its own, with an audit hook that refuses files, sockets and processes."""
    done = subprocess.run(
        [sys.executable, "-c", GUARDED.format(root=str(ROOT), tests=str(ROOT / "tests"))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "pure\n", done.stderr
