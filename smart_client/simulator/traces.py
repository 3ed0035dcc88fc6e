"""Reads bandwidth traces from files: mahimahi, CSV, Pensieve's, or a packed library.

Nothing here trusts a file: every format is checked, and refused with the line that is wrong. The
product ships without measured traces (their licences differ); ``synthetic`` makes some.
"""

import csv
import zipfile
from collections.abc import Mapping
from itertools import pairwise
from math import inf
from pathlib import Path

import numpy as np

from redundancy.errors import FileMissing
from smart_client.errors import InvalidRequest
from smart_client.simulator.synthetic import synthetic_library
from smart_client.simulator.trace_library import (
    TRACE_SECONDS_MAX,
    FloatArray,
    Trace,
    TraceLibrary,
)

# A mahimahi line is the millisecond at which one such packet may leave.
MAHIMAHI_PACKET_BYTES = 1500

TRACE_FILE_BYTES_MAX = 64 * 1024 * 1024

TRACES_VARIABLE = "EVENFLOW_TRACES"
PACKED_FILE = "traces_1s.npz"
INDEX_FILE = "index.csv"


def find_library(environment: Mapping[str, str], path: Path | None = None) -> TraceLibrary:
    """Return the library at ``path``, else at ``$EVENFLOW_TRACES``, else the synthetic one."""
    named = path or environment.get(TRACES_VARIABLE)
    return read_library(Path(named)) if named else synthetic_library()


def read_library(folder: Path) -> TraceLibrary:
    """Read all traces of a folder: a packed library, or one file a trace.

    In a folder of files the sub-folder names the family, and files whose names start with a dot or
    end in ``.md`` are passed over.
    Raises: FileMissing: no such folder. InvalidRequest: a file that is not a trace.
    """
    if not folder.is_dir():
        raise FileMissing(f"no folder {folder}", hint="give a folder of bandwidth traces")
    if (folder / PACKED_FILE).is_file():
        return _read_packed(folder)
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".md"
    )
    traces = tuple(
        Trace(
            family=path.parent.name if path.parent != folder else folder.name,
            name=path.stem,
            bytes_per_s=read_trace(path),
        )
        for path in paths
    )
    return TraceLibrary.named_after(folder.name, traces)


def read_trace(path: Path) -> FloatArray:
    """Return a trace file's bytes a second, one number a second, whatever its format.

    One whole number a line is mahimahi (milliseconds, each a packet of 1500 bytes); two numbers
    are a time in seconds and Mbit/s, parted by a comma (CSV) or by white space (Pensieve).
    Raises: InvalidRequest: neither, naming the line.
    """
    if path.stat().st_size > TRACE_FILE_BYTES_MAX:
        raise InvalidRequest(f"{path}: larger than {TRACE_FILE_BYTES_MAX} bytes")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path}: not a text file") from error
    lines = [
        (number, line.strip())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    ]
    if lines and "," in lines[0][1] and not _is_numeric(lines[0][1].split(",")[0]):
        del lines[0]  # the column titles
    if not lines:
        raise InvalidRequest(f"{path}: empty")
    if len(lines[0][1].replace(",", " ").split()) == 1:
        return _from_packets([_number(path, number, line) for number, line in lines], path)
    return _from_samples([_pair(path, number, line) for number, line in lines], path)


def _is_numeric(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _number(path: Path, line_number: int, word: str) -> float:
    try:
        value = float(word)
    except ValueError as error:
        raise InvalidRequest(f"{path}:{line_number}: not a number: {word[:40]!r}") from error
    if not 0 <= value < inf:
        raise InvalidRequest(f"{path}:{line_number}: not a finite number of at least 0: {word}")
    return value


def _pair(path: Path, line_number: int, line: str) -> tuple[float, float]:
    words = line.replace(",", " ").split()
    if len(words) != 2:
        raise InvalidRequest(
            f"{path}:{line_number}: need a time and a rate, got {len(words)} values",
            hint="`seconds,Mbit/s` or `seconds Mbit/s`; mahimahi: one millisecond a line",
        )
    return _number(path, line_number, words[0]), _number(path, line_number, words[1])


def _seconds(last_s: float, path: Path) -> int:
    if last_s >= TRACE_SECONDS_MAX:
        raise InvalidRequest(f"{path}: longer than a day", hint="times are in seconds")
    return int(last_s) + 1


def _from_packets(instants_ms: list[float], path: Path) -> FloatArray:
    if any(later < earlier for earlier, later in pairwise(instants_ms)):
        raise InvalidRequest(f"{path}: the milliseconds must not fall")
    if any(instant != int(instant) for instant in instants_ms):
        raise InvalidRequest(f"{path}: mahimahi's milliseconds are whole numbers")
    # The trace repeats from its last millisecond on, so that one ends the last second.
    whole_seconds = _seconds(max(0.0, instants_ms[-1] - 1) / 1000, path)
    second_of = np.minimum((np.array(instants_ms) / 1000).astype(np.int64), whole_seconds - 1)
    packets = np.bincount(second_of, minlength=whole_seconds)
    return packets.astype(np.float64) * MAHIMAHI_PACKET_BYTES


def _from_samples(samples: list[tuple[float, float]], path: Path) -> FloatArray:
    """Average samples over whole seconds; a sample lasts until the next one."""
    times = [at_s for at_s, _ in samples]
    if any(later <= earlier for earlier, later in pairwise(times)):
        raise InvalidRequest(f"{path}: the times must rise")
    steps = [later - earlier for earlier, later in pairwise(times)]
    last_step_s = sorted(steps)[len(steps) // 2] if steps else 1.0
    edges = np.array([at_s - times[0] for at_s in times] + [times[-1] - times[0] + last_step_s])
    rates = np.array([rate for _, rate in samples]) * 1e6 / 8
    seconds = max(1, _seconds(edges[-1], path) - 1)
    carried = np.concatenate([[0.0], np.cumsum(rates * np.diff(edges))])
    at_whole_seconds = np.interp(np.arange(seconds + 1), edges, carried)
    result: FloatArray = np.diff(at_whole_seconds)
    return result


def _read_packed(folder: Path) -> TraceLibrary:
    """Read all traces end to end in one array, with an index of (family, file, offset, seconds)."""
    mbit_per_s = _packed_rates(folder / PACKED_FILE)
    index_path = folder / INDEX_FILE
    if not index_path.is_file():
        raise FileMissing(f"no {index_path}", hint="a packed library needs its index")
    try:
        with index_path.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"{index_path}: not a CSV file ({error})") from error
    traces = []
    for number, row in enumerate(rows, start=2):
        where = f"{index_path}:{number}"
        try:
            start, seconds = int(row["offset"]), int(row["seconds"])
            family, name = row["family"], row["file"]
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRequest(f"{where}: need family, file, offset, seconds") from error
        if not 0 <= start < start + seconds <= mbit_per_s.size:
            raise InvalidRequest(f"{where}: outside the {mbit_per_s.size} packed seconds")
        rates = mbit_per_s[start : start + seconds].astype(np.float64) * 1e6 / 8
        if rates.any():  # a link that never carried a byte has no shape to take
            traces.append(Trace(family, name, rates))
    return TraceLibrary.named_after(folder.name, traces)


def _packed_rates(path: Path) -> FloatArray:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as packed:
            rates = packed["mbps"]
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidRequest(f"{path}: no array 'mbps' in it ({error})") from error
    if rates.ndim != 1 or rates.dtype.kind != "f":
        raise InvalidRequest(f"{path}: 'mbps' must be a row of fractions")
    result: FloatArray = rates
    return result
