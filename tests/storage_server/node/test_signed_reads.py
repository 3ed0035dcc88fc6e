"""Where reading is signed, a fragment goes to whoever holds a grant for it, and to nobody else."""

import hashlib
import time

import pytest

from redundancy.backends import best_codec
from redundancy.errors import ConfigError
from redundancy.fragment_format import ChunkLabel
from redundancy.fragments import build_fragments
from redundancy.scheme import Layout, Scheme
from smart_client.signing import LIFETIME_S_MAX, SKEW_S, ReadKeys, Scope
from storage_server.node.store import Put
from storage_server.read_keys import LOOK_EVERY_S, VIDEO_GRANT_S, KeyFile, ReadGrants
from support.fragments import fragment
from support.node_in_thread import NodeInThread

TOKEN = "correct horse battery staple"
SECRETS = {"a": "s" * 40, "b": "t" * 40}
VIDEO, OTHER_VIDEO = bytes(range(16)), bytes(16)


def write_keys(path, *names):
    path.write_text("".join(f"{name} {SECRETS[name]}\n" for name in names))
    path.chmod(0o600)
    return path


def keys(*names):
    return ReadKeys.parse("".join(f"{name} {SECRETS[name]}\n" for name in names))


def grant(scope, *, lasts_s=100, by="a"):
    return str(keys(by).sign(scope, int(time.time()) + lasts_s))


@pytest.fixture(scope="module")
def ours():
    """A fragment of our video."""
    layout = Layout(Scheme(2, 3))
    made = build_fragments(
        bytes(200_000), layout, best_codec(layout.scheme), ChunkLabel(VIDEO, "original", 0)
    )
    data = b"".join(made[0].parts)
    return Put.verified(hashlib.sha256(data).digest(), data)


@pytest.fixture(scope="module")
def node(tmp_path_factory, ours):
    folder = tmp_path_factory.mktemp("node")
    with NodeInThread(
        folder / "data", token=TOKEN, read_keys=write_keys(folder / "keys", "a")
    ) as node:
        for put in (ours, fragment(1)):
            assert node.put(put, Authorization=f"Bearer {TOKEN}").status == 201
        yield node


def ask(node, put, query="", method="GET", **headers):
    return node.ask(method, f"/v1/chunks/{put.key.hex()}{query}", **headers)


def test_without_a_grant_or_the_token_nothing_is_read(node, ours):
    for method in ("GET", "HEAD"):
        answer = ask(node, ours, method=method)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert ask(node, ours).code == "GRANT_NEEDED"
    assert ask(node, ours, Authorization=f"Bearer {TOKEN}").body == ours.data
    assert ask(node, ours, Authorization="Bearer wrong").status == 401


def test_a_grant_opens_every_fragment_of_its_video(node, ours):
    good = f"?grant={grant(Scope.video(VIDEO.hex()))}"
    answer = ask(node, ours, good)
    assert (answer.status, answer.body) == (200, ours.data)
    assert answer.headers["Cache-Control"].startswith("private")
    assert ask(node, ours, good, Range="bytes=5-9").body == ours.data[5:10]
    assert ask(node, ours, good, method="HEAD").status == 200
    for _ in range(2):  # looked up, then remembered
        assert ask(node, ours, f"?grant={grant(Scope.video(OTHER_VIDEO.hex()))}").status == 403
        assert ask(node, fragment(1), good).status == 403  # says of no video that it is its own


def test_a_grant_for_a_fragment_opens_that_fragment(node, ours):
    good = f"?grant={grant(Scope.fragment(ours.key.hex()))}"
    assert ask(node, ours, good).body == ours.data
    assert ask(node, fragment(1), good).code == "GRANT_REFUSED"
    assert ask(node, fragment(2), good).status == 403  # before it is said that it is not there
    good = f"?grant={grant(Scope.fragment(fragment(2).key.hex()))}"
    assert ask(node, fragment(2), good).status == 404


