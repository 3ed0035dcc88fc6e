"""An acceptor's rules, one by one, and that its records make the same state again."""

from hypothesis import given
from hypothesis import strategies as st

from storage_server.consensus.acceptor import Acceptor
from storage_server.consensus.messages import (
    BLANK,
    Accept,
    Accepted,
    Ballot,
    Begun,
    Config,
    Hello,
    Install,
    Installed,
    Key,
    Learn,
    ListKeys,
    Member,
    Nack,
    Prepare,
    Promise,
    Read,
    Register,
    Snapshot,
    Value,
    Wedge,
    WrongEpoch,
)
from storage_server.consensus.switch import merge

MEMBERS = tuple(Member(name) for name in "abc")
FIRST = Config(1, MEMBERS)
SECOND = Config(2, MEMBERS, MEMBERS)
KEY = Key(b"", "k")
VALUE = Value(1, b"v", (b"w",))


def serving() -> Acceptor:
    acceptor = Acceptor()
    acceptor.apply(Begun(FIRST, ()))
    return acceptor


def accept(ballot, value=VALUE, key=KEY, following=None) -> Accept:
    return Accept(1, 1, key, ballot, value, following or ballot)


def test_a_prepare_below_the_promise_is_refused_with_the_promise():
    acceptor, high = serving(), Ballot(5, b"x")
    assert acceptor.handle(Prepare(1, 1, KEY, high))[0] == Promise(1, BLANK)
    reply, record = acceptor.handle(Prepare(2, 1, KEY, Ballot(5, b"w")))
    assert (reply, record) == (Nack(2, high), None)


def test_round_zero_cannot_be_prepared_and_belongs_to_the_creator():
    acceptor = serving()
    own, foreign = Ballot(0, b"creator"), Ballot(0, b"other")
    key = Key(b"creator", "1")
    assert isinstance(acceptor.handle(Prepare(1, 1, key, own))[0], Nack)
    assert isinstance(acceptor.handle(accept(foreign, key=key))[0], Nack)
    assert isinstance(acceptor.handle(accept(Ballot(0, b"")))[0], Nack)
    assert isinstance(acceptor.handle(accept(own, key=key))[0], Accepted)


def test_an_accept_promises_the_next_ballot_with_it():
    acceptor, following = serving(), Ballot(2, b"x")
    acceptor.handle(accept(Ballot(1, b"x"), following=following))
    assert isinstance(acceptor.handle(accept(Ballot(1, b"y")))[0], Nack)
    assert isinstance(acceptor.handle(Prepare(1, 1, KEY, Ballot(2, b"a")))[0], Nack)
    assert isinstance(acceptor.handle(accept(following))[0], Accepted)


def test_a_repeated_accept_is_acknowledged_and_writes_nothing():
    acceptor = serving()
    first = accept(Ballot(1, b"x"))
    acceptor.handle(first)
    acceptor.handle(Prepare(1, 1, KEY, Ballot(9, b"x")))
    assert acceptor.handle(first) == (Accepted(1), None)


def test_an_acceptor_serves_its_own_epoch_only_and_says_which():
    blank, acceptor = Acceptor(), serving()
    assert blank.handle(Read(1, 1, KEY))[0] == WrongEpoch(1, None)
    for request in (Read(1, 2, KEY), ListKeys(1, 2, ""), Hello(1)):
        assert acceptor.handle(request)[0] == WrongEpoch(1, FIRST)


def test_a_wedged_acceptor_serves_nothing_and_names_the_successor():
    acceptor = serving()
    acceptor.handle(accept(Ballot(1, b"x")))
    reply, record = acceptor.handle(Wedge(1, 1, SECOND))
    assert isinstance(reply, Snapshot)
    assert record is not None
    assert acceptor.handle(Wedge(2, 1, SECOND))[1] is None
    assert acceptor.handle(accept(Ballot(2, b"x")))[0] == WrongEpoch(1, SECOND)


