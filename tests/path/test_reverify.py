"""The way back after our own secret was wrong: quarantined callbacks are verified again, in bulk."""

from receiver import Job, Receiver
from receiver.core.model import Verdict
from receiver.storage.queries import Page

from .world import PULSE_SECRET, REQUESTS, World, ended, until

WRONG = "whsec_" + "b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldA=="


async def test_what_our_wrong_secret_rejected_is_admitted_after_the_fix(world: World) -> None:
    """Genuine callbacks pass as of their arrival, reach the handler once, and what is forged stays out."""
    seen: list[Job] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on("pulse", name="collect")
        async def collect(job: Job) -> None:
            seen.append(job)

    world.environ["PULSE_WEBHOOK_SECRET"] = WRONG
    async with world.receiver(prepare) as receiver:
        genuine = await receiver.submit("pulse", REQUESTS["pulse"])
        world.simulator.faults("pulse", "forged")
        forged = await receiver.submit("pulse", REQUESTS["pulse"])
        await until(lambda: len(world.simulator.callbacks("pulse")) >= 6)
        await world.simulator.idle(timeout=60)
        kept = await receiver.running.store.callbacks(Page(limit=500))
        assert {one.verdict for one in kept} == {Verdict.REJECTED}
    world.environ["PULSE_WEBHOOK_SECRET"] = PULSE_SECRET
    async with world.receiver(prepare) as receiver:
        replay = receiver.running.replay
        foreseen = await replay.reverify("pulse", dry_run=True)
        assert foreseen.admitted
        assert not seen
        assert len(await receiver.running.store.callbacks(Page(verdict="rejected", limit=500))) == len(kept)
        done = await replay.reverify("pulse")
        assert len(done.admitted) == len(foreseen.admitted)
        assert done.refused.keys() == {"signature_mismatch"}
        assert (await ended(receiver, genuine)).settled_by == "callback"
        # The other job's progress was told genuinely, so it was looked at too; its forged end stays out.
        await ended(receiver, forged)
        assert sorted(one.id for one in seen) == sorted([genuine.id, forged.id])
        again = await replay.reverify("pulse")
        assert again.admitted == []


async def test_handlers_hear_once_of_a_job_whose_copies_were_all_rejected(world: World) -> None:
    """Its sender tried many times, and polls ended it meanwhile: nothing is dispatched again, nor foreseen to be."""
    seen: list[Job] = []

    def prepare(receiver: Receiver) -> None:
        receiver.on("pulse", name="collect")(seen.append)

    world.environ["PULSE_WEBHOOK_SECRET"] = WRONG
    world.cadence(expected="1s")
    async with world.receiver(prepare) as receiver:
        job = await receiver.submit("pulse", REQUESTS["pulse"])
        await ended(receiver, job)
        await world.simulator.idle(timeout=60)
        assert [one.id for one in seen] == [job.id]
    world.environ["PULSE_WEBHOOK_SECRET"] = PULSE_SECRET
    async with world.receiver(prepare) as receiver:
        foreseen = await receiver.running.replay.reverify("pulse", dry_run=True)
        done = await receiver.running.replay.reverify("pulse")
        assert len(done.admitted) == len(foreseen.admitted) > 1
        assert [one.handlers for one in foreseen.admitted + done.admitted if one.handlers] == []
        assert (await receiver.running.store.record(job.id)).dispatches == []
    assert [one.id for one in seen] == [job.id]


async def test_quarantine_says_why(world: World) -> None:
    """A rejected callback is shown with the cause of its rejection and, after the fix, with the way back."""
    world.environ["PULSE_WEBHOOK_SECRET"] = WRONG
    async with world.receiver() as receiver:
        await receiver.submit("pulse", REQUESTS["pulse"])
        await until(lambda: len(world.simulator.callbacks("pulse")) >= 1)
        listed = (await receiver.running.store.callbacks(Page(limit=1)))[0]
        callback = await receiver.running.store.callback(listed.id)
        catalog = receiver.running.catalog
        found = await receiver.running.proving.diagnosis(callback, catalog["pulse"], providers=catalog)
        assert found is not None
        assert found.code == "signature_mismatch"
    # The secret was there all the time, but filed under another provider's name.
    world.environ["OPENAI_WEBHOOK_SECRET"] = PULSE_SECRET
    async with world.receiver() as receiver:
        found = await receiver.running.proving.diagnosis(callback, catalog["pulse"], providers=catalog)
        assert found is not None
        assert found.code == "key_of_other_provider"
    world.environ["PULSE_WEBHOOK_SECRET"] = PULSE_SECRET
    async with world.receiver() as receiver:
        found = await receiver.running.proving.diagnosis(callback, catalog["pulse"], providers=catalog)
        assert found is not None
        assert found.code == "passes_now"
