"""The clairvoyant optimum: the least waiting any session could reach in a world.

**What it bounds.** W = startup + stalls of one viewer who plays from the start to the end. Say a
session waits W in total. Then every row whose media time begins at m is complete at W + m at the
latest, because the playhead is there by then; and the rows of the first ``start_buffer_s`` are
complete at W, because playback had not started before. Its transfers are therefore a feasible
solution of this problem, whatever the scheduler knew:

    x[j,i,t] bytes of unit j from node i in slot t
    sum over i, t = S_j                   a unit comes whole ...
    sum over t    <= S_j / k              ... k distinct fragments a row (S_j from a whole copy)
    sum over j    <= capacity of i in t   nothing in the first round trip, in an outage, and in the
                                          round trip after a freeze
    sum over i, j <= client's link in t
    only between the unit's release and W + its offset

A unit is a run of rows of one chunk; its offset is the media time of its *last* row, so every byte
of it may come that late: larger units make the bound weaker, never wrong. The release is the
instant at which the buffer has room: the session asks for a chunk when the playhead is within
``window_s`` of it, and the playhead cannot be at media time m before m + (a lower bound of the
waiting until m); these bounds come from the forward pass. Footers, think times, slow starts,
cancelled bytes and restarts after a stall are left out, which can only lower the result. Bytes are
rounded in favour of feasibility, and of the last interval of the search the lower end is returned.
So W* <= W always.

**Copies and codes alike.** With k distinct fragments a row, {x_i <= S/k, sum x_i = S} is enough: by
McNaughton's wrap-around rule (1959) the bytes can be laid out so that every position gets k
distinct nodes. So the problem is one max-flow network; W* is the least W for which it carries all.

**How.** A family of cuts, checked by numpy, gives a lower bound: units a..J must fit into what
their holders can send between the release of a and the deadline of J. Mostly it is the optimum, and
one flow computation confirms it; otherwise the search goes on by bisection.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import inf

import numpy as np

from redundancy.rows import RowGeometry
from smart_client.errors import InvalidRequest
from smart_client.simulator.supply import FOREVER_S, Supply, supply_of
from smart_client.simulator.trace_library import FloatArray
from smart_client.simulator.unit_flow import Windows, everything_fits
from smart_client.simulator.world import World

# Media time in a unit, except where a chunk ends. Half of it is about what the bound loses when all
# nodes are away at once, and nothing otherwise.
UNIT_S = 2.0

# Instants closer than this are one, as for the readers of a session.
EPSILON_S = 1e-6

# The search stops when it knows the result this well.
TOLERANCE_S = 1e-3
TOLERANCE_SHARE = 2e-3

# Two sums of bytes closer than this are equal.
EPSILON_BYTES = 0.5


@dataclass(frozen=True, slots=True)
class Units:
    """The video in playout units, in the order they play."""

    sizes: FloatArray  # bytes, one a unit
    offsets_s: FloatArray  # W + offset is the deadline
    room_at_s: FloatArray  # the playhead's media time at which the buffer has room; 0: at once
    limits: FloatArray  # [unit, node]: what it can usefully bring of the unit


def optimal_waiting_s(world: World, *, unit_s: float = UNIT_S, whole_units: bool = False) -> float:
    """Return a lower bound of startup + stalls; infinity if the video can never be read.

    Args:
        world: with one viewer who plays straight through.
        unit_s: media time in a unit; at least a chunk's duration makes every chunk one unit.
        whole_units: let a unit be complete before it begins to play, as players of whole segments
            need it. Then the result is no bound for sessions, which play row by row.
    Raises: InvalidRequest: several viewers, or jumps.
    """
    if not world.is_straight:
        raise InvalidRequest("the optimum is known for one viewer who plays straight through")
    units = units_of(world, unit_s=unit_s, whole_units=whole_units)
    supply = supply_of(world.nodes, world.client_bytes_per_s)
    waits_s, releases_s = _ForwardPass(units, supply).run()
    low_s = float(waits_s[-1])
    if low_s >= FOREVER_S / 2:
        return inf

    def fits(waiting_s: float) -> bool:
        windows = Windows(releases_s, waiting_s + units.offsets_s)
        return everything_fits(units.sizes, units.limits, windows, supply)

    if fits(low_s + EPSILON_S):
        return low_s
    step_s = max(TOLERANCE_S, TOLERANCE_SHARE * low_s)
    high_s = low_s + 8 * step_s
    while not fits(high_s):
        low_s, high_s = high_s, high_s + 2 * (high_s - low_s)
        if high_s > FOREVER_S:
            return inf
    return _bisect(fits, low_s, high_s, step_s)


def _bisect(fits: Callable[[float], bool], low: float, high: float, tolerance: float) -> float:
    """Return where a condition becomes true, or up to ``tolerance`` below; it holds at ``high``."""
    while high - low > tolerance:
        middle = (low + high) / 2
        if fits(middle):
            high = middle
        else:
            low = middle
    return low


def units_of(world: World, *, unit_s: float = UNIT_S, whole_units: bool = False) -> Units:
    """Cut the video into units; a unit never spans two chunks, nor the end of the start buffer."""
    sizes, offsets_s, room_at_s, limits = [], [], [], []
    start_s, window_s = world.config.start_buffer_s, world.config.window_s
    position = {node_id: index for index, node_id in enumerate(world.node_ids)}
    for chunk in world.chunks:
        layout = chunk.layout.to_layout()
        geometry = RowGeometry(chunk.size, layout.scheme.k)
        row_bytes = [row * geometry.row_bytes for row in range(geometry.rows)]
        row_s = [chunk.start_s + chunk.duration_s * (at / chunk.size) for at in row_bytes]
        row_bytes.append(chunk.size)
        helps = np.zeros(len(position))
        for fragment in chunk.fragments:
            is_copy = layout.is_copy(fragment.index)
            helps[position[fragment.node]] += 1.0 if is_copy else 1.0 / layout.scheme.k
        early = bisect_left(row_s, start_s - EPSILON_S)
        # Whole rows only, as many as begin within ``unit_s``.
        cuts, row = [0, early] if early else [0], early
        while row < geometry.rows:
            last_s = row_s[row] + unit_s - EPSILON_S
            row = max(row + 1, bisect_left(row_s, last_s))
            cuts.append(row)
        for first, stop in pairwise(cuts):
            size = float(row_bytes[stop] - row_bytes[first])
            due_s = row_s[first if whole_units else stop - 1]
            sizes.append(size)
            offsets_s.append(0.0 if stop <= early else due_s)
            room_at_s.append(max(0.0, chunk.start_s - window_s))
            limits.append(np.minimum(1.0, helps) * size)
    return Units(np.array(sizes), np.array(offsets_s), np.array(room_at_s), np.array(limits))


class _ForwardPass:
    """Responsible for the least waiting until each unit plays, as far as cuts show it.

    The cut (a, J): units a..J must fit into what their holders send from the release of a to the
    deadline of J, where a node counts for at most its limits of these units.
    """

    def __init__(self, units: Units, supply: Supply) -> None:
        count, nodes = units.limits.shape
        self._units = units
        self._supply = supply
        self._waits_s = np.zeros(count)
        self._releases_s = np.zeros(count)
        self._sent_before = np.zeros((count, nodes))  # [unit, node]: by the unit's release
        self._bytes_before = np.concatenate([[0.0], np.cumsum(units.sizes)])
        self._limits_before = np.concatenate([np.zeros((1, nodes)), units.limits.cumsum(0)])

    def run(self) -> tuple[FloatArray, FloatArray]:
        """Return the waits and the releases, one a unit."""
        waiting_s = 0.0
        for unit in range(self._waits_s.size):
            released_s = self._release_s(unit)
            self._releases_s[unit] = released_s
            self._sent_before[unit] = self._supply.by(released_s)
            holds = self._cuts_of(unit)
            if not holds(waiting_s):
                waiting_s = _bisect(holds, waiting_s, FOREVER_S, EPSILON_S)
            self._waits_s[unit] = waiting_s
        return self._waits_s, self._releases_s

    def _release_s(self, unit: int) -> float:
        """Return the earliest instant at which the playhead can be where the buffer has room."""
        room_at_s = float(self._units.room_at_s[unit])
        if room_at_s <= 0:
            return 0.0
        played = int(np.searchsorted(self._units.offsets_s, room_at_s - EPSILON_S))
        return room_at_s + (float(self._waits_s[played - 1]) if played else 0.0)

    def _cuts_of(self, unit: int) -> Callable[[float], bool]:
        """Return a function that says whether all cuts (a, unit) hold for a waiting."""
        first = slice(0, unit + 1)
        need = self._bytes_before[unit + 1] - self._bytes_before[first] - EPSILON_BYTES
        limits = self._limits_before[unit + 1] - self._limits_before[first]
        sent_before, releases_s = self._sent_before[first], self._releases_s[first]
        offset_s, client = float(self._units.offsets_s[unit]), self._supply.client_bytes_per_s

        def holds(waiting_s: float) -> bool:
            due_s = waiting_s + offset_s
            sent = self._supply.by(due_s) - sent_before
            if not (np.minimum(sent, limits).sum(1) >= need).all():
                return False
            return bool(client == inf or (client * (due_s - releases_s) >= need).all())

        return holds
