"""A whole cluster where reading is signed: it plays, repairs and changes its keys; strangers read
nothing.
"""

import asyncio

import httpx
import pytest
from msgspec import structs

from redundancy.errors import EvenflowError
from smart_client import granting, wire
from smart_client.config import ClientConfig
from smart_client.errors import AccessDenied, CoordinatorUnreachable
from smart_client.library import Library
from smart_client.signing import Scope
from smart_client.spool import Spool
from smart_client.transport.coordinator import CoordinatorClient
from storage_server import read_keys
from support.kept_videos import AT_ONCE, content, is_whole, keep, store_video
from support.running_cluster import Cluster, cluster, eventually, in_a_cluster

pytestmark = pytest.mark.real

PATIENCE_S = 3.0
TOKEN = "correct horse battery staple"
SECRETS = {"a": "s" * 40, "b": "t" * 40}


def write_keys(path, *names):
    path.write_text("".join(f"{name} {SECRETS[name]}\n" for name in names))
    path.chmod(0o600)
    return path


def in_a_signed_cluster(directory, use, nodes=5):
    """Run a test's coroutine; the keys are in ``directory/keys``."""
    keys = write_keys(directory / "keys", "a")

    async def scenario():
        async with cluster(directory, nodes, token=TOKEN, keeper=AT_ONCE, read_keys=keys) as made:
            await use(made)

    asyncio.run(scenario())


def library_of(made: Cluster, directory) -> Library:
    secret = directory / "token"
    secret.write_text(TOKEN)
    secret.chmod(0o600)
    return Library(ClientConfig(coordinator=(made.url,), token_file=str(secret)))


async def without_the_token(stream) -> None:
    """Let a stream read by its grant alone: the token would open everything."""
    for node in stream._transport.nodes:
        del node._http.headers["Authorization"]


async def read_all(library: Library, name="kino", before=None) -> bytes:
    """Read a video as players do; ``before`` is called when it is open and nothing is read."""
    stream = await library.open_stream(name, library.config, spool=Spool.nameless())
    try:
        await without_the_token(stream)
        if before is not None:
            await before(stream)
        reader = stream.open_reader()
        found = b""
        while block := await reader.read(patience_s=PATIENCE_S):
            found += block
        return found
    finally:
        await stream.close()


async def ask(made: Cluster, fragment: wire.FragmentRecord, grant="") -> httpx.Response:
    url = f"{made.nodes[fragment.node].url}/v1/chunks/{fragment.key}"
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.get(url, params={"grant": grant} if grant else None)


def test_who_has_a_manifest_plays_also_when_the_coordinator_is_gone(tmp_path):
    async def use(made: Cluster):
        await store_video(made)
        async with library_of(made, tmp_path) as library:
            assert await read_all(library) == content("kino", 3)

            async def stop_it(_):
                await made.stop("coordinator")

            assert await read_all(library, before=stop_it) == content("kino", 3)

    in_a_signed_cluster(tmp_path, use)


def test_fragments_and_manifests_are_not_for_strangers(tmp_path):
    async def use(made: Cluster):
        await store_video(made)
        await store_video(made, "other", chunks=1)
        manifest = await made.client.manifest("kino")
        fragment = manifest.chunks[0].fragments[0]
        assert (await ask(made, fragment)).status_code == 401
        assert (await ask(made, fragment, manifest.read_grant)).status_code == 200
        for foreign in (
            (await made.client.manifest("other")).read_grant,
            manifest.read_grant[:-1] + ("0" if manifest.read_grant[-1] != "0" else "1"),
            str(made.coordinator.links.grants._file.keys.sign(Scope.video(manifest.video.id), 1)),
        ):
            assert (await ask(made, fragment, foreign)).status_code == 403
        async with CoordinatorClient([made.url]) as stranger:
            with pytest.raises(AccessDenied, match="lets you read"):
                await stranger.manifest("kino")
            assert (await stranger.video("kino")).name == "kino"

    in_a_signed_cluster(tmp_path, use)


def test_lost_fragments_are_made_anew_by_nodes_that_read_from_each_other(tmp_path):
    async def use(made: Cluster):
        await store_video(made)
        await store_video(made, "copied", redundancy="rep:2")
        await made.stop("node-1")
        await made.stop("node-2")
        for victim in ("node-1", "node-2"):
            made.coordinator.members.declare_lost(victim)
        await keep(made)
        assert made.coordinator.keeper.done["repair"] > 0
        assert made.coordinator.keeper.status().received_bytes > 0

        async def is_whole_again() -> bool:
            await keep(made)  # a node that is busy for a moment is left alone until the next look
            return await is_whole(made)

        await eventually(is_whole_again)
        async with library_of(made, tmp_path) as library:
            assert await read_all(library) == content("kino", 3)

    in_a_signed_cluster(tmp_path, use, nodes=7)


