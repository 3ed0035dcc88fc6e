"""Two clusters and one cache directory: names mean other videos in the other cluster."""

import dataclasses

import pytest

from support.gateways import Running, in_a_gateway

pytestmark = pytest.mark.real

ELSEWHERE = ("http://127.0.0.1:9",)


def test_what_was_played_from_one_cluster_is_not_played_as_another_s(tmp_path):
    async def use(running: Running) -> None:
        await running.put("kino", b"film" * 50_000)
        assert (await running.http.get("/v/kino")).status_code == 200
        at_home = running.config
        running.config = dataclasses.replace(at_home, coordinator=ELSEWHERE)
        await running.restart()
        assert (await running.http.get("/v/kino")).status_code == 503
        running.config = at_home
        await running.cluster.stop("coordinator")
        await running.restart()
        assert (await running.http.get("/v/kino")).content == b"film" * 50_000

    in_a_gateway(tmp_path, use)


def test_an_upload_waits_for_a_gateway_of_its_cluster(tmp_path):
    async def use(running: Running) -> None:
        wish = {"name": "kino", "size": 100_000}
        assert (await running.http.post("/api/v1/uploads", json=wish)).status_code == 201
        at_home = running.config
        running.config = dataclasses.replace(at_home, coordinator=ELSEWHERE)
        await running.restart()
        assert await running.json("/api/v1/uploads") == []
        running.config = at_home
        await running.restart()
        (found,) = await running.json("/api/v1/uploads")
        assert found["name"] == "kino"

    in_a_gateway(tmp_path, use)
