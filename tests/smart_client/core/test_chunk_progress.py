from hypothesis import given
from hypothesis import strategies as st

from redundancy.rows import RowGeometry
from redundancy.scheme import Layout, Scheme
from smart_client.core.chunk_progress import ChunkProgress, Coverage, mask_of, runs_of


@given(st.integers(0, 2**70))
def test_runs_name_exactly_the_ones_of_a_mask(mask: int) -> None:
    rebuilt = 0
    last_end = -1
    for first, length in runs_of(mask):
        assert length > 0
        assert first > last_end, "runs touch or overlap"
        last_end = first + length
        rebuilt |= mask_of(first, length)
    assert rebuilt == mask


@st.composite
def coverage_steps(draw):
    k = draw(st.integers(1, 4))
    n = draw(st.integers(k, k + 3))
    copies = draw(st.integers(0, 2)) if k > 1 else 0
    steps = draw(
        st.lists(
            st.tuples(st.booleans(), st.integers(0, n + copies - 1), st.integers(0, 2**9 - 1)),
            max_size=25,
        )
    )
    return k, n, copies, steps


@given(coverage_steps())
def test_coverage_agrees_with_counting_by_hand(case) -> None:
    k, n, copies, steps = case
    is_copy = {f: f >= n for f in range(n + copies)}
    coverage = Coverage(k)
    oracle: dict[int, set[int]] = {}
    for adds, fragment, mask in steps:
        rows = {r for r in range(9) if mask >> r & 1}
        if adds:
            new = rows - oracle.get(fragment, set())
            oracle.setdefault(fragment, set()).update(new)
            coverage.add(fragment, sum(1 << r for r in new), whole=is_copy[fragment])
        else:
            oracle.setdefault(fragment, set()).difference_update(rows)
            coverage.remove(fragment, mask, is_copy)
    for row in range(9):
        count = sum(k if is_copy[f] else 1 for f, rows in oracle.items() if row in rows)
        for level in range(k):
            assert bool(coverage.levels[level] >> row & 1) == (count > level)


@given(st.integers(1, 4), st.integers(0, 3), st.integers(1, 400_000), st.data())
def test_rows_are_decoded_once_and_only_from_k_received_fragments(k, extra, size, data) -> None:
    layout = Layout(Scheme(k, k + extra))
    n = k + extra
    chunk = ChunkProgress(0, RowGeometry(size, k), layout, {f: f for f in range(n)})
    chunk.wanted = chunk.all_rows
    chunk.footer_coded = True
    have: dict[int, int] = {}
    decoded = 0
    for _ in range(data.draw(st.integers(0, 12))):
        fragment = data.draw(st.integers(0, n - 1))
        rows = data.draw(st.integers(0, chunk.all_rows)) & chunk.all_rows
        rows &= ~have.get(fragment, 0)
        chunk.ask(fragment, rows)
        chunk.receive(fragment, rows)
        have[fragment] = have.get(fragment, 0) | rows
        for first, count, sources in chunk.take_decodable():
            run = mask_of(first, count)
            assert not run & decoded, "a row was decoded twice"
            assert len(set(sources)) == k
            assert all(run & ~have[source] == 0 for source in sources)
            chunk.finish_decoding(first, count)
            decoded |= run
    for row in range(chunk.geometry.rows):
        holders = sum(1 for rows in have.values() if rows >> row & 1)
        assert bool(decoded >> row & 1) == (holders >= k)


def test_nothing_is_decoded_before_a_footer_can_check_it() -> None:
    layout = Layout.parse("rs:2+1")
    chunk = ChunkProgress(0, RowGeometry(100_000, 2), layout, {0: 0, 1: 1, 2: 2})
    chunk.wanted = chunk.all_rows
    for fragment in (0, 2):
        chunk.ask(fragment, chunk.all_rows)
        chunk.receive(fragment, chunk.all_rows)
    assert chunk.take_decodable() == []
    chunk.footer_coded = True
    assert chunk.take_decodable() == [(0, chunk.geometry.rows, (0, 2))]
    assert chunk.take_decodable() == [], "a job is handed out once"


def test_a_rejected_fragment_is_never_asked_again_and_its_rows_are_open_to_others() -> None:
    layout = Layout.parse("rs:2+2")
    chunk = ChunkProgress(0, RowGeometry(200_000, 2), layout, dict(enumerate(range(4))))
    chunk.wanted = chunk.all_rows
    for fragment in (0, 1):
        chunk.ask(fragment, chunk.all_rows)
        chunk.receive(fragment, chunk.all_rows)
    assert chunk.open_rows(2) == 0
    chunk.reject(0)
    assert chunk.open_rows(0) == 0
    assert chunk.open_rows(2) == chunk.all_rows
    assert chunk.usable_fragments() == 3


def test_a_whole_copy_is_only_asked_for_rows_nobody_has_begun() -> None:
    layout = Layout.parse("rs:2+1+1copy")
    chunk = ChunkProgress(0, RowGeometry(200_000, 2), layout, dict(enumerate(range(4))))
    chunk.wanted = chunk.all_rows
    chunk.ask(0, 0b11)
    assert chunk.open_rows(3) == chunk.all_rows & ~0b11
    chunk.ask(3, 0b100)
    assert not chunk.open_rows(1) & 0b100, "the copy serves that row alone"
