"""The driver when a chunk is laid out anew while its rows wait to be decoded."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from redundancy.scheme import Layout
from smart_client.core import commands, events
from smart_client.core.schedulers import make_scheduler
from smart_client.core.session import Session
from smart_client.core.state import SessionConfig
from smart_client.driver import SessionDriver
from smart_client.placing import placement_events
from smart_client.spool import Spool
from smart_client.transport.nodes import PieceSink
from support.virtual_world import StoredVideo

SIZES = [300_017, 480_000, 96_001]


class InstantTransport:
    """Answers at once."""

    def __init__(self, *stored: StoredVideo) -> None:
        self.stored = stored

    async def fetch(
        self, node: int, key: str, start: int, stop: int | None, sink: PieceSink
    ) -> None:
        body = next(each.fragments[key] for each in self.stored if key in each.fragments)
        sink.first_byte()
        sink.data(body[start:stop])

    async def ping(self, node: int) -> float:
        return 0.001

    async def close(self) -> None:
        pass


def test_rows_that_wait_to_be_decoded_when_their_chunk_is_laid_out_anew_come_again() -> None:
    first = StoredVideo(SIZES, Layout.parse("rs:3+2"))
    second = StoredVideo(SIZES, Layout.parse("rs:2+2"))

    async def scenario(changes: int) -> None:
        transport = InstantTransport(first, second)
        names = [each.id for each in first.manifest.nodes]
        config = SessionConfig(window_s=60.0)
        session = Session(first.manifest.chunks, names, make_scheduler("smart"), config)
        spool = Spool.nameless()
        with ThreadPoolExecutor(2) as pool:
            driver = SessionDriver(first.manifest, session, transport, spool, executor=pool)
            left = changes

            def change(_now_s, _event, issued) -> None:
                """As soon as rows are given to a thread, the video has the other layout."""
                nonlocal left
                if left and any(isinstance(command, commands.Decode) for command in issued):
                    left -= 1
                    chunks = (first, second)[(changes - left) % 2].manifest.chunks
                    for event in placement_events(session.state.records, chunks, names):
                        driver.post(event)

            driver.observe(change)
            driver.post(events.ReaderOpened(0, 0, False))
            async with asyncio.timeout(20.0):
                while session.state.buffer.readers[0].frontier < len(first.data):
                    await driver.wait_for_progress()
            assert left == 0
            session.check_invariants()
            await driver.close()
        assert spool.read(0, len(first.data)) == first.data
        spool.close()

    for changes in range(1, 9):
        asyncio.run(scenario(changes))
