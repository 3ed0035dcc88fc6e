"""What an etcd cluster says of itself: who leads, in which term, how far everybody is."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import httpx

from smart_client.agreement import Agreement, AgreementMember

# Whoever watches does not wait longer for a member that hangs.
LOOK_TIMEOUT_S = 0.5

_NUMBERS = {"term": "raftTerm", "index": "raftIndex", "db_bytes": "dbSize"}


async def agreement_of(client: httpx.AsyncClient, endpoints: Sequence[str]) -> Agreement:
    """Ask every endpoint; return who decides."""
    members = await asyncio.gather(*(_look_at(client, url) for url in endpoints))
    quorum = len(members) // 2 + 1
    spare = sum(member.state == "up" for member in members) - quorum
    leader = next((each.name for each in members if each.role == "leader"), "")
    terms = [int(each.facts["term"]) for each in members if "term" in each.facts]
    return Agreement(
        catalogue="etcd",
        summary=_summary(len(members), spare, leader),
        members=tuple(members),
        quorum=quorum,
        failures_survived=max(0, spare),
        epoch=max(terms, default=None),
    )


async def _look_at(client: httpx.AsyncClient, url: str) -> AgreementMember:
    began_s = time.perf_counter()
    try:
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            response = await client.post(f"{url}/v3/maintenance/status", json={})
        said: dict[str, Any] = response.raise_for_status().json()
        member_id = said["header"]["member_id"]
        facts: dict[str, str | int] = {
            name: int(said.get(field, 0)) for name, field in _NUMBERS.items()
        }
    except (httpx.HTTPError, TimeoutError, ValueError, KeyError) as error:
        return AgreementMember(name=url, url=url, state="silent", detail=type(error).__name__)
    leader = said.get("leader", "0")
    return AgreementMember(
        name=f"{int(member_id):x}",
        url=url,
        state="up" if leader != "0" else "refuses",
        role="leader" if leader == member_id else "follower",
        answer_s=time.perf_counter() - began_s,
        detail="" if leader != "0" else "it knows of no leader",
        facts={**facts, "version": str(said.get("version", ""))},
    )


def _summary(members: int, spare: int, leader: str) -> str:
    who = f"etcd: {members} members, a leader and a majority decide"
    if not leader or spare < 0:
        return f"{who}; no leader is known now, so nothing can be stored or changed"
    return f"{who}; {leader} leads; as it is now, {spare} more may be lost"
