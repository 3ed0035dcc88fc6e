"""What scripts/bench_node measures beside plain puts and gets: each returns one row."""

import argparse
import contextlib
import hashlib
import http.client
import itertools
import os
import resource
import shutil
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from http_load import Server, Window, cpu_seconds, run_window
from servers_under_test import KIB, MIB, STORED_BYTES, Bodies, nginx_process, node_process

from storage_server.node.lock import DataFolder
from storage_server.node.store import Put
from storage_server.node.superblock_store import SuperblockStore

Row = dict[str, object]

ONE_BY_ONE = (str(Path(__file__).with_name("one_by_one_node.py")),)
SLOW_SYNC_MS = 8  # what a hard disk takes
MANY_KEYS = 100_000
STALLED_READERS = 400
CROWD, CROWD_STALLED = 100, 900
COLD_BYTES_PER_S = 30_000_000

_SLOW_SYNC = f"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
int fdatasync(int fd) {{ usleep({SLOW_SYNC_MS * 1000});
  return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd); }}
int fsync(int fd) {{ usleep({SLOW_SYNC_MS * 1000});
  return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd); }}
"""


def group_commit(folder: Path, args: argparse.Namespace) -> Row:
    """Durable puts, 16 at once: one sync for all that wait, against one for each and an index."""
    preload = _slow_sync(folder)
    row: Row = {}
    for name, size in (("2 MiB", 2 * MIB), ("64 KiB", 64 * KIB)):
        for disk, library in (("this disk", None), (f"+{SLOW_SYNC_MS} ms", preload)):
            if disk != "this disk" and library is None:
                continue  # no compiler
            pairs = [
                (
                    _puts(folder / "ours", size, args.seconds, preload=library),
                    _puts(
                        folder / "rival", size, args.seconds, preload=library, program=ONE_BY_ONE
                    ),
                )
                for _ in range(args.rounds)
            ]
            ratio = statistics.median(ours.mb_per_s / rival.mb_per_s for ours, rival in pairs)
            ours = statistics.median(ours.mb_per_s for ours, _ in pairs)
            row[f"{name} {disk}"] = f"{ours:.0f} MB/s, {ratio:.1f}x"
    return row


def many_keys(folder: Path, args: argparse.Namespace) -> Row:
    """One put at a time of 64 KiB into an empty node and into one with many fragments."""
    full = folder / "full"
    _fill(full, MANY_KEYS)
    ratios, times = [], []
    with node_process(folder / "empty") as empty, node_process(full) as filled:
        for _ in range(args.rounds * 2 + 1):
            without = _put_window(empty, 64 * KIB, 1, args.seconds)
            with_many = _put_window(filled, 64 * KIB, 1, args.seconds)
            ratios.append(with_many.p50_ms / without.p50_ms)
            times.append(with_many.p50_ms)
    return {
        "p50_ms": round(statistics.median(times), 2),
        "ratio_to_empty": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 2) for ratio in ratios],
    }


def memory(folder: Path, _: argparse.Namespace) -> Row:
    """What a node has for itself: idle, and more for each reader that does not read."""
    with node_process(folder / "node") as node, contextlib.ExitStack() as stack:
        idle = memory_bytes(node)
        path = _store(node, 2 * MIB, 1)[0]
        for _ in range(20):
            stack.enter_context(_asked(node, path))
        time.sleep(0.5)
        before = memory_bytes(node)
        for _ in range(STALLED_READERS):
            stack.enter_context(_asked(node, path))
        time.sleep(1.0)  # let all of them be answered as far as they go
        grown = memory_bytes(node) - before
    return {
        "idle_mb": round(idle / 1e6, 1),
        "per_stalled_reader_kib": round(grown / STALLED_READERS / KIB, 1),
    }


def crowds(folder: Path, args: argparse.Namespace) -> Row:
    """Small fragments for 100 readers, alone and beside 900 that asked for 2 MiB and stall."""
    _allow_descriptors(3000)
    ratios = []
    with node_process(folder / "node") as node:
        large = _store(node, 2 * MIB, 1)[0]
        small = _store(node, 64 * KIB, 64)
        for _ in range(args.rounds):
            alone = _gets(node, small, 64 * KIB, CROWD, args.seconds)
            with contextlib.ExitStack() as stack:
                for _ in range(CROWD_STALLED):
                    stack.enter_context(_asked(node, large))
                time.sleep(2.0)  # until all of them have got what fits in their kernels
                beside = _gets(node, small, 64 * KIB, CROWD, args.seconds)
            ratios.append(beside.mb_per_s / alone.mb_per_s)
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "alone_requests_per_s": round(alone.mb_per_s * 1e6 / (64 * KIB)),
    }


def endurance(folder: Path, args: argparse.Namespace) -> Row:
    """Many requests of all kinds of answers: neither memory nor descriptors grow."""
    with node_process(folder / "node") as node:
        paths = _store(node, 4 * KIB, 32)
        _ask_many(node, paths, 20_000)
        before, descriptors = memory_bytes(node), _descriptors(node)
        started_s = time.monotonic()
        _ask_many(node, paths, args.requests)
        took_s = time.monotonic() - started_s
        return {
            "requests": args.requests,
            "requests_per_s": round(args.requests / took_s),
            "memory_grown_kib": round((memory_bytes(node) - before) / KIB),
            "descriptors_grown": _descriptors(node) - descriptors,
        }


def cold_disk(folder: Path, args: argparse.Namespace) -> Row:
    """64 KiB from memory for 16 readers, alone and beside 4 that read 2 MiB from a slow disk."""
    try:
        with _slow_disk(folder) as (place, slow_down):
            return _hot_beside_cold(place, slow_down, args)
    except (OSError, subprocess.CalledProcessError) as error:
        return {"left_out": f"no slow disk can be made here: {error}"}


def _hot_beside_cold(
    place: Path, slow_down: Callable[[int], None], args: argparse.Namespace
) -> Row:
    ratios, cold_rates = [], []
    with node_process(place / "node") as node:
        cold = _store(node, 2 * MIB, 150)
        hot = _store(node, 64 * KIB, 64)
        slow_down(node.pids[0])
        for _ in range(args.rounds):
            _forget_pages(place / "node")
            _gets(node, hot, 64 * KIB, 16, 0.5)
            alone = _gets(node, hot, 64 * KIB, 16, args.seconds)
            with _reading(node, cold, 4) as received:
                before, started_s = sum(received), time.monotonic()
                beside = _gets(node, hot, 64 * KIB, 16, max(2.0, args.seconds))
                rate = (sum(received) - before) / (time.monotonic() - started_s)
            ratios.append(beside.mb_per_s / alone.mb_per_s)
            cold_rates.append(rate)
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "p99_ms_beside_cold": round(beside.p99_ms, 1),
        "cold_mb_per_s": round(statistics.median(cold_rates) / 1e6, 1),
    }


def tls(folder: Path, args: argparse.Namespace) -> Row:
    """2 MiB over TLS with 16 connections of curl, beside nginx."""
    if not (shutil.which("curl") and shutil.which("nginx") and shutil.which("openssl")):
        return {"left_out": "needs curl, nginx and openssl"}
    certificate = folder / "cert.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", f"{certificate}.key"]
    subprocess.run([*words, "-out", str(certificate)], check=True, capture_output=True)
    Path(f"{certificate}.key").chmod(0o600)
    with node_process(folder / "node") as plain:
        paths = _store(plain, 2 * MIB, STORED_BYTES // (2 * MIB))
    options = ("--tls-cert", str(certificate), "--tls-key", f"{certificate}.key")
    ratios, ours, costs = [], [], []
    with (
        node_process(folder / "node", *options) as node,
        nginx_process(folder / "nginx", certificate) as nginx,
    ):
        for number in range(len(paths)):
            (folder / "nginx" / "www" / str(number)).write_bytes(os.urandom(2 * MIB))
        for _ in range(args.rounds + 1):
            mine = _curl(folder, node, paths)
            its = _curl(folder, nginx, [f"/{number}" for number in range(len(paths))])
            ratios.append(mine[0] / its[0])
            ours.append(mine[0])
            costs.append((mine[1], its[1]))
    return {
        "mb_per_s": round(statistics.median(ours)),
        "cpu_s_per_gb": round(statistics.median(mine for mine, _ in costs), 2),
        "p50_ms": float("nan"),
        "p99_ms": float("nan"),
        "ratio_to_nginx": round(statistics.median(ratios), 3),
        "nginx_mb_per_s": round(
            statistics.median(o / r for o, r in zip(ours, ratios, strict=True))
        ),
        "nginx_cpu_s_per_gb": round(statistics.median(its for _, its in costs), 2),
    }


SCENARIOS: dict[str, Callable[[Path, argparse.Namespace], Row]] = {
    "group-commit": group_commit,
    "many-keys": many_keys,
    "memory": memory,
    "crowds": crowds,
    "endurance": endurance,
    "cold-disk": cold_disk,
    "tls": tls,
}


# Putting and getting


def _puts(folder: Path, size: int, seconds: float, **how: object) -> Window:
    with node_process(folder, **how) as node:  # type: ignore[arg-type]
        window = _put_window(node, size, 16, seconds)
    shutil.rmtree(folder)
    return window


def _put_window(server: Server, size: int, connections: int, seconds: float) -> Window:
    count = int(max(1, seconds) * (900 if size > MIB else 9000))
    put = partial(next, Bodies(size, count, os.urandom(8)).requests(), None)
    return run_window(server, put, connections=connections, seconds=seconds, size=size)


def _store(node: Server, size: int, count: int) -> list[str]:
    bodies = Bodies(size, count, os.urandom(8))
    put = partial(next, bodies.requests(), None)
    run_window(node, put, connections=min(16, count), seconds=60, size=size)
    return [f"/v1/chunks/{key}" for key, _ in bodies.items]


def _fill(folder: Path, count: int) -> None:
    """Store small fragments without a node: it would only take longer."""
    data = DataFolder(folder)
    store = SuperblockStore(data.disk, data.identity)
    for start in range(0, count, 2000):
        bodies = [number.to_bytes(8, "big") * 16 for number in range(start, start + 2000)]
        store.commit([Put.verified(hashlib.sha256(body).digest(), body) for body in bodies])
    store.close()
    data.close()


def _gets(node: Server, paths: list[str], size: int, connections: int, seconds: float) -> Window:
    get = partial(next, _requests(paths, None), None)
    return run_window(node, get, connections=connections, seconds=seconds, size=size)


def _ask_many(node: Server, paths: list[str], count: int) -> None:
    get = partial(next, _requests(paths, count), None)
    run_window(node, get, connections=16, seconds=3600, size=4 * KIB)
    time.sleep(0.5)  # until the node has let the connections go


def _requests(paths: list[str], count: int | None) -> Iterator[list[bytes]]:
    heads = [f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths]
    for turn in itertools.count() if count is None else range(count):
        yield [heads[turn * 7 % len(heads)]]


@contextlib.contextmanager
def _asked(node: Server, path: str) -> Iterator[None]:
    """Ask for a fragment and do not read it."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(node.address)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield


