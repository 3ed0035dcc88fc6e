"""What becomes of a catalogue that nodes keep when some of them are unplugged."""

from itertools import combinations

from smart_client.agreement import Agreement, AgreementMember
from storage_server.catalogue_exposure import LOSES, STOPS, CatalogueExposure


def kept_by(silent: tuple[str, ...] = (), names: str = "abc") -> CatalogueExposure:
    members = tuple(
        AgreementMember(name=name, state="silent" if name in silent else "up") for name in names
    )
    quorum = len(names) // 2 + 1
    told = Agreement(catalogue="chunkpaxos", summary="", members=members, quorum=quorum)
    return CatalogueExposure.of(told)


def test_any_two_of_three_decide():
    found = kept_by()
    assert found.is_safe
    assert set(found.worst()) == {("a", "b"), ("a", "c"), ("b", "c")}
    assert not found.stops_without(("a", "x", "y"))
    assert found.lines_without(("a", "x")) == []
    assert found.lines_without(("a", "c")) == [STOPS, f"if their data is gone: {LOSES}"]


def test_who_is_silent_already_counts_as_away_and_its_data_as_there():
    found = kept_by(silent=("b",))
    assert not found.is_safe
    assert set(found.worst()) == {("a",), ("c",)}
    assert found.lines_without(("c",)) == [STOPS]
    assert "b does not answer" in found.lines()[0]
    assert kept_by(silent=("a", "b")).worst() == [()]


def test_five_keep_it_against_any_two():
    found = kept_by(names="abcde")
    assert not any(found.stops_without(pair) for pair in combinations("abcde", 2))
    assert all(len(each) == 3 for each in found.worst())


def test_a_catalogue_elsewhere_depends_on_no_node():
    for told in (None, Agreement(catalogue="sqlite", summary="")):
        found = CatalogueExposure.of(told)
        assert found.is_safe
        assert found.lines() == found.lines_without(("a",)) == []
