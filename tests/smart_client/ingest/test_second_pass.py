"""What a node missed of an upload: it is asked again before the upload ends, twice."""

import asyncio
import random
from urllib.parse import urlsplit

import pytest

from smart_client.ingest.plan_runner import UploadProgress
from smart_client.ingest.upload import Uploader
from support.running_cluster import Cluster, in_a_cluster

pytestmark = pytest.mark.real

AS = ("film", "rs:3+2")


# The passes are 1 s and 3 s after everything is readable: the first, or only the second, finds it.
@pytest.mark.parametrize("away_s", [0.0, 1.3])
def test_a_node_that_is_back_in_time_gets_what_it_missed(tmp_path, away_s) -> None:
    path = tmp_path / "film.bin"
    path.write_bytes(random.Random(1).randbytes(9_000_000))

    async def use(made: Cluster) -> None:
        port = urlsplit(made.nodes["node-2"].url).port
        await made.stop("node-2")
        told = UploadProgress()

        def report(progress: UploadProgress) -> None:
            nonlocal told
            told = progress

        uploading = asyncio.create_task(Uploader(made.client, report=report).put(path, *AS))
        while told.stage != "completing":
            assert not uploading.done(), "it was never short of anything"
            await asyncio.sleep(0.01)
        await asyncio.sleep(away_s)
        await made.start_node("node-2", port=port)
        stored = await uploading
        assert stored.missing_fragments == 0
        chunks = (await made.client.manifest("film")).chunks
        assert all(len(chunk.fragments) == 5 for chunk in chunks)

    in_a_cluster(tmp_path, use, nodes=5)