@contextlib.contextmanager
def _reading(node: Server, paths: list[str], readers: int) -> Iterator[list[int]]:
    """Read in threads, each its own paths once; what was received grows meanwhile."""
    received = [0] * readers
    is_over = threading.Event()

    def read(reader: int) -> None:
        connection = http.client.HTTPConnection(*node.address, timeout=60)
        for path in paths[reader::readers]:
            connection.request("GET", path)
            response = connection.getresponse()
            while part := response.read(64 * KIB):
                received[reader] += len(part)
                if is_over.is_set():
                    connection.close()
                    return
        connection.close()

    threads = [threading.Thread(target=read, args=(number,)) for number in range(readers)]
    for thread in threads:
        thread.start()
    try:
        yield received
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def _curl(folder: Path, server: Server, paths: list[str]) -> tuple[float, float]:
    """Return MB/s and processor seconds a GB of reading fragments of 2 MiB, 16 at once."""
    lists = []
    for reader in range(16):
        lines = ["insecure", "silent"]
        for path in paths[reader::16] * 4:  # on one connection: handshakes do not count
            url = "https://{}:{}{}".format(*server.address, path)
            lines += [f"url = {url}", "output = /dev/null"]
        lists.append(folder / f"urls-{reader}")
        lists[-1].write_text("\n".join(lines))
    cpu_s, started_s = cpu_seconds(server.pids), time.monotonic()
    readers = [subprocess.Popen(["curl", "-K", str(urls)]) for urls in lists]
    assert [reader.wait() for reader in readers] == [0] * len(readers)
    took_s = time.monotonic() - started_s
    gigabytes = len(paths) * 4 * 2 * MIB / 1e9
    return gigabytes * 1e3 / took_s, (cpu_seconds(server.pids) - cpu_s) / gigabytes


