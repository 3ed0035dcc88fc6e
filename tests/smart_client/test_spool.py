"""Where decoded bytes lie: the place that is named when it is full, and the one that is taken."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from redundancy.errors import NoSpace
from smart_client.spool import Spool
from smart_client.stream import default_spool

FULL = Path("/dev/full")  # every write to it fails: no space left


def test_a_full_disk_is_named_with_the_option_that_helps(tmp_path) -> None:
    for spool, place, option in (
        (Spool(os.open(FULL, os.O_RDWR), tmp_path), tmp_path, "--cache-dir"),
        (Spool.at(FULL), FULL.parent, "-o"),
    ):
        with pytest.raises(NoSpace) as caught:
            spool.write(0, b"x")
        spool.close()
        assert f"{place} " in caught.value.message
        assert "free)" in caught.value.message
        assert option in caught.value.hint
    assert "--cache-dir" not in caught.value.hint


@pytest.mark.parametrize(
    ("cache_free", "temporary_free", "taken"),
    [(10**9, 10**10, "cache"), (10**6, 10**9, "temporary"), (10**6, 10**5, "cache")],
)
def test_decoded_video_goes_where_there_is_room(
    tmp_path, monkeypatch, cache_free, temporary_free, taken
) -> None:
    cache, temporary = tmp_path / "cache", tmp_path / "temporary"
    free = {cache: cache_free, temporary: temporary_free}
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=free[path]))
    spool = default_spool(str(cache))
    spool.close()
    assert spool.directory.name == taken
