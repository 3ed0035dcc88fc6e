"""The command ``redundancy``: erasure coding for files, and how much of it, without any server.

Each handler imports what it works with when it runs, so that ``--help`` does not wait for numpy.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from redundancy.completion import add_completion
from redundancy.errors import ExitCode, UsageError
from redundancy.policy_options import add_policy_commands
from redundancy.quantities import parse_size, size_text
from redundancy.terminal import EXIT_CODES, Terminal, add_command, run, top_parser

if TYPE_CHECKING:
    from redundancy.files import FileHealth
    from redundancy.fragment_set import FragmentSet

_EXAMPLES = (
    """\
examples:
  redundancy encode movie.mp4 -k 3 -n 5 -o fragments   any 3 of 5 files bring it back
  redundancy verify fragments                          what is left, and what to do next
  redundancy repair fragments                          write the missing and bad ones anew
  redundancy decode fragments -o movie.mp4             bring the file back
  redundancy inspect fragments/movie.mp4.0-of-5.frag   what one fragment says about itself
  redundancy plan --nodes 12 --zones 4                 which code so many nodes should hold
  redundancy durability rs:6+3 rep:3                   how likely each is lost in a year
  redundancy simulate                                  policies compared over years

"""
    + EXIT_CODES
)

_ENCODE_EXAMPLES = """\
examples:
  redundancy encode movie.mp4 -k 6 -n 9 -o /mnt/disks  1.5 times the space, any 3 may be lost
  redundancy encode movie.mp4 -k 1 -n 3 -o copies      three whole copies
  tar c photos | redundancy encode - --name photos.tar -o fragments
"""

_DECODE_EXAMPLES = """\
examples:
  redundancy decode fragments -o movie.mp4
  redundancy decode a/movie.mp4.0-of-5.frag b/movie.mp4.3-of-5.frag c/movie.mp4.4-of-5.frag -o -
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = top_parser(
        "redundancy",
        "Split files into fragments of which any k bring them back, and say which k.",
        _EXAMPLES,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    encode = add_command(
        commands, "encode", _encode, "Write the fragment files of a file.", epilog=_ENCODE_EXAMPLES
    )
    encode.add_argument("file", metavar="FILE", help="file to encode; - reads standard input")
    _add_scheme(encode)
    encode.add_argument("--copies", type=int, default=0, metavar="R", help="whole copies besides")
    encode.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    encode.add_argument("--chunk", default="2MiB", metavar="SIZE", help="16KiB to 4MiB")
    encode.add_argument("--name", help="what the file is called, if not as FILE is")
    encode.add_argument("--force", action="store_true", help="replace fragments that are there")

    decode = add_command(commands, "decode", _decode, "Bring a file back.", epilog=_DECODE_EXAMPLES)
    _add_fragments(decode)
    decode.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="- writes to standard output"
    )
    decode.add_argument("--force", action="store_true", help="replace FILE if it is there")

    verify = add_command(
        commands,
        "verify",
        _verify,
        "Check every block of every fragment: exit 0 whole, 3 degraded, 6 lost.",
    )
    _add_fragments(verify)

    repair = add_command(
        commands, "repair", _repair, "Write missing and bad fragments anew, bit for bit."
    )
    _add_fragments(repair)

    inspect = add_command(commands, "inspect", _inspect, "Show what a fragment file says.")
    inspect.add_argument("fragment", type=Path, metavar="FRAGMENT")

    bench = add_command(commands, "bench", _bench, "Measure the codecs here beside memcpy.")
    _add_scheme(bench)
    bench.add_argument("--seconds", type=float, default=5.0, help="about how long in all")
    add_policy_commands(commands)
    add_completion(commands, parser)
    return run(parser, argv)


def _add_scheme(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-k", type=int, default=3, help="fragments needed (default %(default)s)")
    parser.add_argument("-n", type=int, default=5, help="fragments made (default %(default)s)")


def _add_fragments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "fragments",
        type=Path,
        nargs="+",
        metavar="DIR|FRAGMENT",
        help="fragment files, or directories to look for *.frag in",
    )
    parser.add_argument("--name", help="which file, where there are fragments of several")


@contextlib.contextmanager
def _progress(terminal: Terminal, what: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """Show a moving line while the block runs, where one is welcome."""
    if not terminal.shows_progress:
        yield lambda _done_bytes: None
        return
    from rich import progress  # noqa: PLC0415

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    console = terminal.console(stderr=True)
    with progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total_bytes or None)
        yield lambda done_bytes: bar.advance(task, done_bytes)


