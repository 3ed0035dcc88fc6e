"""Traces from files: every format means the same rates, and hostile files are refused by line."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redundancy.errors import EvenflowError, FileMissing
from smart_client.errors import InvalidRequest
from smart_client.simulator.traces import (
    INDEX_FILE,
    PACKED_FILE,
    TRACES_VARIABLE,
    find_library,
    read_library,
    read_trace,
)

MBIT = 1e6 / 8


def write(path, text: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_mahimahi_file_counts_packets_of_1500_bytes_a_second(tmp_path) -> None:
    path = write(tmp_path / "link.down", "0\n10\n10\n999\n1500\n3000\n")
    assert read_trace(path).tolist() == [4 * 1500.0, 1 * 1500.0, 1 * 1500.0]


@pytest.mark.parametrize("separator", [",", ", ", " ", "\t"])
def test_csv_and_pensieve_files_mean_the_same(tmp_path, separator: str) -> None:
    rows = [("0", "1"), ("1", "2.5"), ("2", "0"), ("3", "8")]
    path = write(tmp_path / "link.txt", "".join(separator.join(row) + "\n" for row in rows))
    assert read_trace(path).tolist() == [1 * MBIT, 2.5 * MBIT, 0.0, 8 * MBIT]


def test_column_titles_and_comments_are_passed_over(tmp_path) -> None:
    path = write(tmp_path / "link.csv", "time_s,Mbit/s\n# a comment\n\n5,1\n6,2\n")
    assert read_trace(path).tolist() == [1 * MBIT, 2 * MBIT]


def test_uneven_samples_are_averaged_over_whole_seconds(tmp_path) -> None:
    path = write(tmp_path / "link.csv", "0,4\n0.5,8\n1.0,2\n3.0,6\n4.0,6\n")
    rates = read_trace(path)
    assert rates[:4].tolist() == pytest.approx([6 * MBIT, 2 * MBIT, 2 * MBIT, 6 * MBIT])


@given(st.lists(st.floats(0, 1000), min_size=2, max_size=50))
@settings(max_examples=50, deadline=None)
def test_what_a_file_carries_is_what_its_lines_say(tmp_path_factory, rates) -> None:
    path = tmp_path_factory.mktemp("traces") / "link.csv"
    write(path, "".join(f"{second},{rate!r}\n" for second, rate in enumerate(rates)))
    assert read_trace(path) / MBIT == pytest.approx(np.array(rates), abs=1e-6)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("0,1\n1,fast\n", ":2: not a number"),
        ("0,1\n1,-2\n", ":2: not a finite number"),
        ("0,1\n1,nan\n", ":2: not a finite number"),
        ("0,1\n1,inf\n", ":2: not a finite number"),
        ("0,1\n1,1e400\n", ":2: not a finite number"),
        ("0 1 2\n", ":1: need a time and a rate"),
        ("0,1\n1\n", ":2: need a time and a rate"),
        ("1,1\n1,2\n", "times must rise"),
        ("2,1\n1,2\n", "times must rise"),
        ("0,1\n1e9,2\n", "longer than a day"),
        ("5\n4\n", "must not fall"),
        ("0.5\n1.5\n", "whole numbers"),
        ("1\nxyz\n", ":2: not a number"),
        ("99999999999\n", "longer than a day"),
        ("1\n2 3\n", ":2: not a number"),
    ],
)
def test_a_hostile_file_is_refused_with_what_is_wrong(tmp_path, text: str, says: str) -> None:
    path = write(tmp_path / "link.txt", text)
    with pytest.raises(InvalidRequest) as caught:
        read_trace(path)
    assert says in caught.value.message
    assert "link.txt" in caught.value.message


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_rates_or_an_error_of_ours(tmp_path_factory, body: bytes) -> None:
    path = tmp_path_factory.mktemp("traces") / "link"
    path.write_bytes(body)
    try:
        rates = read_trace(path)
    except InvalidRequest:
        return
    assert rates.size >= 1
    assert np.isfinite(rates).all()
    assert rates.min() >= 0


def test_a_folder_of_files_is_a_library_with_sub_folders_as_families(tmp_path) -> None:
    write(tmp_path / "lte" / "bus.csv", "0,1\n1,2\n")
    write(tmp_path / "dsl" / "home.txt", "0 5\n1 5\n")
    write(tmp_path / "SOURCES.md", "where they come from")
    write(tmp_path / ".hidden", "?")
    library = read_library(tmp_path)
    assert [(t.family, t.name) for t in library.traces] == [("dsl", "home"), ("lte", "bus")]
    with pytest.raises(InvalidRequest, match="no traces of family cable"):
        library.of_families(("cable",))


def test_a_missing_or_empty_folder_is_named(tmp_path) -> None:
    with pytest.raises(FileMissing):
        read_library(tmp_path / "nowhere")
    with pytest.raises(InvalidRequest, match="empty"):
        read_library(tmp_path)


def packed(folder, index: str, rates=(1.0, 2.0, 3.0, 4.0)):
    np.savez(folder / PACKED_FILE, mbps=np.array(rates, dtype=np.float32))
    write(folder / INDEX_FILE, "family,file,offset,seconds,mean_mbps\n" + index)
    return folder


def test_a_packed_library_is_cut_by_its_index(tmp_path) -> None:
    library = read_library(packed(tmp_path, "lte,a,0,1,1\ndsl,b,1,3,3\n"))
    assert [trace.bytes_per_s.tolist() for trace in library.traces] == [
        [MBIT],
        [2 * MBIT, 3 * MBIT, 4 * MBIT],
    ]
    assert library.traces[1].window(2, 4).tolist() == [4 * MBIT, 2 * MBIT, 3 * MBIT, 4 * MBIT]


@pytest.mark.parametrize(
    "index", ["lte,a,0,5,1\n", "lte,a,-1,2,1\n", "lte,a,x,2,1\n", "lte,a\n", "lte,a,2,0,1\n"]
)
def test_an_index_that_points_elsewhere_is_refused(tmp_path, index: str) -> None:
    with pytest.raises(InvalidRequest, match=INDEX_FILE):
        read_library(packed(tmp_path, index))


@pytest.mark.parametrize("body", [b"", b"PK\x03\x04 not a zip", b"\x93NUMPY"])
def test_a_packed_file_that_is_none_is_refused(tmp_path, body: bytes) -> None:
    packed(tmp_path, "lte,a,0,1,1\n")
    (tmp_path / PACKED_FILE).write_bytes(body)
    with pytest.raises(EvenflowError, match=PACKED_FILE):
        read_library(tmp_path)


def test_folders_of_one_name_with_other_rates_are_other_libraries(tmp_path) -> None:
    for number in (1, 2):
        write(tmp_path / str(number) / "traces" / "a.csv", f"0,{number}\n1,1\n")
    names = {read_library(tmp_path / str(number) / "traces").name for number in (1, 2)}
    assert len(names) == 2
    assert read_library(tmp_path / "1" / "traces").name in names  # the same again


def test_the_environment_names_a_library_and_a_path_overrules_it(tmp_path) -> None:
    write(tmp_path / "one" / "a.csv", "0,1\n1,1\n")
    write(tmp_path / "two" / "b.csv", "0,1\n1,1\n")
    environment = {TRACES_VARIABLE: str(tmp_path / "one")}
    assert find_library(environment).name.startswith("one@")
    assert find_library(environment, tmp_path / "two").name.startswith("two@")
    assert find_library({}).name.startswith("synthetic")
