"""What a handler may say of a completion besides yes: never, or not now."""

from receiver import Away, Dead, Job, Receiver

from .hurry import hurried
from .test_dispatch import dead, finished, runs
from .world import World


async def test_a_handler_that_gives_up_makes_a_dead_letter_at_once(world: World) -> None:
    """``Dead`` takes one attempt, however many are left, and its words stand beside the dead letter."""

    def prepare(receiver: Receiver) -> None:
        @receiver.on("perplexity-webhook", attempts=8)
        async def never(_job: Job) -> None:
            raise Dead("The account is closed.")

    async with hurried(world, prepare) as receiver:
        job = await finished(receiver)
        (letter,) = await dead(receiver)
        assert letter.error is not None
        assert (letter.error.code, letter.error.text) == ("handler_gave_up", "The account is closed.")
        assert [one.outcome for one in await runs(world, receiver, job)] == ["failed"]


async def test_an_outage_uses_up_no_attempt(world: World) -> None:
    """``Away`` is told in the timeline, and more of them than there are attempts make no dead letter."""
    calls: list[str] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on("perplexity-webhook", attempts=2, first_wait=0.2)
        async def reach(job: Job) -> None:
            calls.append(job.id)
            if len(calls) < 5:
                raise Away("The mail server is down.")

    async with hurried(world, prepare) as receiver:
        job = await finished(receiver)
        assert await dead(receiver) == []
        assert [one.outcome for one in await runs(world, receiver, job)] == ["away"] * 4 + ["succeeded"]
