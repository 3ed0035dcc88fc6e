"""Which of a node's two paths its requests take."""

import threading
from collections.abc import Sequence

import pytest


class Paths:
    """Responsible for noting what each request that a plain desk looked at became."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, desk: type) -> None:
        """Args: desk: ``PlainReads`` or ``PlainPuts``."""
        self._taken: list[bool] = []
        self._at_work = threading.Lock()
        begin = desk.begin

        def watched(self_of_desk, *args):
            with self._at_work:
                begun = begin(self_of_desk, *args)
                self._taken.append(begun is not None)
            return begun

        monkeypatch.setattr(desk, "begin", watched)

    @property
    def taken(self) -> list[bool]:
        """True for each that was plain. An answer may be read before who sent it has returned."""
        with self._at_work:
            return self._taken


def without_date(head: bytes) -> Sequence[bytes]:
    """Return the lines of an answer's head in order, but for the one that changes."""
    return sorted(line for line in head.split(b"\r\n") if not line.startswith(b"Date:"))
