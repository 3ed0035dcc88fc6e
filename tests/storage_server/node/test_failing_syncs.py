"""A real node whose disk fails one sync, or takes a second for each.

Nobody is told that something is stored which is not, nothing is lost, and readers wait for no sync.
"""

import http.client
import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.fragments import fragment
from support.node_process import NodeProcess

COMPILER = shutil.which("cc") or shutil.which("gcc")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(COMPILER is None, reason="the failing sync is a small C library"),
]

# Fails once when the file named by FAIL_SYNC is there, and removes it; then works as ever. Takes a
# second more while the file named by SLOW_SYNC is there.
SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
int fdatasync(int fd) {
  if (access(getenv("SLOW_SYNC"), F_OK) == 0) usleep(1000000);
  if (unlink(getenv("FAIL_SYNC")) == 0) { errno = EIO; return -1; }
  return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    source, made = folder / "fail_sync.c", folder / "fail_sync.so"
    source.write_text(SOURCE)
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True)
    return made


def faulty(library, fail="/nowhere", slow="/nowhere"):
    """Return the environment of a node whose syncs fail, or are slow, while these files exist."""
    return {"LD_PRELOAD": str(library), "FAIL_SYNC": str(fail), "SLOW_SYNC": str(slow)}


def ask(node, method, put):
    connection = http.client.HTTPConnection(*node.address, timeout=20)
    try:
        body = put.data if method == "PUT" else None
        connection.request(method, f"/v1/chunks/{put.key.hex()}", body=body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_sync_that_fails_once_is_never_tried_again_and_loses_nothing(tmp_path, library):
    switch = tmp_path / "fail"
    data_dir = tmp_path / "data"
    stored, refused, later = (fragment(number, 100_000) for number in range(3))
    with NodeProcess(data_dir, env=faulty(library, fail=switch)) as node:
        assert ask(node, "PUT", stored)[0] == 201
        switch.touch()
        status, body = ask(node, "PUT", refused)
        assert (status, json.loads(body)["error"]["code"]) == (503, "READ_ONLY")
        assert not switch.exists()  # the disk works again, and is not believed
        assert ask(node, "PUT", later)[0] == 503
        assert ask(node, "PUT", stored)[0] == 503
        assert ask(node, "DELETE", stored)[0] == 503
        assert ask(node, "GET", stored) == (200, stored.data)
        assert ask(node, "GET", refused)[0] == 404
        node.kill()
    with NodeProcess(data_dir) as node:
        assert ask(node, "GET", stored) == (200, stored.data)
        status, body = ask(node, "GET", refused)  # a 503 said that nobody knows
        assert status == 404 or body == refused.data
        assert ask(node, "PUT", later)[0] == 201
        assert ask(node, "PUT", refused)[0] in (200, 201)


def test_a_disk_that_takes_a_second_for_a_sync_keeps_no_reader_waiting(tmp_path, library):
    slow = tmp_path / "slow"
    puts = [fragment(number, 20_000) for number in range(16)]
    stored = fragment(100, 20_000)
    with (
        NodeProcess(tmp_path / "data", env=faulty(library, slow=slow)) as node,
        ThreadPoolExecutor(len(puts)) as writers,
    ):
        assert ask(node, "PUT", stored)[0] == 201
        slow.touch()
        answers = [writers.submit(ask, node, "PUT", put) for put in puts]
        for _ in range(5):
            assert ask(node, "GET", stored) == (200, stored.data)
        assert not any(answer.done() for answer in answers), "no sync has ended yet"
        assert [answer.result()[0] for answer in answers] == [201] * len(puts)
        slow.unlink()
        commits = float(metric(node, "evenflow_node_commit_writes_count"))
        assert commits <= 5, "they did not share their syncs"


def metric(node, name):
    connection = http.client.HTTPConnection(*node.address, timeout=20)
    try:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        return next(line.split()[-1] for line in lines if line.startswith(name + " "))
    finally:
        connection.close()
