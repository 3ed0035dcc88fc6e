"""``storage-server fsck``: finds what is wrong, changes nothing unless it is told to."""

import json

import pytest

from storage_server.cli import main
from storage_server.node.lock import DataFolder
from storage_server.node.superblock_store import SuperblockStore
from support.fragments import SIZE, fragments, stored_bytes

PUTS = fragments(30, SIZE)
FIRST, HINT = "sb-00000001.dat", "sb-00000001.hint"


def opened(path):
    folder = DataFolder(path, "box-1")
    store = SuperblockStore(folder.disk, folder.identity, superblock_bytes=64 * 1024)
    return folder, store


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data"
    folder, store = opened(path)
    store.commit(PUTS)
    store.delete(PUTS[29].key)
    store.close()
    folder.close()
    return path


def contents(path):
    return {each.name: each.read_bytes() for each in path.iterdir() if each.name != "lock"}


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def fsck(path, capsys, *words):
    code = main(["fsck", str(path), "--json", *words])
    return code, json.loads(capsys.readouterr().out)


def test_a_sound_directory_is_said_to_be_sound_and_is_not_touched(data, capsys):
    before = contents(data)
    code, report = fsck(data, capsys)
    assert code == 0
    assert report["findings"] == []
    assert (report["node"], report["fragments"], report["records"]) == ("box-1", 29, 31)
    assert contents(data) == before
    assert main(["fsck", str(data)]) == 0
    assert "nothing is wrong" in capsys.readouterr().out


def test_rot_is_found_and_named_and_repair_takes_it_out(data, capsys):
    flip(data / FIRST, 4096 + 2 * 8192 + 500)  # the start would not read it
    before = contents(data)
    code, report = fsck(data, capsys)
    assert code == 7
    (finding,) = report["findings"]
    assert not finding["listed"]
    assert finding["keys"] == [PUTS[2].key.hex()]
    assert contents(data) == before
    code, report = fsck(data, capsys, "--repair")
    assert code == 7
    assert report["repaired"]
    assert main(["fsck", str(data)]) == 7
    told = capsys.readouterr().out
    assert "known already" in told
    assert "--repair" not in told
    folder, store = opened(data)
    assert not store.has(PUTS[2].key)
    assert [bad.key for bad in store.bad()] == [PUTS[2].key]
    for put in PUTS[3:29]:
        assert stored_bytes(store, put.key) == put.data
    store.put(PUTS[2])
    store.close()
    folder.close()
    code, report = fsck(data, capsys)  # the bad place is still there, and nothing is missing
    assert code == 0
    assert [finding["kind"] for finding in report["findings"]] == ["replaced"]


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda data: (data / HINT).unlink(), "hint"),
        (lambda data: flip(data / HINT, 100), "hint"),
        (lambda data: flip(data / FIRST, 30), "file-header"),
        (lambda data: flip(data / FIRST, 4096 + 8192 + 5), "rot"),
        (lambda data: flip(data / "sb-00000005.dat", 4096 + 8192 * 2 + 4), "torn"),
    ],
)
def test_each_kind_of_damage_is_told_apart(data, capsys, damage, kind):
    damage(data)
    code, report = fsck(data, capsys)
    assert kind in {finding["kind"] for finding in report["findings"]}
    assert code == (7 if kind in ("rot", "file-header") else 0)
    fsck(data, capsys, "--repair")
    _, after = fsck(data, capsys)
    left = {finding["kind"] for finding in after["findings"]}
    assert left <= ({kind} if kind in ("rot", "file-header") else set())


def test_what_is_no_data_directory_is_said_with_exit_code_4(tmp_path, capsys):
    for path in (tmp_path / "none", tmp_path):
        code, answer = fsck(path, capsys)
        assert code == 4
        assert answer["error"]["code"] == "FILE_NOT_FOUND"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_use_is_said_with_exit_code_9(data, capsys):
    folder, store = opened(data)
    code, answer = fsck(data, capsys)
    assert code == 9
    assert answer["error"]["code"] == "DIRECTORY_LOCKED"
    store.close()
    folder.close()
