"""Replay: what is stored is handed out again, read again, verified again or sent on, and the old stays as it was."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from receiver import Job, JobState, Receiver
from receiver.core.errors import ConflictError, NotFoundError, ProviderError, RejectionError, RequestError
from receiver.core.model import Callback, Source, Verdict
from receiver.storage.queries import Page
from tests.ports import free_port

from .hurry import hurried
from .stub import Reply, always
from .world import PULSE_SECRET, REQUESTS, World, ended, until

SIGNED = "perplexity-webhook"


def collecting(seen: list[tuple[str, Job]]) -> Callable[[Receiver], None]:
    """Register two handlers, ``first`` and ``second``."""

    def prepare(receiver: Receiver) -> None:
        for name in ("first", "second"):

            def handler(job: Job, name: str = name) -> None:
                seen.append((name, job))

            receiver.on(name=name)(handler)

    return prepare


def dump(world: World) -> list[str]:
    """Everything that the database holds, apart from the handlers' signs of life."""
    connection = sqlite3.connect(world.folder / "receiver.db")
    try:
        return [line for line in connection.iterdump() if 'INTO "handler"' not in line]
    finally:
        connection.close()


async def only_callback(receiver: Receiver) -> Callback:
    """The one callback that is stored."""
    (found,) = await receiver.running.store.callbacks(Page())
    return found


async def test_a_dry_run_says_what_would_happen_and_touches_nothing(world: World) -> None:
    """For a job and for a callback: the handlers that would get it, and not one byte changed."""
    seen: list[tuple[str, Job]] = []
    async with hurried(world, collecting(seen)) as receiver:
        job = await ended(receiver, await receiver.submit(SIGNED, REQUESTS[SIGNED]))
        callback = await only_callback(receiver)
        before = dump(world)
        of_job = await receiver.replay(job.id, dry_run=True)
        of_callback = await receiver.replay(callback.id, dry_run=True)
        of_one = await receiver.replay(job.id, handler="second", dry_run=True)
        assert (of_job.handlers, of_job.replay_id, of_job.state) == (["first", "second"], None, "succeeded")
        assert (of_callback.handlers, of_callback.job_id) == (["first", "second"], job.id)
        assert of_one.handlers == ["second"]
        assert dump(world) == before
        assert len(seen) == 2


async def test_a_dry_run_names_whom_the_metadata_suits(world: World) -> None:
    """Exactly those that the replay itself then calls."""
    seen: list[tuple[str, Job]] = []

    def prepare(receiver: Receiver) -> None:
        collecting(seen)(receiver)
        receiver.on(name="third", metadata={"customer": "a"})(lambda job: seen.append(("third", job)))

    async with hurried(world, prepare) as receiver:
        for customer, handlers in (("a", ["first", "second", "third"]), ("b", ["first", "second"])):
            submitted = await receiver.submit(SIGNED, REQUESTS[SIGNED], metadata={"customer": customer})
            job = await ended(receiver, submitted)
            (callback, *_) = await receiver.running.store.callbacks(Page())
            for one in (job.id, callback.id):
                assert (await receiver.replay(one, dry_run=True)).handlers == handlers
                assert (await receiver.replay(one)).handlers == handlers


async def test_a_replay_can_be_for_one_handler(world: World) -> None:
    """The other one hears nothing of it; a handler that is not registered is an error."""
    seen: list[tuple[str, Job]] = []
    async with hurried(world, collecting(seen)) as receiver:
        job = await ended(receiver, await receiver.submit(SIGNED, REQUESTS[SIGNED]))
        seen.clear()
        replayed = await receiver.replay(job.id, handler="second")
        assert replayed.handlers == ["second"]
        await ended(receiver, job)
        assert [name for name, _ in seen] == ["second"]
        for dry_run in (True, False):
            with pytest.raises(NotFoundError) as caught:
                await receiver.replay(job.id, handler="third", dry_run=dry_run)
            assert caught.value.code == "handler_unknown"


async def test_what_cannot_be_replayed_is_told(world: World) -> None:
    """An open job, an id of nothing, an id of nothing known."""
    world.simulator.faults("perplexity", "never")
    async with hurried(world) as receiver:
        job = await receiver.submit("perplexity", REQUESTS["perplexity"])
        for dry_run in (True, False):
            with pytest.raises(ConflictError) as conflict:
                await receiver.replay(job.id, dry_run=dry_run)
            assert conflict.value.code == "job_not_ended"
        with pytest.raises(RequestError) as invalid:
            await receiver.replay("not an id")
        assert invalid.value.code == "id_invalid"
        with pytest.raises(NotFoundError):
            await receiver.replay(job.id[:-1] + ("0" if job.id[-1] != "0" else "1"))


