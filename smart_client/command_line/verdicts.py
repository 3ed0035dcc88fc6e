"""What ``status`` says first: one sentence on the cluster, and its exit code. Pure."""

from collections.abc import Sequence

from redundancy.errors import ExitCode
from redundancy.quantities import counted, size_text
from smart_client import wire
from smart_client.agreement import Agreement


def whole_verdict(
    cluster: wire.ClusterStatus, agreement: Agreement | None, silent: Sequence[str]
) -> tuple[str, ExitCode]:
    """Return one sentence and the exit code of ``status``; the gravest trouble speaks."""
    verdict, code = cluster_verdict(cluster)
    members = agreement.members if agreement is not None else ()
    away = [each.name for each in members if each.state != "up"]
    if agreement is not None and len(members) - len(away) < agreement.quorum:
        return (
            f"BROKEN  the catalogue has no majority: {len(members) - len(away)} of {len(members)} "
            f"who keep it answer. Only what is open plays on.  next: bring {', '.join(away)} back",
            ExitCode.TEMPORARY,
        )
    if code is ExitCode.UNRECOVERABLE or not (away or silent):
        return verdict, code
    troubles = []
    if away:
        spare = len(members) - len(away) - (agreement.quorum if agreement is not None else 0)
        verb = "takes" if len(away) == 1 else "take"
        troubles.append(
            f"{', '.join(away)} {verb} no part in keeping the catalogue: {spare} more may be lost"
        )
    troubles += [f"coordinator {url} does not answer" for url in silent]
    if code is ExitCode.OK:
        _, _, rest = verdict.partition("  ")
        return f"DEGRADED  {'; '.join(troubles)} ({rest})", ExitCode.PARTIAL
    return f"{verdict}; {'; '.join(troubles)}", code


def cluster_verdict(cluster: wire.ClusterStatus) -> tuple[str, ExitCode]:
    """Return one sentence and the exit code of ``status``."""
    down = [node.record.id for node in cluster.nodes if node.state != "up"]
    count = counted(cluster.videos, "video")
    keeper = cluster.keeper
    facts = f"{size_text(cluster.stored_bytes)} on disk"
    if cluster.uploading:
        facts += f", {cluster.uploading} not completely uploaded"
    if cluster.unplayable:
        names = ", ".join(cluster.unplayable[:5])
        return (
            f"BROKEN  {len(cluster.unplayable)} of {count} cannot be played now: {names} "
            f"({facts}).  next: bring {', '.join(down) or 'the missing nodes'} back",
            ExitCode.UNRECOVERABLE,
        )
    if cluster.fragile:
        return (
            f"FRAGILE  {len(cluster.fragile)} of {count} would be lost to view with one more node "
            f"gone ({facts}).  next: bring {', '.join(down) or 'the missing nodes'} back",
            ExitCode.PARTIAL,
        )
    if not cluster.nodes:
        return "EMPTY  no nodes yet.  next: storage-server node --help", ExitCode.TEMPORARY
    cut_off = [node for node in cluster.nodes if node.state == "up" and node.status == "cut off"]
    if cut_off:
        names = ", ".join(node.record.id for node in cut_off)
        return (
            f"DEGRADED  {names} cut off from the coordinator: {cut_off[0].reason}.  "
            "next: smart-client doctor",
            ExitCode.PARTIAL,
        )
    if keeper is not None and keeper.trouble:
        return f"DEGRADED  {keeper.trouble} ({count}, {facts})", ExitCode.PARTIAL
    if down:
        return (
            f"DEGRADED  {', '.join(down)} not up; all {count} can be played, also after another "
            f"loss ({facts})",
            ExitCode.PARTIAL,
        )
    if keeper is not None and (keeper.fragments_missing or keeper.stuck):
        return (
            f"DEGRADED  {len(cluster.nodes)} nodes up, {count}, {facts}; some chunks lack "
            "fragments",
            ExitCode.PARTIAL,
        )
    return f"OK  {len(cluster.nodes)} nodes up, {count}, {facts}", ExitCode.OK


def repair_text(cluster: wire.ClusterStatus) -> str:
    """Say what is being repaired or moved, and how much is left; nothing if nothing is."""
    keeper = cluster.keeper
    if keeper is None or not (keeper.groups_left or keeper.fragments_missing or keeper.stuck):
        return ""
    parts = [f"to repair or move: {counted(keeper.groups_left, 'group')} of up to 64 chunks"]
    if keeper.fragments_missing:
        parts.append(f"lost on nodes that are up: {counted(keeper.fragments_missing, 'fragment')}")
    if keeper.stuck:
        parts.append(f"waits for nodes: {keeper.stuck[0]}")
    return f"KEEPER  {'; '.join(parts)}.  see: storage-server admin keeper status"
