"""Real file systems that run out of room, of files, or of patience: refused, and nothing lost."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

TESTS = Path(__file__).parents[2]
HEAD = f"""
import errno, os, pathlib, resource, sys
sys.path[:0] = {[str(TESTS.parent), str(TESTS)]!r}
from storage_server.node.disk import RealDisk
from storage_server.node.errors import StoreFull
from storage_server.node.superblock_store import SuperblockStore
from support.fragments import IDENTITY, fragment, lost_keys
folder = pathlib.Path(sys.argv[1])

def opened(superblock_bytes=1 << 30):
    return SuperblockStore(
        RealDisk(folder), IDENTITY, capacity_bytes=1 << 30, superblock_bytes=superblock_bytes
    )

def outcome_of(store, number, size):
    return store.commit([fragment(number, size)])[0]
"""

NO_SPACE = """
store = opened()
outcomes = [outcome_of(store, n, 700_000) for n in range(40)]
stored = outcomes.count(True)
assert 8 <= stored <= 28, outcomes
assert isinstance(outcomes[-1], StoreFull), outcomes[-1]
# Half of what is free; file systems keep some of what they call free to themselves.
try:
    with (folder / "filler").open("wb", buffering=0) as filler:
        for _ in range(store.facts().free_bytes // 2 // 4096):
            filler.write(bytes(4096))
except OSError as error:
    assert error.errno == errno.ENOSPC, error
    if (folder / "filler").exists():
        os.truncate(folder / "filler", (folder / "filler").stat().st_size // 2)
assert store.delete(fragment(0, 700_000).key) is True
store.close()
again = opened()
assert lost_keys(again, [fragment(n, 700_000) for n in range(1, stored)]) == []
assert not again.damage, again.damage
print("fine")
"""

NO_INODES = """
taken = 0
store = opened(superblock_bytes=1 << 20)
for number in range(3):
    assert outcome_of(store, number, 400_000) is True
try:
    while True:
        (folder / f"other-{taken}").touch()
        taken += 1
except OSError as error:
    assert error.errno == errno.ENOSPC
refused = [outcome_of(store, number, 400_000) for number in range(10, 14)]
assert any(isinstance(outcome, StoreFull) for outcome in refused), refused
(folder / "other-0").unlink()
(folder / "other-1").unlink()
assert outcome_of(store, 20, 400_000) is True  # not read-only: it only had no room
store.close()
kept = [fragment(number, 400_000) for number in (0, 1, 2, 20)]
assert lost_keys(opened(superblock_bytes=1 << 20), kept) == []
print("fine")
"""

SHORT_WRITE = """
# A limit on the size of files: the kernel writes what fits, and says how much that was.
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
file = RealDisk(folder).create("sb-00000001.dat")
try:
    file.write([bytes(60_000), b"x" * 60_000, bytes(60_000)], 0)
except OSError as error:
    assert error.errno == errno.EFBIG, error
else:
    raise AssertionError("all was written")
assert file.size_bytes() == 100_000
file.close()
(folder / "sb-00000001.dat").unlink()
store = opened(superblock_bytes=1 << 20)
assert outcome_of(store, 1, 50_000) is True
assert isinstance(outcome_of(store, 2, 80_000), StoreFull)
assert outcome_of(store, 3, 20_000) is True
store.close()
assert lost_keys(opened(superblock_bytes=1 << 20), [fragment(1, 50_000), fragment(3, 20_000)]) == []
print("fine")
"""

TMPFS = "mount -t tmpfs -o {options} none {folder}"


def run_on(folder, program, mount):
    """Run a program on a file system of its own, in a mount namespace of its own."""
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        pytest.skip("needs unshare and the right to mount")
    done = subprocess.run(
        [unshare, "-m", "sh", "-c", f"{mount} && exec {sys.executable} - {folder}"],
        input=HEAD + program,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if any(word in done.stderr for word in ("mount:", "unshare:", "mkfs")):
        pytest.skip(f"may not mount here: {done.stderr.strip()}")
    assert done.stdout.strip() == "fine", done.stderr


def test_memory_as_a_disk_that_fills_up_refuses_and_loses_nothing(tmp_path):
    run_on(tmp_path, NO_SPACE, TMPFS.format(options="size=16m", folder=tmp_path))


# How each is made, and in how many MiB; that is less than XFS calls supported.
MAKERS = {
    "ext4": ("mkfs.ext4 -q", 20),
    "xfs": ("mkfs.xfs -q --unsupported", 20),
    "btrfs": ("mkfs.btrfs -q --mixed", 24),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_file_system_that_fills_up_refuses_and_loses_nothing(tmp_path, kind):
    maker, mebibytes = MAKERS[kind]
    if shutil.which(maker.split()[0]) is None:
        pytest.skip(f"needs {maker.split()[0]}")
    image, folder = tmp_path / "image", tmp_path / "folder"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    mount = f"{maker} {image} >/dev/null 2>&1 && mount -o loop {image} {folder}"
    run_on(folder, NO_SPACE, mount)


def test_a_file_system_without_inodes_refuses_new_superblocks_only(tmp_path):
    run_on(tmp_path, NO_INODES, TMPFS.format(options="size=64m,nr_inodes=12", folder=tmp_path))


def test_a_write_that_is_cut_short_is_noticed(tmp_path):
    words = [sys.executable, "-", str(tmp_path)]
    program = HEAD + SHORT_WRITE
    done = subprocess.run(
        words, input=program, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "fine", done.stderr
