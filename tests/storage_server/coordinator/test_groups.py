"""Groups of chunks as uploads record them, over real sockets."""

import pytest
from msgspec import structs

from smart_client import wire
from smart_client.errors import Conflict, InvalidRequest
from support.running_cluster import Cluster, announce, in_a_cluster, place_group

pytestmark = pytest.mark.real


def store(video: wire.VideoRecord, group: wire.GroupRecord, expected: int = 0) -> wire.StoreGroup:
    return wire.StoreGroup(video_id=video.id, expected_version=expected, group=group)


def broken_groups():
    """Pairs of what is wrong and how to make it wrong."""

    def change(group, **changes):
        return wire.GroupRecord(chunks=(structs.replace(group.chunks[0], **changes),))

    def on(group, *nodes):
        fragments = group.chunks[0].fragments
        moved = tuple(structs.replace(f, node=n) for f, n in zip(fragments, nodes, strict=True))
        return change(group, fragments=moved)

    yield "names node 'stranger'", lambda g: on(g, "stranger", *sorted(_nodes(g))[1:])
    yield (
        "two fragments on one node",
        lambda g: on(g, *["node-1", "node-1", "node-2"], "node-3", "node-4"),
    )
    yield "the video is rs:3", lambda g: change(g, layout=wire.LayoutRecord(k=2, n=5))
    yield (
        "does not follow",
        lambda g: wire.GroupRecord(chunks=(g.chunks[0], structs.replace(g.chunks[1], offset=7))),
    )
    yield "begins with chunk", lambda g: wire.GroupRecord(chunks=())


def _nodes(group):
    return {fragment.node for fragment in group.chunks[0].fragments}


@pytest.mark.parametrize(("message", "break_it"), list(broken_groups()))
def test_a_group_that_breaks_a_rule_is_refused_and_not_recorded(tmp_path, message, break_it):
    async def use(made: Cluster):
        video = await announce(made.client)
        group = await place_group(made.client, video)
        with pytest.raises(InvalidRequest, match=message):
            await made.client.store_group("kino", 0, store(video, break_it(group)))
        assert await made.client.groups("kino") == ()

    in_a_cluster(tmp_path, use)


def test_a_group_s_version_guards_against_a_twin_uploader(tmp_path):
    async def use(made: Cluster):
        video = await announce(made.client)
        group = await place_group(made.client, video)
        version = await made.client.store_group("kino", 0, store(video, group))
        # The same once more, because the first answer got lost: no conflict, nothing new.
        assert await made.client.store_group("kino", 0, store(video, group)) == version
        fewer = wire.GroupRecord(
            chunks=tuple(structs.replace(c, fragments=c.fragments[:4]) for c in group.chunks)
        )
        with pytest.raises(Conflict):
            await made.client.store_group("kino", 0, store(video, fewer))
        newer = await made.client.store_group("kino", 0, store(video, fewer, version))
        assert newer > version

    in_a_cluster(tmp_path, use)
