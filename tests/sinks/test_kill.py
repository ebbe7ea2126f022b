"""Whole receivers with sinks, killed in the middle, as is the other side."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from standardwebhooks import Webhook

from tests.chaos.nodes import Node
from tests.chaos.wire import ask
from tests.path.world import API_TOKEN, MASTER_KEY, until
from tests.sinks.killed import KINDS, killed

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "whsec_" + base64.b64encode(b"a secret of some length").decode()
#: What is sent to each kind with CHAOS_ROUNDS, and to some kinds in every run.
EVENTS = 1000
ALWAYS_ALL = {"nats", "redis"}
SOME = 150


def events(kind: str) -> int:
    """How many events are sent to a sink of this *kind*."""
    return EVENTS if kind in ALWAYS_ALL or os.environ.get("CHAOS_ROUNDS") else SOME


class Sender:
    """Sends events to a node until each is acknowledged, as senders of Standard Webhooks do."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._signer = Webhook(SECRET)
        self.acknowledged: set[str] = set()

    async def send(self, numbers: range) -> None:
        """Send the events with these *numbers*, sixteen at a time."""
        todo = iter(numbers)

        async def some() -> None:
            for number in todo:
                await self._one(f"msg_{number}")

        await asyncio.gather(*(some() for _ in range(16)))

    async def _one(self, name: str) -> None:
        now, body = datetime.now(tz=UTC), json.dumps({"name": name})
        headers = {
            "webhook-id": name,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(name, now, body),
        }
        for _ in range(600):
            # Thousands of requests, most of them to a node that is down: a client of HTTP would be half of the work.
            heard = await ask(
                self._node.port, "POST", "/webhooks/standard-webhooks", headers=headers, body=body.encode()
            )
            if heard.acked:
                self.acknowledged.add(name)
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{name} was never acknowledged")


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_lost_though_both_sides_are_killed(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all acknowledged events each arrives, though the other side and we are killed meanwhile.

    A broker with a dedupe holds each once.
    """
    many = events(kind)
    with killed(kind, tmp_path / "side") as side:
        for name, value in side.environ.items():
            monkeypatch.setenv(name, value)
        await side.prepare()
        node = Node(
            tmp_path,
            {
                "RECEIVER_API_TOKEN": API_TOKEN,
                "RECEIVER_DATABASE_URL": f"sqlite:///{tmp_path}/receiver.db",
                "RECEIVER_LEASE": "2",
                "RECEIVER_SECRET_KEY": MASTER_KEY,
                "RECEIVER_SINKS": str(tmp_path / "sinks.toml"),
                "STANDARD_WEBHOOKS_SECRET": SECRET,
            },
            1,
        )
        (tmp_path / "sinks.toml").write_text(
            f'[sinks.jobs]\nto = "{side.to}"\nstate = "succeeded"\nattempts = 50\nfirst_wait = 0.2\n'
            "longest_wait = 1\ntimeout = 3\n"
        )
        third, two_thirds = many // 3, 2 * many // 3
        try:
            await node.start()
            sender = Sender(node)
            await sender.send(range(third))
            sending = asyncio.create_task(sender.send(range(third, two_thirds)))
            await until(lambda: len(sender.acknowledged) > third + 10, patience=60)
            side.strike()
            await sending
            sending = asyncio.create_task(sender.send(range(two_thirds, many)))
            await until(lambda: len(sender.acknowledged) > two_thirds + 10, patience=60)
            node.kill()
            side.mend()
            node.launch()
            await sending

            async def arrived() -> bool:
                return len(set(await side.names())) == many

            await until(arrived, patience=120, pause=0.5)
            found = await side.names()
            dead = json.loads((await node.ask("GET", "/v1/dispatches?state=dead")).body)["dispatches"]
        finally:
            node.kill()
    assert set(found) == sender.acknowledged
    assert dead == []
    if side.dedupes:
        assert len(found) == many
