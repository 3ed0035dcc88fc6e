"""Results of comparisons on disk: the latest are kept, and nothing else is touched."""

from pathlib import Path

from smart_client.gateway.comparisons import LISTED_MAX, ComparisonDesk


def test_only_the_latest_results_are_kept(tmp_path: Path) -> None:
    names = [f"20261130-1200{second:02d}-00ff" for second in range(LISTED_MAX + 10)]
    for name in (*names, "mine", "20261130-notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text("[]")
    ComparisonDesk(tmp_path)._make_room()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*names[-LISTED_MAX + 1 :], "mine", "20261130-notes"}


def test_a_directory_that_is_not_there_needs_no_room(tmp_path: Path) -> None:
    ComparisonDesk(tmp_path / "none")._make_room()
    assert list(tmp_path.iterdir()) == []
