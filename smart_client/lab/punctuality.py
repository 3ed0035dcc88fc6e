"""Being on time on a machine that is busy, and telling how late one was."""

import asyncio
import contextlib
import os
from collections.abc import Sequence

# A lab needs a quarter of a core, but at the right moments: others may wait for it a little.
_NICENESS = -10

# With ordinary priority a busy machine adds milliseconds to every frame. The kernel keeps a share
# of every second for others.
_REALTIME_PRIORITY = 1

# Often enough to meet most hitches, seldom enough to be no load.
_LOOK_S = 0.02


def hurry(*, realtime: bool = False) -> None:
    """Ask for more of the processor than others get; without the right to it nothing changes."""
    with contextlib.suppress(OSError):
        if realtime:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_REALTIME_PRIORITY))
        else:
            os.nice(_NICENESS)


async def watch_loop(late_s: list[float]) -> None:
    """Note again and again how late a timer of this loop fires, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + _LOOK_S
        await asyncio.sleep(_LOOK_S)
        late_s.append(loop.time() - due_s)


def percentile_99(values: Sequence[float]) -> float:
    """Return what 99 of 100 values do not exceed; 0 without any."""
    ranked = sorted(values)
    return ranked[int(0.99 * (len(ranked) - 1))] if ranked else 0.0
