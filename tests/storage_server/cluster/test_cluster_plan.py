"""A new cluster's coordinator is where clients look for one, as long as that port is free."""

import socket

import pytest

from redundancy.errors import UsageError
from storage_server import cluster_plan
from storage_server.cluster_plan import UpWish, planned
from storage_server.cluster_state import ClusterFolder, ClusterState


def test_the_usual_port_is_taken_if_it_is_free_and_nobody_wishes_another(tmp_path, monkeypatch):
    folder = ClusterFolder(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        monkeypatch.setattr(cluster_plan, "USUAL_PORT", port)
        assert planned(ClusterState(), UpWish(), folder).coordinator.port == 0
    assert planned(ClusterState(), UpWish(), folder).coordinator.port == port
    assert planned(ClusterState(), UpWish(base_port=0), folder).coordinator.port == 0
    assert planned(ClusterState(), UpWish(base_port=9000), folder).coordinator.port == 9000


@pytest.mark.parametrize("wish", [UpWish(nodes=3), UpWish(base_port=9100)])
def test_what_an_existing_cluster_cannot_be_given_is_refused(tmp_path, wish):
    folder = ClusterFolder(tmp_path)
    state = planned(ClusterState(), UpWish(base_port=9000), folder)
    assert planned(state, UpWish(nodes=6, base_port=9000), folder).nodes[:5] == state.nodes
    with pytest.raises(UsageError, match=r"has 5 nodes.* was not applied"):
        planned(state, wish, folder)
