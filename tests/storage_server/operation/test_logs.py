"""The log of a server: its lines come through, and nobody ever waits for its reader."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys

import pytest

from storage_server.logs import JsonLines, UnhurriedHandler
from support.full_pipes import full_pipe
from support.node_in_thread import wait_until


def record(text, level=logging.INFO, error=None):
    return logging.LogRecord("storage_server.test", level, "", 0, text, None, error)


def read_all_of(descriptor):
    received = b""
    while part := os.read(descriptor, 65536):
        received += part
    return received.decode()


@contextlib.contextmanager
def a_log(writing, **settings):
    handler = UnhurriedHandler(writing, **settings)
    handler.setFormatter(JsonLines())
    try:
        yield handler
    finally:
        handler.close()


def test_every_line_comes_through_in_order_before_the_end():
    reading, writing = os.pipe()
    with a_log(writing) as handler:
        for number in range(200):
            handler.handle(record(f"line {number} äöü"))
    os.close(writing)
    lines = [json.loads(line) for line in read_all_of(reading).splitlines()]
    os.close(reading)
    assert [line["message"] for line in lines] == [f"line {n} äöü" for n in range(200)]
    assert handler.dropped == 0


def test_a_reader_that_does_not_read_keeps_nobody_waiting_and_hears_what_it_missed():
    with full_pipe() as (reading, writing, filled):
        with a_log(writing, lines_max=10) as handler:
            for number in range(100):  # a plain write would stop at the first one
                handler.handle(record(f"line {number}"))
            assert 89 <= handler.dropped <= 90  # one line may be with the writer already
            kept = 100 - handler.dropped
            received = b""
            while received.count(b"\n") < kept + 1:
                received += os.read(reading, 65536)
        lines = [json.loads(line) for line in received[filled:].splitlines()]
    told = [line["message"] for line in lines if line["level"] == "warning"]
    assert told == [f"{handler.dropped} lines of this log were dropped: nobody read it in time"]
    assert [line["message"] for line in lines if line["level"] == "info"] == [
        f"line {number}" for number in range(kept)
    ]


def test_a_reader_that_is_gone_is_no_error():
    with full_pipe() as (reading, writing, _):
        os.close(reading)
        with a_log(writing) as handler:
            handler.handle(record("hello?"))
            wait_until(lambda: handler.dropped == 1)


def test_a_line_that_cannot_be_formatted_stops_nobody_and_is_told():
    reading, writing = os.pipe()
    with a_log(writing) as handler:
        broken = record("%d")
        broken.args = ("no number",)
        handler.handle(broken)
        handler.handle(record("fine"))
    os.close(writing)
    lines = [json.loads(line) for line in read_all_of(reading).splitlines()]
    os.close(reading)
    assert [line["level"] for line in lines] == ["warning", "info"]
    assert "storage_server.test" in lines[0]["message"]
    assert handler.dropped == 0


@pytest.mark.real
@pytest.mark.parametrize("words", [["node"], ["coordinator", "--listen", "127.0.0.1:0"]])
def test_a_server_whose_log_nobody_reads_starts_answers_and_stops(words, tmp_path):
    with full_pipe() as (_, writing, _):
        process = subprocess.Popen(
            [sys.executable, "-m", "storage_server", *words, "--data", tmp_path, "--json"],
            stdout=subprocess.PIPE,
            stderr=writing,
        )
        try:
            assert json.loads(process.stdout.readline())["event"] == "ready"
            process.send_signal(signal.SIGTERM)  # "stopping" is a line of the log
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
