"""What a client makes of a refusal."""

import pytest

import storage_server.catalogue.errors
import storage_server.node.errors  # noqa: F401 (kinds of a server with the same codes)
from redundancy.errors import ExitCode, NoSpace
from smart_client.errors import AccessDenied, NodeRefused
from smart_client.transport.answers import error_from_answer


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (507, "NODE_FULL", NoSpace),  # a node's own code
        (507, "NO_SPACE", NoSpace),
        (401, "UNAUTHORIZED", AccessDenied),
        (503, "READ_ONLY", NodeRefused),
    ],
)
def test_a_refusal_becomes_the_error_it_is(status, code, kind):
    body = b'{"error": {"code": "%s", "message": "why"}}' % code.encode()
    error = error_from_answer(status, body, "http://x")
    assert type(error) is kind
    assert error.message == "why"
    assert error.code in (code, kind.code)


def test_a_code_that_only_servers_have_is_kept_with_its_exit_code():
    body = b'{"error": {"code": "CANNOT_EMPTY_NODE", "exit": 8, "message": "why"}}'
    error = error_from_answer(503, body, "http://x")
    assert type(error) is NodeRefused
    assert (error.code, error.exit_code) == ("CANNOT_EMPTY_NODE", ExitCode.CONFLICT)
    assert error.to_json()["code"] == "CANNOT_EMPTY_NODE"
    assert NodeRefused.code == "NODE_REFUSED"  # of the others nothing changes


@pytest.mark.parametrize("said", [b"0", b"77", b'"8"', b"true", b"[8]", b"null"])
def test_an_exit_code_that_is_none_is_not_taken(said):
    body = b'{"error": {"code": "ODD", "exit": %s}}' % said
    assert error_from_answer(503, body, "http://x").exit_code is NodeRefused.exit_code


def test_a_full_node_is_a_temporary_trouble():
    assert error_from_answer(507, b"", "http://x").exit_code is ExitCode.TEMPORARY
