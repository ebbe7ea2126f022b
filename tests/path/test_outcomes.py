"""How a handler may end: whatever it raises is a failed attempt with its traceback, and its slot is free again."""

import asyncio
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import pytest

from receiver import Job, Receiver, Retry
from receiver.core.model import DAY, Attempt, Dispatch
from receiver.storage.queries import Page

from .hurry import hurried
from .world import REQUESTS, World, ended, until

SIGNED = "perplexity-webhook"


class PanicException(BaseException):
    """As PyO3 raises it: no Exception, so that nobody goes on by mistake."""


class UnwritableError(Exception):
    """Cannot be written."""

    def __str__(self) -> str:
        raise PanicException


class UnwritableRetry(Retry):
    """Asks for another try, and cannot say why."""

    def __init__(self) -> None:
        super().__init__(after=0)
        self.code = "x\0" * 10_000

    def __str__(self) -> str:
        raise ValueError


async def runs(world: World, receiver: Receiver, job: Job) -> list[Attempt]:
    """The attempts of handlers in the timeline."""
    return [one for one in (await world.record(receiver, job)).attempts if one.step == "dispatch"]


async def dead(receiver: Receiver) -> list[Dispatch]:
    """The dead letters."""
    return await receiver.running.store.dispatches(Page(state="dead"))


async def finished(receiver: Receiver) -> Job:
    """A job that has ended, and its handlers with it."""
    return await ended(receiver, await receiver.submit(SIGNED, REQUESTS[SIGNED]))


def yields(_job: Job) -> Any:  # noqa: ANN401  (that is the mistake)
    """Do nothing, because it is a generator."""
    yield 1


async def yields_later(_job: Job) -> Any:  # noqa: ANN401  (the same)
    """Do nothing, because it is an asynchronous generator."""
    yield 1


