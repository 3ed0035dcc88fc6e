"""The contract of a codec, for every engine: the bytes zfec makes, and nothing else, ever."""

import threading

import numpy as np
import pytest
import zfec
from hypothesis import given, settings
from hypothesis import strategies as st

from redundancy import isal
from redundancy.backends import available_backends, codec_with, passes_self_test
from redundancy.codec import CheckedCodec, NumpyEngine
from redundancy.errors import InsufficientFragments, InvalidBuffer, InvalidFragment
from redundancy.scheme import Scheme
from redundancy.zfec_backend import ZfecEngine

SCHEMES = [
    (1, 1),
    (1, 3),
    (2, 2),
    (2, 3),
    (3, 5),
    (6, 9),
    (10, 14),
    (29, 80),
    (128, 256),
    (255, 256),
]


def isal_in_short_spans():
    engine = isal.load(None)
    assert engine is not None
    engine._span_bytes = 100  # so that every test crosses the bound a C int sets at 1 GiB
    return engine


ENGINES = {
    "isal": lambda: isal.load(None),
    "isal-spans": isal_in_short_spans,
    "numpy": NumpyEngine,
    "zfec": ZfecEngine,
}


@pytest.fixture(params=ENGINES, scope="module")
def engine(request):
    made = ENGINES[request.param]()
    if made is None:
        pytest.skip("ISA-L is not installed")
    return made


def random_word(k, n, size, seed=0):
    """Return all n fragments of random data, the parity made by zfec."""
    rng = np.random.default_rng([seed, k, n, size])
    data = [rng.integers(0, 256, size, dtype=np.uint8).tobytes() for _ in range(k)]
    parity = zfec.Encoder(k, n).encode(data, list(range(k, n))) if n > k and size else []
    return [*data, *map(bytes, parity)] if size else [b""] * n


def test_every_engine_here_passes_its_self_test(engine):
    assert passes_self_test(engine)
    assert {"isal", "numpy", "zfec"} >= set(available_backends()) >= {"numpy", "zfec"}


@pytest.mark.parametrize(("k", "n"), SCHEMES)
@pytest.mark.parametrize("size", [1, 2, 15, 16, 31, 32, 33, 63, 64, 65, 127, 255, 1000, 4099])
def test_parity_is_bit_identical_to_zfec(engine, k, n, size):
    word = random_word(k, n, size)
    parity = [bytearray(size) for _ in range(n - k)]
    CheckedCodec(Scheme(k, n), engine).encode_into(word[:k], parity)
    assert parity == word[k:]


def test_parity_of_long_buffers_is_bit_identical_to_zfec(engine):
    size = 700_001  # odd, and longer than one lookup span
    word = random_word(3, 5, size)
    parity = [bytearray(size) for _ in range(2)]
    CheckedCodec(Scheme(3, 5), engine).encode_into(word[:3], parity)
    assert parity == word[3:]


@settings(max_examples=60)
@given(st.data())
def test_any_k_fragments_rebuild_every_fragment(engine, data):
    k, n = data.draw(st.sampled_from(SCHEMES[:8]))
    size = data.draw(st.sampled_from([0, 1, 7, 64, 130, 513]))
    word = random_word(k, n, size, seed=data.draw(st.integers(0, 9)))
    have = data.draw(st.permutations(range(n)))[: data.draw(st.integers(k, n))]
    want = {i: bytearray(b"\xaa" * size) for i in data.draw(st.sets(st.integers(0, n - 1)))}
    CheckedCodec(Scheme(k, n), engine).rebuild_into({i: word[i] for i in have}, want)
    assert {i: bytes(made) for i, made in want.items()} == {i: word[i] for i in want}


def test_a_range_of_fragments_is_coded_like_whole_ones(engine):
    word = random_word(6, 9, 2000)
    codec = CheckedCodec(Scheme(6, 9), engine)
    out = bytearray(2000)
    for start in range(0, 2000, 300):
        span = slice(start, min(start + 300, 2000))
        have = {i: memoryview(word[i])[span] for i in (1, 2, 4, 5, 7, 8)}
        codec.decode_into(have, {0: memoryview(out)[span]})
    assert out == word[0]


@pytest.mark.parametrize("offset", [1, 3, 17])
def test_buffers_need_not_be_aligned(engine, offset):
    word = random_word(3, 5, 999)
    have = {i: memoryview(b"x" * offset + word[i])[offset:] for i in (2, 3, 4)}
    out = bytearray(offset + 999)
    CheckedCodec(Scheme(3, 5), engine).decode_into(have, {1: memoryview(out)[offset:]})
    assert out[offset:] == word[1]


def test_numpy_arrays_memoryviews_and_bytearrays_are_all_buffers(engine):
    word = random_word(3, 5, 128)
    have = {0: bytearray(word[0]), 3: memoryview(word[3]), 4: np.frombuffer(word[4], np.uint8)}
    want = {1: np.zeros(128, np.uint8), 2: memoryview(bytearray(128))}
    CheckedCodec(Scheme(3, 5), engine).decode_into(have, want)
    assert [bytes(buffer) for buffer in want.values()] == word[1:3]


