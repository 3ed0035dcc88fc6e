"""Upkeep of a store in the thread of the test, one step after the other."""

import asyncio

from storage_server.node.compaction import DEAD_SHARE_MIN, Compactor


class InlineWriter:
    """Does at once what the writer thread would do."""

    async def run(self, action):
        return action()


class CountedPay:
    """Lets everything be written, and remembers how much."""

    def __init__(self):
        self.paid_bytes = []

    async def __call__(self, amount_bytes):
        self.paid_bytes.append(amount_bytes)


def compact_all(store, *, dead_share_min=DEAD_SHARE_MIN, pay=None) -> list[int]:
    """Compact until nothing is worth it; return the numbers of the superblocks that went."""
    compactor = Compactor(store, InlineWriter(), pay or CountedPay())

    async def compact():
        gone = []
        while (plan := compactor.choose(dead_share_min)) is not None:
            if not await compactor.compact(plan):
                break
            gone.append(plan.superblock.number)
            assert len(gone) < 1000, "compaction never ends"
        return gone

    return asyncio.run(compact())