async def cancels_itself(_job: Job) -> None:
    """Cancel the very task that it runs in."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


async def fails_in_a_group(_job: Job) -> None:
    """Raise a panic in a task of a group."""

    async def child() -> None:
        raise PanicException

    async with asyncio.TaskGroup() as group:
        group.create_task(child())


async def cannot_be_written(_job: Job) -> None:
    """Raise what has no words."""
    raise UnwritableError


def asks_without_words(_job: Job) -> None:
    """Ask for another try in a way that cannot be stored as it is."""
    raise UnwritableRetry


class Later:
    """Can be awaited, as what clients of brokers return."""

    def __await__(self) -> Generator[Any, Any, None]:
        """Do nothing, once somebody awaits it."""
        yield from asyncio.sleep(0).__await__()


def leaves_it_to_others(_job: Job) -> Any:  # noqa: ANN401  (that is the mistake)
    """Return what would have to be awaited."""
    return Later()


async def forgets_to_await(_job: Job) -> Any:  # noqa: ANN401  (the same)
    """Return a coroutine of which nothing has run."""
    return asyncio.sleep(0)


class HalfMadeRetry(Retry):
    """Has none of what its base class makes."""

    def __init__(self) -> None:
        pass


async def asks_half(_job: Job) -> None:
    """Ask for another try by an exception that was made by half."""
    raise HalfMadeRetry


class NobodyError(Exception):
    """Does not say of which class it is."""

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401  (it is none)
        """Nothing that anybody could look at."""
        raise ValueError(name)


async def is_nobody(_job: Job) -> None:
    """Raise what cannot even be asked what it is."""
    raise NobodyError


def _nothing(_class: object) -> str:
    raise ValueError


#: Makes classes that do not tell their names.
Unnamed = type("Unnamed", (type,), {"__name__": property(_nothing)})


class NamelessError(Exception, metaclass=Unnamed):  # type: ignore[metaclass]  # made as it runs
    """Has no name that it tells."""


def has_no_name(_job: Job) -> None:
    """Raise what does not tell its name."""
    raise NamelessError


async def says_much(_job: Job) -> None:
    """Raise what is too long to be kept."""
    raise ValueError("much " * 1_000_000)


RAISED: list[BaseException] = [
    ValueError("broken"),
    TimeoutError("broken"),
    SystemExit("broken"),
    asyncio.CancelledError("broken"),
    KeyboardInterrupt("broken"),
    GeneratorExit("broken"),
    PanicException("broken"),
    ExceptionGroup("broken", [ValueError("broken")]),
    BaseExceptionGroup("broken", [asyncio.CancelledError("broken")]),
]


async def test_what_a_handler_raises_is_kept_and_ends_as_a_dead_letter(world: World) -> None:
    """Whatever it is, it is a failed attempt with its traceback; the receiver and its other handlers go on."""
    seen: list[Job] = []

    def prepare(receiver: Receiver) -> None:
        for error in RAISED:
            kind = type(error).__name__
            options: dict[str, Any] = {"attempts": 2, "first_wait": 0.05}

            @receiver.on(SIGNED, name=f"plain_{kind}", **options)
            def plain(_job: Job, error: BaseException = error) -> None:
                raise error

            @receiver.on(SIGNED, name=f"async_{kind}", **options)
            async def on_the_loop(_job: Job, error: BaseException = error) -> None:
                raise error

        receiver.on(SIGNED, name="fine")(seen.append)

    async with hurried(world, prepare) as receiver:
        job = await finished(receiver)
        found = await runs(world, receiver, job)
        letters = {one.handler: one for one in await dead(receiver)}
        names = {f"{way}_{type(error).__name__}" for way in ("plain", "async") for error in RAISED}
        assert letters.keys() == names
        for name in names:
            failed = [one for one in found if one.handler == name]
            assert [(one.number, one.outcome) for one in failed] == [(1, "failed"), (2, "failed")]
            for one in failed:
                assert "Traceback" in one.detail["error"]
                assert name.partition("_")[2] in one.detail["error"]
                assert "raise error" in one.detail["error"]
            error = letters[name].error
            assert error is not None
            assert "broken" in error.text
            assert letters[name].attempt == 2
        assert len(seen) == 1


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (yields, "TypeError"),
        (yields_later, "TypeError"),
        (cancels_itself, "CancelledError"),
        (fails_in_a_group, "BaseExceptionGroup"),
        (cannot_be_written, "UnwritableError"),
        (says_much, "ValueError"),
        (asks_without_words, ("x\N{REPLACEMENT CHARACTER}" * 200)[:200]),
        (leaves_it_to_others, "TypeError"),
        (forgets_to_await, "TypeError"),
        (asks_half, "UnreadableOutcomeError"),
        (is_nobody, "UnreadableOutcomeError"),
        (has_no_name, "NamelessError"),
    ],
)
async def test_an_odd_end_is_an_attempt_like_another(world: World, function: Any, code: str) -> None:  # noqa: ANN401
    """It is counted, kept within bounds and tried again, and nothing stays leased."""

    def prepare(receiver: Receiver) -> None:
        receiver.on(SIGNED, name="h", attempts=2, first_wait=0.01, longest_wait=0.01)(function)

    async with hurried(world, prepare) as receiver:
        job = await finished(receiver)
        found = await runs(world, receiver, job)
        assert [(one.number, one.code) for one in found] == [(1, code), (2, code)]
        assert all(len(one.detail["error"]) < 9000 for one in found)
        if code == "ValueError":
            assert all("Traceback" in one.detail["error"] for one in found)
        (letter,) = await dead(receiver)
        assert (letter.attempt, letter.failures, letter.interruptions) == (2, 2, 0)
        worker = receiver.running.worker
        assert worker is not None
        await until(lambda: worker.leases().dispatches == ())


@pytest.mark.parametrize("after", [1e300, float("inf"), timedelta.max, 1e10])
async def test_another_try_is_asked_for_within_a_year(world: World, after: float | timedelta) -> None:
    """However late it is asked for: a time that no database takes would never be settled, and be tried for ever."""

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, name="h")
        def ask(_job: Job) -> None:
            raise Retry(after=after)

    async with world.receiver(prepare) as receiver:
        job = await receiver.submit(SIGNED, REQUESTS[SIGNED])

        async def asked() -> bool:
            return [one.outcome for one in await runs(world, receiver, job)] == ["retry_requested"]

        await until(asked)
        (waiting,) = (await world.record(receiver, job)).dispatches
        assert (waiting.state, waiting.failures) == ("ready", 1)
        assert 365 * DAY < waiting.run_at - waiting.created_at < 367 * DAY


async def test_a_handler_that_cancels_every_task_stops_nothing_of_ours(world: World) -> None:
    """The worker's own tasks go on, and the next completion is handled."""
    seen: list[str] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on(SIGNED, name="h", attempts=1)
        async def cancel_all(job: Job) -> None:
            seen.append(job.id)
            if len(seen) == 1:
                mine = asyncio.current_task()
                ours = {"Turns.run"}
                for task in asyncio.all_tasks():
                    coroutine = task.get_coro()
                    if task is not mine and getattr(coroutine, "__qualname__", "") in ours:
                        task.cancel()

    async with hurried(world, prepare) as receiver:
        first = await finished(receiver)
        second = await finished(receiver)
        assert seen == [first.id, second.id]
