"""Who was overtaken on its rows by another node, or comes at the same time as one, does nothing twice."""

import asyncio
import random

from structlog.typing import EventDict

from receiver.core.asking.exchange import Gone, Pending, Seen
from receiver.core.model import DAY, HOUR, MINUTE, JobState, Observation
from receiver.storage.claims import LookClaim
from receiver.storage.nodes import MISSING_AFTER
from receiver.storage.retention import Prune
from tests.core.making import NOW
from tests.storage.making import (
    DONE,
    FAILED,
    LEASE,
    leases,
)

from .desks import Desks, contended, desks, logs, url

__all__ = ["desks", "logs", "url"]


def claim_of(job_id: str, at: int) -> LookClaim:
    """A person's wish to look at a job now."""
    return LookClaim(job_id=job_id, owner="person", lease_ms=LEASE, now=at)


async def test_two_nodes_claim_no_row_twice(desks: Desks) -> None:
    """Steps and dispatches: what one node has is not the other's, and neither is left without."""
    await desks[0].register("h", only=False)
    for n in range(60):
        await desks[0].submitted(remote_id=f"r{n}", created_at=NOW)
    found = await asyncio.gather(
        *(desks[n % 2].claim(at=NOW + MINUTE, owner="ab"[n % 2], limit=5) for n in range(16))
    )
    claimed = [one for batch in found for one in batch]
    assert len({one.job.id for one in claimed}) == len(claimed) == 60
    assert {one.due.owner for one in claimed} == {"a", "b"}
    await asyncio.gather(*(desks[0].call(one.job, DONE) for one in claimed))
    batches = await asyncio.gather(*(desks[n % 2].work("h", at=NOW, owner="ab"[n % 2]) for n in range(8)))
    works = [dispatch for batch in batches for dispatch, _ in batch]
    assert len({one.job_id for one in works}) == len(works) == 60
    assert {one.owner for one in works} == {"a", "b"}


async def test_who_was_overtaken_settles_nothing(desks: Desks) -> None:
    """A node that was frozen past its lease settles, spends, keeps and gives back nothing of its successor's."""
    await desks[0].register("h", only=False)
    one = await desks[0].submitted()
    done = await desks[0].submitted(remote_id="r2", created_at=NOW - HOUR)
    await desks[0].call(done, DONE)
    (frozen,) = await desks[0].claim(at=NOW + MINUTE, owner="a")
    (work,) = await desks[0].work("h", at=NOW + MINUTE, owner="a")
    (heir,) = await desks[1].claim(at=NOW + MINUTE + LEASE, owner="b")
    (again,) = await desks[1].work("h", at=NOW + MINUTE + LEASE, owner="b")
    before = desks[0].rows("SELECT * FROM due"), desks[0].rows("SELECT * FROM dispatch")
    finding = Seen(seen=Observation(state=JobState.FAILED))
    assert await desks[0].settle(frozen, finding, at=NOW + HOUR) is None
    assert not await desks[0].finish(work[0], at=NOW + HOUR)
    assert not await desks[0].store.spend(frozen.due, "https://a.example/")
    await desks[0].beat(frozen, work, at=NOW + HOUR)
    await desks[0].store.release(leases(frozen, work), lease_ms=LEASE, now=NOW)
    assert (desks[0].rows("SELECT * FROM due"), desks[0].rows("SELECT * FROM dispatch")) == before
    assert await desks[1].finish(again[0], at=NOW + HOUR)
    move = await desks[1].settle(heir, finding, at=NOW + HOUR)
    assert move is not None
    assert (move.job.id, move.completed) == (one.id, True)


async def test_the_overtaken_and_their_heirs_wait_in_no_ring(desks: Desks, logs: list[EventDict]) -> None:
    """They settle, spend and look at the same rows in every order, and none of it is tried again."""
    for n in range(12):
        await desks[0].submitted(remote_id=f"r{n}", created_at=NOW)
    frozen = await desks[0].claim(at=NOW + MINUTE, owner="a", limit=12)
    heirs = await desks[1].claim(at=NOW + MINUTE + LEASE, owner="b", limit=12)
    ids = [one.job.id for one in heirs]
    at = NOW + MINUTE + LEASE
    for _ in range(15):
        await asyncio.gather(
            *(desks[0].settle(one, Pending(), at=at) for one in random.sample(frozen, 12)),
            *(desks[1].store.spend(one.due, "https://a.example/") for one in random.sample(heirs, 12)),
            *(desks[0].store.claim_look(claim_of(one, at)) for one in random.sample(ids, 12)),
        )
    assert contended(logs) == []
    moves = await asyncio.gather(*(desks[1].settle(one, Gone(status=404), at=at) for one in heirs))
    assert moves == [None] * 12
    assert desks[0].count("due", f"owner IS NULL AND run_at = {at + MINUTE}") == 12


async def test_both_nodes_prune_at_once(desks: Desks) -> None:
    """Each job is deleted, and counted, by one of them; the digests of all are kept."""
    for n in range(40):
        one = await desks[0].submitted("wide", remote_id=f"r{n}", created_at=NOW - 30 * DAY + n)
        await desks[0].call_wide(FAILED | {"id": f"r{n}"}, at=one.created_at)
    pruned = await asyncio.gather(*(desk.store.prune(Prune(before=NOW, now=NOW)) for desk in desks * 3))
    assert sum(one.jobs for one in pruned) == 40
    assert (desks[0].count("job"), desks[0].count("pruned")) == (0, 40)


async def test_both_nodes_bury_at_once(desks: Desks) -> None:
    """A dispatch whose handler is gone is buried, and counted, once; one that any node has is left alone."""
    await desks[0].register("ours", "gone", only=False)
    for n in range(20):
        await desks[0].call(await desks[0].submitted(remote_id=f"r{n}"), DONE)
    late = NOW + MISSING_AFTER + 1
    await desks[1].beat(at=late, handlers=["ours"])
    buried = await asyncio.gather(*(desk.store.reap(now=late) for desk in desks * 3))
    assert sum(buried) == 20
    assert desks[0].rows("SELECT DISTINCT handler FROM dispatch WHERE state = 'ready'") == [("ours",)]
