"""What happens around a store: jobs are submitted, callbacks arrive, workers claim and settle."""

import hashlib
import hmac
import json
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias

import pytest

from receiver.core.description.provider import Provider
from receiver.core.handler import HandlerSpec
from receiver.core.identity import CALLBACK, JOB, new_id
from receiver.core.job.admission import examine, terms_for
from receiver.core.job.looking import Finding, Terms
from receiver.core.job.transition import Move
from receiver.core.job.urgency import ASKED
from receiver.core.message import Message, lowered
from receiver.core.model import (
    HOUR,
    MINUTE,
    Attempt,
    Callback,
    Dispatch,
    Due,
    Failure,
    Held,
    Job,
    JobState,
    Observation,
    Step,
    Verdict,
)
from receiver.core.signature.keyform import load_key
from receiver.storage import schema
from receiver.storage.arrivals import Arrival, Quota, Receipt
from receiver.storage.claims import Beat, Claim, Claimed, Leases
from receiver.storage.dispatches import DispatchClaim, DispatchSettled
from receiver.storage.driver import Driver, Transaction
from receiver.storage.looks import LookSettled
from receiver.storage.nodes import Node
from receiver.storage.readmission import Readmission
from receiver.storage.records import NewJob
from receiver.storage.settlements import SubmitSettled, timeline
from receiver.storage.store import Store
from tests.core.making import LARGEST, NOW, SIGNED, acme, job, marking

#: Something asked of a store that is not awaited yet.
Wish: TypeAlias = Coroutine[Any, Any, object]
LEASE: Final = MINUTE
SECRET: Final = "a secret of sixteen bytes or more"
#: Signs what it posts to each job's own address: results.
ACME: Final = acme(**SIGNED)
#: Signs nothing, posts to each job's own address: wake-ups.
WAKER: Final = acme(
    name="waker", callback={"where": "body", "path": "callback_url", "delivers": "notification"}
)
#: Signs what it posts to one address for the account: results, which repeat our mark.
WIDE: Final = marking(acme(**SIGNED, name="wide", callback={"where": "registered"}))
PROVIDERS: Final = {one.name: one for one in (ACME, WAKER, WIDE)}
DONE: Final = {"status": "done", "result": {"a": 1}}
FAILED: Final = {"status": "error", "reason": "no"}


def transactions(driver: Driver, kind: Literal["read", "write"]) -> list[Transaction]:
    """The transactions of that kind that *driver* opens from now on."""
    opened: list[Transaction] = []
    begin = getattr(driver, kind)

    @contextmanager
    def begun(*, patient: bool = False) -> Iterator[Transaction]:
        with begin(patient=patient) as tx:
            opened.append(tx)
            yield tx

    setattr(driver, kind, begun)
    return opened


def made_by(driver: Driver, migrations: Sequence[str]) -> None:
    """Make the tables as an older version did, with the *migrations* that it knew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "known", lambda: [*migrations])
        schema.migrate(driver)


def new_job(
    provider: str = "acme",
    *,
    key: str | None = None,
    request: bytes = b"{}",
    **changes: Any,  # noqa: ANN401
) -> NewJob:
    """A job to be recorded, with its submission leased to ``node``."""
    made = changes.get("created_at", NOW)
    metadata = changes.get("metadata", {})
    delivery = PROVIDERS[provider].callback
    assert delivery is not None
    defaults = {
        "id": new_id(JOB, made),
        "provider": provider,
        "delivery": delivery.delivers,
        "deadline_at": made + 2 * HOUR,
    }
    return NewJob(
        job=job(**defaults | changes),
        request=request,
        request_sha256=hashlib.sha256(request).hexdigest(),
        metadata=json.dumps(metadata).encode(),
        idempotency_key=key,
        owner="node",
        lease_ms=LEASE,
    )


def callback(
    provider: Provider,
    document: object,
    *,
    job_id: str | None = None,
    at: int = NOW,
    rejected: str | None = None,
) -> Callback:
    """A callback as it arrived: bytes, or a document as JSON."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return Callback(
        id=new_id(CALLBACK, at),
        provider=provider.name,
        route="webhooks" if job_id is None else "callbacks",
        job_id=job_id,
        received_at=at,
        query=b"a=%00&b=\xff",
        headers=((b"X-Signature", signature.encode()), (b"x-odd", b"\xe9\x00"), (b"x-odd", b"twice")),
        body=body,
        verdict=Verdict.ACCEPTED if rejected is None else Verdict.REJECTED,
        code=rejected,
    )


