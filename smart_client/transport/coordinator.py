"""The coordinator's API as typed calls, over a list of coordinators."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx

from redundancy.errors import EvenflowError
from smart_client import wire
from smart_client.agreement import Agreement, AgreementTrace
from smart_client.errors import CoordinatorUnreachable
from smart_client.storage_report import ExposureReport, NodePlan, StorageReport
from smart_client.transport.answers import error_from_answer
from smart_client.transport.tls import not_http, tls_context, tls_hint, tls_trouble
from smart_client.whereabouts import Whereabouts

Answer = TypeVar("Answer")
Said = TypeVar("Said")

CONNECT_TIMEOUT_S = 2.0
ROUNDS = 3  # over all coordinators
PAUSE_S = 0.1  # between rounds; doubles

# With several coordinators one that hangs is not waited for longer than this before the next is
# asked; in the second round all get the whole time.
FIRST_TRY_S = 1.0


_HINT = "start it, or point --coordinator at it; `smart-client doctor` checks each step"


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why a coordinator gave no answer, and what to do."""

    text: str = ""
    hint: str = _HINT


class CoordinatorClient:
    """Responsible for asking any live coordinator.

    Reads, and writes that may arrive twice, are retried elsewhere after any transport error. Other
    writes are retried only when they surely did not arrive (no connection): after a lost answer
    the caller must look before repeating. Who answered last is asked first the next time.
    """

    def __init__(
        self, urls: Sequence[str], *, token: str | None = None, timeout_s: float = 5.0
    ) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=16),
            trust_env=False,
            verify=tls_context(urls),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    # -- videos ----------------------------------------------------------------------------------

    async def list_videos(self) -> tuple[wire.VideoSummary, ...]:
        """Return all videos, by name."""
        return await self._get("/v1/videos", tuple[wire.VideoSummary, ...])

    async def video(self, name: str) -> wire.VideoRecord:
        """Return a video's register."""
        return await self._get(f"/v1/videos/{quote(name)}", wire.VideoRecord)

    async def manifest(self, name: str, rendition: str = "original") -> wire.Manifest:
        """Return all that is needed to play a rendition."""
        path = f"/v1/videos/{quote(name)}/manifest?rendition={quote(rendition)}"
        return await self._get(path, wire.Manifest)

    async def create_video(self, wish: wire.CreateVideo) -> wire.VideoRecord:
        """Announce an upload, or find the unfinished one of the same name and size."""
        return await self._send("POST", "/v1/videos", wish, wire.VideoRecord, repeatable=True)

    async def place(self, name: str, wish: wire.PlaceChunks) -> wire.Placements:
        """Ask where a group's chunks should go."""
        path = f"/v1/videos/{quote(name)}/placements"
        return await self._send("POST", path, wish, wire.Placements, repeatable=True)

    async def store_group(self, name: str, number: int, group: wire.StoreGroup) -> int:
        """Record where a group's chunks lie; return the register's new version."""
        path = f"/v1/videos/{quote(name)}/groups/{number}"
        answer = await self._send("PUT", path, group, dict[str, int], repeatable=True)
        return answer["version"]

    async def groups(self, name: str, rendition: str = "original") -> tuple[wire.StoredGroup, ...]:
        """Return the groups recorded so far, also of an unfinished upload."""
        path = f"/v1/videos/{quote(name)}/groups?rendition={quote(rendition)}"
        return await self._get(path, tuple[wire.StoredGroup, ...])

    async def commit_video(self, name: str, commit: wire.CommitVideo) -> wire.VideoRecord:
        """Make an upload visible."""
        path = f"/v1/videos/{quote(name)}/commit"
        return await self._send("POST", path, commit, wire.VideoRecord, repeatable=True)

    async def delete_video(self, name: str) -> wire.Deleted:
        """Remove a video; its fragments are dropped by and by."""
        gone = wire.Deleted(name=name, fragments=0, stored_bytes=0)
        path = f"/v1/videos/{quote(name)}"
        return await self._send("DELETE", path, None, wire.Deleted, repeatable=True, if_gone=gone)

    async def count_view(self, name: str, view: wire.CountView) -> None:
        """Report a playback; the coordinator counts it once."""
        path = f"/v1/videos/{quote(name)}/views"
        await self._send("POST", path, view, dict[str, int], repeatable=True)

    # -- nodes -----------------------------------------------------------------------------------

    async def nodes(self) -> tuple[wire.NodeStatus, ...]:
        """Return every node as the coordinator sees it now."""
        return await self._get("/v1/nodes", tuple[wire.NodeStatus, ...])

    async def add_node(self, record: wire.NodeRecord) -> wire.NodeStatus:
        """Register a node by hand."""
        path = f"/v1/nodes/{quote(record.id)}"
        return await self._send("PUT", path, record, wire.NodeStatus, repeatable=True)

    async def heartbeat(self, beat: wire.Heartbeat) -> None:
        """Tell the coordinator that a node lives."""
        path = f"/v1/nodes/{quote(beat.node)}/heartbeat"
        await self._send("POST", path, beat, dict[str, object], repeatable=True)

    async def declare_lost(self, node: str) -> wire.NodeStatus:
        """Say that a node does not come back, so that what it held is made anew."""
        path = f"/v1/nodes/{quote(node)}/lost"
        return await self._send("POST", path, None, wire.NodeStatus, repeatable=True)

    async def plan_node(self, node: str) -> NodePlan:
        """Return what it takes to empty a node."""
        return await self._get(f"/v1/nodes/{quote(node)}/plan", NodePlan)

    async def drain_node(self, node: str) -> NodePlan:
        """Have a node emptied by and by; return what it takes."""
        path = f"/v1/nodes/{quote(node)}/drain"
        return await self._send("POST", path, None, NodePlan, repeatable=True)

    async def remove_node(self, node: str) -> wire.Removed:
        """Take a node out when all it holds is elsewhere; may take long."""
        return await self._send("DELETE", f"/v1/nodes/{quote(node)}", None, wire.Removed)

    async def set_layout(self, name: str, wish: wire.SetLayout) -> wire.VideoRecord:
        """Have a video stored in another layout by and by."""
        path = f"/v1/videos/{quote(name)}/layout"
        return await self._send("PUT", path, wish, wire.VideoRecord, repeatable=True)

    async def keeper(self) -> wire.KeeperStatus:
        """Return what the keeper does."""
        return await self._get("/v1/keeper", wire.KeeperStatus)

    async def run_keeper(self) -> wire.KeeperStatus:
        """Have the keeper look at everything now; may take long."""
        return await self._send("POST", "/v1/keeper/run", None, wire.KeeperStatus)

    async def rebalance(self) -> wire.KeeperStatus:
        """Have the nodes evened out now; may take long."""
        return await self._send("POST", "/v1/keeper/rebalance", None, wire.KeeperStatus)

    async def plan_keeper(self, what: str) -> NodePlan:
        """Return what ``repair`` or ``rebalance`` would do."""
        return await self._get(f"/v1/keeper/plan/{what}", NodePlan)

    async def status(self) -> wire.ClusterStatus:
        """Return the cluster at a glance."""
        return await self._get("/v1/status", wire.ClusterStatus)

    async def whereabouts(self) -> Whereabouts:
        """Return where every chunk of every video lies."""
        return await self._get("/v1/whereabouts", Whereabouts)

    async def agreement(self) -> Agreement:
        """Return how a coordinator's decisions are agreed on; with several, one of them tells."""
        return await self._get("/v1/consensus", Agreement)

    async def agreement_trace(self, after: int | None = None, *, wait_s: int = 0) -> AgreementTrace:
        """Return what was said since ``after``, another answer's ``next``; None: from now on.

        Args:
            wait_s: wait so long if there is nothing; less than this client's own patience.
        """
        query = f"?wait={wait_s}" if after is None else f"?wait={wait_s}&after={after}"
        return await self._get(f"/v1/consensus/trace{query}", AgreementTrace)

    async def storage(self) -> StorageReport:
        """Return how efficiently everything is stored, and what the policy would have."""
        return await self._get("/v1/storage", StorageReport)

    async def exposure(self) -> ExposureReport:
        """Return which nodes may go, and which videos would stop or be lost."""
        return await self._get("/v1/exposure", ExposureReport)

    # -- plumbing --------------------------------------------------------------------------------

    async def _get(self, path: str, answer: type[Answer]) -> Answer:
        return await self._send("GET", path, None, answer, repeatable=True)

    async def _send(
        self,
        method: str,
        path: str,
        body: object | None,
        answer: type[Answer],
        *,
        repeatable: bool = False,
        if_gone: Answer | None = None,
    ) -> Answer:
        """Ask until one answers.

        Args:
            if_gone: the answer when somebody says 404 after another may have done it already.
        """
        data = None if body is None else wire.encode(body)
        trouble = _Trouble()
        answered: EvenflowError | None = None  # what a coordinator that did answer said
        is_doubtful = False
        for attempt in range(ROUNDS):
            await asyncio.sleep(PAUSE_S * (2**attempt // 2))  # at once, then longer each time
            for url in list(self._urls):
                patience = self._patience(is_hasty=repeatable and not attempt)
                response, trouble, was_sent = await self._ask(method, url, path, data, patience)
                if response is None:
                    is_doubtful |= was_sent
                    self._prefer_another(url)
                    if was_sent and not repeatable:
                        raise _may_have_taken_it(url, method)
                    continue
                if not response.is_error:
                    return wire.decode(response.content, answer)
                if response.status_code == 404 and is_doubtful and if_gone is not None:
                    return if_gone
                answered = error_from_answer(response.status_code, response.content, url + path)
                if response.status_code < 500 or not repeatable or len(self._urls) == 1:
                    raise answered
                self._prefer_another(url)  # another coordinator may be better off
            if answered is not None and attempt:
                break  # all had their time: the trouble lies behind them
        if answered is not None:
            raise answered
        where = ", ".join(self._urls) or "(none given)"
        raise CoordinatorUnreachable(
            f"coordinator {where} cannot be reached (tried {ROUNDS}x)",
            hint=trouble.hint,
            detail={"last try": trouble.text},
        )

    async def _ask(
        self, method: str, url: str, path: str, data: bytes | None, patience: httpx.Timeout
    ) -> tuple[httpx.Response | None, _Trouble, bool]:
        """Return the response; if there is none, why, and whether the request may have arrived."""
        headers: Mapping[str, str] = {} if data is None else {"Content-Type": "application/json"}
        try:
            response = await self._http.request(
                method, url + path, content=data, headers=headers, timeout=patience
            )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            why = tls_trouble(error)
            trouble = _Trouble(
                f"{url}: {why or type(error).__name__}", tls_hint(why) if why else _HINT
            )
            return None, trouble, False
        except httpx.TransportError as error:
            return None, _Trouble(f"{url}: {not_http(error, url) or type(error).__name__}"), True
        return response, _Trouble(), True

    def _patience(self, *, is_hasty: bool) -> httpx.Timeout:
        patience = self._http.timeout
        if not is_hasty or len(self._urls) == 1 or (patience.read or 0.0) <= FIRST_TRY_S:
            return patience
        return httpx.Timeout(FIRST_TRY_S)

    def _prefer_another(self, url: str) -> None:
        if url in self._urls:
            self._urls.remove(url)
            self._urls.append(url)


def _may_have_taken_it(url: str, method: str) -> CoordinatorUnreachable:
    return CoordinatorUnreachable(
        f"coordinator {url} did not answer a {method}; it may or may not have taken it",
        hint="look at the state (`smart-client ls`) before repeating",
    )


async def ask_each(
    urls: Sequence[str],
    question: Callable[[CoordinatorClient], Awaitable[Said]],
    *,
    token: str | None = None,
    patience_s: float | None = None,
) -> dict[str, Said | EvenflowError]:
    """Ask each of several coordinators by itself, all at once; return what came of it, by URL.

    Args: patience_s: for each of them; None: as a client has it.
    """

    async def ask(url: str) -> Said | EvenflowError:
        try:
            async with asyncio.timeout(patience_s), CoordinatorClient([url], token=token) as client:
                return await question(client)
        except TimeoutError:
            return CoordinatorUnreachable(f"coordinator {url} did not answer in {patience_s:g} s")
        except EvenflowError as error:
            return error

    return dict(zip(urls, await asyncio.gather(*map(ask, urls)), strict=True))
