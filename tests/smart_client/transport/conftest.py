"""Every test of the contract runs over both transports."""

import pytest

from support.both_transports import client_maker, ours, stock


@pytest.fixture(params=[stock, ours], ids=["stock", "ours"])
def make_client(request):
    return client_maker(request.param)
