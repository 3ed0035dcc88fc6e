"""What the command line says, as one value."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redundancy.errors import ConfigError, UsageError
from storage_server.node.config import (
    NodeConfig,
    add_node_arguments,
    coordinator_urls,
    parse_address,
    parse_rate,
)


def config(*words):
    parser = argparse.ArgumentParser()
    add_node_arguments(parser)
    return NodeConfig.from_args(parser.parse_args(["--data", "/tmp/x", *words]))


def test_everything_said_is_kept():
    said = config(
        *("--id", "box-1", "--listen", "127.0.0.1:7000", "--capacity", "50GiB"),
        *("--zone", "attic", "--advertise", "http://box:7000", "--max-upload", "10Mbit/s"),
        *("--coordinator", "http://a", "--coordinator", "http://b", "--keepalive", "75"),
    )
    assert said.node_id == "box-1"
    assert (said.host, said.port) == ("127.0.0.1", 7000)
    assert said.capacity_bytes == 50 * 2**30
    assert said.zone == "attic"
    assert said.advertise == ("http://box:7000",)
    assert said.coordinators == ("http://a", "http://b")
    assert said.upload_bytes_per_s == 1_250_000
    assert said.limits.keepalive_s == 75


def test_nothing_said_is_a_node_for_this_machine_only():
    said = config()
    assert (said.node_id, said.host, said.port) == (None, "127.0.0.1", 0)
    assert said.capacity_bytes is None
    assert said.upload_bytes_per_s is None
    assert said.token is None
    assert said.limits.keepalive_s == 15


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10Mbit/s", 1_250_000), ("2MiB/s", 2 * 2**20), ("500kbit/s", 62_500), ("8bit/s", 1)],
)
def test_rates(text, rate):
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "bit/s", "10", "10Mbit", "-1bit/s", "1e9B/s", "10 apples/s", "2MBB/s"]
)
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(UsageError):
        parse_rate(text)


@given(st.text(max_size=20))
def test_any_text_is_a_value_or_a_usage_error(text):
    for parse in (parse_rate, parse_address):
        try:
            parse(text)
        except UsageError:
            continue


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:80", ("::1", 80)), ("host:65535", ("host", 65535))],
)
def test_addresses(text, expected):
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["7000", ":7000", "h:", "h:x", "h:70000", "h:-1"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UsageError):
        parse_address(text)


@pytest.mark.parametrize("node_id", ["", "-x", "a b", "a/b", "x" * 64, "é", "a\n"])
def test_what_is_no_node_id_is_refused(node_id):
    with pytest.raises(ConfigError):
        config(f"--id={node_id}")


@pytest.mark.parametrize("words", [("--max-upload", "0bit/s"), ("--capacity", "0")])
def test_limits_of_nothing_are_refused(words):
    with pytest.raises(ConfigError):
        config(*words)


@pytest.mark.parametrize("url", ["127.0.0.1:8400", "ftp://a", "http://", "http://a/b"])
def test_what_is_no_address_of_a_coordinator_is_told_before_anything_starts(url):
    with pytest.raises(ConfigError, match="a coordinator is not at"):
        coordinator_urls([f"http://a:1,{url}"])
