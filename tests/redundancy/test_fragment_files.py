import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redundancy.fragment_files import FragmentFile
from redundancy.fragment_format import START_MAGIC
from support.coded_files import CHUNK_BYTES, content, encode_bytes


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """One fragment file of ten chunks, and the fragments it is made of."""
    directory = tmp_path_factory.mktemp("stored")
    made = encode_bytes(content(9 * CHUNK_BYTES + 777), directory)
    whole = made.paths[3].read_bytes()
    with FragmentFile(made.paths[3]) as file:
        offsets = [offset for offset, _ in file.footers()]
    return [whole[a:b] for a, b in zip(offsets, [*offsets[1:], len(whole)], strict=True)]


def found_in(path, data: bytes):
    path.write_bytes(data)
    with FragmentFile(path) as file:
        return [
            (footer.label.number, file.read_payload(offset, footer.payload_bytes).tobytes())
            for offset, footer in file.footers()
        ]


def expected(stored, numbers):
    sizes = {number: len(stored[number]) for number in numbers}
    return [(n, stored[n][: 21_888 if n < 9 else 320]) for n in sorted(sizes)]


def test_every_fragment_of_an_intact_file_is_found(stored, tmp_path):
    assert found_in(tmp_path / "f", b"".join(stored)) == expected(stored, range(10))


def test_a_file_without_a_fragment_is_no_error(tmp_path):
    for data in (b"", b"x", b"text" * 9999, START_MAGIC * 100):
        assert found_in(tmp_path / "f", data) == []


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_one_damaged_place_costs_one_fragment(stored, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "f"
    hit = data.draw(st.integers(0, 9))
    payload_bytes = 21_888 if hit < 9 else 320
    at = data.draw(st.integers(payload_bytes, len(stored[hit]) - 1))
    parts = list(stored)
    damaged = bytearray(parts[hit])
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    parts[hit] = bytes(damaged)
    left = [number for number in range(10) if number != hit]
    assert found_in(path, b"".join(parts)) == expected(stored, left)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_file_cut_short_or_with_garbage_keeps_its_other_fragments(stored, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cut") / "f"
    whole = b"".join(stored)
    cut = data.draw(st.integers(0, len(whole)))
    garbage = data.draw(
        st.sampled_from([b"", b"\0" * 100, START_MAGIC, b"EvenFEnd", content(5000)])
    )
    ends, total = [], 0
    for fragment in stored:
        total += len(fragment)
        ends.append(total)
    left = [number for number in range(10) if ends[number] <= cut]
    assert found_in(path, whole[:cut] + garbage) == expected(stored, left)
    in_front = [number for number in range(10) if ends[number] - len(stored[number]) >= cut]
    # A fragment whose first bytes are gone may be found too: its footer is intact.
    found = found_in(path, garbage + whole[cut:])
    assert found[-len(in_front) :] == expected(stored, in_front) if in_front else len(found) <= 1


def test_a_magic_across_two_windows_is_found(stored, tmp_path):
    fragment = stored[0]
    footer_at = 21_888
    for shift in range(len(START_MAGIC) + 1):
        padding = b"\0" * (1024 * 1024 - footer_at - shift)
        data = padding + fragment + b"cut"
        assert found_in(tmp_path / "f", data) == expected(stored, [0])


def test_fragments_in_any_order_are_found_by_number(stored, tmp_path):
    shuffled = [stored[number] for number in (4, 0, 9, 2)]
    assert found_in(tmp_path / "f", b"".join(shuffled)) == expected(stored, [0, 2, 4, 9])
    with FragmentFile(tmp_path / "f") as file:
        assert file.numbers() == {0, 2, 4, 9}
        assert [footer.label.number for _, footer in file.footers(4)] == [4]
        assert not list(file.footers(5))


def test_a_fragment_inside_a_payload_is_not_taken_for_one_of_the_file(stored, tmp_path):
    """Someone encoded a fragment file: its copies hold whole fragments of another file."""
    inner = b"".join(stored[:3])
    made = encode_bytes(inner, tmp_path / "outer", text="rep:1", name="inner.frag", chunk=50_000)
    outer = made.paths[0].read_bytes()
    with FragmentFile(made.paths[0]) as file:
        numbers = [footer.label.number for _, footer in file.footers()]
        key = file.keys
    (tmp_path / "f").write_bytes(outer + b"damaged at the end, so that it is searched")
    with FragmentFile(tmp_path / "f") as file:
        assert file.keys == key
        assert [footer.label.number for _, footer in file.footers()] == numbers


def test_bytes_lost_from_a_payload_cost_one_fragment(stored, tmp_path):
    lost = [*stored[:4], stored[4][:1000] + stored[4][1500:], *stored[5:]]
    left = [number for number in range(10) if number != 4]
    assert found_in(tmp_path / "f", b"".join(lost)) == expected(stored, left)


def test_a_payload_that_is_no_longer_there_reads_as_zeros(stored, tmp_path):
    (tmp_path / "f").write_bytes(stored[0])
    with FragmentFile(tmp_path / "f") as file:
        (tmp_path / "f").write_bytes(b"gone")
        assert not file.read_payload(100, 1000).any()


def test_a_hostile_file_full_of_magics_is_searched_once(tmp_path):
    """Each hit costs one look at a header, not another window of a megabyte."""
    assert found_in(tmp_path / "f", START_MAGIC * 40_000) == []
