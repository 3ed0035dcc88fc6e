"""What the demo leaves on the terminal is true: no dead address, no comparison with a cache."""

import pytest

from smart_client.command_line.demo import DemoVoid, receipt_text, require_fetched


def session(**changes: object) -> dict[str, object]:
    return {
        "scheduler": "smart",
        "startup_s": 0.2,
        "rebuffers": 0,
        "stalled_s": 0.0,
        "amplification": 1.0,
        "sha256_verified": True,
        "cached_bytes": 0,
        "faults": {"frozen": None, "killed": None, "at_s": {}, "noticed_after_s": {}},
        **changes,
    }


def test_an_address_is_shown_only_if_something_listens_there_afterwards():
    url = "http://127.0.0.1:1/v/demo"
    assert url in receipt_text({"smart": session(), "url": url})
    text = receipt_text({"smart": session()})
    assert "http" not in text
    assert text.endswith("make demo ARGS=--keep leaves the cluster running")


def test_a_session_that_read_from_a_cache_is_not_compared():
    require_fetched({"smart": session(), "naive": session()})
    with pytest.raises(DemoVoid, match=r"naive session read 1\.02 kB from a cache"):
        require_fetched({"smart": session(), "naive": session(cached_bytes=1024)})
