"""What is told of how everything is stored, and the policy that new videos get."""

import dataclasses

import pytest

from redundancy.durability import FailureRates, markov_loss
from redundancy.popularity import Popularity
from redundancy.scheme import Layout, Scheme
from smart_client import wire
from smart_client.ingest.segment import Cut
from smart_client.ingest.upload import Uploader
from storage_server.coordinator.registers import Views
from support.kept_videos import AT_ONCE, CHUNK, keep, store_video
from support.running_cluster import Cluster, in_a_cluster

pytestmark = pytest.mark.real

HYBRID = dataclasses.replace(AT_ONCE, policy="hybrid", policy_dwell_s=0.0)


async def watched(made: Cluster, name: str, views: int, at_s: float) -> None:
    """Let a video have been watched so often at one instant."""
    video = await made.client.video(name)
    one = Views(count=views, level=Popularity.of(views, at_s).level)
    await made.coordinator.registers.update(f"views/{video.id}", Views, lambda _: one)
    await made.coordinator.views.load()


def test_the_report_says_what_is_stored_what_it_is_worth_and_what_the_policy_would_have(tmp_path):
    async def use(made: Cluster):
        await store_video(made, "hit", redundancy="auto")
        await store_video(made, "mine", redundancy="rep:3")
        await watched(made, "hit", 1001, 1e9)
        report = await made.client.storage()
        by_name = {each.name: each for each in report.videos}
        hit, mine = by_name["hit"], by_name["mine"]
        assert (report.policy, report.model, report.nodes) == ("threshold", "markov", 6)
        assert hit.size == 3 * CHUNK
        assert hit.overhead == pytest.approx(5 / 3, rel=0.01)
        assert mine.overhead == pytest.approx(3.0, rel=0.01)
        assert report.stored_bytes == hit.stored_bytes + mine.stored_bytes
        assert report.saved_bytes == 3 * report.video_bytes - report.stored_bytes
        assert (hit.losses_survived, hit.weakest_chunk_fragments_up) == (2, 5)
        assert hit.annual_loss == markov_loss(Layout(Scheme(3, 5)), FailureRates())
        assert report.annual_loss == (hit.annual_loss + mine.annual_loss) / 2
        advice = hit.advice
        assert (advice.state, advice.layout) == ("now", wire.LayoutRecord(k=1, n=3))
        assert (advice.moved_bytes, advice.stored_bytes_more) == (6 * CHUNK, 4 * CHUNK)
        assert "1001 views" in advice.reasons[0]
        assert (mine.is_wish, mine.advice.state) == (True, "wish")
        assert mine.advice.layout == wire.LayoutRecord(k=3, n=5)
        outlooks = {each.name: each for each in report.outlooks}
        assert outlooks["threshold"].stored_bytes == 18 * CHUNK  # both as three copies
        assert outlooks["hybrid"].stored_bytes == 14 * CHUNK  # of 'hit' a code, long not watched

    in_a_cluster(tmp_path, use, 6, keeper=AT_ONCE)


def test_under_hybrid_a_new_video_starts_with_a_copy_and_loses_it_by_a_delete(tmp_path):
    async def use(made: Cluster):
        await store_video(made, "film", redundancy="auto")
        video = await made.client.video("film")
        assert video.layout == wire.LayoutRecord(k=3, n=5, copies=1)
        assert "starts with a copy" in video.reason
        report = await made.client.storage()
        (film,) = report.videos
        assert (film.advice.state, film.advice.moved_bytes) == ("now", 0)
        assert film.advice.stored_bytes_more == -3 * CHUNK
        moved_before = made.coordinator.keeper.worker.received_bytes
        asked = await made.coordinator.keeper.advisor.advise()
        assert [each.moved_bytes for each in asked.now] == [0]
        await keep(made)
        assert made.coordinator.keeper.worker.received_bytes == moved_before
        video = await made.client.video("film")
        assert video.layout == wire.LayoutRecord(k=3, n=5)
        (line,) = await made.client.list_videos()
        assert line.reason == video.reason
        assert "watched 0 times a week" in line.reason

    in_a_cluster(tmp_path, use, 6, keeper=HYBRID)