BAD_CALLS = {
    "too few fragments": ({0: 64, 1: 64}, {2: 64}, InsufficientFragments),
    "none at all": ({}, {2: 64}, InsufficientFragments),
    "an index past n": ({0: 64, 1: 64, 5: 64}, {2: 64}, InvalidFragment),
    "a negative index": ({0: 64, 1: 64, -1: 64}, {2: 64}, InvalidFragment),
    "a wanted index past n": ({0: 64, 1: 64, 3: 64}, {7: 64}, InvalidFragment),
    "inputs of different lengths": ({0: 64, 1: 65, 3: 64}, {2: 64}, InvalidBuffer),
    "an output of another length": ({0: 64, 1: 64, 3: 64}, {2: 63}, InvalidBuffer),
    "an empty input": ({0: 64, 1: 0, 3: 64}, {2: 64}, InvalidBuffer),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls_raise_and_write_nothing(engine, name):
    have, want, error = BAD_CALLS[name]
    outputs = {i: bytearray(size) for i, size in want.items()}
    with pytest.raises(error):
        CheckedCodec(Scheme(3, 5), engine).rebuild_into(
            {i: bytes(size) for i, size in have.items()}, outputs
        )
    assert all(not any(output) for output in outputs.values())


def test_an_output_must_be_writable_and_contiguous(engine):
    codec = CheckedCodec(Scheme(3, 5), engine)
    have = {i: bytes(64) for i in range(3)}
    for output in (bytes(64), memoryview(bytearray(128))[::2], np.zeros(128, np.uint8)[::2], None):
        with pytest.raises(InvalidBuffer):
            codec.rebuild_into(have, {3: output})


def test_outputs_that_overlap_anything_are_refused(engine):
    codec = CheckedCodec(Scheme(3, 5), engine)
    memory = memoryview(bytearray(400))
    have = {0: memory[0:64], 1: memory[64:128], 2: memory[100:164]}  # inputs may overlap
    codec.rebuild_into(have, {3: memory[164:228], 4: memory[228:292]})
    for start in (0, 63, 101, 163):
        with pytest.raises(InvalidBuffer, match="overlaps"):
            codec.rebuild_into(have, {3: memory[start : start + 64]})
    with pytest.raises(InvalidBuffer, match="overlaps"):
        codec.rebuild_into(have, {3: memory[200:264], 4: memory[263:327]})


def test_encoding_wants_exactly_k_and_n_minus_k_buffers(engine):
    codec = CheckedCodec(Scheme(3, 5), engine)
    for data, parity in ((2, 2), (4, 2), (3, 1), (3, 3)):
        with pytest.raises(InvalidFragment, match="takes 3 data and 2 parity"):
            codec.encode_into([bytes(8)] * data, [bytearray(8) for _ in range(parity)])


def test_only_data_is_decoded(engine):
    with pytest.raises(InvalidFragment, match="only data"):
        CheckedCodec(Scheme(3, 5), engine).decode_into(
            {i: bytes(8) for i in range(3)}, {4: bytearray(8)}
        )


def test_what_is_given_is_not_changed(engine):
    word = random_word(3, 5, 64)
    have = {4: bytearray(word[4]), 0: bytearray(word[0]), 3: bytearray(word[3])}
    before = {i: bytes(buffer) for i, buffer in have.items()}
    CheckedCodec(Scheme(3, 5), engine).decode_into(have, {1: bytearray(64), 2: bytearray(64)})
    assert {i: bytes(buffer) for i, buffer in have.items()} == before
    assert list(have) == [4, 0, 3]


def test_threads_may_share_a_codec(engine):
    codec = CheckedCodec(Scheme(6, 9), engine)
    word = random_word(6, 9, 20_000)
    wrong = []

    def work(lost):
        for _ in range(10):
            out = bytearray(20_000)
            codec.decode_into({i: word[i] for i in range(9) if i != lost}, {lost: out})
            if out != word[lost]:
                wrong.append(lost)

    threads = [threading.Thread(target=work, args=(lost,)) for lost in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@settings(max_examples=200)
@given(
    st.dictionaries(st.integers(-2, 8), st.integers(0, 70), max_size=7),
    st.dictionaries(st.integers(-2, 8), st.integers(0, 70), max_size=4),
)
def test_no_call_hangs_or_gives_wrong_bytes(have_sizes, want_sizes):
    """Raw zfec hangs, or returns garbage, on some of these."""
    word = random_word(3, 5, 70)
    have = {i: word[i % 5][:size] for i, size in have_sizes.items()}
    want = {i: bytearray(size) for i, size in want_sizes.items()}
    try:
        codec_with(Scheme(3, 5), "zfec").rebuild_into(have, want)
    except (InsufficientFragments, InvalidBuffer, InvalidFragment):
        return
    assert all(bytes(made) == word[i][: len(made)] for i, made in want.items())
