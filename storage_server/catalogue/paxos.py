"""The catalogue kept by the storage nodes themselves: ChunkPaxos, one register for each key.

No server beside the nodes, and no leader: a majority of them decides. Keys never wait for each
other. A deleted key leaves its version behind, so that versions only grow.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import ClassVar

import msgspec

from redundancy.errors import ConfigError, EvenflowError
from smart_client.agreement import Agreement, AgreementMember
from storage_server.agreement_trace import Trace
from storage_server.catalogue.contract import (
    Catalogue,
    Conflict,
    Entry,
    Outcome,
    Unknown,
    Version,
    Write,
    check_key,
)
from storage_server.catalogue.errors import CatalogueUnavailable
from storage_server.consensus.driver import SWITCH_S, Driver
from storage_server.consensus.events import Settings
from storage_server.consensus.frames import ReplyFrame, RequestFrame
from storage_server.consensus.http_exchange import HttpExchange
from storage_server.consensus.messages import (
    Config,
    Hello,
    Install,
    Installed,
    Key,
    Member,
    Refused,
    Value,
    WrongEpoch,
)
from storage_server.consensus.quorum import majority
from storage_server.consensus.switch import config_key
from storage_server.consensus.values import (
    Collect,
    Collected,
    CompareAndSet,
    Found,
    Mismatch,
    ReadKey,
    Unreachable,
    Written,
)

# A scan looks twice and wants to see the same: under steady writes it tries again so often.
SCAN_ATTEMPTS_MAX = 10

# Whoever watches does not wait longer for a member that hangs.
LOOK_TIMEOUT_S = 0.5

# A client waits 5 s for a coordinator: before that it is to hear that too few nodes answer.
_SETTINGS = Settings(give_up_s=3.0)
_HELP_S = 1.0
_numbers = count(1)


class PaxosCatalogue(Catalogue):
    """Responsible for one process's proposer and its connections to the nodes."""

    kind: ClassVar[str] = "chunkpaxos"

    def __init__(
        self,
        urls: Sequence[str],
        *,
        settings: Settings = _SETTINGS,
        make_exchange: Callable[[], HttpExchange] = HttpExchange,
        trace: Trace | None = None,
    ) -> None:
        """Name the nodes; nothing is sent before the first request.

        Args:
            urls: of all members, when the catalogue is new; later of any, the others are learnt.
            make_exchange: called once, in the event loop; for example with the nodes' token.
        """
        if len(set(urls)) != len(urls) or not urls:
            raise ConfigError("name each node that keeps the catalogue once")
        self._urls = tuple(urls)
        self._make_exchange = make_exchange
        self._settings = settings
        self._trace = trace or Trace()
        self._exchange: HttpExchange | None = None
        self._driver: Driver | None = None
        self._connecting = asyncio.Lock()
        self._is_closed = False

    async def get(self, key: str) -> Entry | None:
        """Return the register, or None if it is not there."""
        check_key(key)
        driver = await self._connected()
        value = await self._read(driver, Key(b"", key))
        return _entry(key, value)

    async def scan(self, prefix: str) -> list[Entry]:
        """Return the registers whose keys start with ``prefix``, in order.

        Looked at twice: if no version changed between, all were like this at one instant.
        """
        driver = await self._connected()
        before = await self._collect(driver, prefix)
        for _ in range(SCAN_ATTEMPTS_MAX):
            after = await self._collect(driver, prefix)
            if after == before:
                entries = (_entry(key.name, value) for key, value in after.items())
                found = [entry for entry in entries if entry is not None]
                return sorted(found, key=lambda entry: entry.key.encode())
            before = after
        raise CatalogueUnavailable("the registers change faster than they can be read")

    async def batch(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do the writes, those of one register in order, each answered on its own."""
        driver = await self._connected()
        outcomes = await asyncio.gather(*(self._write(driver, write) for write in writes))
        failed = [each for each in outcomes if isinstance(each, CatalogueUnavailable)]
        if failed and len(failed) == len(outcomes):
            raise failed[0]
        return [
            Unknown(each.message) if isinstance(each, CatalogueUnavailable) else each
            for each in outcomes
        ]

    async def change_members(self, urls: Sequence[str]) -> Config:
        """Let other nodes keep the catalogue, from the next epoch on; return who keeps it.

        Somebody else's change may come first: then that one is finished and returned. May be
        repeated after any error, by anybody.
        Raises: CatalogueUnavailable: a node does not answer, or too few of the old ones.
        """
        driver = await self._connected()
        members, configs = await self._ask_all(urls)
        if len(members) < len(urls):
            silent = set(urls) - {member.url for member in members}
            raise CatalogueUnavailable(
                f"every new member must answer before it can become one: {', '.join(silent)}"
            )
        await self._read(driver, config_key(driver.proposer.config.epoch))  # learn of later epochs
        current = driver.proposer.config
        if any(_is_foreign(config, current) for config in configs):
            raise ConfigError(
                "one of these nodes keeps another catalogue",
                hint="its data directory's folder paxos holds it: move that away if it is not "
                "needed, and start the node anew",
            )
        wanted = Config(current.epoch + 1, tuple(sorted(members)), current.members)
        key = config_key(current.epoch)
        outcome = await driver.run(CompareAndSet(key, 0, msgspec.msgpack.encode(wanted)))
        value = await self._read(driver, key)
        if value.payload is None:
            raise CatalogueUnavailable(f"the change of members is not decided: {outcome}")
        decided = msgspec.msgpack.decode(value.payload, type=Config)
        await self._finish_switch(driver, decided)
        return decided

    async def agreement(self) -> Agreement:
        """Return who the members are and whether they answer now."""
        driver = await self._connected()
        config = driver.proposer.config
        members = await asyncio.gather(
            *(self._look_at(member, config) for member in config.members)
        )
        quorum = majority(len(members))
        spare = sum(member.state == "up" for member in members) - quorum
        counts = driver.counts
        decided = counts.fast_rounds + counts.slow_rounds
        return Agreement(
            catalogue=self.kind,
            summary=_summary(len(members), quorum, spare),
            members=tuple(members),
            quorum=quorum,
            failures_survived=max(0, spare),
            epoch=config.epoch,
            fast_rounds=counts.fast_rounds,
            slow_rounds=counts.slow_rounds,
            attempts_failed=counts.attempts_failed,
            requests=counts.requests,
            frames=counts.frames,
            requests_per_decision=counts.write_requests / decided if decided else None,
        )

    async def _look_at(self, member: Member, config: Config) -> AgreementMember:
        assert self._exchange is not None
        url = self._exchange.addresses.get(member.id, member.url)
        began_s = time.perf_counter()
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                answer = await self._exchange.ask(url, RequestFrame("", (Hello(next(_numbers)),)))
        except (EvenflowError, OSError, TimeoutError) as error:
            detail = str(error).removeprefix(f"{url}: ") or f"no answer in {LOOK_TIMEOUT_S:g} s"
            return AgreementMember(
                name=member.id, url=url, state="silent", role="acceptor", detail=detail
            )
        took_s = time.perf_counter() - began_s
        reason, epoch = _refusal(answer, member, config)
        return AgreementMember(
            name=member.id,
            url=url,
            state="refuses" if reason else "up",
            role="acceptor",
            answer_s=took_s,
            detail=reason,
            facts={"epoch": epoch} if epoch else {},
        )

    async def close(self) -> None:
        """Let go of the connections. May be called twice."""
        self._is_closed = True
        if self._driver is not None:
            await self._driver.close()
        if self._exchange is not None:
            await self._exchange.close()

    # -- operations ------------------------------------------------------------------------------

    async def _read(self, driver: Driver, key: Key) -> Value:
        outcome = await driver.run(ReadKey(key))
        if not isinstance(outcome, Found) and await self._help(driver):
            outcome = await driver.run(ReadKey(key))
        if isinstance(outcome, Found):
            return outcome.value
        raise _too_few(outcome)

    async def _collect(self, driver: Driver, prefix: str) -> dict[Key, Value]:
        outcome = await driver.run(Collect(prefix))
        if not isinstance(outcome, Collected):
            await self._help(driver)
            raise _too_few(outcome)
        values = dict(outcome.values)
        read = await asyncio.gather(*(self._read(driver, key) for key in outcome.disputed))
        values.update(zip(outcome.disputed, read, strict=True))
        return {key: value for key, value in values.items() if not key.name.startswith("\0")}

    async def _write(self, driver: Driver, write: Write) -> Outcome | CatalogueUnavailable:
        key = Key(b"", write.key)
        outcome = await driver.run(CompareAndSet(key, write.expected_version, write.value))
        if isinstance(outcome, Written):
            return Version(outcome.version)
        if isinstance(outcome, Mismatch):
            return Conflict(_entry(write.key, outcome.value))
        await self._help(driver)
        if isinstance(outcome, Unreachable):
            return _too_few(outcome)
        return Unknown(str(outcome))

    async def _help(self, driver: Driver) -> bool:
        """Something did not come through: finish a change of members, if one is half done."""
        if not driver.proposer.config.previous:
            return False
        try:
            await self._finish_switch(driver, driver.proposer.config, _HELP_S)
        except CatalogueUnavailable:
            return False
        return True

    async def _finish_switch(
        self, driver: Driver, decided: Config, patience_s: float = SWITCH_S
    ) -> None:
        try:
            await driver.switch(decided, patience_s)
        except TimeoutError as error:
            raise CatalogueUnavailable(
                "too few nodes answer to end the last change of members"
            ) from error

    # -- who keeps it ----------------------------------------------------------------------------

    async def _connected(self) -> Driver:
        if self._is_closed:
            raise CatalogueUnavailable("the catalogue is closed")
        if self._driver is None:
            async with self._connecting:
                if self._driver is None:
                    config = await self._find_config()
                    assert self._exchange is not None
                    self._driver = Driver(
                        config, self._exchange, settings=self._settings, trace=self._trace
                    )
        return self._driver

    async def _find_config(self) -> Config:
        """Return the newest epoch anybody knows of; if it is all new, begin the first."""
        if self._exchange is None:
            self._exchange = self._make_exchange()
        members, configs = await self._ask_all(self._urls)
        if configs:
            newest = max(configs, key=lambda config: config.epoch)
            if not newest.previous:
                await self._begin_first(newest)
            return newest
        if len(members) < len(self._urls):
            raise CatalogueUnavailable(
                f"{len(members)} of {len(self._urls)} nodes that are to keep the catalogue answer"
                + (", and know of none yet" if members else ""),
                hint="start all of them; their addresses are those of nodes, and their token is "
                "this coordinator's",
            )
        config = Config(1, tuple(sorted(members)))
        if await self._begin_first(config) < majority(len(config.members)):
            raise CatalogueUnavailable("another group of nodes was chosen at the same time")
        return config

    async def _begin_first(self, config: Config) -> int:
        """Let all members serve the first epoch; return how many do. May be repeated.

        A member that has nothing was never part of it: one that lost its disk has another id.
        """
        assert self._exchange is not None
        exchange = self._exchange

        async def install(member: Member) -> bool:
            frame = RequestFrame(member.id, (Install(next(_numbers), config, ()),))
            try:
                replies = await exchange(member, frame)
            except (EvenflowError, OSError, TimeoutError):
                return False
            return any(isinstance(reply, Installed) for reply in replies)

        return sum(await asyncio.gather(*(install(member) for member in config.members)))

    async def _ask_all(self, urls: Sequence[str]) -> tuple[list[Member], list[Config]]:
        """Ask nodes who they are and which epoch they know of."""
        assert self._exchange is not None
        frame = RequestFrame("", (Hello(next(_numbers)),))
        answers = await asyncio.gather(*(self._ask(url, frame) for url in urls))
        members, configs = [], []
        for url, answer in zip(urls, answers, strict=True):
            if answer is None or not answer.member:
                continue
            members.append(Member(answer.member, url))
            self._exchange.addresses[answer.member] = url
            configs += [
                reply.config
                for reply in answer.replies
                if isinstance(reply, WrongEpoch) and reply.config is not None
            ]
        return members, configs

    async def _ask(self, url: str, frame: RequestFrame) -> ReplyFrame | None:
        assert self._exchange is not None
        try:
            return await self._exchange.ask(url, frame)
        except (EvenflowError, OSError, TimeoutError):
            return None


def _too_few(outcome: object) -> CatalogueUnavailable:
    reason = outcome.reason if isinstance(outcome, Unreachable) else outcome
    return CatalogueUnavailable(
        f"too few of the nodes that keep the catalogue answer: {reason}",
        hint="`storage-server consensus status` names those that are silent",
    )


def _entry(key: str, value: Value) -> Entry | None:
    return None if value.payload is None else Entry(key, value.payload, value.version)


def _refusal(answer: ReplyFrame, member: Member, config: Config) -> tuple[str, int]:
    """Return why a member that answered takes no part now, if it does not; and its epoch."""
    if answer.member != member.id:
        return "another acceptor answers here: it lost its disk, and is no member", 0
    for reply in answer.replies:
        if isinstance(reply, WrongEpoch) and reply.config is not None:
            epoch = reply.config.epoch
            return ("" if epoch == config.epoch else f"it is in epoch {epoch}"), epoch
        if isinstance(reply, Refused):
            return reply.reason, 0
    return "it was never told that it is a member", 0


def _is_foreign(config: Config, current: Config) -> bool:
    """Whether an epoch that a node knows of is not of this catalogue, as far as one can tell."""
    if config.epoch > current.epoch:
        return True
    if config.epoch == current.epoch:
        return config.ids != current.ids
    known = {member.id for member in (*current.members, *current.previous)}
    return known.isdisjoint(config.ids)


def _summary(members: int, quorum: int, spare: int) -> str:
    who = f"any {quorum} of {members} nodes decide, without a leader"
    if spare < 0:
        return f"{who}; {-spare} more must come back before anything can be stored or changed"
    return f"{who}; as it is now, {spare} more may be lost"
