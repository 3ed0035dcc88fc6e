"""An acceptor's log against disks that fill up, fail, lose power and rot."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_server.consensus.acceptor_log import FILE_NAME, AcceptorDamaged, AcceptorLog
from storage_server.consensus.messages import (
    Accept,
    Accepted,
    Ballot,
    Config,
    Current,
    Hello,
    Install,
    Key,
    Member,
    Read,
    Refused,
    Value,
)
from support.simulated_disk import PowerCut, SimulatedDisk

CONFIG = Config(1, (Member("a"),))


def key(number: int) -> Key:
    return Key(b"", f"key/{number}")


def accept(number: int, round_: int = 1, payload: bytes = b"v" * 40) -> Accept:
    ballot = Ballot(round_, b"p")
    return Accept(number, 1, key(number), ballot, Value(round_, payload, (b"w",)), ballot)


def made(disk, writes: int = 0) -> AcceptorLog:
    log = AcceptorLog(disk)
    log.commit([[Install(0, CONFIG, ())]])
    for number in range(writes):
        assert log.commit([[accept(number)]]) == [[Accepted(number)]]
    return log


def held(log: AcceptorLog) -> set[str]:
    return {each.name for each in log.acceptor.registers}


def test_what_was_answered_is_there_again_under_the_same_name():
    disk = SimulatedDisk()
    log = made(disk, 5)
    again = AcceptorLog(disk)
    assert again.member_id == log.member_id
    assert again.acceptor.registers == log.acceptor.registers
    assert again.acceptor.config == CONFIG


def test_an_acceptor_that_lost_its_disk_is_another():
    assert made(SimulatedDisk()).member_id != made(SimulatedDisk()).member_id


def test_many_frames_share_one_sync():
    disk = SimulatedDisk()
    log = made(disk)
    before = disk.syncs
    answers = log.commit([[accept(i), Read(100 + i, 1, key(i))] for i in range(50)])
    assert disk.syncs == before + 1
    assert all(isinstance(read, Current) and read.register.value.version for _, read in answers)
    log.commit([[Read(1, 1, key(0))]])
    assert disk.syncs == before + 1


def test_a_log_torn_at_any_byte_keeps_all_but_the_last_unit():
    disk = SimulatedDisk()
    made(disk, 3)
    AcceptorLog(disk)
    log = AcceptorLog(disk)
    whole_before = len(disk.content(FILE_NAME))
    log.commit([[accept(3), accept(4)]])
    content = bytes(disk.content(FILE_NAME))
    for size in range(len(content) + 1):
        torn = SimulatedDisk()
        torn.replace(FILE_NAME, content[:size])
        if size < whole_before:
            with pytest.raises(AcceptorDamaged):
                AcceptorLog(torn)
            continue
        again = AcceptorLog(torn)
        assert len(held(again)) == (5 if size == len(content) else 3)
        assert again.member_id == log.member_id


def test_a_flipped_bit_before_intact_units_stops_the_acceptor():
    disk = SimulatedDisk()
    log = made(disk)
    start = disk.open(FILE_NAME).size_bytes()
    for number in range(3):
        log.commit([[accept(number)]])
    for bit in range(start * 8, start * 8 + 400, 7):
        disk.flip_bit(FILE_NAME, bit)
        with pytest.raises(AcceptorDamaged):
            AcceptorLog(disk)
        disk.flip_bit(FILE_NAME, bit)
    assert len(held(AcceptorLog(disk))) == 3


def test_on_a_full_disk_an_accept_is_refused_and_a_read_answered():
    disk = SimulatedDisk()
    log = made(disk, 1)
    before = dict(log.acceptor.registers)
    disk.fail_next("write", errno.ENOSPC)
    answers = log.commit([[accept(0, 2), Read(7, 1, key(0))], [Hello(8)]])
    assert [type(each).__name__ for each in (*answers[0], *answers[1])] == [
        "Refused",
        "Current",
        "WrongEpoch",
    ]
    assert answers[0][1].register == before[key(0)]
    assert log.acceptor.registers == before
    assert log.commit([[accept(0, 2)]]) == [[Accepted(0)]]
    assert AcceptorLog(disk).acceptor.registers == log.acceptor.registers


def test_after_a_failed_sync_nothing_is_answered_until_a_restart():
    disk = SimulatedDisk()
    log = made(disk, 1)
    disk.fail_next("sync", errno.EIO)
    for request in (accept(0, 2), Read(1, 1, key(0)), accept(0, 3)):
        (answer,) = log.commit([[request]])
        assert isinstance(answer[0], Refused)
    assert not AcceptorLog(disk).failure


def test_a_log_that_grew_is_written_anew_with_the_same_content():
    disk = SimulatedDisk()
    log = made(disk)
    for round_ in range(1, 200):
        log.commit([[accept(0, round_)]])
    long = len(disk.content(FILE_NAME))
    log._compact_at = 0
    log.commit([[accept(0, 200)]])
    assert len(disk.content(FILE_NAME)) < long / 20
    log.commit([[accept(1)]])
    assert AcceptorLog(disk).acceptor.registers == log.acceptor.registers


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 25), compacts=st.booleans())
def test_whatever_was_answered_before_a_power_cut_is_there_after_it(seed, steps, compacts):
    disk = SimulatedDisk(seed=seed)
    made(disk).close()
    answered: dict[Key, int] = {}
    asked: dict[Key, int] = {}
    disk.steps_until_stop = steps
    try:
        log = AcceptorLog(disk)
        for round_ in range(1, 6):
            if compacts:
                log._compact_at = 0
            requests = [accept(number, round_) for number in range(3)]
            asked.update({each.key: round_ for each in requests})
            log.commit([requests])
            answered.update({each.key: round_ for each in requests})
    except PowerCut:
        pass
    disk.cut_power()
    registers = AcceptorLog(disk).acceptor.registers
    for each, round_ in answered.items():
        assert round_ <= registers[each].value.version <= asked[each]