async def test_a_callback_that_our_description_could_not_read_is_read_again(world: World) -> None:
    """Acknowledged as unreadable; with the description mended, a replay completes the job and dispatches it."""
    path = world.folder / "providers" / f"{SIGNED}.toml"
    # With nothing to ask, a callback that cannot be read waits for the replay: a poll would be there first.
    before, _, asked = path.read_text(encoding="utf-8").partition("[poll]\n")
    right = before + asked[asked.index("\n[") :]
    head, event = right.split("[shapes.event]")
    mended = event.replace('status = "status"', 'status = "state"', 1).replace(
        'result = "response"', 'result = "answer"', 1
    )
    path.write_text(f"{head}[shapes.event]{mended}", encoding="utf-8")
    seen: list[tuple[str, Job]] = []
    async with hurried(world, collecting(seen)) as receiver:
        job = await receiver.submit(SIGNED, REQUESTS[SIGNED])
        await world.simulator.idle(timeout=60)
        callback = await only_callback(receiver)
        assert (callback.verdict, callback.code) == (Verdict.UNREADABLE, "status_missing")
        assert {one.status for one in world.simulator.callbacks(SIGNED)} == {200}
        assert (await receiver.replay(callback.id, dry_run=True)).verdict == "unreadable"
        assert not (await receiver.job(job.id)).state.ended
    path.write_text(right, encoding="utf-8")
    async with hurried(world, collecting(seen)) as receiver:
        assert (await receiver.replay(callback.id, dry_run=True)).handlers == ["first", "second"]
        replayed = await receiver.replay(callback.id)
        assert (replayed.verdict, replayed.state, replayed.job_id) == ("accepted", "succeeded", job.id)
        assert replayed.handlers == ["first", "second"]
        done = await ended(receiver, job)
        assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)
        assert sorted(name for name, _ in seen) == ["first", "second"]
        assert (await only_callback(receiver)).verdict is Verdict.ACCEPTED


async def test_callbacks_rejected_for_our_own_wrong_secret_are_verified_again(world: World) -> None:
    """401 and quarantine while PULSE_WEBHOOK_SECRET is wrong; once it is right, a replay accepts what had come."""
    world.environ["PULSE_WEBHOOK_SECRET"] = "whsec_" + PULSE_SECRET[:5:-1].ljust(32, "A")
    world.simulator.pulse_webhook(f"{world.url}/webhooks/pulse", PULSE_SECRET, events=("job.completed",))
    async with hurried(world) as receiver:
        job = await receiver.submit("pulse", REQUESTS["pulse"])
        await world.simulator.idle(timeout=60)
        assert {one.status for one in world.simulator.callbacks("pulse")} == {401}
        rejected = await receiver.running.store.callbacks(Page(verdict="rejected"))
        assert {one.code for one in rejected} == {"signature_mismatch"}
        with pytest.raises(RejectionError):
            await receiver.replay(rejected[-1].id)
        assert not (await receiver.job(job.id)).state.ended
    world.environ["PULSE_WEBHOOK_SECRET"] = PULSE_SECRET
    seen: list[tuple[str, Job]] = []
    async with hurried(world, collecting(seen)) as receiver:
        replayed = await receiver.replay(rejected[-1].id)
        assert (replayed.verdict, replayed.job_id) == ("accepted", job.id)
        done = await ended(receiver, job)
        assert (done.state, done.settled_by) == (JobState.SUCCEEDED, Source.CALLBACK)
        again = await receiver.running.store.callback(rejected[-1].id)
        assert again.verdict is Verdict.ACCEPTED
        await until(lambda: sorted(name for name, _ in seen) == ["first", "second"])


async def test_resend_sends_the_exact_request_and_returns_the_answer(world: World, tmp_path: Path) -> None:
    """Body, headers and query byte for byte, to the address that the operator names; the answer comes back."""
    async with always(Reply(status=202, body=b"taken")) as target, hurried(world) as receiver:
        await ended(receiver, await receiver.submit(SIGNED, REQUESTS[SIGNED]))
        callback = await receiver.running.store.callback((await only_callback(receiver)).id)
        resent = await receiver.running.replay.resend(callback.id, url=target.url + "/debug")
        assert (resent.status, resent.body, resent.url) == (202, b"taken", target.url + "/debug")
        (asked,) = target.asked
        assert (asked.method, asked.path, asked.body) == ("POST", "/debug", callback.body)
        connection = {b"host", b"content-length", b"connection"}
        sent = [(name.lower(), value) for name, value in asked.headers if name.lower() not in connection]
        kept = [(name.lower(), value) for name, value in callback.headers if name.lower() not in connection]
        assert sent == kept
        assert b"x-perplexity-signature" in dict(sent)
        for url in (f"http://127.0.0.1:{free_port()}/", "no address"):
            with pytest.raises(ProviderError) as caught:
                await receiver.running.replay.resend(callback.id, url=url)
            assert caught.value.code == "resend_failed"
