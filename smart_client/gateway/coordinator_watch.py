"""Questions to the coordinator, and since when it has not answered them."""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

from redundancy.errors import EvenflowError
from smart_client.errors import CoordinatorUnreachable

Answer = TypeVar("Answer")

# A page that waits longer than this for a frozen coordinator looks frozen itself.
PATIENCE_S = 6.0


class CoordinatorWatch:
    """Responsible for telling a coordinator that is away from one that is asked now."""

    def __init__(self) -> None:
        self.away_since_ts: float | None = None  # Unix time; None: it answered the last question

    async def ask(self, question: Awaitable[Answer], *, patience_s: float = PATIENCE_S) -> Answer:
        """Return the answer; an error says since when there has been none.

        Raises: CoordinatorUnreachable: with ``away_since_ts`` and ``away_s`` in its detail;
            EvenflowError: what the coordinator said.
        """
        asked_ts = time.time()
        try:
            async with asyncio.timeout(patience_s):
                answer = await question
        except CoordinatorUnreachable as error:
            self._is_away(asked_ts, error)
            raise
        except TimeoutError as silence:
            away = CoordinatorUnreachable(
                f"no coordinator answered in {patience_s:g} s",
                hint="`smart-client doctor` checks each step",
            )
            self._is_away(asked_ts, away)
            raise away from silence
        except EvenflowError:
            self.away_since_ts = None  # a refusal is an answer
            raise
        self.away_since_ts = None
        return answer

    def _is_away(self, asked_ts: float, error: CoordinatorUnreachable) -> None:
        if self.away_since_ts is None:
            self.away_since_ts = asked_ts
        error.detail["away_since_ts"] = round(self.away_since_ts, 3)
        error.detail["away_s"] = round(time.time() - self.away_since_ts, 1)
