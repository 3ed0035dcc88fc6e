"""What ``storage-server exposure`` tells, for people and for programs. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redundancy.errors import ExitCode
from redundancy.exposure import Chance, Exposure, Harm, Pieces
from redundancy.tables import table
from redundancy.uptime import ASSUMED_SHARE, ASSUMED_WEIGHT_S, Uptime
from smart_client.storage_report import (
    CombinedExposure,
    ExposureReport,
    HarmRecord,
    NodeExposure,
)
from smart_client.whereabouts import Whereabouts
from storage_server.catalogue_exposure import CatalogueExposure

# More names than this in one cell are only counted.
_NAMES_SHOWN = 3

# So many of the worst combinations of each size are shown.
_WORST_SHOWN = 4

_COMBINED_MAX = 3

_HEAD = ("NODE", "STATE", "IF YOU UNPLUG IT", "IF ITS DATA IS GONE")


def exposure_of(told: Whereabouts) -> Exposure:
    """Return what judges missing nodes, from what a coordinator told.

    A node that is suspect or was not heard yet is away: its data may come back. What is lost, or
    not registered any more, is gone.
    """
    shapes = [
        Pieces(
            shape.k,
            tuple(told.names[node] for node in shape.coded),
            tuple(told.names[node] for node in shape.copies),
        )
        for shape in told.shapes
    ]
    states = {each.record.id: each.state for each in told.nodes}
    return Exposure(
        {video.name: [shapes[position] for position in video.shapes] for video in told.videos},
        list(states),
        away=[node for node, state in states.items() if state not in ("up", "lost")],
        gone=[node for node, state in states.items() if state == "lost"],
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """The command's one result."""

    payload: dict[str, object]
    text: str
    exit_code: ExitCode


def overview(
    told: Whereabouts,
    uptime: Mapping[str, float],
    catalogue: CatalogueExposure = CatalogueExposure(),  # noqa: B008 - frozen
) -> Answer:
    """Return the one screen: each node, every two and three, and what is to be expected."""
    exposure = exposure_of(told)
    states = {each.record.id: each.state for each in told.nodes}
    now = exposure.now()
    sizes = range(1, min(_COMBINED_MAX, len(exposure.nodes)) + 1)
    harms = {size: list(exposure.harms(size)) for size in sizes}
    total, each = exposure.expected(uptime)
    singles = harms.get(1, [])
    lines = [*_now_lines(now, states, len(exposure.videos)), ""]
    if singles:
        rows = [_node_row(harm, states[harm.nodes[0]], catalogue) for harm in singles]
        lines += [table(_HEAD, rows), ""]
    for size in sizes:
        lines += _combined_lines(size, harms[size], harms.get(size - 1, []) if size > 1 else [])
    lines += catalogue.lines()
    if exposure.nodes:
        lines += ["", _expected_line(total, each, uptime, told)]
    payload = {
        "videos": len(exposure.videos),
        "nodes": [{"id": node, "state": state} for node, state in states.items()],
        "now": _harm_json(now),
        "combinations": [_harm_json(harm) for size in sizes for harm in harms[size]],
        "expected_unplayable": {"low": total.low, "high": total.high},
        "uptime": dict(uptime),
        "catalogue": {
            "members": list(catalogue.members),
            "stops_without": [list(each) for each in catalogue.worst()],
        },
    }
    is_safe = all(harm.is_safe for harm in singles) and now.is_safe and catalogue.is_safe
    return Answer(payload, "\n".join(lines), ExitCode.OK if is_safe else ExitCode.PARTIAL)


def expected_uptimes(told: Whereabouts) -> dict[str, float]:
    """Return the share of the time each node is to be counted on, as far as it was measured."""
    found = {}
    for each in told.nodes:
        up_s = (each.uptime or 0.0) * each.watched_s
        seen = Uptime(each.watched_s, up_s) if each.watched_s else None
        found[each.record.id] = seen.expected if seen else ASSUMED_SHARE
    return found


def summary(told: Whereabouts) -> ExposureReport:
    """Return the same as ``overview``, at the measured uptimes, for programs."""
    exposure = exposure_of(told)
    states = {each.record.id: each.state for each in told.nodes}
    uptime = expected_uptimes(told)
    sizes = range(1, min(_COMBINED_MAX, len(exposure.nodes)) + 1)
    harms = {size: list(exposure.harms(size)) for size in sizes}
    total, _ = exposure.expected(uptime)
    combined = []
    for size in list(sizes)[1:]:
        bad = [harm for harm in harms[size] if not harm.is_safe]
        combined.append(
            CombinedExposure(
                missing=size,
                combinations=len(harms[size]),
                stopping=sum(bool(each.stopped) for each in bad),
                losing=sum(bool(each.lost) for each in bad),
                worst=tuple(map(_record, _news(bad, harms[size - 1])[:_WORST_SHOWN])),
            )
        )
    return ExposureReport(
        videos=len(exposure.videos),
        now=_record(exposure.now()),
        nodes=tuple(
            NodeExposure(
                id=harm.nodes[0],
                state=states[harm.nodes[0]],
                uptime=uptime[harm.nodes[0]],
                harm=_record(harm),
            )
            for harm in harms.get(1, [])
        ),
        combined=tuple(combined),
        expected_unplayable_low=total.low,
        expected_unplayable_high=total.high,
    )


def _record(harm: Harm) -> HarmRecord:
    return HarmRecord(nodes=harm.nodes, stopped=harm.stopped, lost=harm.lost)


