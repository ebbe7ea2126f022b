"""What goes wrong between a provider and a receiver can be had in a test by one word."""

import asyncio

import pytest

from receiver import Discard, Job, Receiver
from receiver.storage import glance
from receiver.testing import Clock, Provider

CHAT = {"model": "sonar-deep-research", "messages": [{"role": "user", "content": "Tea?"}]}
SEARCH = {"engine": "perplexity", "prompt": "Tea?"}


@pytest.fixture
def seen(receiver: Receiver) -> list[Job]:
    """What a handler of every end was given."""
    found: list[Job] = []

    @receiver.on(state="any", name="see")
    def see(job: Job) -> None:
        found.append(job)

    return found


async def test_a_duplicate_changes_nothing(receiver: Receiver, provider: Provider, seen: list[Job]) -> None:
    """The same callback again is answered 200, and no handler hears of it."""
    job = await receiver.submit("perplexity-webhook", CHAT)
    await provider.complete(job, {"choices": []})
    again = await provider.duplicate(job)
    assert [one.status for one in again.answers] == [200]
    assert (len(seen), again.job.callbacks) == (1, 2)


@pytest.mark.parametrize(
    ("name", "request_", "status"), [("perplexity-webhook", CHAT, 401), ("netnut", SEARCH, 200)]
)
async def test_a_forged_callback_is_not_believed(
    name: str,
    request_: dict[str, object],
    status: int,
    receiver: Receiver,
    provider: Provider,
    seen: list[Job],
) -> None:
    """A stranger's callback is refused, or makes the receiver ask the provider, and ends nothing."""
    job = await receiver.submit(name, request_)
    forged = await provider.forge(job, {"choices": ["forged"]})
    assert [one.status for one in forged.answers] == [status]
    assert not forged.job.state.ended
    assert seen == []
    done = await provider.complete(job, {"response": "true"})
    assert done.job.state == "succeeded"
    assert b"forged" not in (seen[0].result or pytest.fail("no result")).content


async def test_a_stale_callback_is_refused(receiver: Receiver, provider: Provider) -> None:
    """What was signed a day ago is refused, with the code that says so."""
    job = await receiver.submit("replicate", {"version": "v", "input": {}})
    stale = await provider.stale(job, {"output": "old"})
    assert [(one.status, one.code) for one in stale.answers] == [(401, "timestamp_stale")]
    assert not stale.job.state.ended


async def test_a_job_that_never_ends_times_out(
    receiver: Receiver, provider: Provider, receiver_clock: Clock, seen: list[Job]
) -> None:
    """Hours pass in no time, the deadline comes, and handlers hear of it."""
    job = await receiver.submit("perplexity", CHAT)
    over = await provider.never(job)
    assert over.job.state == "timed_out"
    assert [one.state for one in seen] == ["timed_out"]
    assert receiver_clock() >= job.deadline_at


async def test_a_callback_may_overtake_the_answer(
    receiver: Receiver, provider: Provider, seen: list[Job]
) -> None:
    """A job that ends before its submission was answered ends once, with its result."""
    await provider.early("perplexity-webhook", {"choices": ["soon"]})
    job = await receiver.submit("perplexity-webhook", CHAT)
    done = await receiver.wait(job.id, timeout=5)
    await receiver.idle()
    assert done.state == "succeeded"
    assert [one.id for one in seen] == [job.id]


@pytest.mark.parametrize(("name", "request_"), [("netnut", SEARCH), ("speechmatics", {"config": {}})])
async def test_a_result_may_be_lost(
    name: str, request_: dict[str, object], receiver: Receiver, provider: Provider, seen: list[Job]
) -> None:
    """A result that its provider no longer has ends the job as expired, and handlers hear of it."""
    job = await receiver.submit(name, request_)
    lost = await provider.lose_result(job)
    assert lost.job.state == "expired"
    assert [one.state for one in seen] == ["expired"]


async def test_a_handler_that_fails_is_called_again(
    receiver: Receiver, provider: Provider, receiver_clock: Clock
) -> None:
    """What a handler raised can be seen, and its next attempt comes when the clock is put forward."""
    calls: list[str] = []

    @receiver.on("perplexity")
    async def save(job: Job) -> None:
        calls.append(job.id)
        if len(calls) == 1:
            raise ValueError("the disk is full")

    job = await receiver.submit("perplexity", CHAT)
    first = await provider.complete(job, {"choices": []})
    assert [(one.state, one.attempts) for one in first.handled] == [("waiting", 1)]
    assert "the disk is full" in str(first.handled[0].error)
    receiver_clock.advance(minutes=1)
    await receiver.idle()
    assert len(calls) == 2