def _encode(args: argparse.Namespace, terminal: Terminal) -> int:
    from redundancy import file_encoder  # noqa: PLC0415
    from redundancy.scheme import Layout, Scheme  # noqa: PLC0415

    from_stdin = args.file == "-"
    if from_stdin and not args.name:
        raise UsageError("standard input has no name", hint="give one with --name")
    options = file_encoder.EncodeOptions(
        name=args.name or Path(args.file).name,
        layout=Layout(Scheme(args.k, args.n), args.copies),
        chunk_bytes=parse_size(args.chunk),
        force=args.force,
    )
    with open(0 if from_stdin else args.file, "rb", closefd=not from_stdin) as stream:
        total_bytes = 0 if from_stdin else Path(args.file).stat().st_size
        with _progress(terminal, "encode", total_bytes) as progress:
            made = file_encoder.encode(stream, args.output, options, progress=progress)
    layout = options.layout
    factor = made.stored_bytes / made.size_bytes if made.size_bytes else layout.overhead
    terminal.result(
        {
            "name": made.name,
            "size": made.size_bytes,
            "sha256": made.sha256,
            "chunks": made.chunks,
            "layout": str(layout),
            "stored_bytes": made.stored_bytes,
            "overhead": round(factor, 4),
            "tolerates": layout.tolerates,
            "fragments": [str(path) for path in made.paths],
        },
        f"{made.name}: {size_text(made.size_bytes)} -> {len(made.paths)} fragments in "
        f"{args.output}, {size_text(made.stored_bytes)} (x{factor:.2f}), "
        f"{_tolerated(layout.tolerates)}",
    )
    return ExitCode.OK


def _tolerated(losses: int) -> str:
    return f"{losses} {'loss' if losses == 1 else 'losses'} tolerated"


def _open(args: argparse.Namespace, terminal: Terminal) -> "FragmentSet":
    from redundancy.fragment_set import open_set  # noqa: PLC0415

    fragments = open_set(args.fragments, name=args.name)
    for path, why in fragments.strays:
        terminal.note(f"not used: {path}: {why}")
    return fragments


def _decode(args: argparse.Namespace, terminal: Terminal) -> int:
    from redundancy import files  # noqa: PLC0415
    from redundancy.outputs import OutputFile  # noqa: PLC0415

    to_stdout = args.output == "-"
    if to_stdout and terminal.json:
        raise UsageError("--json and the file cannot both go to standard output")
    with contextlib.ExitStack() as stack:
        fragments = stack.enter_context(_open(args, terminal))
        facts = fragments.facts
        progress = stack.enter_context(_progress(terminal, "decode", facts.size_bytes))
        if to_stdout:
            stream = sys.stdout.buffer
            files.decode(fragments, lambda chunk: stream.write(chunk.data), progress=progress)
            stream.flush()
            return ExitCode.OK
        output = stack.enter_context(OutputFile(Path(args.output), force=args.force))
        sha256 = files.decode(fragments, output.write, progress=progress)
        output.sync()
        output.commit()
    terminal.result(
        {"name": facts.name, "path": args.output, "size": facts.size_bytes, "sha256": sha256},
        f"{facts.name}: {size_text(facts.size_bytes)} -> {args.output}, sha256 {sha256}",
    )
    return ExitCode.OK


def _check(fragments: "FragmentSet", terminal: Terminal) -> "FileHealth":
    from redundancy import files  # noqa: PLC0415

    with _progress(terminal, "verify", fragments.facts.size_bytes) as progress:
        return files.verify(fragments, progress=progress)


def _verify(args: argparse.Namespace, terminal: Terminal) -> int:
    from redundancy import reports  # noqa: PLC0415

    with _open(args, terminal) as fragments:
        health = _check(fragments, terminal)
        report = reports.health_report(fragments, health, args.fragments)
    terminal.result(report.payload, report.text)
    return report.exit_code


def _repair(args: argparse.Namespace, terminal: Terminal) -> int:
    from redundancy import files  # noqa: PLC0415

    with _open(args, terminal) as fragments:
        health = _check(fragments, terminal)
        with _progress(terminal, "repair", fragments.facts.size_bytes) as progress:
            written = files.repair(fragments, health, progress=progress)
        name = fragments.facts.name
    terminal.result(
        {"name": name, "written": [str(path) for path in written]},
        f"{name}: nothing to repair, every fragment is intact"
        if not written
        else "\n".join([*(f"wrote {path}" for path in written), f"{name}: whole again"]),
    )
    return ExitCode.OK


def _inspect(args: argparse.Namespace, terminal: Terminal) -> int:
    from redundancy import reports  # noqa: PLC0415
    from redundancy.fragment_files import FragmentFile  # noqa: PLC0415

    with FragmentFile(args.fragment) as file:
        report = reports.inspection(file)
    terminal.result(report.payload, report.text)
    return report.exit_code


def _bench(args: argparse.Namespace, terminal: Terminal) -> int:
    from redundancy import benchmark  # noqa: PLC0415
    from redundancy.scheme import Scheme  # noqa: PLC0415

    rates = benchmark.measure([Scheme(args.k, args.n)], seconds=args.seconds)
    terminal.result(benchmark.to_json(rates), benchmark.to_table(rates))
    return ExitCode.OK
