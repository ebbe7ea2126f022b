"""What a provider may be sent: by every kind of request, from every node, and no other provider waits for it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from receiver import Receiver
from receiver.core.description.provider import Limits
from receiver.core.model import HOUR, SECOND
from receiver.outbound.allowances import Allowance, ProviderBusyError

from .described import describe, replies
from .stub import Asked, Reply, Stub, stub
from .test_nodes import node
from .world import PATIENCE, World, until


class Crowd:
    """A provider that takes its time, and counts how many requests are with it at once."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.inside = self.most = self.jobs = 0
        self.began: list[float] = []
        self.hanging = asyncio.Event()

    async def answer(self, asked: Asked) -> Reply:
        """Answer, by and by."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.began.append(time.monotonic())
        try:
            if self.seconds:
                await asyncio.sleep(self.seconds)
        finally:
            self.inside -= 1
        if asked.method == "POST":
            self.jobs += 1
            return replies({"id": f"r{self.jobs}", "state": "queued"})
        return replies({"id": asked.path.rsplit("/")[-1], "state": "running"})


@asynccontextmanager
async def asked_by(
    world: World, answer: Callable[[Asked], object], *, name: str, rate: float, concurrency: int
) -> AsyncIterator[Stub]:
    """A provider of that name which may be asked so often, and by so many at once."""
    async with stub(answer) as provider:  # type: ignore[arg-type]  # it is one
        describe(world, provider, name=name)
        file = Path(world.environ["RECEIVER_PROVIDERS_DIR"]) / f"{name}.toml"
        text = file.read_text(encoding="utf-8").replace(
            "rate = 1000", f"rate = {rate}\nconcurrency = {concurrency}"
        )
        file.write_text(text, encoding="utf-8")
        yield provider


async def abandon(tasks: list["asyncio.Task[object]"]) -> None:
    """Wait for none of them any more."""
    for one in tasks:
        one.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_provider_that_hangs_holds_up_nobody_else(world: World) -> None:
    """Sixty submissions to it: four are sent at once and the others wait, while another provider is asked as ever."""
    slow, good = Crowd(seconds=3600), Crowd()
    async with (
        asked_by(world, slow.answer, name="slow", rate=1000, concurrency=4),
        asked_by(world, good.answer, name="good", rate=1000, concurrency=8),
        world.receiver() as receiver,
    ):
        await receiver.submit("good", {})
        sending = [asyncio.ensure_future(receiver.submit("slow", {})) for _ in range(60)]
        await until(lambda: slow.inside == 4)
        before = len(good.began)
        await asyncio.wait_for(receiver.submit("good", {}), PATIENCE)
        await until(lambda: len(good.began) >= before + 3)
        assert (slow.inside, slow.most) == (4, 4)
        # Those whose turn does not come are put off, and their callers told: recorded, to be sent later.
        done, _ = await asyncio.wait(sending, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        job = done.pop().result()
        assert (job.state, job.remote_id) == ("submitting", None)
        record = await receiver.running.store.record(job.id)
        assert [(one.outcome, one.code) for one in record.attempts] == [("retrying", "provider_busy")]
        await abandon(list(sending))


async def test_submissions_keep_to_the_rate(world: World) -> None:
    """Ten a second, whoever asks: not all of them at once."""
    crowd = Crowd()
    async with (
        asked_by(world, crowd.answer, name="rated", rate=10, concurrency=64),
        world.receiver() as receiver,
    ):
        began = time.monotonic()
        await asyncio.gather(*(receiver.submit("rated", {}) for _ in range(25)))
        assert time.monotonic() - began > 1.2
        assert sum(one < began + 0.9 for one in crowd.began) <= 20


async def test_nodes_share_what_a_provider_bears(world: World, migrated_url: str) -> None:
    """Two nodes, each with more than enough to send: together they keep to what is described."""
    world.environ["RECEIVER_DATABASE_URL"] = migrated_url
    crowd = Crowd(seconds=0.3)
    async with (
        asked_by(world, crowd.answer, name="shared", rate=1000, concurrency=6),
        node(world) as first,
        node(world) as second,
    ):
        await until(lambda: shares(first, second) == [(0, 2), (1, 2)])
        await asyncio.gather(*(one.submit("shared", {}) for one in (first, second) for _ in range(12)))
        assert crowd.most <= 6


def shares(*receivers: Receiver) -> list[tuple[int, int]]:
    """The shares of nodes, the first first."""
    return sorted(one.running.allowances._share for one in receivers)


@pytest.mark.parametrize("nodes", [1, 2])
async def test_a_provider_that_asks_for_patience_is_left_alone(
    world: World, nodes: int, request: pytest.FixtureRequest
) -> None:
    """429 with Retry-After to a poll: nothing is sent for that long, from no node, neither polls nor submissions."""
    if nodes == 2:
        world.environ["RECEIVER_DATABASE_URL"] = request.getfixturevalue("migrated_url")
    times: list[tuple[float, str]] = []

    async def answer(asked: Asked) -> Reply:
        times.append((time.monotonic(), asked.method))
        if asked.method == "POST":
            return replies({"id": f"r{len(times)}", "state": "queued"})
        if sum(method == "GET" for _, method in times) == 1:
            refused = replies({}, status=429)
            return Reply(status=429, body=refused.body, headers={**refused.headers, "retry-after": "4"})
        return replies({"id": asked.path.rsplit("/")[-1], "state": "running"})

    async with asked_by(world, answer, name="busy", rate=1000, concurrency=8), node(world) as first:
        await first.submit("busy", {})
        await until(lambda: any(method == "GET" for _, method in times))
        refused = next(at for at, method in times if method == "GET")

        async def known() -> bool:
            stored = await first.running.store.read(lambda tx: tx.run("SELECT provider FROM pause"))
            return first.running.allowances._all["busy"].free() == 0 and len(stored) == 1

        # The answer is sent before anybody has read it.
        await until(known)
        if nodes == 2:
            async with node(world) as second:
                await second.submit("busy", {})
        else:
            await first.submit("busy", {})
        await until(lambda: len(times) >= 4)
        later = [at - refused for at, _ in times if at > refused]
        assert min(later) >= 3.5


async def test_what_does_not_come_to_its_turn_was_not_sent() -> None:
    """Its slot is nobody's, the next one is told too, and a clock that is set back keeps nobody waiting for hours."""
    now = [1_000_000_000_000]
    allowance = Allowance("made-up", Limits(concurrency=1, rate=1000), clock=lambda: now[0])
    async with allowance.request(patience=1):
        assert allowance.free() == 0
        with pytest.raises(ProviderBusyError):
            async with allowance.request(patience=0.1):
                raise AssertionError("it is not its turn")
    assert allowance.free() == 1
    assert allowance.answered(429, 5 * SECOND) == now[0] + 5 * SECOND
    assert allowance.free() == 0
    with pytest.raises(ProviderBusyError) as busy:
        async with allowance.request(patience=0.1):
            raise AssertionError("it asked for patience")
    assert busy.value.wait == 5 * SECOND
    now[0] -= HOUR
    assert allowance.free() == 1
    assert allowance.answered(200, 60 * SECOND) is None
    assert allowance.answered(503, None) is None
    waits = [(allowance.answered(429, None) or 0) - now[0] for _ in range(8)]
    assert waits == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]


@pytest.mark.parametrize(("described", "nodes"), [(8, 3), (8, 1), (7, 2), (2, 2)])
async def test_shares_add_up(described: int, nodes: int) -> None:
    """To what is described, neither more nor less."""
    allowance = Allowance("made-up", Limits(concurrency=described), clock=lambda: 0)
    found = []
    for place in range(nodes):
        allowance.share = (place, nodes)
        found.append(allowance.concurrency)
    assert sum(found) == described
    assert sorted(found, reverse=True) == found
