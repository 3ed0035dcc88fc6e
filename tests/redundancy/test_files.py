import io
import json
import resource
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from redundancy import files
from redundancy.backends import best_codec
from redundancy.errors import (
    AlreadyExists,
    FileMissing,
    InsufficientFragments,
    IntegrityMismatch,
    InvalidFragment,
    UsageError,
)
from redundancy.file_encoder import EncodeOptions, encode
from redundancy.fragment_files import FragmentFile
from redundancy.fragment_format import ChunkLabel
from redundancy.fragment_set import open_set
from redundancy.fragments import build_fragments, code_chunk
from redundancy.rows import BLOCK_BYTES
from redundancy.scheme import Layout
from support.coded_files import CHUNK_BYTES, content, encode_bytes, flip, snapshot

ROW = 3 * BLOCK_BYTES
SIZES = [0, 1, 64, ROW - 1, ROW, ROW + 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES - 3]


def decoded(*paths, name=None) -> bytes:
    out = bytearray()
    with open_set(paths, name=name) as fragments:
        files.decode(fragments, lambda chunk: out.extend(chunk.tobytes()))
    return bytes(out)


def examined(*paths):
    with open_set(paths) as fragments:
        return files.verify(fragments)


def repaired(*paths):
    with open_set(paths) as fragments:
        return files.repair(fragments, files.verify(fragments))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", ["rs:3+2", "rep:2", "rs:2+0", "rs:3+1+1copy"])
