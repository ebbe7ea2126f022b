"""What the providers send of their own accord, and what others send in their name."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Protocol

from tests.model.apis import HOUR, MINUTE, SECOND, STATES, WEBHOOK_SECRET
from tests.model.remote import Remote, encoded

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.model.history import History
    from tests.model.loop import ModelLoop
    from tests.model.provider import Providers

#: Milliseconds from one try to the next, until it is acknowledged.
_TRIES: Final = (5 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE, HOUR, 5 * HOUR)
_ACKNOWLEDGED: Final = range(200, 300)
Headers = dict[str, str]


class Post(Protocol):
    """Sends a request to a receiver."""

    async def __call__(self, path: str, body: bytes, headers: Headers) -> int | None:
        """The status, or ``None`` where nobody answered."""
        ...


class Deliveries:
    """Sends callbacks, and forgeries."""

    def __init__(self, providers: Providers, history: History, loop: ModelLoop, post: Post) -> None:
        self._providers = providers
        self._history = history
        self._loop = loop
        self._post = post
        self._ending: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        #: How often each event was acknowledged: its name, the job it is about.
        self.acked: Counter[tuple[str, str]] = Counter()
        #: What no log may show.
        self.signatures: set[str] = set()
        providers.made = self._made
        providers.stopped = self._ended

    def _begin(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Send no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _made(self, one: Remote) -> None:
        if not one.api.calls_back:
            return
        random = self._providers.random("tells", one.id)
        if random.random() < 0.3:
            self._begin(self._send(one, "early", after=random.uniform(0, 30) * SECOND, tries=2))
        if one.ends_at is not None:
            self._begin(self._wait_for_end(one))

    async def _wait_for_end(self, one: Remote) -> None:
        assert one.ends_at is not None
        await self._loop.pause(one.ends_at - self._loop.now)
        self._ended(one)

    def _ended(self, one: Remote) -> None:
        if one.id in self._ending or not one.api.calls_back:
            return
        self._ending.add(one.id)
        random = self._providers.random("tells the end", one.id)
        if one.tells:
            self._begin(self._send(one, "end", after=0))
            return
        if random.random() < 0.25 or one.tells is False:
            self._history.tell("callback dropped", job=one.id)
            return
        first = random.choice([0, 0, random.uniform(0, 20)]) * SECOND
        for _ in range(random.choice([1, 1, 1, 2, 3])):
            self._begin(
                self._send(one, "end", after=first + random.choice([0, random.uniform(0, 300)]) * SECOND)
            )

    async def _send(self, one: Remote, event: str, *, after: float, tries: int = len(_TRIES)) -> None:
        await self._loop.pause(after)
        path, now = self._address(one), self._loop.now
        if path is None:
            return
        word = one.state(now)
        if event == "early" and one.ended(now):
            return
        body = self._body(one, event, word)
        headers = self._signed(one, body)
        self.signatures |= {headers.get("x-sig", WEBHOOK_SECRET)}
        for wait in _TRIES[:tries]:
            status = await self._post(path, body, headers)
            self._history.tell("callback", job=one.id, event=event, word=word, status=status)
            if status in _ACKNOWLEDGED:
                self.acked[event, one.id] += 1
                one.named = True
                if one.ended(now) and one.api.signs:
                    one.said.add(STATES[word])
                return
            await self._loop.pause(wait)

    @staticmethod
    def _address(one: Remote) -> str | None:
        if one.api.account_wide:
            return f"/webhooks/{one.api.name}"
        return None if one.hook is None else "/" + one.hook.split("/", 3)[3]

    def _body(self, one: Remote, event: str, word: str) -> bytes:
        if one.api.kind == "wake":
            return encoded({"id": one.id, "event": event})
        told: dict[str, Any] = {"id": one.id, "state": word, "event": event, "meta": one.meta}
        if STATES[word] == "succeeded" and one.api.posts_results:
            told["result"] = one.result()
        return encoded(told)

    @staticmethod
    def _signed(one: Remote, body: bytes, secret: str | None = None) -> Headers:
        headers = {"content-type": "application/json"}
        if one.api.signs:
            key = secret or one.secret or WEBHOOK_SECRET
            headers["x-sig"] = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
        return headers

    async def repeat(self) -> None:
        """Send everything once more that was acknowledged."""
        for event, name in list(self.acked):
            one = self._providers.remotes[name]
            if (path := self._address(one)) is not None:
                body = self._body(one, event, one.state(self._loop.now))
                status = await self._post(path, body, self._signed(one, body))
                self._history.tell("callback again", job=name, event=event, status=status)

    async def forge(self, one: Remote, number: int) -> None:
        """Send what the provider never sent: it must be refused, or, as a mere wake-up, be believed nothing."""
        random = self._providers.random("forges", one.id, number)
        path = self._address(one)
        if path is None or not one.api.calls_back:
            return
        word = random.choice(["done", "broken", "stopped"])
        told: dict[str, Any] = {
            "id": random.choice([one.id, f"poison-{number}"]),
            "state": word,
            "event": "forged",
        }
        told |= {"result": {"answer": "poison"}, "reason": "poison", "link": f"{self._providers.url}/poison"}
        body = encoded(told)
        headers = self._signed(one, body, secret="a secret of nobody's")
        leaked = one.api.kind == "wake"
        match random.choice(["signature", "unsigned", "token"]):
            case "unsigned":
                headers.pop("x-sig", None)
            case "token" if not one.api.account_wide:
                at = random.randrange(path.rindex("/") + 4, len(path) - 4)
                path = path[:at] + ("A" if path[at] != "A" else "B") + path[at + 1 :]
                leaked = False
        status = await self._post(path, body, headers)
        self._history.tell("forgery", job=one.id, names=told["id"], word=word, status=status)
        if status in _ACKNOWLEDGED and not leaked:
            self._history.breaks(
                "forged callbacks change nothing", f"{one.id}: a forgery was answered {status}"
            )
