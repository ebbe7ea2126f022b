"""Circuits in the store: when one opens, who may try, and what closes it, on any database and for every node."""

import asyncio

import pytest
from msgspec.structs import replace

from receiver.core.circuit import Circuit, Sign
from receiver.core.errors import NotFoundError
from receiver.core.model import HOUR, MINUTE, SECOND, Dispatch, Failure, Job
from receiver.storage import circuits
from receiver.storage.dispatches import AWAY, DispatchClaim, DispatchSettled
from receiver.storage.settlements import timeline
from tests.core.making import NOW
from tests.storage.making import DONE, LEASE, Desk

WAIT = 5 * SECOND
FAILS = Sign(word="fails", most=3, wait=WAIT)
WORKS = Sign(word="works")


async def settle(
    desk: Desk,
    dispatch: Dispatch,
    sign: Sign,
    *,
    at: int,
    outcome: str = "failed",
    retry_at: int | None = None,
) -> None:
    """Settle an attempt with what it says about its handler."""
    log = timeline(
        dispatch.job_id,
        step="dispatch",
        started_at=at,
        now=at,
        outcome=outcome,
        handler=dispatch.handler,
        number=dispatch.attempt,
    )
    error = None if outcome == "succeeded" else Failure(code="ValueError", text="trace")
    ended = DispatchSettled(dispatch=dispatch, log=log, error=error, retry_at=retry_at, sign=sign)
    assert await desk.store.settle_dispatches([ended]) == [True]


async def claim(desk: Desk, *, at: int, owner: str = "node", limit: int = 10) -> list[tuple[Dispatch, Job]]:
    """Claim what a node does that knows that there is something about the handler's circuit."""
    return await desk.store.claim_dispatches(
        DispatchClaim(owner=owner, limits={"h": limit}, lease_ms=LEASE, now=at, trials={"h": MINUTE})
    )


async def circuit(desk: Desk) -> Circuit | None:
    """How the handler's circuit stands."""
    (found,) = await desk.store.registered()
    return found.circuit


async def filled(desk: Desk, many: int) -> None:
    """Completions that wait for the handler."""
    await desk.register("h")
    for n in range(many):
        await desk.call(await desk.submitted(remote_id=f"r{n}"), DONE, at=NOW + n)


async def opened(desk: Desk, *, many: int = 8) -> None:
    """A handler with so many completions, three of which failed in a row."""
    await filled(desk, many)
    for dispatch, _ in await desk.work("h", at=NOW + 9, limit=3):
        await settle(desk, dispatch, FAILS, at=NOW + 9, retry_at=NOW + 9)


async def test_failures_in_a_row_open_it_and_nothing_is_claimed(desk: Desk) -> None:
    """Neither by who knows of it nor by who does not yet; a success in between counts from nought again."""
    await filled(desk, 8)
    running = [dispatch for dispatch, _ in await desk.work("h", at=NOW + 9, limit=5)]
    for dispatch, sign in zip(running[:4], (FAILS, FAILS, WORKS, FAILS), strict=True):
        outcome = "succeeded" if sign is WORKS else "failed"
        await settle(desk, dispatch, sign, at=NOW + 9, outcome=outcome, retry_at=NOW + 9)
    one = await circuit(desk)
    assert one is not None
    assert (one.state, one.failures) == ("closed", 1)
    assert len(await desk.work("h", at=NOW + 9, limit=2)) == 2
    for dispatch in [running[4], *(d for d, _ in await desk.work("h", at=NOW + 9, limit=1))]:
        await settle(desk, dispatch, FAILS, at=NOW + 10, retry_at=NOW + 10)
    one = await circuit(desk)
    assert one is not None
    assert (one.state, one.failures, one.trial_at) == ("open", 3, NOW + 10 + WAIT)
    assert one.error == Failure(code="ValueError", text="trace")
    for known in ({}, {"h": MINUTE}):
        wish = DispatchClaim(
            owner="n", limits={"h": 9}, lease_ms=LEASE, now=NOW + 11, trials=known, interrupted=True
        )
        assert await desk.store.claim_dispatches(wish) == []