RUNG_BYTES = 30_000


async def add_rung(made: Cluster, directory, name: str, layout: wire.LayoutRecord | None) -> None:
    path = directory / f"{name}.bin"
    path.write_bytes(bytes(RUNG_BYTES))
    rung = wire.RenditionRecord(
        name=name,
        size=RUNG_BYTES,
        sha256="",
        mime="video/mp4",
        duration_s=10.0,
        chunk_count=0,
        kind="video",
        layout=layout,
    )
    uploader = Uploader(made.client, token=made.token)
    video = await made.client.video("film")
    await uploader.add_rendition(video, path, rung, [Cut(0, RUNG_BYTES, 0.0, 10.0)])


def test_every_rendition_counts_where_it_lies_and_as_it_is_laid_out(tmp_path):
    async def use(made: Cluster):
        await store_video(made, "film", redundancy="auto")
        await add_rung(made, tmp_path, "720p", None)
        await add_rung(made, tmp_path, "360p", wire.LayoutRecord(k=1, n=2))
        (film,) = (await made.client.storage()).videos
        assert (film.renditions, film.size) == (3, 3 * CHUNK + 2 * RUNG_BYTES)
        assert film.stored_bytes == pytest.approx(
            (3 * CHUNK + RUNG_BYTES) * 5 / 3 + 2 * RUNG_BYTES, rel=0.01
        )
        assert (film.is_settled, film.losses_survived) == (True, 1)  # the rung of two copies
        assert film.annual_loss == markov_loss(Layout(Scheme(1, 2)), FailureRates())
        holders = (await made.client.manifest("film", "360p")).chunks[0].fragments
        told = await made.client.exposure()
        assert [each.nodes for each in told.combined[0].worst] == [
            tuple(sorted(each.node for each in holders))
        ]
        # The rung that keeps its own layout costs the policy nothing to move.
        await watched(made, "film", 1001, 1e9)
        asked = await made.coordinator.keeper.advisor.advise()
        assert [each.moved_bytes for each in asked.now] == [2 * (3 * CHUNK + RUNG_BYTES)]
        await keep(made)
        layouts = {
            name: (await made.client.manifest("film", name)).chunks[0].layout
            for name in ("original", "720p", "360p")
        }
        hot = wire.LayoutRecord(k=1, n=3)
        assert layouts == {"original": hot, "720p": hot, "360p": wire.LayoutRecord(k=1, n=2)}
        made.coordinator.members.declare_lost(holders[0].node)
        await keep(made)
        again = (await made.client.manifest("film", "360p")).chunks[0].fragments
        assert len({each.node for each in again} - {holders[0].node}) == 2

    in_a_cluster(tmp_path, use, 6, keeper=AT_ONCE)


def test_the_exposure_route_follows_what_changes(tmp_path):
    async def use(made: Cluster):
        await store_video(made, "film", redundancy="rs:2+1")
        before = await made.client.exposure()
        assert (before.videos, [len(each.harm.stopped) for each in before.nodes]) == (1, [0] * 3)
        assert before.combined[0].losing == 3
        await made.stop("node-1")
        made.coordinator.members.declare_lost("node-1")
        after = await made.client.exposure()
        assert [each.harm.lost for each in after.nodes] == [(), ("film",), ("film",)]

    in_a_cluster(tmp_path, use, 3, keeper=AT_ONCE)


def test_a_policy_that_is_off_advises_nothing(tmp_path):
    async def use(made: Cluster):
        await store_video(made, "film", redundancy="auto")
        report = await made.client.storage()
        assert [each.advice.state for each in report.videos] == ["keep"]

    in_a_cluster(tmp_path, use, 5, keeper=dataclasses.replace(AT_ONCE, policy="off"))
