"""Consensus with one thing wrong: each must be caught by the world it is put into."""

from storage_server.consensus.acceptor import Acceptor
from storage_server.consensus.attempts import Ballots, Phase, highest
from storage_server.consensus.messages import (
    BLANK,
    Accepted,
    Begun,
    Nack,
    Promise,
    Register,
    Snapshot,
    Stored,
)
from storage_server.consensus.proposer import Proposer
from storage_server.consensus.quorum import Tally
from storage_server.consensus.switch import Switch
from support.consensus_machine import Bugs

# -- acceptors ------------------------------------------------------------------------------------


class NoAcceptCheck(Acceptor):
    def _accept(self, request, register):
        ballot = request.ballot
        accepted = Register(max(ballot, request.next), ballot, request.value)
        return Accepted(request.number), Stored(request.key, accepted)


class PromiseHidesValue(Acceptor):
    def _prepare(self, request, register):
        reply, record = super()._prepare(request, register)
        if isinstance(reply, Promise):
            reply = Promise(request.number, BLANK)
        return reply, record


class NoPromise(Acceptor):
    def _prepare(self, request, register):
        reply, _ = super()._prepare(request, register)
        return reply, None


class NoPiggybackPromise(Acceptor):
    def _accept(self, request, register):
        reply, record = super()._accept(request, register)
        if record is not None:
            accepted = Register(request.ballot, request.ballot, request.value)
            record = Stored(request.key, accepted)
        return reply, record


class NoWedge(Acceptor):
    def _wedge(self, request):
        reply, record = super()._wedge(request)
        return reply, None if isinstance(reply, Snapshot) else record


class NoEpochCheck(Acceptor):
    def _serves(self, epoch):
        return self.config is not None


class KeepOwn(Acceptor):
    def apply(self, record):
        own = dict(self.registers)
        undo = super().apply(record)
        if isinstance(record, Begun) and own:
            self.registers = own
        return undo


class TrustsInherited(Acceptor):
    """What an epoch began with counts as accepted in it."""

    def apply(self, record):
        undo = super().apply(record)
        if isinstance(record, Begun):
            self.registers = dict(record.start)
        return undo


# -- proposers ------------------------------------------------------------------------------------


class NoPid(Proposer):
    """Ballots are numbers: two processes use the same ones."""

    def __init__(self, pid, *args, **settings):
        super().__init__(pid, *args, **settings)
        self._ballots = Ballots(b"all")


class SmallQuorum(Proposer):
    def _new_tally(self):
        tally = super()._new_tally()
        tally._quorum -= 1
        return tally


class FirstValue(Proposer):
    def _choose(self, found):
        return found[0].value


class SkipPrepare(Proposer):
    """A failed attempt is repeated with a new ballot, unprepared."""

    def _retry(self, task, now_s):
        if task.proposal is None or task.is_read:
            super()._retry(task, now_s)
            return
        task.ballot = self._ballots.fresh(task.key)
        self._accept(task, task.key, task.proposal, now_s)


class NoWriteBack(Proposer):
    def _settled(self, task, found):
        return highest(found)


class DirtyRead(Proposer):
    def _settled(self, task, found):
        if task.phase is Phase.READING:
            return highest(found)
        return super()._settled(task, found)


class FailFast(Proposer):
    """A majority agrees, so the answer is given; forgotten is the own attempt that may live on."""

    def _settled(self, task, found):
        before, task.has_sent_accept = task.has_sent_accept, False
        settled = super()._settled(task, found)
        task.has_sent_accept = before
        return settled


class _LooseTally(Tally):
    def grant(self, member, reply):
        self._granted[len(self._granted)] = reply


class CountDuplicates(Proposer):
    def _new_tally(self):
        return _LooseTally(self.config.ids)


class KeepCache(Proposer):
    """The ballot after the one that failed is used, though no majority promised it."""

    def _pause(self, task, now_s):
        if task.phase is Phase.ACCEPTING:
            self._cache[task.key] = task.next_ballot, task.proposal.value
        super()._pause(task, now_s)

    def _retry(self, task, now_s):
        self._start(task, now_s)


class ReusedIds(Proposer):
    def _operation_id(self, number):
        return b"%d" % number


class StaleReplies(Proposer):
    """An answer counts for the operation, whichever of its attempts it belongs to."""

    def _begin(self, task, phase, now_s):
        super()._begin(task, phase, now_s)
        self.__dict__.setdefault("_all", {})[task.number] = task

    def _task_of(self, reply):
        task = self.__dict__.get("_all", {}).get(reply.number)
        if task is None or task.number not in self._attempts:
            return None
        wanted = {Phase.PREPARING: Promise | Nack, Phase.ACCEPTING: Accepted | Nack}.get(task.phase)
        return task if wanted is None or isinstance(reply, wanted) else None


class KeepCacheOverEpochs(Proposer):
    def _forget(self):
        pass


# -- switches -------------------------------------------------------------------------------------


class InstallEmpty(Switch):
    def _install(self, start, now_s):
        return super()._install((), now_s)


class DropPromises(Switch):
    def _install(self, start, now_s):
        bare = tuple(
            (key, Register(each.accepted, each.accepted, each.value)) for key, each in start
        )
        return super()._install(bare, now_s)


class MergeMinority(Switch):
    def _new_tally(self, members):
        tally = Tally(members)
        tally._quorum = 1
        return tally


MUTANTS: dict[str, Bugs] = {
    "no_accept_check": Bugs(acceptor=NoAcceptCheck),
    "promise_hides_value": Bugs(acceptor=PromiseHidesValue),
    "quorum_small": Bugs(proposer=SmallQuorum),
    "first_value": Bugs(proposer=FirstValue),
    "wiped_disk": Bugs(loses_disk=True),
    "no_promise": Bugs(acceptor=NoPromise),
    "no_sync_value": Bugs(forgets_values=True),
    "no_piggyback_promise": Bugs(acceptor=NoPiggybackPromise),
    "skip_phase1": Bugs(proposer=SkipPrepare),
    "no_pid": Bugs(proposer=NoPid),
    "pid_repeats": Bugs(pids_repeat=True),
    "no_writeback": Bugs(proposer=NoWriteBack),
    "count_dups": Bugs(proposer=CountDuplicates),
    "keep_cache": Bugs(proposer=KeepCache),
    "id_reuse": Bugs(proposer=ReusedIds),
    "early_reply": Bugs(replies_before_sync=True),
    "stale_replies": Bugs(proposer=StaleReplies),
    "dirty_read": Bugs(proposer=DirtyRead),
    "no_sync_promise": Bugs(forgets_promises=True),
    "stale_sync": Bugs(reads_do_not_wait=True),
    "fail_fast": Bugs(proposer=FailFast),
}

MEMBERSHIP_MUTANTS: dict[str, Bugs] = {
    "no_wedge": Bugs(acceptor=NoWedge),
    "install_empty": Bugs(switch=InstallEmpty),
    "no_epoch_check": Bugs(acceptor=NoEpochCheck),
    "merge_minority": Bugs(switch=MergeMinority),
    "drop_promises": Bugs(switch=DropPromises),
    "trust_inherited": Bugs(acceptor=TrustsInherited),
    "keep_own": Bugs(acceptor=KeepOwn),
    # Carried promises make a kept cache harmless: both protections must be gone.
    "keep_cache_epoch": Bugs(proposer=KeepCacheOverEpochs, switch=DropPromises),
}
