"""Questions to the coordinator, and since when it has not answered them."""

import time
from collections.abc import Awaitable
from typing import TypeVar

from smart_client.errors import CoordinatorUnreachable

Answer = TypeVar("Answer")


class CoordinatorWatch:
    """Responsible for telling a coordinator that is away from one that is asked now."""

    def __init__(self) -> None:
        self.away_since_ts: float | None = None  # Unix time; None: it answered the last question

    async def ask(self, question: Awaitable[Answer]) -> Answer:
        """Return the answer; an error says since when there has been none.

        Raises: CoordinatorUnreachable: with ``away_since_ts`` and ``away_s`` in its detail;
            EvenflowError: what the coordinator said.
        """
        asked_ts = time.time()
        try:
            answer = await question
        except CoordinatorUnreachable as error:
            if self.away_since_ts is None:
                self.away_since_ts = asked_ts
            error.detail["away_since_ts"] = round(self.away_since_ts, 3)
            error.detail["away_s"] = round(time.time() - self.away_since_ts, 1)
            raise
        except BaseException:
            raise
        self.away_since_ts = None
        return answer