async def test_a_handler_that_runs_is_waited_for_however_much_is_due(
    receiver: Receiver, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what is due in the database a part is looked at; what is being done here is known without it."""
    monkeypatch.setattr(glance, "_MOST", 0)
    began, ends, called = asyncio.Event(), asyncio.Event(), list[str]()

    @receiver.on("perplexity", first_wait=30)
    async def save(job: Job) -> None:
        called.append(job.id)
        if len(called) == 1:
            raise ValueError("the disk is full")
        began.set()
        await ends.wait()
        called.append(job.id)

    # Its next attempt is due before the lease of the one that runs ends.
    failed = await receiver.submit("perplexity", CHAT)
    await provider.complete(failed, {"choices": []})
    job = await receiver.submit("perplexity", CHAT)
    completing = asyncio.create_task(provider.complete(job, {"choices": []}))
    await began.wait()
    waiting = asyncio.create_task(receiver.idle())
    for _ in range(20):
        await asyncio.sleep(0.01)
        assert not waiting.done()
    ends.set()
    await waiting
    await completing
    assert called == [failed.id, job.id, job.id]


async def test_a_handler_that_keeps_an_order_is_waited_for(receiver: Receiver, provider: Provider) -> None:
    """It has been called when the test goes on; what stands behind a dead letter waits, and keeps nobody waiting."""
    seen: list[int] = []

    @receiver.on("perplexity", ordered_by="metadata.customer", attempts=1)
    async def keep(job: Job) -> None:
        if job.metadata["n"] == 1:
            raise ValueError("no")
        seen.append(job.metadata["n"])

    told: list[str] = []
    for n, customer in enumerate("aaab"):
        job = await receiver.submit("perplexity", CHAT, metadata={"customer": customer, "n": n})
        told += [one.state for one in (await provider.complete(job, {"choices": []})).handled]
    assert told == ["succeeded", "dead", "waiting", "succeeded"]
    assert seen == [0, 3]


async def test_how_each_handler_fared_is_told(
    receiver: Receiver, provider: Provider, receiver_clock: Clock
) -> None:
    """Done, dropped, waiting, and dead: at once, or after its last attempt; each with its own words."""

    @receiver.on("perplexity", name="done")
    async def done(_job: Job) -> None: ...

    @receiver.on("perplexity", name="drops")
    async def drops(_job: Job) -> None:
        raise Discard("nobody wants it")

    @receiver.on("perplexity", name="fails", attempts=2)
    async def fails(_job: Job) -> None:
        raise ValueError("not now")

    @receiver.on("perplexity", name="reads")
    def reads(_numbers: list[int]) -> None: ...

    job = await receiver.submit("perplexity", CHAT)
    first = await provider.complete(job, {"choices": []})
    assert [(one.handler, one.state, one.attempts) for one in first.handled] == [
        ("done", "succeeded", 1),
        ("drops", "discarded", 1),
        ("fails", "waiting", 1),
        ("reads", "dead", 1),
    ]
    assert first.handled[1].error == "discarded: nobody wants it"
    assert "Expected `array`, got `object`" in str(first.handled[3].error)
    receiver_clock.advance(minutes=1)
    await receiver.idle()
    later = {one.handler: one for one in (await provider.settle(job)).handled}
    assert (later["fails"].state, later["fails"].attempts) == ("dead", 2)


async def test_what_a_provider_cannot_do_is_said(receiver: Receiver, provider: Provider) -> None:
    """A test that wants what the description has no way to say is told so, in a sentence."""
    job = await receiver.submit("perplexity", CHAT)
    with pytest.raises(Exception, match="signs no time"):
        await provider.stale(job)
    with pytest.raises(Exception, match="brings its result"):
        await provider.lose_result(job)
    with pytest.raises(Exception, match="does not call back"):
        await provider.early("perplexity")


async def test_what_was_asked_can_be_seen(provider: Provider, receiver: Receiver) -> None:
    """A test can look at each request that its provider was sent."""
    job = await receiver.submit("pulse", {"file_url": "https://example.com/a.pdf"})
    done = await provider.complete(job, {"text": "Hello"})
    assert done.job.state == "succeeded"
    assert provider.asked[0].url.path == "/extract"


async def test_a_handler_that_is_left_alone_keeps_nobody_waiting(
    receiver: Receiver, provider: Provider, receiver_clock: Clock
) -> None:
    """Once its circuit is open a handler is due at its next trial, and not before, however many jobs wait for it."""
    calls: list[str] = []

    @receiver.on("perplexity", circuit=2, attempts=50)
    async def broken(job: Job) -> None:
        calls.append(job.id)
        raise ValueError

    for _ in range(3):
        await provider.complete(await receiver.submit("perplexity", CHAT), {"choices": []})
    tried = len(calls)
    due = await receiver.idle(timeout=5)
    assert due is not None
    assert due > receiver_clock()
    receiver_clock.reach(due)
    await receiver.idle(timeout=5)
    assert len(calls) == tried + 1
