"""``serve --strm DIR``: one ``NAME.strm`` a video, for Jellyfin, Kodi and their like.

A .strm file holds a URL. The folder follows the library; only files that this folder's list names
and that still say what was written into them are changed or removed, so nobody else's are touched.
"""

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from redundancy.errors import EvenflowError, FileProblem
from redundancy.terminal import from_os_error

log = logging.getLogger(__name__)

LIST_FILE = ".evenflow-strm.json"

EVERY_S = 5.0


class StrmFolder:
    """Responsible for the .strm files in one directory."""

    def __init__(self, directory: Path, urls: Callable[[], Awaitable[Mapping[str, str]]]) -> None:
        """Args: urls: asks for all videos that can be played, and the URL of each."""
        self.directory = directory
        self._urls = urls

    async def keep_current(self) -> None:
        """Follow the library until cancelled; while it cannot be asked, files stay as they are."""
        trouble = ""
        while True:
            try:
                urls = await self._urls()
                await asyncio.to_thread(self.write, urls)
                trouble = ""
            except EvenflowError as error:
                if error.message != trouble:
                    log.warning(".strm files stay as they are: %s", error.message)
                trouble = error.message
            await asyncio.sleep(EVERY_S)

    def write(self, urls: Mapping[str, str]) -> None:
        """Make the folder say this. Blocking. Raises: FileProblem."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            ours = self._read_list()
            now: dict[str, str] = {}
            for name, url in urls.items():
                if self._put_if_short(f"{name}.strm", f"{url}\n", ours):
                    now[f"{name}.strm"] = f"{url}\n"
            for file, text in ours.items():
                if file not in now and self._says(file, text):
                    (self.directory / file).unlink(missing_ok=True)
            if now != ours:
                self._replace(LIST_FILE, msgspec.json.encode(now))
        except OSError as error:
            raise from_os_error(error) from error

    def _put_if_short(self, file: str, text: str, ours: Mapping[str, str]) -> bool:
        """Write one file as ``_put``; one whose name no file may have is left out."""
        try:
            return self._put(file, text, ours)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            log.info("'%s' is too long a name for a file", file)
            return False

    def _put(self, file: str, text: str, ours: Mapping[str, str]) -> bool:
        """Write one file; return whether it is ours and as it should be."""
        path = self.directory / file
        if self._says(file, text):
            return True
        if os.path.lexists(path) and not (file in ours and self._says(file, ours[file])):
            log.info("%s is somebody else's: left alone", path)
            return False
        self._replace(file, text.encode())
        return True

    def _says(self, file: str, text: str) -> bool:
        path = self.directory / file
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return not path.is_symlink() and path.read_text(encoding="utf-8") == text
        return False

    def _replace(self, file: str, data: bytes) -> None:
        part = self.directory / f".evenflow-strm.{os.getpid()}.part"
        part.unlink(missing_ok=True)
        # Others may write here: never through a link that somebody left under this name.
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as out:
            out.write(data)
        os.replace(part, self.directory / file)

    def _read_list(self) -> dict[str, str]:
        try:
            found = msgspec.json.decode(
                (self.directory / LIST_FILE).read_bytes(), type=dict[str, str]
            )
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            raise FileProblem(
                f"{self.directory / LIST_FILE} cannot be read: {error}",
                hint="remove it; files that are there then count as somebody else's",
            ) from error
        # A name with a separator in it was not written by us.
        return {name: text for name, text in found.items() if Path(name).name == name}
