"""``cluster up --signed-reads``: the commands work as ever, and strangers read nothing."""

import random
import stat

import httpx
import pytest

from support.real_cluster import RealCluster

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


def test_a_signed_cluster_stores_and_gives_back_and_refuses_strangers(tmp_path):
    cluster = RealCluster(tmp_path / "cluster")
    try:
        cluster.up(2, "--signed-reads")
        keys = tmp_path / "cluster" / "read-keys"
        assert stat.S_IMODE(keys.stat().st_mode) == 0o600
        path, back = tmp_path / "file", tmp_path / "back"
        path.write_bytes(random.Random(1).randbytes(3_000_000))
        put = cluster.client("put", str(path), "--name", "x", "--redundancy", "rep:2", "--json")
        assert put.code == 0, put
        got = cluster.client("get", "x", "-o", str(back), "--json")
        assert got.code == 0, got
        assert back.read_bytes() == path.read_bytes()
        address = f"{cluster.coordinator}/v1/videos/x/manifest"
        manifest = httpx.get(address, params={"rendition": "original"}, trust_env=False).json()
        fragment = manifest["chunks"][0]["fragments"][0]
        (node,) = [each for each in manifest["nodes"] if each["id"] == fragment["node"]]
        chunk = f"{node['urls'][0]}/v1/chunks/{fragment['key']}"
        assert httpx.get(chunk, trust_env=False).status_code == 401
        grant = {"grant": manifest["read_grant"]}
        assert httpx.get(chunk, params=grant, trust_env=False).status_code == 200
        secret = keys.read_text().split()[1]
        for log in (tmp_path / "cluster" / "logs").iterdir():
            assert secret not in log.read_text()
            assert manifest["read_grant"] not in log.read_text()
    finally:
        cluster.down()
    assert not keys.exists()