def test_a_file_comes_back_from_all_its_fragments(tmp_path, size, text):
    data = content(size)
    made = encode_bytes(data, tmp_path, text=text)
    assert decoded(tmp_path) == data
    assert made.stored_bytes == sum(path.stat().st_size for path in made.paths)
    assert made.chunks == max(1, -(-size // CHUNK_BYTES))
    health = examined(tmp_path)
    assert health.is_whole
    # Of an empty file any one fragment tells all there is.
    layout = Layout.parse(text)
    assert health.tolerance == (layout.tolerates if size else layout.fragments_total - 1)


@pytest.mark.parametrize("size", [0, 1, 2 * CHUNK_BYTES + 5])
def test_any_k_fragment_files_are_enough(tmp_path, size):
    made = encode_bytes(content(size), tmp_path)
    for chosen in combinations(made.paths, 3):
        assert decoded(*chosen) == content(size)


def test_a_whole_copy_alone_is_enough(tmp_path):
    made = encode_bytes(content(200_000), tmp_path, text="rs:3+1+1copy")
    assert decoded(made.paths[4]) == content(200_000)


def test_encoding_again_gives_the_same_bytes(tmp_path):
    encode_bytes(content(200_000), tmp_path / "one")
    encode_bytes(content(200_000), tmp_path / "two")
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def test_a_source_that_gives_little_at_a_time_is_cut_the_same(tmp_path):
    class Trickle(io.BytesIO):
        def readinto(self, buffer):
            return super().readinto(memoryview(buffer)[:1000])

    options = EncodeOptions("film.mp4", Layout.parse("rs:3+2"), CHUNK_BYTES)
    encode(Trickle(content(150_000)), tmp_path / "one", options)
    encode_bytes(content(150_000), tmp_path / "two")
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def test_the_last_chunk_tells_the_size_and_hash_of_the_file(tmp_path):
    made = encode_bytes(content(150_000), tmp_path)
    with FragmentFile(made.paths[0]) as file:
        facts = [footer.label.facts() for _, footer in file.footers()]
    assert [fact["last"] for fact in facts] == [False, False, True]
    assert facts[-1] == {
        "name": "film.mp4",
        "rendition": "original",
        "last": True,
        "size": 150_000,
        "sha256": made.sha256,
    }


def test_nothing_is_replaced_without_force(tmp_path):
    encode_bytes(content(1000), tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(
        AlreadyExists, match=r"film\.mp4\.0-of-5\.frag exists already \(and 4 more\)"
    ):
        encode_bytes(content(2000), tmp_path)
    assert snapshot(tmp_path) == before
    options = EncodeOptions("film.mp4", Layout.parse("rs:3+2"), CHUNK_BYTES, force=True)
    encode(io.BytesIO(content(2000)), tmp_path, options)
    assert decoded(tmp_path) == content(2000)


class _Failing(io.BytesIO):
    def __init__(self, error):
        super().__init__(content(10 * CHUNK_BYTES))
        self.error = error

    def readinto(self, buffer):
        if self.tell() > 4 * CHUNK_BYTES:
            raise self.error
        return super().readinto(buffer)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_an_encode_that_fails_leaves_nothing_behind(tmp_path, error):
    options = EncodeOptions("film.mp4", Layout.parse("rs:3+2"), CHUNK_BYTES)
    with pytest.raises(type(error)):
        encode(_Failing(error), tmp_path, options)
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(UsageError):
        EncodeOptions(name, Layout.parse("rs:3+2"), CHUNK_BYTES)


@pytest.mark.parametrize("size", [0, 16_383, 4 * 1024 * 1024 + 1])
def test_a_chunk_size_out_of_bounds_is_refused(size):
    with pytest.raises(UsageError, match="16 KiB to 4 MiB"):
        EncodeOptions("film", Layout.parse("rs:3+2"), size)


# --- damage


def test_a_bad_block_costs_its_row_one_fragment_and_no_more(tmp_path):
    """Every file is damaged, each in another row: no three of them are intact."""
    data = content(5 * ROW)
    made = encode_bytes(data, tmp_path, chunk=5 * ROW)
    for row, path in enumerate(made.paths):
        flip(path, row * BLOCK_BYTES + 99)
    assert decoded(tmp_path) == data
    health = examined(tmp_path)
    assert [fragment.state for fragment in health.fragments] == ["BAD"] * 5
    assert health.tolerance == 1


def test_a_damaged_footer_costs_that_chunk_of_that_fragment(tmp_path):
    data = content(3 * CHUNK_BYTES)
    made = encode_bytes(data, tmp_path)
    with FragmentFile(made.paths[1]) as file:
        [(offset, footer)] = file.footers(1)
    flip(made.paths[1], offset + footer.payload_bytes + 50)
    health = examined(tmp_path)
    assert health.fragments[1].state == "BAD"
    assert health.fragments[1].bad_chunks == (1,)
    assert health.tolerance == 1
    assert decoded(tmp_path) == data


def test_too_few_fragments_name_what_is_missing_and_what_is_damaged(tmp_path):
    made = encode_bytes(content(100_000), tmp_path)
    made.paths[0].unlink()
    made.paths[2].unlink()
    flip(made.paths[4], 5)
    with pytest.raises(InsufficientFragments, match="chunk 0") as caught:
        decoded(tmp_path)
    assert caught.value.detail == {
        "damaged": "film.mp4.4-of-5.frag",
        "missing": "film.mp4.0-of-5.frag, film.mp4.2-of-5.frag",
    }
    health = examined(tmp_path)
    assert (health.tolerance, health.lost_chunks) == (-1, (0,))
    before = snapshot(tmp_path)
    with pytest.raises(InsufficientFragments, match="cannot be repaired"):
        repaired(tmp_path)
    assert snapshot(tmp_path) == before


def test_fragments_that_all_end_early_are_not_taken_for_the_whole_file(tmp_path):
    made = encode_bytes(content(3 * CHUNK_BYTES), tmp_path)
    for path in made.paths:
        with FragmentFile(path) as file:
            [(offset, _)] = file.footers(2)
        path.write_bytes(path.read_bytes()[:offset])
    with pytest.raises(InsufficientFragments, match="the end of the file is missing"):
        decoded(tmp_path)


def test_a_chunk_that_no_fragment_holds_is_lost(tmp_path):
    made = encode_bytes(content(3 * CHUNK_BYTES), tmp_path)
    for path in made.paths:
        with FragmentFile(path) as file:
            [(start, _)], [(stop, _)] = list(file.footers(1)), list(file.footers(2))
        whole = path.read_bytes()
        path.write_bytes(whole[:start] + whole[stop:])
    health = examined(tmp_path)
    assert (health.tolerance, health.lost_chunks) == (-1, (1,))
    assert {fragment.state for fragment in health.fragments} == {"BAD"}
    with pytest.raises(InsufficientFragments, match="chunk 1"):
        decoded(tmp_path)


@pytest.mark.parametrize("text", ["rs:3+2", "rs:2+1+1copy", "rep:3"])
def test_repair_writes_only_what_is_broken_and_bit_for_bit(tmp_path, text):
    made = encode_bytes(content(3 * CHUNK_BYTES + 17), tmp_path, text=text)
    before = snapshot(tmp_path)
    made.paths[0].unlink()
    flip(made.paths[-1], 12_345)
    untouched = made.paths[1].stat().st_ino
    assert repaired(tmp_path) == [made.paths[0], made.paths[-1]]
    assert snapshot(tmp_path) == before
    assert made.paths[1].stat().st_ino == untouched
    assert repaired(tmp_path) == []


def test_repair_puts_a_renamed_fragment_right_under_its_own_name(tmp_path):
    made = encode_bytes(content(CHUNK_BYTES), tmp_path)
    intact = made.paths[2].read_bytes()
    renamed = made.paths[2].rename(tmp_path / "from-the-attic.frag")
    flip(renamed, 7)
    assert repaired(tmp_path) == [renamed]
    assert renamed.read_bytes() == intact


def test_repair_replaces_a_fragment_file_that_is_garbage_throughout(tmp_path):
    made = encode_bytes(content(CHUNK_BYTES), tmp_path)
    before = snapshot(tmp_path)
    made.paths[1].write_bytes(b"garbage")
    assert examined(tmp_path).fragments[1].state == "MISSING"
    assert repaired(tmp_path) == [made.paths[1]]
    assert snapshot(tmp_path) == before


# --- mixed


def test_fragments_of_two_files_are_told_apart_by_name(tmp_path):
    encode_bytes(content(1000, seed=1), tmp_path, name="one")
    encode_bytes(content(2000, seed=2), tmp_path, name="two")
    with pytest.raises(UsageError, match=r"one \(5\), two \(5\)"):
        decoded(tmp_path)
    assert decoded(tmp_path, name="one") == content(1000, seed=1)
    assert decoded(tmp_path, name="two") == content(2000, seed=2)
    with pytest.raises(UsageError):
        decoded(tmp_path, name="three")


def test_two_files_of_one_name_are_never_mixed(tmp_path):
    one = encode_bytes(content(100_000, seed=1), tmp_path / "one")
    two = encode_bytes(content(100_000, seed=2), tmp_path / "two")
    with pytest.raises(UsageError, match=r"film\.mp4 \(2\), film\.mp4 \(3\)"):
        decoded(*one.paths[:2], *two.paths[2:])


def test_two_files_that_begin_alike_are_never_mixed(tmp_path):
    """The id comes from the name and the first chunk, so these two have the same."""
    head = content(CHUNK_BYTES)
    one = encode_bytes(head + content(CHUNK_BYTES, seed=1), tmp_path / "one")
    two = encode_bytes(head + content(CHUNK_BYTES, seed=2), tmp_path / "two")
    assert decoded(*one.paths[:3], *two.paths[3:]) == head + content(CHUNK_BYTES, seed=1)
    with pytest.raises(InsufficientFragments, match="chunk 1"):
        decoded(*one.paths[:2], *two.paths[2:4])
    lies = open_set([*one.paths])
    lies.facts = open_set([*two.paths]).facts  # the chunks of one with the hash of the other
    with lies, pytest.raises(IntegrityMismatch, match="the decoded bytes are not"):
        files.decode(lies, lambda chunk: None)


def test_a_fragment_given_twice_counts_once(tmp_path):
    made = encode_bytes(content(100_000), tmp_path)
    twin = tmp_path / "twin.frag"
    twin.write_bytes(made.paths[0].read_bytes())
    with pytest.raises(InsufficientFragments):
        decoded(made.paths[0], twin, made.paths[1])
    flip(made.paths[0], 0)
    assert decoded(made.paths[0], twin, made.paths[1], made.paths[2]) == content(100_000)


def test_what_is_no_fragment_is_named_and_not_used(tmp_path):
    made = encode_bytes(content(1000), tmp_path)
    stray = tmp_path / "stray.frag"
    stray.write_bytes(b"no fragment")
    (tmp_path / "notes.txt").write_text("not looked at")
    with open_set([tmp_path]) as fragments:
        assert [path for path, _ in fragments.strays] == [stray]
    with pytest.raises(InvalidFragment):
        open_set([stray])
    with pytest.raises(FileMissing):
        open_set([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileMissing, match="no fragments here"):
        open_set([tmp_path / "empty"])
    assert decoded(*made.paths, *made.paths) == content(1000)


def test_a_directory_with_more_fragment_files_than_may_be_open_works(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for number in range(30):
        encode_bytes(content(10, seed=number), tmp_path, name=f"film-{number}")
    in_use = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 40, hard))
    try:
        assert decoded(tmp_path, name="film-7") == content(10, seed=7)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def store_chunks(directory, chunks, change=lambda number, footer: footer):
    """Write fragments 0 and 1 of 2+1 of made-up chunks, whose footers `change` may falsify."""
    layout = Layout.parse("rs:2+1")
    codec = best_codec(layout.scheme)
    files_ = [bytearray(), bytearray()]
    offset = 0
    for number, chunk in enumerate(chunks):
        facts = json.dumps({"name": "film", "last": number == len(chunks) - 1}).encode()
        label = ChunkLabel(b"x" * 16, "original", number, offset_bytes=offset, descriptor=facts)
        offset += len(chunk)
        for index, piece in enumerate(code_chunk(chunk, layout, codec, label)[:2]):
            files_[index] += piece.payload.tobytes() + change(number, piece.footer).pack()
    for index, data in enumerate(files_):
        (directory / f"{index}.frag").write_bytes(data)


def test_fragments_that_never_told_a_hash_of_the_whole_decode_all_the_same(tmp_path):
    store_chunks(tmp_path, [b"one" * 99, b"two" * 99])
    assert decoded(tmp_path) == b"one" * 99 + b"two" * 99


def test_a_chunk_that_is_not_what_its_footer_says_is_never_written(tmp_path):
    """Every block checksum is right, the chunk's hash is not."""
    store_chunks(tmp_path, [b"data"], lambda _, footer: replace(footer, chunk_sha256=bytes(32)))
    assert examined(tmp_path).tolerance == -1
    with open_set([tmp_path]) as fragments, pytest.raises(IntegrityMismatch, match="chunk 0"):
        files.decode(fragments, lambda chunk: pytest.fail("it was written"))


def test_chunks_that_do_not_follow_each_other_are_refused(tmp_path):
    def misplace(number, footer):
        label = replace(footer.label, offset_bytes=footer.label.offset_bytes + number)
        return replace(footer, label=label)

    store_chunks(tmp_path, [b"one" * 99, b"two" * 99], misplace)
    with pytest.raises(IntegrityMismatch, match="belongs at byte 298, not 297"):
        decoded(tmp_path)


def test_a_name_that_would_leave_the_directory_is_not_followed(tmp_path):
    """The descriptor is data from outside."""
    layout = Layout.parse("rs:2+1")
    facts = {"name": "../../evil", "last": True}
    label = ChunkLabel(b"x" * 16, "original", 0, descriptor=json.dumps(facts).encode())
    (tmp_path / "here").mkdir()
    for fragment in build_fragments(b"data", layout, best_codec(layout.scheme), label)[:2]:
        (tmp_path / "here" / f"{fragment.index}.frag").write_bytes(b"".join(fragment.parts))
    [written] = repaired(tmp_path / "here")
    assert written == tmp_path / "here" / "unnamed.2-of-3.frag"
    assert decoded(tmp_path / "here") == b"data"
