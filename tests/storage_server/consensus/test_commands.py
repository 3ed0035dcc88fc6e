"""``storage-server consensus``: what is printed of a coordinator that decides."""

import asyncio
import contextlib
import json

import pytest

from redundancy.errors import ExitCode
from smart_client.agreement import Agreement, TraceEvent
from storage_server.catalogue.contract import ABSENT
from storage_server.cli import main
from storage_server.consensus_commands import agreement_text, event_text
from storage_server.coordinator.config import CoordinatorConfig
from storage_server.coordinator.process import running_coordinator
from support.paxos_nodes import running_nodes

pytestmark = pytest.mark.real


def while_it_writes(directory, words, capsys):
    """Run a command against a coordinator that writes all the time."""

    async def write_on(catalogue):
        version = ABSENT
        while True:
            outcome = await catalogue.compare_and_set("video/kino", version, b"x")
            version = getattr(outcome, "number", version)
            await asyncio.sleep(0.02)

    async def scenario(urls):
        config = CoordinatorConfig(directory / "c", catalogue=f"nodes:{','.join(urls)}")
        async with running_coordinator(config) as running:
            writing = asyncio.create_task(write_on(running.coordinator.catalogue))
            try:
                command = ["consensus", *words, "--coordinator", running.url, "--json"]
                return await asyncio.to_thread(main, command)
            finally:
                writing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await writing

    with running_nodes(directory) as nodes:
        code = asyncio.run(scenario([node.running.url for node in nodes]))
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_trace_shows_requests_replies_and_what_was_decided(tmp_path, capsys):
    words = ["trace", "--key", "video/", "--count", "200"]  # the first ones may all be scans
    code, events = while_it_writes(tmp_path, words, capsys)
    assert code == ExitCode.OK
    assert len(events) == 200
    assert {each["kind"] for each in events} == {"request", "reply", "outcome"}
    # Coordinators follow each other by scanning, and a scan of these keys is shown, too.
    assert {each["key"] for each in events} - {"video/*"} == {"video/kino"}
    # A register that one process alone writes is decided in one round: accepts, and no prepare.
    what = {each["what"] for each in events}
    assert {"accept", "accepted", "decided"} <= what


def test_the_status_counts_and_measures(tmp_path, capsys):
    code, (told,) = while_it_writes(tmp_path, ["status"], capsys)
    assert code == ExitCode.OK
    (found,) = told["consensus"]
    assert [each["state"] for each in found["members"]] == ["up"] * 3
    assert found["failures_survived"] == 1


def test_what_is_printed_for_people_names_everything():
    event = TraceEvent(
        seq=1,
        at_s=0.5,
        kind="request",
        what="accept",
        key="video/kino",
        member="attic-pi",
        ballot="3.ab12cd",
        version=7,
        note="300 bytes",
    )
    line = event_text("http://h:8400", event)
    for word in ("8400", "->", "attic-pi", "accept", "video/kino", "3.ab12cd", "version 7", "300"):
        assert word in line
    told = Agreement(catalogue="chunkpaxos", summary="any 2 of 3", requests_per_decision=3.0)
    assert "3.00 requests a decision" in agreement_text(told)
    assert "requests" not in agreement_text(Agreement(catalogue="sqlite", summary="alone"))


def test_the_demo_measures_two_writers_and_a_node_that_dies(capsys):
    assert main(["consensus", "demo", "--seconds", "0.4", "--json"]) == ExitCode.OK
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["demo"]
    assert told["decisions_per_s"] > 0
    assert told["requests_per_decision"] >= 3.0
    assert 0 < told["gap_killed_s"] < 10
