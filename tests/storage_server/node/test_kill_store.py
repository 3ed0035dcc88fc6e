"""A store that is killed or loses power at any instant; ``scripts/torture_node`` does it longer.

What the page cache holds survives kill -9: so there is also a run whose files then forget what was
not synced, and one on a simulated disk that forgets, tears and reorders. And since a test of
durability must be able to fail: a store that only says it synced is found out.
"""

import pytest

from support.forgetful_disk import build_preload
from support.store_torture import (
    Lost,
    SyncsNothing,
    forget_again_and_again,
    kill_again_and_again,
)


@pytest.fixture(scope="module")
def preload(tmp_path_factory):
    library = build_preload(tmp_path_factory.mktemp("preload"))
    if library is None:
        pytest.skip("needs a C compiler")
    return library


@pytest.mark.real
def test_a_store_that_is_killed_again_and_again_loses_and_revives_nothing(tmp_path):
    account = kill_again_and_again(tmp_path, kills=15, seed=1)
    assert account.puts + account.deletes >= 150
    assert len(list(tmp_path.glob("sb-*.dat"))) > 1


@pytest.mark.real
def test_files_that_forget_what_was_not_synced_when_the_process_is_killed_keep_the_rest(
    tmp_path, preload
):
    account = kill_again_and_again(tmp_path, kills=20, seed=1, preload=preload)
    assert account.puts + account.deletes >= 200
    assert account.sectors_forgotten > 0


@pytest.mark.real
def test_a_process_that_only_says_it_synced_is_found_out(tmp_path, preload):
    with pytest.raises(Lost, match=r"was acknowledged and is lost|was deleted and is back"):
        kill_again_and_again(tmp_path, kills=30, seed=1, preload=preload, syncs=False)


def test_a_disk_that_forgets_tears_and_reorders_loses_nothing_acknowledged():
    account = forget_again_and_again(puts=400, seed=1)
    assert account.stops >= 20
    assert account.starts_checked >= 20


def test_a_disk_that_only_says_it_synced_is_found_out():
    with pytest.raises(Lost):
        forget_again_and_again(puts=600, seed=1, disk_kind=SyncsNothing)