def test_an_installed_epoch_is_not_installed_again_and_its_start_is_handed_out():
    acceptor = serving()
    start = ((KEY, Register(Ballot(3, b"x"), Ballot(2, b"x"), VALUE)),)
    acceptor.handle(Install(1, SECOND, start))
    acceptor.handle(Accept(1, 2, KEY, Ballot(4, b"x"), VALUE, Ballot(4, b"x")))
    assert acceptor.handle(Install(2, SECOND, ()))[1] is None
    assert acceptor.handle(Wedge(3, 1, SECOND))[0] == Installed(3, SECOND, start)
    other = Config(2, MEMBERS[:1], MEMBERS)
    assert acceptor.handle(Install(4, other, ()))[0] == WrongEpoch(4, SECOND)


def test_what_was_handed_over_is_marked_until_it_is_accepted_anew():
    acceptor = Acceptor()
    acceptor.handle(Install(1, FIRST, ((KEY, Register(Ballot(2, b"x"), Ballot(2, b"x"), VALUE)),)))
    assert acceptor.handle(Read(1, 1, KEY))[0].register.is_inherited
    acceptor.handle(Prepare(1, 1, KEY, Ballot(3, b"x")))
    assert acceptor.handle(Read(1, 1, KEY))[0].register.is_inherited
    acceptor.handle(accept(Ballot(3, b"x")))
    assert not acceptor.handle(Read(1, 1, KEY))[0].register.is_inherited


def test_merging_keeps_the_highest_accepted_and_the_highest_promise():
    low, high = Ballot(1, b"x"), Ballot(7, b"x")
    newer = Value(2, b"n", ())
    left = ((KEY, Register(high, low, VALUE)),)
    right = ((KEY, Register(Ballot(2, b"x"), Ballot(2, b"x"), newer)),)
    assert merge([left, right]) == ((KEY, Register(high, Ballot(2, b"x"), newer)),)
    assert merge([right, left]) == merge([left, right])


def test_a_learnt_value_can_be_read_locally():
    acceptor = serving()
    acceptor.handle(accept(Ballot(1, b"x")))
    assert acceptor.decided(KEY) is None
    acceptor.handle(Learn(1, 1, KEY, Ballot(2, b"x")))
    assert acceptor.decided(KEY) is None
    assert acceptor.handle(Learn(1, 1, KEY, Ballot(1, b"x"))) == (None, None)
    assert acceptor.decided(KEY) == VALUE


_ballots = st.builds(Ballot, st.integers(0, 3), st.sampled_from([b"x", b"y"]))
_keys = st.sampled_from([KEY, Key(b"x", "1")])
_values = st.builds(Value, st.integers(1, 3), st.sampled_from([b"1", None]), st.just((b"w",)))
_registers = st.dictionaries(_keys, st.builds(Register, _ballots, _ballots, _values)).map(
    lambda found: tuple(found.items())
)
_configs = st.builds(Config, st.integers(1, 3), st.just(MEMBERS))
_epochs = st.integers(1, 3)
_requests = st.one_of(
    st.builds(Prepare, st.just(1), _epochs, _keys, _ballots),
    st.builds(Accept, st.just(1), _epochs, _keys, _ballots, _values, _ballots),
    st.builds(Wedge, st.just(1), _epochs, _configs),
    st.builds(Install, st.just(1), _configs, _registers),
)


def state(acceptor):
    return acceptor.config, acceptor.successor, acceptor.start, acceptor.registers


@given(st.lists(_requests, max_size=30))
def test_records_make_the_same_state_again_and_undoing_them_the_state_before(requests):
    acceptor = serving()
    undos = []
    before = []
    for request in requests:
        _, record = acceptor.plan(request)
        if record is not None:
            before.append((*state(acceptor)[:3], dict(acceptor.registers)))
            undos.append(acceptor.apply(record))
        again = Acceptor()
        for each in acceptor.records():
            again.apply(each)
        assert state(again) == state(acceptor)
    while undos:
        undos.pop()()
        assert state(acceptor) == before.pop()
