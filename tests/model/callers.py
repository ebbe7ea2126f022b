"""Those who ask a receiver: callers with their orders, people with their wishes, providers with their callbacks."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any, Final

from tests.model.apis import SECOND
from tests.model.loop import KilledError

if TYPE_CHECKING:
    from tests.model.apis import Api
    from tests.model.history import History
    from tests.model.loop import ModelLoop
    from tests.model.nodes import Node
    from tests.model.provider import Providers
    from tests.model.record import Record

API_TOKEN: Final = "an-api-token-that-no-log-may-show"


class Callers:
    """Asks the nodes that are there."""

    def __init__(self, providers: Providers, history: History, record: Record, loop: ModelLoop) -> None:
        self._providers = providers
        self._history = history
        self._record = record
        self._loop = loop
        self._random = Random("callers")
        #: The nodes, as they come and go.
        self.nodes: list[Node] = []
        #: How many requests wait for their answers.
        self.asking = 0

    def ready(self, random: Random) -> Node | None:
        """A node that serves."""
        found = [node for node in self.nodes if node.ready and node.life.alive]
        return random.choice(found) if found else None

    async def order(self, number: int, api: Api | None = None) -> None:
        """Have a job done; who hears nothing asks again only with a key, who hears that nothing was sent always."""
        random = self._providers.random("order", number)
        chosen = random.choice(list(self._providers.apis.values()))
        hurries = api is None
        api = api or chosen
        order: dict[str, Any] = {
            "provider": api.name,
            "request": {"order": number, "prompt": f"question {number}"},
            "metadata": {"order": number},
        }
        if keyed := random.random() < 0.5:
            order["idempotency_key"] = f"key-{number}"
        if random.random() < 0.2 and hurries:
            order["deadline"] = random.choice([30, 120, 900])
        while True:
            node = self.ready(random)
            if node is None:
                await self._loop.pause(3 * SECOND)
                continue
            try:
                answer = await self.ask(node, "POST", "/v1/jobs", json=order)
            except KilledError:
                self._history.tell("caller hears nothing", order=number, keyed=keyed)
                if not keyed:
                    return
                await self._loop.pause(3 * SECOND)
                continue
            told = answer.json()
            self._history.tell(
                "caller hears",
                order=number,
                status=answer.status_code,
                id=told.get("id"),
                code=told.get("code"),
            )
            if answer.status_code != 503 or told.get("id") is not None:
                return
            await self._loop.pause(3 * SECOND)

    async def ask(self, node: Node, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401
        """Ask its API; raises KilledError where it dies before it has answered."""
        self.asking += 1
        try:
            return await node.request(
                method, path, headers={"authorization": f"Bearer {API_TOKEN}"}, **options
            )
        finally:
            self.asking -= 1

    async def cancel(self, random: Random) -> None:
        """Wish that a job be canceled."""
        jobs = [job for job in self._record.jobs() if not job.ended and job.order is not None]
        node = self.ready(random)
        if jobs and node is not None:
            job = random.choice(jobs)
            with suppress(KilledError):
                answer = await self.ask(node, "DELETE", f"/v1/jobs/{job.id}")
                self._history.tell("cancel wished", id=job.id, status=answer.status_code)

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> int | None:
        """Deliver a callback; the status, or ``None`` where nobody answered."""
        node = self.ready(self._random)
        if node is None:
            return None
        self.asking += 1
        try:
            answer = await node.request("POST", path, content=body, headers=headers)
        except KilledError:
            return None
        finally:
            self.asking -= 1
        return answer.status_code

    async def replay(self, random: Random) -> None:
        """Wish that handlers see a completion again."""
        jobs = [job for job in self._record.jobs() if job.ended]
        node = self.ready(random)
        if jobs and node is not None:
            job = random.choice(jobs)
            with suppress(KilledError):
                answer = await self.ask(node, "POST", f"/v1/jobs/{job.id}/replay")
                self._history.tell("replay wished", id=job.id, status=answer.status_code)
