"""Which video a fragment is of: its footer says so, and never changes."""

from redundancy.errors import InvalidFragment
from redundancy.fragment_format import footer_length, read_footer_at_end
from storage_server.node.errors import ReadFailed
from storage_server.node.responses import SliceSender
from storage_server.node.store import StoredFragment

# Most footers are shorter; a longer one is read in a second go.
_TAIL_BYTES = 8 * 1024

# About 20 MB of memory; one forgotten costs the reading of a footer.
_KNOWN_MAX = 100_000

_NO_VIDEO = b""


class FragmentVideos:
    """Responsible for looking each fragment's video up once."""

    def __init__(self, sender: SliceSender) -> None:
        self._sender = sender
        self._known: dict[bytes, bytes] = {}

    async def video_of(self, key: bytes, fragment: StoredFragment) -> bytes:
        """Return the 16 bytes of a video's id; empty if the fragment does not say.

        Raises: ReadFailed.
        """
        video_id = self._known.get(key)
        if video_id is None:
            video_id = await self._read(fragment)
            if len(self._known) >= _KNOWN_MAX:
                del self._known[next(iter(self._known))]
            self._known[key] = video_id
        return video_id

    async def _read(self, fragment: StoredFragment) -> bytes:
        try:
            tail = await self._tail(fragment, _TAIL_BYTES)
            needed = footer_length(tail)
            if needed > len(tail):
                tail = await self._tail(fragment, needed)
            return read_footer_at_end(tail).label.video_id
        except InvalidFragment:
            return _NO_VIDEO
        except OSError as error:
            raise ReadFailed(f"the disk did not give a footer: {error}") from error

    async def _tail(self, fragment: StoredFragment, count: int) -> bytes:
        length = fragment.length_bytes
        start = max(0, length - count)
        return await self._sender.read_small(fragment, start=start, stop=length)
