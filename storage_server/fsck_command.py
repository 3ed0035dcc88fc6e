"""``storage-server fsck``: check a node's data directory while the node does not run."""

import argparse
from pathlib import Path

from redundancy.errors import ExitCode
from redundancy.quantities import size_text
from redundancy.terminal import Terminal
from storage_server.node.fsck import FsckReport, check_directory


def fsck(args: argparse.Namespace, terminal: Terminal) -> int:
    """Check, tell, and return 7 if a fragment is lost here."""
    report = check_directory(Path(args.directory), repair=args.repair)
    payload = {
        "node": report.node,
        "superblocks": report.superblocks,
        "records": report.records,
        "fragments": report.fragments,
        "bytes_read": report.bytes_read,
        "repaired": report.repaired,
        "findings": [
            {
                "file": each.file,
                "kind": each.kind,
                "text": each.text,
                "keys": list(each.keys),
                "listed": each.is_listed,
            }
            for each in report.findings
        ],
    }
    terminal.result(payload, human=_text(report))
    return ExitCode.INTEGRITY if report.losses else ExitCode.OK


def _text(report: FsckReport) -> str:
    lines = [
        f"node {report.node}: {report.fragments} fragments, {report.superblocks} superblocks, "
        f"{size_text(report.bytes_read)} read"
    ]
    lines += [f"  {each.kind}: {each.text}" for each in report.findings]
    if not report.findings:
        lines.append("  nothing is wrong")
    elif report.repaired:
        lines.append("  repaired: what is bad is no longer served, and is listed for repair")
    elif report.losses and all(each.is_listed for each in report.losses):
        lines.append("  known already: not served, and listed until it is stored again")
    elif report.losses:
        lines.append("  next: run it again with --repair, or start the node and let it be rebuilt")
    return "\n".join(lines)
