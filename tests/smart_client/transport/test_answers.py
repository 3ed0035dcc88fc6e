"""What a client makes of a refusal."""

import pytest

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


def test_a_full_node_is_a_temporary_trouble():
    assert error_from_answer(507, b"", "http://x").exit_code is ExitCode.TEMPORARY