def answer_for(
    told: Whereabouts,
    nodes: Sequence[str],
    catalogue: CatalogueExposure = CatalogueExposure(),  # noqa: B008 - frozen
) -> Answer:
    """Return what it does when exactly these nodes go. Raises: UsageError: there is no such one."""
    exposure = exposure_of(told)
    harm = exposure.harm(nodes)
    named = " + ".join(harm.nodes)
    lines = [
        f"without {named}: {_stops(harm)}",
        f"if the data on {'it' if len(harm.nodes) == 1 else 'them'} is gone: {_loses(harm)}",
    ]
    now = exposure.now()
    if not now.is_safe:
        lines.append(f"besides, already now: {_both(now)}")
    lines += [f"but {line}" for line in catalogue.lines_without(harm.nodes)]
    stops = catalogue.stops_without(harm.nodes)
    code = ExitCode.OK if harm.is_safe and not stops else ExitCode.PARTIAL
    told_of = {"stops": stops, "lost": catalogue.loses_without(harm.nodes)}
    payload = {**_harm_json(harm), "now": _harm_json(now), "catalogue": told_of}
    return Answer(payload, "\n".join(lines), code)


def _now_lines(now: Harm, states: Mapping[str, str], videos: int) -> list[str]:
    away = [f"{node} ({state})" for node, state in states.items() if state != "up"]
    nodes = f"{len(states)} node{'s' * (len(states) != 1)}"
    up = "all up" if not away else f"not up: {', '.join(away)}"
    counted = f"{videos} video{'s' * (videos != 1)} on {nodes}, {up}"
    return [counted] if now.is_safe else [counted, f"already now: {_both(now)}"]


def _both(harm: Harm) -> str:
    found = []
    if harm.stopped:
        found.append(_stops(harm))
    if harm.lost:
        found.append(_loses(harm))
    return "; ".join(found)


def _node_row(harm: Harm, state: str, catalogue: CatalogueExposure) -> tuple[str, ...]:
    stops = [_stops(harm)] if harm.stopped else []
    stops += ["the catalogue stops"] if catalogue.stops_without(harm.nodes) else []
    return (harm.nodes[0], state, "; ".join(stops) or "safe", _loses(harm))


def _stops(harm: Harm) -> str:
    if not harm.stopped:
        return "every video plays on"
    return f"{_counted(harm.stopped)} stop{'s' if len(harm.stopped) == 1 else ''}: " + _names(
        harm.stopped
    )


def _loses(harm: Harm) -> str:
    if not harm.lost:
        return "nothing is lost"
    return f"{_counted(harm.lost)} lost: {_names(harm.lost)}"


def _counted(names: Sequence[str]) -> str:
    return f"{len(names)} video{'s' if len(names) > 1 else ''}"


def _names(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _combined_lines(size: int, harms: Sequence[Harm], smaller: Sequence[Harm]) -> list[str]:
    """Return how many of the combinations do harm, and the worst that are news."""
    bad = [harm for harm in harms if not harm.is_safe]
    what = f"any {size} node{'s' * (size > 1)}"
    if not bad:
        return [f"{what}: safe, all {len(harms)} combinations" if size > 1 else f"{what}: safe"]
    if size == 1:
        return []  # the table has said it
    stopping, losing = sum(bool(each.stopped) for each in bad), sum(bool(each.lost) for each in bad)
    lines = [
        f"{what}: {stopping} of {len(harms)} combinations stop videos, {losing} lose videos "
        "if the data is gone"
    ]
    news = _news(bad, smaller)
    lines += [f"  {' + '.join(each.nodes)}: {_both(each)}" for each in news[:_WORST_SHOWN]]
    if len(news) > _WORST_SHOWN:
        lines.append(f"  and {len(news) - _WORST_SHOWN} more; --json lists them all")
    return lines


def _news(bad: Sequence[Harm], smaller: Sequence[Harm]) -> list[Harm]:
    """Return those that harm a video which no smaller part of them harms, the worst first."""
    known = [(set(each.nodes), each) for each in smaller if not each.is_safe]

    def is_news(harm: Harm) -> bool:
        stopped, lost = set(harm.stopped), set(harm.lost)
        for nodes, each in known:
            if nodes < set(harm.nodes):
                stopped -= set(each.stopped)
                lost -= set(each.lost)
        return bool(stopped or lost)

    return sorted(filter(is_news, bad), key=lambda each: (-len(each.lost), -len(each.stopped)))


def _expected_line(
    total: Chance, each: Mapping[str, Chance], uptime: Mapping[str, float], told: Whereabouts
) -> str:
    shares = sorted(set(uptime.values()))
    up = f"{shares[0]:.2%}" if len(shares) == 1 else f"{min(shares):.2%} to {max(shares):.2%}"
    up_text = f"{up} of the time"
    if uptime == expected_uptimes(told):
        up_text += _assumed(max((node.watched_s for node in told.nodes), default=0.0))
    line = f"with nodes up {up_text}, each by itself: {_chance(total)} of {len(each)} videos"
    line += " cannot be played at a random moment"
    worst = max(each, key=lambda name: each[name].high, default=None)
    if worst is None or not each[worst].high:
        return line
    hours = each[worst].high * 365.25 * 24
    return f"{line}; the worst, {worst}, {hours:.1f} hours a year"


def _assumed(watched_s: float) -> str:
    """Return how much of an uptime is no measurement; empty where most of it is one."""
    if not watched_s:
        return " (assumed: nothing was measured yet)"
    if watched_s < ASSUMED_WEIGHT_S:
        return " (mostly assumed: no node was watched for a week yet)"
    return ""


def _chance(chance: Chance) -> str:
    if chance.high - chance.low <= 0.005 * chance.high:
        return f"{chance.high:.2g}"
    return f"{chance.low:.2g} to {chance.high:.2g}"


def _harm_json(harm: Harm) -> dict[str, object]:
    return {"nodes": harm.nodes, "stopped": harm.stopped, "lost": harm.lost, "safe": harm.is_safe}