def arrival(one: Callback, *, quota: Quota | None = None) -> Arrival:
    """*one* on its way into the record, proved and read unless it is rejected."""
    provider = PROVIDERS[one.provider]
    examined = None
    if one.verdict is not Verdict.REJECTED:
        assert provider.verify is not None
        keys = [load_key("k", SECRET, scheme=provider.verify)] if provider.signed else []
        message = Message(body=one.body, headers=lowered(one.headers))
        examined = examine(message, provider=provider, keys=keys, now=one.received_at, largest=LARGEST)
    return Arrival(
        callback=one, examined=examined, terms=terms_for(provider, key_id="k"), quota=quota or Quota()
    )


def log_of(due: Due, outcome: str, now: int) -> Attempt:
    """A line for the timeline."""
    step = "poll" if due.step is Step.LOOK else due.step.value
    return timeline(due.job_id, step=step, started_at=now, now=now, outcome=outcome, number=due.attempt)


def held_in(content: bytes, part: int) -> Held:
    """Where a result lies that a look wrote."""
    return Held(offset=part, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def leases(*claimed: Claimed | tuple[Dispatch, Job]) -> Leases:
    """What was claimed, as leases."""
    return Leases(
        dues=tuple(one.due for one in claimed if isinstance(one, Claimed)),
        dispatches=tuple(one[0] for one in claimed if not isinstance(one, Claimed)),
    )


class Desk:
    """Does to one store what the steps do."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def register(self, *specs: HandlerSpec | str, now: int = NOW, only: bool = True) -> None:
        """Have handlers; a name alone wants every success."""
        handlers = [HandlerSpec(name=one) if isinstance(one, str) else one for one in specs]
        await self.store.join(Node(name="n", role="serve", handlers=tuple(handlers)), only=only, now=now)

    async def submit(self, provider: str = "acme", **changes: Any) -> Job:  # noqa: ANN401
        """Record a job that is being submitted."""
        recorded, created = await self.store.submit(new_job(provider, **changes))
        assert created
        return recorded

    def sending(self, one: Job) -> Due:
        """The lease of whoever submits *one* for the first time."""
        return Due(
            job_id=one.id,
            step=Step.SUBMIT,
            provider=one.provider,
            run_at=one.created_at + LEASE,
            lane=ASKED,
            attempt=1,
            owner="node",
        )

    async def answer(
        self,
        one: Job,
        *,
        due: Due | None = None,
        at: int = NOW,
        first_look_at: int | None = None,
        **outcome: Any,  # noqa: ANN401
    ) -> Job:
        """Settle the submission of *one*."""
        due = due or self.sending(one)
        return await self.store.settle_submit(
            SubmitSettled(
                due=due,
                first_look_at=first_look_at or at + MINUTE,
                log=log_of(due, "answered", at),
                now=at,
                **outcome,
            )
        )

    async def submitted(self, provider: str = "acme", *, remote_id: str | None = "r1", **changes: Any) -> Job:  # noqa: ANN401
        """A job that the provider accepted."""
        one = await self.submit(provider, **changes)
        seen = Observation(state=JobState.SUBMITTED, remote_id=remote_id)
        return await self.answer(one, seen=seen, at=one.created_at)

    async def call(self, one: Job, document: object, *, at: int = NOW) -> Receipt:
        """Call the job's own address."""
        return await self.store.ingest(
            arrival(callback(PROVIDERS[one.provider], document, job_id=one.id, at=at))
        )

    async def call_wide(self, document: object, *, at: int = NOW) -> Receipt:
        """Call the account-wide address."""
        return await self.store.ingest(arrival(callback(WIDE, document, at=at)))

    async def claim(
        self,
        *,
        at: int,
        provider: str = "acme",
        owner: str = "node",
        limit: int = 10,
        turn: int = 0,
        lapses: bool = True,
        set_by: int | None = None,
    ) -> list[Claimed]:
        """Claim what is due."""
        return await self.store.claim(
            Claim(
                owner=owner,
                provider=provider,
                limit=limit,
                lease_ms=LEASE,
                now=at,
                turn=turn,
                lapses=lapses,
                set_by=set_by,
            )
        )

    async def settle(
        self,
        claimed: Claimed,
        finding: Finding,
        *,
        at: int,
        next_at: int | None = None,
        renewable: bool = True,
    ) -> Move | None:
        """Settle a look."""
        return await self.store.settle_look(
            LookSettled(
                due=claimed.due,
                woken_by=claimed.job.woken_by,
                remote_id=claimed.job.remote_id,
                finding=finding,
                log=log_of(claimed.due, "looked", at),
                next_at=next_at or at + MINUTE,
                terms=Terms(patience=2 * MINUTE),
                renewable=renewable,
                now=at,
            )
        )

    async def look(self, finding: Finding, *, at: int, provider: str = "acme") -> Move | None:
        """Claim the one look that is due and settle it."""
        (claimed,) = await self.claim(at=at, provider=provider)
        assert claimed.due.step is Step.LOOK
        return await self.settle(claimed, finding, at=at)

    async def work(
        self,
        handler: str,
        *,
        at: int,
        owner: str = "node",
        limit: int = 10,
        lapses: bool = True,
        set_by: int | None = None,
    ) -> list[tuple[Dispatch, Job]]:
        """Claim dispatches of a handler."""
        return await self.store.claim_dispatches(
            DispatchClaim(
                owner=owner, limits={handler: limit}, lease_ms=LEASE, now=at, lapses=lapses, set_by=set_by
            )
        )

    async def beat(
        self,
        *claimed: Claimed | tuple[Dispatch, Job],
        at: int,
        node: str = "n",
        handlers: Sequence[str] = (),
    ) -> None:
        """Give a sign of life for what was claimed."""
        alive = Node(name=node, role="serve", handlers=tuple(HandlerSpec(name=one) for one in handlers))
        await self.store.heartbeat(Beat(node=alive, leases=leases(*claimed), until=at + LEASE, now=at))

    async def finish(
        self, dispatch: Dispatch, outcome: str = "succeeded", *, at: int, retry_at: int | None = None
    ) -> bool:
        """Settle an attempt of a dispatch."""
        assert dispatch.owner is not None
        ended = DispatchSettled(
            dispatch=dispatch,
            log=timeline(
                dispatch.job_id,
                step="dispatch",
                started_at=at,
                now=at,
                outcome=outcome,
                handler=dispatch.handler,
                replay_id=dispatch.replay_id,
                number=dispatch.attempt,
            ),
            retry_at=retry_at,
            error=None if outcome == "succeeded" else Failure(code="ValueError", text="trace"),
        )
        (ours,) = await self.store.settle_dispatches([ended])
        return ours

    async def readmission(
        self, callback_id: str, *, at: int, handler: str | None = None, again: bool = True
    ) -> Readmission:
        """A stored callback that is read again, its signature being good by now."""
        stored = await self.store.callback(callback_id)
        examined = arrival(
            Callback(
                **{n: getattr(stored, n) for n in stored.__struct_fields__} | {"verdict": Verdict.ACCEPTED}
            )
        ).examined
        assert examined is not None
        return Readmission(
            by="somebody",
            callback=stored,
            examined=examined,
            terms=terms_for(PROVIDERS[stored.provider], key_id="k"),
            replay_id=new_id("rpl", at),
            handler=handler,
            dispatch_again=again,
            now=at,
        )

    async def readmit(
        self, callback_id: str, *, at: int, handler: str | None = None, again: bool = True
    ) -> tuple[Receipt, list[str]]:
        """Read a stored callback again and admit it."""
        return await self.store.readmit(
            await self.readmission(callback_id, at=at, handler=handler, again=again)
        )

    def rows(self, sql: str, **params: object) -> list[tuple[Any, ...]]:
        """What the tables hold."""
        with self.store.driver.read() as tx:
            return tx.run(sql, params)

    def count(self, table: str, where: str = "1 = 1") -> int:
        """How many rows a table holds."""
        return int(self.rows(f"SELECT count(*) FROM {table} WHERE {where}")[0][0])  # noqa: S608