def test_keys_are_changed_while_everything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(read_keys, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(granting, "WAIT_S_MIN", 0.05)

    async def use(made: Cluster):
        await store_video(made)
        old = await made.client.manifest("kino")
        fragment = old.chunks[0].fragments[0]
        async with library_of(made, tmp_path) as library:

            async def turn(stream):
                """Sign by the new key, and drop the old one when the stream has a new grant."""
                write_keys(tmp_path / "keys", "b", "a")
                assert (await ask(made, fragment, stream.manifest.read_grant)).status_code == 200
                stream.use_grant((await made.client.manifest("kino")).read_grant)
                write_keys(tmp_path / "keys", "b")

            assert await read_all(library, before=turn) == content("kino", 3)
            assert (await ask(made, fragment, old.read_grant)).status_code == 403

            async def sleep_too_long(stream):
                """What a machine has that was off when the keys were changed."""
                stream.use_grant(old.read_grant)

            assert await read_all(library, before=sleep_too_long) == content("kino", 3)
            with pytest.raises(EvenflowError):
                await read_all(library, before=cut_off)

    async def cut_off(stream):
        stream.use_grant("")
        stream.use_grant = lambda _: None

    in_a_signed_cluster(tmp_path, use)


def test_a_long_play_gets_a_newer_grant_though_a_coordinator_is_away_for_a_while(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(granting, "WAIT_S_MIN", 0.001)
    monkeypatch.setattr(granting, "RETRY_S", 0.01)

    async def use(made: Cluster):
        await store_video(made)
        newer = structs.replace(await made.client.manifest("kino"), read_grant="newer")
        asked = []

        async def renew():
            asked.append(len(asked))
            if len(asked) < 3:
                raise CoordinatorUnreachable("away")
            return newer

        class Stream:
            def __init__(self):
                self.manifest = structs.replace(newer, read_grant_s=0.01)
                self.grants = []

            def use_grant(self, grant):
                self.grants.append(grant)

        stream = Stream()
        task = asyncio.create_task(granting.renew_for_ever(stream, renew, asyncio.Event()))

        async def renewed():
            return bool(stream.grants)

        await eventually(renewed)
        task.cancel()
        assert stream.grants[0] == "newer"
        assert len(asked) == 3  # the newer one is good for a day: nobody is asked again

    in_a_signed_cluster(tmp_path, use)


def test_a_node_with_other_keys_is_cut_off_and_one_without_any_is_told_of(tmp_path):
    """All are in the same cluster by the same token: nothing else tells."""

    async def use(made: Cluster):
        made.read_keys = write_keys(tmp_path / "other-keys", "b")
        await made.start_node("stranger")
        made.read_keys = None
        await made.start_node("open")
        await made.start_node("unheard", beats=False)
        node = made.nodes["unheard"]
        await made.client.add_node(wire.NodeRecord(id="unheard", urls=(node.url,)))
        await made.wait_until_up("stranger", "open", "unheard")
        told = {each.record.id: (each.status, each.reason) for each in await made.client.nodes()}
        assert told["node-1"] == ("ok", "")
        assert told["stranger"][0] == "cut off"
        assert "other read keys than this coordinator" in told["stranger"][1]
        for name in ("open", "unheard"):
            assert told[name][0] == "warn"
            assert "it has no --read-keys" in told[name][1]
        # Keys are exchanged one by one: as long as both are known, nobody is refused.
        write_keys(tmp_path / "other-keys", "b", "a")

        async def is_well() -> bool:
            (found,) = (e for e in await made.client.nodes() if e.record.id == "stranger")
            return found.status == "ok"

        await eventually(is_well)

    in_a_signed_cluster(tmp_path, use, nodes=1)


def test_a_node_with_keys_is_cut_off_from_a_coordinator_without(tmp_path):
    async def use(made: Cluster):
        made.read_keys = write_keys(tmp_path / "keys", "a")
        await made.start_node("node-1")
        await made.wait_until_up("node-1")
        (told,) = await made.client.nodes()
        assert (told.status, told.reason) == (
            "cut off",
            "it gives fragments by read keys only, and this coordinator has none",
        )

    in_a_cluster(tmp_path, use, 0, token=TOKEN)
