"""Handlers that succeed, fail in every way there is, hang, and take their node with them."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from receiver import Discard, Job, Receiver, Retry, idempotency_key

if TYPE_CHECKING:
    from tests.model.history import History
    from tests.model.loop import Life, ModelLoop
    from tests.model.provider import Providers

#: How often a handler is called before its dispatch is dead, and how long it may take, in seconds.
ATTEMPTS: Final = 4
TIMEOUT: Final = 40.0
#: What a handler may do, and how often; those after ``hang`` are failures of its own.
DEEDS: Final = {
    "return": 60,
    "work": 12,
    "discard": 2,
    "hang": 3,
    "raise": 6,
    "retry": 3,
    "panic": 3,
    "group": 3,
    "kill": 2,
}
_QUIET: Final = {"return", "work", "discard"}
#: The handlers of each round: their name, the state they want, whether they are plain functions.
NAMES: Final = {"everything": ("any", False), "results": ("succeeded", False), "plain": ("succeeded", True)}


class PanicError(BaseException):
    """What a Rust extension raises is no Exception."""


@dataclass
class Run:
    """One attempt of a handler."""

    key: str
    handler: str
    job: str
    remote_id: str | None
    state: str
    node: str
    deed: str
    began: int
    #: ``None`` as long as it runs; a node that is killed ends it too.
    ended: int | None = None


@dataclass
class Diary:
    """What handlers have seen."""

    providers: Providers
    history: History
    loop: ModelLoop
    runs: list[Run] = field(default_factory=list)
    running: dict[str, tuple[Run, Life]] = field(default_factory=dict)
    attempts: Counter[str] = field(default_factory=Counter)
    _gates: set[threading.Event] = field(default_factory=set)

    def begin(self, name: str, job: Job, *, node: str, life: Life) -> Run:
        """Note that a handler was called, and check what it was given."""
        key = idempotency_key.get()
        self.attempts[key] += 1
        called = job.remote_id or str(job.metadata.get("order"))
        random = self.providers.random("handler", name, called, self.attempts[key])
        deed = "return" if self.providers.calm else random.choices(list(DEEDS), list(DEEDS.values()))[0]
        run = Run(key, name, job.id, job.remote_id, job.state.value, node, deed, self.loop.now)
        self.runs.append(run)
        self.history.tell("handler", name=name, job=called, state=run.state, node=node, deed=deed, key=key)
        before = self.running.get(key)
        if before is not None and before[1].alive:
            self.history.breaks("one attempt of a dispatch at a time", f"{key} runs twice at once")
        self.running[key] = (run, life)
        self._check(job)
        return run

    def end(self, run: Run) -> None:
        """Note that it has ended, however it did."""
        run.ended = self.loop.now
        if (found := self.running.get(run.key)) is not None and found[0] is run:
            del self.running[run.key]

    def hold(self, life: Life, *, kill: bool) -> None:
        """Hang, in a thread of a plain handler, which nothing can stop: it is late, and ends by itself."""
        gate = threading.Event()
        self.loop.hanging.append(life)
        self._gates.add(gate)
        if kill:
            self.loop.call_soon_threadsafe(life.kill)
        else:
            self.loop.call_soon_threadsafe(self._open_later, gate)
        gate.wait()
        self.loop.hanging.remove(life)

    def _open_later(self, gate: threading.Event) -> None:
        self.loop.open_later(gate, 1.5 * TIMEOUT)

    def release(self) -> None:
        """Let every thread that hangs go."""
        for gate in self._gates:
            gate.set()

    def under_way(self) -> bool:
        """Whether a handler of a living node runs."""
        return any(life.alive for _, life in self.running.values())

    def failures(self, key: str) -> int:
        """How many attempts failed by themselves, rather than with their node."""
        return sum(run.key == key and run.deed not in _QUIET for run in self.runs)

    def _check(self, job: Job) -> None:
        one = self.providers.remotes.get(job.remote_id or "")
        if job.state == "succeeded":
            got = None if job.result is None else job.result.json()
            if one is None or got != one.result():
                self.history.breaks("handlers get the result", f"{job.id} ({job.remote_id}): {got}")
        if one is not None and job.metadata.get("order") not in {None, one.order}:
            self.history.breaks(
                "handlers get their caller's metadata", f"{one.id}: {job.metadata}, not {one.order}"
            )


def register(receiver: Receiver, diary: Diary, *, node: str, life: Life) -> None:
    """Give *receiver* all handlers."""
    options: dict[str, Any] = {
        "attempts": ATTEMPTS,
        "timeout": TIMEOUT,
        "first_wait": 2.0,
        "longest_wait": 30.0,
        "concurrency": 4,
    }
    for name, (state, plain) in NAMES.items():
        make = _plain if plain else _asynchronous
        receiver.on(state=state, name=name, **options)(make(name, diary, node, life))


def _asynchronous(name: str, diary: Diary, node: str, life: Life) -> Any:  # noqa: ANN401
    async def handle(job: Job) -> None:
        run = diary.begin(name, job, node=node, life=life)
        try:
            match run.deed:
                case "work":
                    await diary.loop.pause(5000)
                case "hang":
                    await diary.loop.create_future()
                case "kill":
                    life.kill()
                    await diary.loop.create_future()
                case "group":
                    async with asyncio.TaskGroup() as group:
                        group.create_task(_panic())
                case deed:
                    _fail(deed)
        finally:
            if life.alive:
                diary.end(run)

    return handle


def _plain(name: str, diary: Diary, node: str, life: Life) -> Any:  # noqa: ANN401
    def handle(job: Job) -> None:
        run = diary.begin(name, job, node=node, life=life)
        try:
            match run.deed:
                case "hang" | "kill":
                    diary.hold(life, kill=run.deed == "kill")
                case "group":
                    raise BaseExceptionGroup("several", [PanicError()])
                case deed:
                    _fail(deed)
        finally:
            if life.alive:
                diary.end(run)

    return handle


async def _panic() -> None:
    raise PanicError


def _fail(deed: str) -> None:
    match deed:
        case "raise":
            raise ValueError("the handler failed")
        case "retry":
            raise Retry(after=3)
        case "discard":
            raise Discard
        case "panic":
            raise PanicError
