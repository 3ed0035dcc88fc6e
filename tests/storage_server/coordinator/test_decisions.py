"""What the coordinator decides and adds up, without any network."""

import asyncio
import itertools
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redundancy.errors import ExitCode, InvalidScheme
from redundancy.scheme import Layout, Scheme
from smart_client import wire
from smart_client.errors import InvalidRequest, TooFewNodesUp
from storage_server.catalogue.contract import Entry
from storage_server.coordinator.errors import RegisterDamaged
from storage_server.coordinator.layouts import (
    ChunkShape,
    NodeCounts,
    choose_layout,
    losses_demanded,
)
from storage_server.coordinator.library import Library, survey
from storage_server.coordinator.registers import (
    Registers,
    Views,
    group_key,
    groups_prefix,
    parse_group_key,
)
from storage_server.coordinator.views import PLAYBACKS_REMEMBERED_MAX, ViewCounter
from support.faulty_catalogue import FaultyCatalogue
from support.running_cluster import CHUNK_BYTES, chunk_record

# -- layouts ---------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(0, 40))
def test_an_automatic_layout_fits_the_nodes_and_survives_a_loss_where_that_is_possible(ready, away):
    nodes = NodeCounts(ready=ready, known=ready + away)
    if not ready:
        with pytest.raises(TooFewNodesUp):
            choose_layout("auto", nodes)
        return
    choice = choose_layout("auto", nodes)
    assert choice.layout.fragments_total <= ready
    assert choice.layout.tolerates >= min(2, ready // 2)
    assert ("WARNING" in choice.reason) == (choice.layout.tolerates == 0)
    assert f"{choice.layout.overhead:.2f}x the space" in choice.reason
    assert ready >= 5 or f"{ready} of {ready + away} nodes" in choice.reason


@given(st.integers(1, 20), st.integers(0, 20), st.integers(0, 5), st.integers(0, 60))
def test_a_layout_asked_for_is_taken_or_refused_never_changed(k, parity, copies, ready):
    layout = Layout(Scheme(k, k + parity), copies)
    nodes = NodeCounts(ready=ready, known=ready)
    if layout.fragments_total > ready:
        with pytest.raises(TooFewNodesUp, match=f"{layout.fragments_total} nodes") as caught:
            choose_layout(str(layout), nodes)
        assert caught.value.detail["up"] == ready
    else:
        assert choose_layout(str(layout), nodes).layout == layout


@pytest.mark.parametrize("wish", ["", "AUTO", "rs:3", "rep:0", "rs:0+2", "rep:-1", "rs:3+2 "])
def test_a_wish_that_is_no_layout_is_a_usage_error(wish):
    if wish.strip() == "rs:3+2":  # spaces around are no offence
        assert choose_layout(wish, NodeCounts(5, 5)).layout == Layout(Scheme(3, 5))
        return
    with pytest.raises((InvalidScheme, InvalidRequest)) as caught:
        choose_layout(wish, NodeCounts(5, 5))
    assert caught.value.exit_code == ExitCode.USAGE


@given(
    st.integers(1, 4),
    st.integers(0, 4),
    st.integers(0, 3),
    st.sets(st.integers(0, 10), max_size=11),
)
def test_the_losses_a_chunk_survives_are_those_that_no_combination_exceeds(
    k, parity, copies, missing
):
    """Against trying every combination."""
    layout = wire.LayoutRecord(k=k, n=k + parity, copies=copies)
    total = k + parity + copies
    nodes = ["" if i in missing else f"node-{i}" for i in range(total)]
    shape = ChunkShape.of(chunk_record(0, layout, nodes))
    at_hand = [i for i in range(total) if i not in missing]

    def is_readable(pieces) -> bool:
        return any(i >= layout.n for i in pieces) or sum(i < layout.n for i in pieces) >= k

    survived = -1
    for losses in range(len(at_hand) + 1):
        rest = itertools.combinations(at_hand, len(at_hand) - losses)
        if not all(map(is_readable, rest)):
            break
        survived = losses
    assert shape.losses_survived(lambda _: True) == survived
    assert shape.pieces(lambda _: True) == len(at_hand)


@given(st.integers(1, 6), st.integers(0, 6), st.integers(0, 3), st.integers(1, 9))
def test_a_whole_upload_always_counts_as_durable(k, parity, copies, nodes):
    layout = wire.LayoutRecord(k=k, n=k + parity, copies=copies)
    names = [f"node-{i}" for i in range(k + parity + copies)]
    shape = ChunkShape.of(chunk_record(0, layout, names))
    assert shape.losses_survived(lambda _: True) >= losses_demanded(layout.to_layout(), nodes)


# -- the library -----------------------------------------------------------------------------------

_nodes = st.permutations([f"node-{i}" for i in range(6)])
_layouts = st.sampled_from(
    [
        wire.LayoutRecord(k=3, n=5),
        wire.LayoutRecord(k=1, n=2),
        wire.LayoutRecord(k=2, n=3, copies=1),
    ]
)


@st.composite
def libraries(draw):
    """Some videos with some groups, some of them replaced and some dropped again."""
    records: dict[str, wire.GroupRecord] = {}
    library = Library()
    names = draw(st.lists(st.sampled_from("abc"), max_size=6))
    for version, name in enumerate(names, start=1):
        layout = draw(_layouts)
        number = draw(st.integers(0, 1))
        video_id = uuid.uuid5(uuid.NAMESPACE_URL, name).hex
        video = wire.VideoRecord(
            id=video_id, name=name, state="ready", created_at_s=0, layout=layout
        )
        library.put_video(video)
        key = group_key(video_id, "original", number)
        if draw(st.booleans()) or key not in records:
            chunks = tuple(
                chunk_record(
                    number * wire.GROUP_CHUNKS + i, layout, draw(_nodes)[: layout.n + layout.copies]
                )
                for i in range(draw(st.integers(1, 3)))
            )
            records[key] = wire.GroupRecord(chunks=chunks)
            library.put_group(key, records[key], version)
            library.put_group(key, wire.GroupRecord(chunks=()), version - 1)  # older: ignored
        else:
            del records[key]
            library.drop_group(key)
    return library, records


@given(libraries(), st.sets(st.integers(0, 5)))
def test_the_library_is_the_sum_of_its_groups_and_the_survey_that_of_its_chunks(made, away):
    library, records = made
    chunks = [(key, chunk) for key, group in records.items() for chunk in group.chunks]
    assert library.video_bytes == sum(chunk.size for _, chunk in chunks)
    down = {f"node-{i}" for i in away}
    found = survey(library, lambda node: node not in down)
    for video in library.videos.values():
        mine = [chunk for key, chunk in chunks if key.startswith(groups_prefix(video.id))]
        totals = library.totals(video.id)
        assert totals.chunks == len(mine)
        assert totals.fragments == sum(len(chunk.fragments) for chunk in mine)
        left = [[f for f in chunk.fragments if f.node not in down] for chunk in mine]
        if not mine:
            assert video.id not in found
            continue
        assert found[video.id].fewest_pieces == min(map(len, left))
        is_playable = all(
            sum(f.index < chunk.layout.n for f in rest) >= chunk.layout.k
            or any(f.index >= chunk.layout.n for f in rest)
            for chunk, rest in zip(mine, left, strict=True)
        )
        assert (found[video.id].losses_survived >= 0) == is_playable
    for node in (f"node-{i}" for i in range(6)):
        holding = {key for key, chunk in chunks if any(f.node == node for f in chunk.fragments)}
        assert library.groups_on(node) == sorted(holding)
        assert library.holds_fragments(node) == bool(holding)


def test_stored_bytes_count_padding_and_whole_copies():
    library = Library()
    layout = wire.LayoutRecord(k=2, n=3, copies=1)
    group = wire.GroupRecord(chunks=(chunk_record(0, layout, ["a", "b", "c", "d"]),))
    library.put_group(group_key("0" * 32, "original", 0), group, 1)
    assert CHUNK_BYTES == 192
    assert library.stored_bytes == 3 * 128 + 192  # 96 bytes a fragment, padded to 64


@pytest.mark.parametrize("number", [0, 7, 123456])
def test_a_group_s_key_can_be_read_back(number):
    key = group_key("ab" * 16, "720p", number)
    assert parse_group_key(key) == ("ab" * 16, "720p", number)
    assert key.startswith(groups_prefix("ab" * 16, "720p"))


def test_a_register_that_cannot_be_read_is_named():
    async def scenario():
        registers = Registers(FaultyCatalogue([Entry("views/x", b'{"count": -1}', 1)]))
        with pytest.raises(RegisterDamaged, match="views/x") as caught:
            await registers.get("views/x", Views)
        assert caught.value.exit_code == ExitCode.INTEGRITY

    asyncio.run(scenario())


# -- views -----------------------------------------------------------------------------------------


def test_playbacks_are_remembered_without_bound_on_time_but_on_memory():
    async def scenario():
        views = ViewCounter(Registers(FaultyCatalogue()))
        for number in range(PLAYBACKS_REMEMBERED_MAX + 10):
            assert views.count("film", f"{number:x}")
        assert views.views("film") == PLAYBACKS_REMEMBERED_MAX + 10
        assert not views.count("film", f"{PLAYBACKS_REMEMBERED_MAX:x}")
        assert views.count("film", "0")  # forgotten: the oldest go first
        await views.flush()
        assert views.views("film") == PLAYBACKS_REMEMBERED_MAX + 11

    asyncio.run(scenario())


def test_a_video_deleted_while_its_views_are_written_leaves_no_count_behind():
    async def scenario():
        views = ViewCounter(Registers(FaultyCatalogue()))
        views.count("film", "1")
        flushing = asyncio.create_task(views.flush())
        await asyncio.sleep(0)
        views.forget("film")
        await flushing
        assert views.views("film") == 0

    asyncio.run(scenario())
