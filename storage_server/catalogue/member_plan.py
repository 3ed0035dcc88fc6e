"""What a change of the nodes that keep the catalogue means, before it is done. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redundancy.errors import UsageError
from redundancy.tables import table
from smart_client import wire
from smart_client.agreement import Agreement, AgreementMember
from smart_client.errors import InvalidRequest, NodeNotFound, NodeUnreachable
from storage_server.consensus.quorum import majority

_HEAD = ("MEMBER", "STATE", "ANSWER", "URL")


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """Who keeps the catalogue now and who then."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    urls_before: tuple[str, ...]
    urls: tuple[str, ...]

    @property
    def text(self) -> str:
        """Return it for people."""
        lines = [
            f"now:  {', '.join(self.before)} ({_strength(len(self.before))})",
            f"then: {', '.join(self.after)} ({_strength(len(self.after))})",
            "writes wait while the registers are handed over; nothing that plays notices",
        ]
        if len(self.after) % 2 == 0:
            lines.append(
                f"note: {len(self.after)} survive no more losses than {len(self.after) - 1} do"
            )
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """Return it for programs."""
        return {
            "before": list(self.before),
            "after": list(self.after),
            "quorum_before": majority(len(self.before)),
            "quorum_after": majority(len(self.after)),
        }


def planned_change(
    now: Agreement,
    nodes: Mapping[str, wire.NodeStatus],
    *,
    add: str | None,
    remove: str | None,
) -> MemberPlan:
    """Return what adding and removing nodes leads to.

    Raises: InvalidRequest: the catalogue is not kept by nodes; UsageError: a name that does not
        fit; NodeNotFound; NodeUnreachable: who must answer does not.
    """
    if now.catalogue != "chunkpaxos":
        raise InvalidRequest(
            f"the catalogue is kept in {now.catalogue}, not by nodes",
            hint="move it there first: storage-server admin catalogue copy --help",
        )
    members = {each.name: each for each in now.members}
    _require_quorum(now)
    after = dict.fromkeys(members)
    if remove is not None:
        if remove not in members:
            raise UsageError(
                f"'{remove}' does not keep the catalogue", hint=f"these do: {', '.join(members)}"
            )
        del after[remove]
    if add is not None:
        if add in members:
            raise UsageError(f"'{add}' keeps the catalogue already")
        _require_up(add, nodes)
        after[add] = None
    if not after:
        raise UsageError(
            "somebody must keep the catalogue",
            hint=f"replace the last one: storage-server admin catalogue members replace {remove} "
            "NEW",
        )
    silent = [name for name in after if name in members and members[name].state != "up"]
    if silent:
        raise NodeUnreachable(
            f"{', '.join(silent)} would stay and does not answer: every member of the next epoch "
            "must be there when it begins",
            hint="bring it back first, or take it out with this change",
        )
    return MemberPlan(
        tuple(members),
        tuple(after),
        tuple(each.url for each in now.members),
        tuple(
            members[name].url if name in members else nodes[name].record.urls[0] for name in after
        ),
    )


def _require_quorum(now: Agreement) -> None:
    up = sum(each.state == "up" for each in now.members)
    if up < now.quorum:
        raise NodeUnreachable(
            f"{up} of {len(now.members)} members answer, {now.quorum} must: what they decided "
            "could not be handed over",
            hint="bring members back first; nothing was changed",
        )


def _require_up(node: str, nodes: Mapping[str, wire.NodeStatus]) -> None:
    status = nodes.get(node)
    if status is None:
        raise NodeNotFound(
            f"no node '{node}'", hint="`storage-server admin node list` shows the nodes"
        )
    if status.state != "up" or not status.record.urls:
        raise NodeUnreachable(f"node {node} is {status.state}", hint="start it first")


def _strength(members: int) -> str:
    spare = members - majority(members)
    return f"any {majority(members)} of {members} decide, {spare} may be lost"


def members_text(found: Agreement) -> str:
    """Return who decides, for people."""
    rows = [_row(each) for each in found.members]
    return "\n".join([table(_HEAD, rows), f"{found.catalogue}: {found.summary}"])


def _row(member: AgreementMember) -> Sequence[str]:
    answer_s = member.answer_s
    took = member.detail if member.detail or answer_s is None else f"{answer_s * 1000:.1f} ms"
    return (member.name, f"{member.state} {member.role}".strip(), took, member.url)
