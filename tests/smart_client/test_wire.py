import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_client import wire
from smart_client.errors import InvalidRequest

CHUNK = {
    "number": 0,
    "offset": 0,
    "size": 10,
    "sha256": "0" * 64,
    "start_s": 0.0,
    "duration_s": 1.0,
    "layout": {"k": 2, "n": 3, "copies": 0},
    "fragments": [{"index": 0, "node": "a", "key": "1" * 64}],
}


def broken(**changes: object) -> bytes:
    return json.dumps({**CHUNK, **changes}).encode()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (broken(size=0), "size"),
        (broken(size=5 * 1024 * 1024), "size"),
        (broken(sha256="xyz"), "sha256"),
        (broken(layout={"k": 3, "n": 2}), "layout"),
        (broken(layout={"k": 0, "n": 2}), "layout"),
        (broken(fragments=[CHUNK["fragments"][0]] * 2), "twice"),
        (broken(fragments=[{"index": 3, "node": "a", "key": "1" * 64}]), "fragment 3"),
        (broken(fragments=[{"index": 0, "node": "../etc", "key": "1" * 64}]), "node"),
        (broken(start_s=-1), "start_s"),
        (b"[]", "object"),
        (b"\xff\xfe", "valid"),
        (b"[" * 100_000, "valid"),
        (b"", "valid"),
    ],
)
def test_a_broken_chunk_record_is_refused_with_the_field_that_is_wrong(body, path) -> None:
    with pytest.raises(InvalidRequest, match=path):
        wire.decode(body, wire.ChunkRecord)


def test_unknown_fields_are_ignored_so_that_old_readers_survive_new_writers() -> None:
    record = wire.decode(broken(colour="blue"), wire.ChunkRecord)
    assert record.size == 10


def test_a_group_is_consecutive_and_starts_at_its_place() -> None:
    chunk = wire.decode(broken(), wire.ChunkRecord)
    with pytest.raises(ValueError, match="consecutive"):
        wire.GroupRecord(chunks=(chunk, chunk))
    shifted = wire.decode(broken(number=1), wire.ChunkRecord)
    with pytest.raises(ValueError, match="multiple"):
        wire.GroupRecord(chunks=(shifted,))


@pytest.mark.parametrize("name", ["tears-of-steel", "Été 2024 (1).mkv", "a", "日本語", "x" * 200])
def test_ordinary_names_are_names(name: str) -> None:
    assert wire.decode(json.dumps(name), wire.Name) == name


@pytest.mark.parametrize(
    "name", ["", "-rf", ".hidden", "a/b", "a\\b", "..", "a\x00b", "a\nb", "x" * 201, "_x", " x"]
)
def test_names_that_break_paths_or_shells_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        wire.decode(json.dumps(name), wire.Name)


@given(st.binary(max_size=300))
def test_random_bytes_never_crash_the_reader(body: bytes) -> None:
    for kind in (wire.Manifest, wire.GroupRecord, wire.Heartbeat, wire.CreateVideo):
        with pytest.raises(InvalidRequest):
            wire.decode(body, kind)


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("http://10.0.0.2:8400", True),
        ("https://nas.local", True),
        ("http://[::1]:8500/", True),
        ("ftp://x", False),
        ("http://a/b", False),
        ("http://", False),
        ("file:///etc/passwd", False),
    ],
)
def test_a_node_url_is_a_plain_http_origin(url: str, fine: bool) -> None:
    body = json.dumps({"id": "n", "urls": [url]})
    if fine:
        assert wire.decode(body, wire.NodeRecord).urls == (url,)
    else:
        with pytest.raises(InvalidRequest):
            wire.decode(body, wire.NodeRecord)


@pytest.mark.parametrize(
    ("record", "fine"),
    [
        (wire.Sha256Hex, "a" * 64),
        (wire.VideoId, "a" * 32),
        (wire.Name, "film.mp4"),
        (wire.NodeName, "node-1"),
        (wire.GrantText, "1.r.a"),
    ],
)
def test_a_line_end_behind_a_name_is_part_of_no_name(record, fine: str) -> None:
    assert wire.decode(wire.encode(fine), record) == fine
    with pytest.raises(InvalidRequest):
        wire.decode(wire.encode(f"{fine}\n"), record)
    with pytest.raises(ValueError, match="node url"):
        wire.NodeRecord(id="n", urls=("http://127.0.0.1:1\n",))
