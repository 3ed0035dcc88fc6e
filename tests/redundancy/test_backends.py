import ctypes
import os
import subprocess
import sys

import pytest

from redundancy import backends, isal
from redundancy.backends import available_backends, best_codec, codec_with, passes_self_test
from redundancy.codec import NumpyEngine
from redundancy.errors import ConfigError
from redundancy.scheme import Scheme


@pytest.fixture
def fresh(monkeypatch):
    """Backends as in a new process; put back afterwards."""
    monkeypatch.delenv("REDUNDANCY_CODEC", raising=False)
    monkeypatch.delenv("REDUNDANCY_ISAL", raising=False)
    _forget()
    yield monkeypatch
    _forget()


def _forget():
    backends._engine.cache_clear()
    best_codec.cache_clear()


def test_the_fastest_backend_that_works_is_chosen(fresh):
    assert best_codec(Scheme(3, 5)).backend == available_backends()[0]


def test_the_same_codec_is_given_again(fresh):
    assert best_codec(Scheme(3, 5)) is best_codec(Scheme(3, 5))


@pytest.mark.parametrize("name", ["numpy", "zfec"])
def test_the_environment_can_name_the_backend(fresh, name):
    fresh.setenv("REDUNDANCY_CODEC", name)
    assert best_codec(Scheme(3, 5)).backend == name


def test_a_backend_that_is_not_there_is_an_error_that_lists_the_others(fresh):
    fresh.setenv("REDUNDANCY_CODEC", "abacus")
    with pytest.raises(ConfigError, match="abacus") as caught:
        best_codec(Scheme(3, 5))
    assert "numpy" in caught.value.hint


def test_a_library_that_was_named_and_cannot_be_loaded_is_an_error(fresh):
    fresh.setenv("REDUNDANCY_ISAL", "/nowhere/libisal.so.2")
    with pytest.raises(ConfigError, match="/nowhere"):
        best_codec(Scheme(3, 5))


def test_a_library_that_is_not_isal_is_not_used(fresh):
    fresh.setenv("REDUNDANCY_ISAL", "libc.so.6")
    with pytest.raises(ConfigError):
        codec_with(Scheme(3, 5), "isal")


class _OneBitWrong(NumpyEngine):
    def produce(self, scheme, have, want):
        super().produce(scheme, have, want)
        next(iter(want.values())).view[-1] ^= 1


class _Idle(NumpyEngine):
    def produce(self, scheme, have, want):
        pass


@pytest.mark.parametrize("engine", [_OneBitWrong(), _Idle()])
def test_an_engine_that_is_wrong_by_one_bit_fails_the_self_test(engine):
    assert not passes_self_test(engine)


def test_an_engine_that_fails_its_self_test_is_passed_over(fresh):
    fresh.setitem(backends._LOADERS, "isal", _OneBitWrong)
    assert "isal" not in available_backends()
    assert best_codec(Scheme(3, 5)).backend == available_backends()[0] != "isal"


def test_a_library_that_would_use_its_portable_kernel_is_refused():
    engine = isal.load(None)
    if engine is None:
        pytest.skip("ISA-L is not installed")
    bundled = next(path for path in isal._candidates() if _loads(path))
    library = ctypes.CDLL(bundled)
    # The portable kernel and its tables under the names that are dispatched to SIMD kernels.
    library.ec_encode_data = library.ec_encode_data_base
    library.ec_init_tables = library.ec_init_tables_base
    portable = isal.IsalEngine(library)
    assert passes_self_test(portable)
    assert isal._is_vectorised(engine)
    assert not isal._is_vectorised(portable)


def test_no_library_is_loaded_that_codes_too_slowly(monkeypatch):
    monkeypatch.setattr(isal, "_RATE_BYTES_PER_S_MIN", float("inf"))
    assert isal.load(None) is None


def _loads(path):
    try:
        ctypes.CDLL(path)
    except OSError:
        return False
    return True


@pytest.mark.real
def test_importing_the_backends_loads_none_of_them():
    code = (
        "import sys, redundancy.backends; "
        "sys.exit('zfec' in sys.modules or 'redundancy.isal' in sys.modules "
        "or 'libisal' in open('/proc/self/maps').read())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, env=dict(os.environ))
    assert done.returncode == 0
