"""Manifests that were used lately, on disk: a video that was played here plays on without one.

Only asked when no coordinator answers. A stale manifest does no harm: every byte is checked against
it, and where fragments lie is asked again as soon as somebody can say.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
from pathlib import Path

from redundancy.errors import EvenflowError
from smart_client import wire
from smart_client.errors import CoordinatorUnreachable, VideoNotFound
from smart_client.gateway.coordinator_watch import CoordinatorWatch
from smart_client.library import Library

log = logging.getLogger(__name__)

# A player gives up before a frozen coordinator does; with a manifest at hand there is no need to.
PATIENCE_S = 2.0

MANIFESTS_MAX = 512


class ManifestShelf:
    """Responsible for the manifests of one gateway."""

    def __init__(self, directory: Path, library: Library, watch: CoordinatorWatch) -> None:
        self._directory = directory
        self._library = library
        self._watch = watch

    async def get(self, name: str, rendition: str) -> wire.Manifest:
        """Return a manifest, the coordinator's if it answers in time, else the last one seen.

        Raises: VideoNotFound, RenditionNotFound, CoordinatorUnreachable: and none was seen.
        """
        known = await asyncio.to_thread(self._read, name, rendition)
        question = self._library.manifest(name, rendition)
        try:
            if known is None:
                manifest = await self._watch.ask(question)
            else:
                patience_s = PATIENCE_S if self._watch.away_since_ts is None else PATIENCE_S / 4
                manifest = await self._watch.ask(question, patience_s=patience_s)
        except VideoNotFound:
            await asyncio.to_thread(self._path(name, rendition).unlink, missing_ok=True)
            raise
        except CoordinatorUnreachable:
            if known is None:
                raise
            log.warning("no coordinator answers: '%s' is played as it was last known", name)
            return known
        await asyncio.to_thread(self._write, name, rendition, manifest)
        return manifest

    def _path(self, name: str, rendition: str) -> Path:
        digest = hashlib.sha256(f"{name}/{rendition}".encode()).hexdigest()
        return self._directory / f"{digest[:40]}.json"

    def _read(self, name: str, rendition: str) -> wire.Manifest | None:
        try:
            manifest = wire.decode(self._path(name, rendition).read_bytes(), wire.Manifest)
        except (OSError, EvenflowError):
            return None
        right = manifest.video.name == name and manifest.rendition.name == rendition
        return manifest if right else None

    def _write(self, name: str, rendition: str, manifest: wire.Manifest) -> None:
        path = self._path(name, rendition)
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            # It may carry a grant to read, so it is for its owner only.
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                out.write(wire.encode(manifest))
            os.replace(part, path)
            self._forget_oldest()
        except OSError as error:
            log.info("a manifest is not kept: %s", error)
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def _forget_oldest(self) -> None:
        files = [entry for entry in os.scandir(self._directory) if entry.name.endswith(".json")]
        if len(files) <= MANIFESTS_MAX:
            return
        files.sort(key=lambda entry: entry.stat().st_mtime)
        for entry in files[: len(files) - MANIFESTS_MAX]:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)
