"""Recordings of simulated sessions, as the player writes them."""

from collections.abc import Sequence
from pathlib import Path

from smart_client.recording import Recorder, recording_head
from smart_client.simulator.engine import Engine
from smart_client.wire import ChunkRecord


def record_play(
    engine: Engine, chunks: Sequence[ChunkRecord], path: Path, *, limit_s: float = 3600.0
) -> list:
    """Play a simulated session into a recording; return (instant, event, commands)."""
    recorder = Recorder(path, recording_head(engine.session, "film", chunks))
    log: list = []
    handle = engine.session.handle

    def noted(event, now_s):
        issued = handle(event, now_s)
        recorder.observe(now_s, event, issued)
        log.append((now_s, event, issued))
        return issued

    engine.session.handle = noted
    engine.play(limit_s=limit_s)
    recorder.close()
    return log
