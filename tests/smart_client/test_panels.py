"""The dashboard's picture of a simulated session: what it says, and that it never breaks a line."""

import io
import re
from dataclasses import replace

import msgspec
import pytest
from rich.console import Console

from smart_client.core import events
from smart_client.core.commands import Notice
from smart_client.core.ledger import Ledger, Mark
from smart_client.core.metrics import take_snapshot
from smart_client.narration import _TEXTS, WORTH_A_LINE, clock, duration_text, record, sentence
from smart_client.panels import DashboardView, picture_svg, sparkline
from smart_client.simulator.network import Fault, FaultKind
from support.session_worlds import chunk_records, engine_for, steady

CHUNKS = 12
NODES = 5


def a_session_with_a_dead_node() -> DashboardView:
    nodes = [steady(3.0, 0.03) for _ in range(NODES)]
    nodes[2] = steady(3.0, 0.03, faults=(Fault(FaultKind.REFUSE, 4.0),))
    engine = engine_for(chunk_records(CHUNKS), nodes)
    ledger, view_events = Ledger(), []
    handle = engine.session.handle

    def observed(event, now_s):
        issued = handle(event, now_s)
        ledger.observe(now_s, event, issued)
        view_events.extend(
            f"{clock(now_s)} {sentence(n, [f'node-{i}' for i in range(NODES)])}"
            for n in issued
            if isinstance(n, Notice) and n.kind in WORTH_A_LINE
        )
        return issued

    engine.session.handle = observed
    view = DashboardView("holiday", "rs:3+2", "http://127.0.0.1:1/v/holiday", ledger, CHUNKS)
    engine.post(events.ReaderOpened(0, 0, True))
    while engine.network.now_s < 25.0:
        engine.step(25.0)
        view.snapshot = take_snapshot(engine.session.state, engine.network.now_s)
        view.history.sample(view.snapshot)
    view.events.extend(view_events)
    return view


@pytest.fixture(scope="module")
def view() -> DashboardView:
    return a_session_with_a_dead_node()


def printed(view: DashboardView, width: int, height: int = 40) -> str:
    out = io.StringIO()
    Console(file=out, width=width, height=height, color_system=None).print(view)
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 79, 80, 99, 100, 120, 200])
def test_no_line_is_cut_or_wrapped_at_any_width(view, width) -> None:
    text = printed(view, width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "…" not in text.replace("… ", "")
    for node in range(NODES):
        assert len(re.findall(rf"\bnode-{node}\b", text)) >= 2  # in the table and in the matrix
    # The table, the matrix, the header and the events all have one line an entry.
    assert len(text.splitlines()) == len(printed(view, 200).splitlines())


@pytest.mark.parametrize("height", [10, 15, 20, 24, 40])
@pytest.mark.parametrize("shows_help", [False, True])
def test_the_keys_are_on_the_screen_however_small_it_is(view, height, shows_help) -> None:
    shown = replace(view, shows_help=shows_help)
    lines = printed(shown, 80, height).splitlines()
    assert len(lines) <= height
    assert "q quit" in lines[-1]
    assert ("? back" in lines[-1]) is shows_help
    assert ("▼" in "".join(lines[:-2])) is (height >= 20), "the matrix goes when rows are few"


def test_what_came_is_not_compared_with_next_to_nothing(view) -> None:
    early = msgspec.structs.replace(
        view.snapshot, received_bytes=781_000, delivered_bytes=49_000, state="playing"
    )
    assert "781 kB (-)" in printed(replace(view, snapshot=early), 120)
    assert "%)" in printed(view, 120)


def test_the_picture_tells_the_state_the_failure_and_the_stalls(view) -> None:
    text = printed(view, 120)
    assert "holiday" in text
    assert "playing" in text
    assert "stalls 0" in text
    assert "node-2 refused the connection" in text or "node-2 broke the connection" in text
    failures = [node.failures for node in view.snapshot.nodes]
    assert failures[2] > 0
    assert sum(failures) == failures[2]


def test_the_matrix_shows_who_brought_what(view) -> None:
    marks = {
        (node, chunk): view.ledger.mark(node, chunk)
        for node in range(NODES)
        for chunk in range(CHUNKS)
    }
    by_chunk = [[marks[node, chunk] for node in range(NODES)] for chunk in range(CHUNKS)]
    assert all(row.count(Mark.USED) + row.count(Mark.RESCUED) >= 2 for row in by_chunk)
    assert Mark.FAILED in [marks[2, chunk] for chunk in range(CHUNKS)]
    assert Mark.FAILED not in [marks[0, chunk] for chunk in range(CHUNKS)]


def test_a_saved_picture_is_whole_and_asks_nobody_for_anything(view) -> None:
    svg = picture_svg(view, (120, 36))
    assert svg.startswith("<svg")
    assert svg.rstrip().endswith("</svg>")
    assert "holiday" in svg
    outside = set(re.findall(r'https?://[^"\s<)]+', svg))
    assert outside <= {
        "http://www.w3.org/2000/svg",
        "https://www.textualize.io",
        "http://127.0.0.1:1/v/holiday",
    }


def test_before_the_first_snapshot_there_is_a_picture_too() -> None:
    assert "opening" in printed(DashboardView("x", "rs:3+2", "", Ledger(), 3), 80)


def test_a_sparkline_has_one_scale_and_leaves_nothing_blank() -> None:
    assert sparkline([0.0, 1.0, 8.0], 8.0) == " ▂█"
    assert sparkline([1.0], 0.0) == " "


@pytest.mark.parametrize("kind", sorted(_TEXTS))
def test_every_notice_has_a_sentence_and_a_record(kind) -> None:
    notice = Notice(kind, node=1, chunk=3, seconds=0.5, bytes=7, reason="silent")
    line = sentence(notice, ["a", "b"])
    assert "{" not in line
    told = record(notice, ["a", "b"], t_s=1.23456, ts=1.0)
    assert told["type"] == kind
    assert told["node"] == "b"
    assert told["t"] == 1.2346


def test_times_read_as_people_write_them() -> None:
    assert clock(65.9) == "1:05"
    assert clock(3725) == "1:02:05"
    assert duration_text(0.23) == "230 ms"
    assert duration_text(1.44) == "1.4 s"