async def test_one_trial_at_a_time_and_the_first_success_closes_it(desk: Desk) -> None:
    """A trial that fails uses up no attempt of what it was tried on, and the next one waits longer, with another."""
    await opened(desk)
    at = NOW + 9 + WAIT
    found = await asyncio.gather(*(claim(desk, at=at, owner=f"n{n}") for n in range(4)))
    ((trial, _),) = [pair for pairs in found for pair in pairs]
    assert (trial.trial, trial.failures) == (1, 1 if trial.error else 0)
    await settle(desk, trial, replace(FAILS, wait=2 * WAIT), at=at, retry_at=at + HOUR)
    assert await claim(desk, at=at + 2 * WAIT - 1) == []
    ((second, _),) = await claim(desk, at=at + 2 * WAIT)
    assert (second.trial, second.job_id == trial.job_id) == (2, False)
    assert desk.rows("SELECT failures FROM dispatch WHERE job_id = :id", id=trial.job_id) == [
        (trial.failures,)
    ]
    await settle(desk, second, WORKS, at=at + 2 * WAIT, outcome="succeeded")
    assert await circuit(desk) is None
    assert len(await desk.work("h", at=at + 2 * WAIT)) == 6


async def test_a_trial_whose_process_ends_is_followed_by_another(desk: Desk) -> None:
    """Nobody knows how it would have ended: when its time is up somebody else tries."""
    await opened(desk)
    at = NOW + 9 + WAIT
    ((trial, _),) = await claim(desk, at=at, owner="gone")
    assert await claim(desk, at=at + MINUTE - 1) == []
    ((other, _),) = await claim(desk, at=at + MINUTE)
    assert other.trial == 1
    # Its end is recorded all the same, should it come.
    await settle(desk, other, Sign(word="unclear"), at=at + MINUTE, outcome="interrupted", retry_at=at + HOUR)
    assert len(await claim(desk, at=at + MINUTE)) == 1
    assert trial.job_id != other.job_id


async def test_where_there_is_nothing_to_try_it_stays_open(desk: Desk) -> None:
    """The trial is for the next completion, however late that comes."""
    await opened(desk, many=3)
    at = NOW + 9 + WAIT
    for n in range(3):
        ((trial, _),) = await claim(desk, at=at + n * WAIT)
        await settle(desk, trial, FAILS, at=at + n * WAIT, retry_at=at + HOUR)
    assert await claim(desk, at=at + 4 * WAIT) == []
    await desk.call(await desk.submitted(remote_id="late"), DONE, at=at + 5 * WAIT)
    ((trial, _),) = await claim(desk, at=at + 5 * WAIT)
    assert trial.trial == 4


async def test_what_began_before_it_opened_changes_only_by_success(desk: Desk) -> None:
    """A late failure does not put the next trial off; a late success closes it."""
    await filled(desk, 8)
    running = [dispatch for dispatch, _ in await desk.work("h", at=NOW + 9, limit=5)]
    for dispatch in running[:4]:
        await settle(desk, dispatch, FAILS, at=NOW + 9, retry_at=NOW + 9)
    one = await circuit(desk)
    assert one is not None
    assert (one.state, one.failures, one.trial_at) == ("open", 3, NOW + 9 + WAIT)
    await settle(desk, running[4], WORKS, at=NOW + 10, outcome="succeeded")
    assert await circuit(desk) is None


async def test_who_is_away_pauses_nothing_of_others_and_who_wants_nothing_is_paused(desk: Desk) -> None:
    """A sink whose other side says that it wants no more is paused: no trial, and no success of before resumes it."""
    await filled(desk, 4)
    running = [dispatch for dispatch, _ in await desk.work("h", at=NOW + 9, limit=2)]
    await settle(desk, running[0], Sign(word="pauses"), at=NOW + 9, outcome=AWAY, retry_at=NOW + 9)
    await settle(desk, running[1], WORKS, at=NOW + 9, outcome="succeeded")
    one = await circuit(desk)
    assert one is not None
    assert (one.state, one.who) == ("paused", None)
    assert await claim(desk, at=NOW + HOUR) == []
    assert await desk.store.write(circuits.resume, "h")
    assert len(await claim(desk, at=NOW + HOUR)) == 3


async def test_a_person_pauses_and_resumes(desk: Desk) -> None:
    """At once and for every node; what ends meanwhile waits; an unknown handler is told."""
    await filled(desk, 2)
    await desk.store.write(circuits.pause, ("h", "ada", NOW))
    await desk.call(await desk.submitted(remote_id="more"), DONE, at=NOW + 9)
    assert await desk.work("h", at=NOW + HOUR) == []
    one = await circuit(desk)
    assert one is not None
    assert (one.state, one.who, one.since) == ("paused", "ada", NOW)
    assert await desk.store.write(circuits.resume, "h")
    assert not await desk.store.write(circuits.resume, "h")
    assert len(await desk.work("h", at=NOW + HOUR)) == 3
    for method, item in ((circuits.pause, ("nobody", "ada", NOW)), (circuits.resume, "nobody")):
        with pytest.raises(NotFoundError) as unknown:
            await desk.store.write(method, item)  # type: ignore[arg-type]
        assert unknown.value.code == "handler_unknown"
