"""A grant opens what it names, until it ends, and nothing else; bent in any way it is refused."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from redundancy.errors import ConfigError
from smart_client import wire
from smart_client.errors import InvalidRequest
from smart_client.signing import (
    GRANT_BYTES_MAX,
    LIFETIME_S_MAX,
    SKEW_S,
    Grant,
    GrantExpired,
    GrantRefused,
    ReadKeys,
    Scope,
)
from storage_server.node.pull import PullOrder

SECRET = "s" * 32
KEYS = ReadKeys.parse(f"a {SECRET}")
VIDEO, KEY = "0f" * 16, "1e" * 32
NOW_S = 1_800_000_000

scopes = st.one_of(
    st.binary(min_size=16, max_size=16).map(lambda raw: Scope.video(raw.hex())),
    st.binary(min_size=32, max_size=32).map(lambda raw: Scope.fragment(raw.hex())),
)
instants = st.integers(1, 10**12 - 1)


@given(scopes, st.integers(0, LIFETIME_S_MAX))
def test_a_grant_opens_what_it_names(scope, lifetime_s):
    text = str(KEYS.sign(scope, NOW_S + lifetime_s))
    assert len(text) <= GRANT_BYTES_MAX
    assert re.fullmatch(r"[0-9a-z.]+", text)
    assert KEYS.check(Grant.parse(text), NOW_S) == scope


@given(scopes, instants, st.integers(0, 10**12))
def test_a_grant_is_good_until_its_end_and_a_little_longer(scope, expires_s, now_s):
    grant = KEYS.sign(scope, expires_s)
    if now_s > expires_s + SKEW_S:
        with pytest.raises(GrantExpired):
            KEYS.check(grant, now_s)
    elif expires_s > now_s + LIFETIME_S_MAX + SKEW_S:
        with pytest.raises(GrantRefused):
            KEYS.check(grant, now_s)
    else:
        assert KEYS.check(grant, now_s) == scope


@given(st.text(max_size=250))
@example("")
@example("1.r.a.1." + "v" + "0" * 32 + "." + "0" * 64 + "\n")
@example("1.r.a.01." + "v" + "0" * 32 + "." + "0" * 64)
@example("1.r.a.1." + "v" + "0" * 31 + "٠" + "." + "0" * 64)
@example("1.r.a.1." + "v" + "0" * 32 + "." + "A" * 64)
@example("1.w.a.1." + "v" + "0" * 32 + "." + "0" * 64)
def test_text_is_a_grant_written_in_the_one_way_or_refused(text):
    try:
        grant = Grant.parse(text)
    except GrantRefused:
        return
    assert str(grant) == text
    with pytest.raises(GrantRefused):
        KEYS.check(grant, NOW_S)


GOOD = str(KEYS.sign(Scope.video(VIDEO), NOW_S + 100))


@given(st.integers(0, len(GOOD) - 1), st.sampled_from("0123456789abcdefklrvz.-%/ \0é"))
def test_a_grant_with_one_character_changed_is_refused(position, character):
    bent = GOOD[:position] + character + GOOD[position + 1 :]
    if bent == GOOD:
        return
    with pytest.raises(GrantRefused):
        KEYS.check(Grant.parse(bent), NOW_S)


@given(st.integers(0, len(GOOD)), st.text("0123456789abcdef.&=", min_size=1, max_size=9))
def test_a_grant_with_something_put_in_or_left_out_is_refused(position, more):
    for bent in (GOOD[:position] + more + GOOD[position:], GOOD[:position], GOOD[position + 1 :]):
        if bent == GOOD:
            continue
        with pytest.raises(GrantRefused):
            KEYS.check(Grant.parse(bent), NOW_S)


@given(st.integers(0, 255), st.integers(0, 7))
def test_every_bit_of_the_mac_counts(byte, bit):
    grant = KEYS.sign(Scope.fragment(KEY), NOW_S)
    mac = bytearray(grant.mac)
    mac[byte % len(mac)] ^= 1 << bit
    with pytest.raises(GrantRefused):
        KEYS.check(Grant(grant.key_id, grant.expires_s, grant.scope, bytes(mac)), NOW_S)


def test_two_keys_are_live_while_they_are_changed():
    old, both = KEYS, ReadKeys.parse(f"b {'t' * 32}\na {SECRET}")
    turned, new = ReadKeys.parse(f"a {SECRET}\nb {'t' * 32}"), ReadKeys.parse(f"b {'t' * 32}")
    scope = Scope.video(VIDEO)
    by_old, by_new = old.sign(scope, NOW_S), both.sign(scope, NOW_S)
    assert (by_old.key_id, by_new.key_id) == ("a", "b")
    for keys in (both, turned):
        assert keys.check(by_old, NOW_S) == keys.check(by_new, NOW_S) == scope
    assert new.check(by_new, NOW_S) == scope
    for keys, grant in ((new, by_old), (old, by_new)):
        with pytest.raises(GrantRefused):
            keys.check(grant, NOW_S)


def test_the_same_id_with_another_secret_is_another_key():
    other = ReadKeys.parse(f"a {'x' * 32}")
    with pytest.raises(GrantRefused):
        other.check(KEYS.sign(Scope.video(VIDEO), NOW_S), NOW_S)


def test_a_key_that_is_not_there_opens_nothing_though_its_secret_would_be_empty():
    forged = ReadKeys((("z", b""),)).sign(Scope.video(VIDEO), NOW_S)
    with pytest.raises(GrantRefused):
        KEYS.check(forged, NOW_S)


def test_a_key_file_may_have_comments_and_empty_lines():
    assert ReadKeys.parse(f"# ours\n\n a \t{SECRET} \n").secrets == (("a", SECRET.encode()),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        SECRET,
        "a short",
        f"A {SECRET}",
        f"a {SECRET} x",
        f"a {SECRET}\na {'t' * 32}",
        f"a {SECRET}\nb {'t' * 32}\nc {'u' * 32}",
        f"a {SECRET}\nb {'t' * 31}é",
        f"{'a' * 17} {SECRET}",
        f"a {'s' * 600}",
    ],
)
def test_a_key_file_that_is_none_is_refused_without_showing_what_is_in_it(text):
    with pytest.raises(ConfigError) as refused:
        ReadKeys.parse(text)
    assert "sss" not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize("grant", ["a b", "a&b", "a#b", "a/b", "a\n", "é", "a" * 201, "%2e"])
def test_records_carry_nothing_as_a_grant_that_would_bend_an_address(grant):
    order = {"key": KEY, "from": ["http://127.0.0.1:1"]}
    assert wire.decode(wire.encode({**order, "grant": GOOD}), PullOrder).grant == GOOD
    with pytest.raises(InvalidRequest, match="grant"):
        wire.decode(wire.encode({**order, "grant": grant}), PullOrder)


def test_secrets_are_never_shown():
    assert "s" * 8 not in repr(KEYS)


@pytest.mark.parametrize("text", ["", "v", "v" + "0" * 64, "k" + "0" * 32, "x" + "0" * 32])
def test_a_scope_is_a_video_or_a_fragment(text):
    with pytest.raises(ValueError, match="scope"):
        Scope(text)
