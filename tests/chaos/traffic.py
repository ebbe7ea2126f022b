"""Traffic: jobs that are submitted, and the callbacks that two processes send about them."""

import asyncio
import contextlib
import itertools
import json
import random
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.path.world import until

from .nodes import Cluster, Node
from .provider import SECRET

_ROOT = Path(__file__).parents[2]
_SENDERS = 2
#: Seconds for which a delivery is tried; what then is not taken has to be polled.
_PATIENCE = 40.0


@dataclass(frozen=True)
class Order:
    """A job that is wanted, and the states that callbacks will say it is in."""

    number: int
    states: tuple[str, ...]
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Try:
    """One try of a delivery: what was heard, and when (seconds of the steady clock)."""

    delivery: str
    number: int
    kind: str
    status: int
    began: float
    ended: float

    @property
    def acked(self) -> bool:
        """Whether the sender may forget it."""
        return self.kind == "answered" and 200 <= self.status < 300


def mixed(count: int, **metadata: Any) -> list[Order]:  # noqa: ANN401  (whatever handlers understand)
    """Jobs whose callbacks are repeated and out of order; every eighth has none and must be asked about."""
    usual = ("running", "done", "done", "done")
    return [
        Order(number, () if number % 8 == 0 else tuple(random.sample(usual, 4)), metadata)
        for number in range(count)
    ]


class Traffic:
    """Sends what is ordered, and remembers what was heard."""

    def __init__(self, cluster: Cluster, orders: Sequence[Order]) -> None:
        self.cluster = cluster
        self.orders = orders
        self.tries: list[Try] = []
        #: The ids of the jobs by order, as the API told them.
        self.jobs: dict[int, str] = {}
        self._senders: list[asyncio.subprocess.Process] = []
        self._listening: list[asyncio.Task[None]] = []
        self._numbers = itertools.count()

    async def begin(self) -> None:
        """Start the senders."""
        setup = {"ports": self.cluster.ports, "secret": SECRET, "patience": _PATIENCE}
        for _ in range(_SENDERS):
            sender = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.chaos.sender",
                cwd=_ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            self._senders.append(sender)
            self._listening.append(asyncio.create_task(self._listen(sender)))
            self._write(sender, setup)

    async def finish(self) -> None:
        """Wait until everything is acknowledged, or given up."""
        for sender in self._senders:
            assert sender.stdin is not None
            sender.stdin.close()
        for sender in self._senders:
            assert await sender.wait() == 0
        await asyncio.gather(*self._listening)

    def abort(self) -> None:
        """End the senders."""
        for sender in self._senders:
            if sender.returncode is None:
                sender.kill()

    async def submit(self, orders: Iterable[Order] | None = None) -> None:
        """Submit jobs, all of them unless *orders* says which, and wait until they are taken."""
        await asyncio.gather(*map(self.order, self.orders if orders is None else orders))

    async def order(self, order: Order) -> None:
        """Submit one job, again and again under one key, at whichever node answers."""
        body = {
            "provider": "chaos",
            "request": {"number": order.number},
            "idempotency_key": f"order {order.number}",
            "metadata": order.metadata,
        }

        async def taken() -> bool:
            node: Node = random.choice(self.cluster.nodes)
            heard = await node.ask("POST", "/v1/jobs", body=body)
            if heard.acked:
                self.jobs[order.number] = json.loads(heard.body)["id"]
            return heard.acked

        await until(taken, patience=60)
        # A node may have been killed before it told the provider; then another one does, once the lease is over.
        await until(lambda: order.number in self.cluster.provider.taken, patience=120)

    async def send(self, orders: Iterable[Order] | None = None, *, span: float, submit: bool = False) -> None:
        """Send the callbacks of orders, or of all, spread over *span* seconds; *submit* the jobs just before."""

        async def carry_out(order: Order) -> None:
            await asyncio.sleep(random.uniform(0, span))
            if submit:
                await self.order(order)
            for state in order.states:
                self.deliver(order.number, state)
                await asyncio.sleep(random.choice((0, 0, 0.05, 0.3)))

        await asyncio.gather(*map(carry_out, self.orders if orders is None else orders))

    def deliver(self, number: int, state: str, **options: Any) -> str:  # noqa: ANN401  (for the sender to read)
        """Have a callback sent by one of the senders; the id of the delivery."""
        delivery = f"d{number}-{next(self._numbers)}"
        self.repeat(number, state, delivery, **options)
        return delivery

    def repeat(self, number: int, state: str, delivery: str, **options: Any) -> None:  # noqa: ANN401  (as above)
        """Have a callback of this id sent."""
        self._write(
            random.choice(self._senders),
            {
                "id": delivery,
                "job": number,
                "path": self.cluster.provider.taken[number].path,
                "body": json.dumps(self.cluster.provider.document(number, state, marker=delivery)),
                **options,
            },
        )

    async def heard(self, *deliveries: str) -> None:
        """Wait until these deliveries are acknowledged."""

        def acked() -> bool:
            return set(deliveries) <= {one.delivery for one in self.tries if one.acked}

        await until(acked, patience=60)

    @staticmethod
    def _write(sender: asyncio.subprocess.Process, document: dict[str, Any]) -> None:
        assert sender.stdin is not None
        sender.stdin.write(json.dumps(document).encode() + b"\n")

    async def _listen(self, sender: asyncio.subprocess.Process) -> None:
        assert sender.stdout is not None
        async for line in sender.stdout:
            self.tries.append(Try(*json.loads(line)))


@contextlib.asynccontextmanager
async def traffic(cluster: Cluster, orders: Sequence[Order]) -> AsyncIterator[Traffic]:
    """Senders that wait for what is to be sent."""
    found = Traffic(cluster, orders)
    try:
        await found.begin()
        yield found
    finally:
        found.abort()