# The machine


def memory_bytes(server: Server) -> int:
    """Return what a server has for itself, files not counted."""
    status = Path(f"/proc/{server.pids[0]}/status").read_text(encoding="ascii")
    return int(status.split("RssAnon:")[1].split()[0]) * KIB


def _descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.pids[0]}/fd"))


def _allow_descriptors(count: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def _slow_sync(folder: Path) -> Path | None:
    """Return a library that lets every sync take longer; None without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    source, library = folder / "slow_sync.c", folder / "slow_sync.so"
    source.write_text(_SLOW_SYNC)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def _forget_pages(folder: Path) -> None:
    for path in folder.glob("sb-*.dat"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


@contextlib.contextmanager
def _slow_disk(folder: Path) -> Iterator[tuple[Path, Callable[[int], None]]]:
    """Make a file system on a loop device, and a way to let one process read slowly from it.

    Raises: OSError, CalledProcessError: not on this machine.
    """
    image, place = folder / "image", folder / "mounted"
    group = Path("/sys/fs/cgroup/blkio/bench-node")
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(600 * MIB)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    words = ["losetup", "-f", "--show", str(image)]
    device = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    try:
        subprocess.run(["mount", device, str(place)], check=True)
        group.mkdir(exist_ok=True)
        number = os.stat(device).st_rdev
        limit = f"{os.major(number)}:{os.minor(number)} {COLD_BYTES_PER_S}"
        (group / "blkio.throttle.read_bps_device").write_text(limit)
        yield place, lambda pid: (group / "cgroup.procs").write_text(str(pid)) and None
    finally:
        subprocess.run(["umount", str(place)], check=False)
        subprocess.run(["losetup", "-d", device], check=False)
        with contextlib.suppress(OSError):
            group.rmdir()