@pytest.mark.parametrize(
    ("bend", "code"),
    [
        (lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"), "GRANT_REFUSED"),
        (lambda text: text.replace(".a.", ".b."), "GRANT_REFUSED"),
        (lambda text: text.replace(VIDEO.hex(), OTHER_VIDEO.hex()), "GRANT_REFUSED"),
        (lambda text: text + "&grant=" + text, "GRANT_REFUSED"),
        (lambda text: text + "&x=1", "GRANT_REFUSED"),
        (lambda text: text.replace(".", "%2E"), "GRANT_REFUSED"),
        (lambda text: text.upper(), "GRANT_REFUSED"),
        (lambda _: "x" * 5000, "GRANT_REFUSED"),
        (lambda _: grant(Scope.video(VIDEO.hex()), by="b"), "GRANT_REFUSED"),
        (lambda _: grant(Scope.video(VIDEO.hex()), lasts_s=-SKEW_S - 5), "GRANT_EXPIRED"),
        (
            lambda _: grant(Scope.video(VIDEO.hex()), lasts_s=LIFETIME_S_MAX + 999),
            "GRANT_REFUSED",
        ),
    ],
)
def test_a_bent_or_stale_grant_is_refused(node, ours, bend, code):
    answer = ask(node, ours, f"?grant={bend(grant(Scope.video(VIDEO.hex())))}")
    assert (answer.status, answer.code) == (403, code)
    assert not any(secret in answer.body.decode() for secret in SECRETS.values())


@pytest.mark.parametrize("query", ["?x=1", "?grant", "?grant=", "?Grant=a", "?&grant=a"])
def test_any_other_query_is_no_address_of_a_fragment(node, ours, query):
    assert ask(node, ours, query).code == "BAD_KEY"


def test_a_grant_to_read_does_not_let_anybody_write(node, ours):
    good = f"?grant={grant(Scope.video(VIDEO.hex()))}"
    path = f"/v1/chunks/{ours.key.hex()}{good}"
    assert node.ask("PUT", path, ours.data).status == 401
    assert node.ask("DELETE", path).status == 401
    assert node.ask("PUT", path, ours.data, Authorization=f"Bearer {TOKEN}").code == "BAD_KEY"
    assert ask(node, ours, good).body == ours.data


def test_a_node_without_keys_takes_a_grant_and_does_not_look_at_it(tmp_path, ours):
    with NodeInThread(tmp_path) as node:
        node.put(ours)
        assert ask(node, ours, f"?grant={grant(Scope.video(OTHER_VIDEO.hex()))}").status == 200
        assert "public" in ask(node, ours).headers["Cache-Control"]


@pytest.mark.parametrize("content", ["", "a short\n"])
def test_a_node_does_not_start_with_keys_it_cannot_use(tmp_path, content):
    path = tmp_path / "keys"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError), NodeInThread(tmp_path / "data", read_keys=path):
        pass


# -- the key file ----------------------------------------------------------------------------------


def test_keys_that_others_may_read_are_refused(tmp_path):
    path = write_keys(tmp_path / "keys", "a")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="other users"):
        KeyFile(path)


def test_changed_keys_are_used_and_broken_ones_are_not(tmp_path):
    now_s = 0.0
    path = write_keys(tmp_path / "keys", "a")
    file = KeyFile(path, clock=lambda: now_s)
    write_keys(path, "b", "a")
    assert file.keys == keys("a")
    now_s += LOOK_EVERY_S
    assert file.keys == keys("b", "a")
    for broken in ("", "nonsense", "a short"):
        path.write_text(broken)
        now_s += LOOK_EVERY_S
        assert file.keys == keys("b", "a")
    path.unlink()
    now_s += LOOK_EVERY_S
    assert file.keys == keys("b", "a")
    write_keys(path, "b")
    now_s += LOOK_EVERY_S
    assert file.keys == keys("b")


def test_a_manifests_grant_stays_the_same_for_a_while_and_lasts_for_a_day(tmp_path):
    now_s = 1_800_000_000.0
    grants = ReadGrants(KeyFile(write_keys(tmp_path / "keys", "a")), wall_clock=lambda: now_s)
    first = grants.for_video(VIDEO.hex())
    seen = set()
    for _ in range(30):
        text = grants.for_video(VIDEO.hex())
        seen.add(text)
        expires_s = int(text.split(".")[3])
        assert VIDEO_GRANT_S <= expires_s - now_s <= VIDEO_GRANT_S + 3600
        now_s += 240
    assert first in seen
    assert len(seen) == 2
    assert ReadGrants().for_video(VIDEO.hex()) == ReadGrants().for_fragment("0" * 64) == ""
