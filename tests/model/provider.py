"""The providers: one server on loopback that makes jobs, is asked, calls back, and is not to be relied on."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from random import Random
from typing import TYPE_CHECKING, Any, Final

from tests.model import remote as remotes
from tests.model.apis import API_KEY, MINUTE, SECOND, STATES, Api
from tests.model.remote import Remote, encoded
from tests.model.traffic import Traffic
from tests.path.stub import Asked, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.model.history import History
    from tests.model.loop import ModelLoop

#: What becomes of a submission, and how often: (is a job made, what is answered).
FATES: Final = {
    "ok": 58,
    "slow": 10,
    "lost": 10,
    "500-made": 3,
    "garbage-made": 3,
    "hang-made": 3,
    "500": 3,
    "vanish": 3,
    "429": 5,
    "400": 2,
}
#: Milliseconds that an answer which never comes is held back: longer than anybody waits.
_NEVER: Final = 10 * MINUTE
_JSON: Final = {"content-type": "application/json"}


class Providers:
    """All APIs of a round."""

    def __init__(self, seed: int, apis: list[Api], history: History, loop: ModelLoop) -> None:
        self.apis = {one.name: one for one in apis}
        self.remotes: dict[str, Remote] = {}
        #: What was made for each order: more than one is a bill too many.
        self.bills: defaultdict[int, list[str]] = defaultdict(list)
        #: The orders that were refused, and those that were put off, in words that leave no doubt.
        self.refused: set[int] = set()
        self.put_off: set[int] = set()
        #: How many requests are being answered, of each API.
        self.under_way: Counter[str] = Counter()
        #: Given each job before it begins, to decide what chance would.
        self.shape: Callable[[Remote], None] = lambda _one: None
        self.traffic = Traffic(history, loop)
        #: The submissions whose answers are on their way, slowly but surely, and since when.
        self.awaited: dict[str, int] = {}
        #: No more faults.
        self.calm = False
        #: The APIs that never answer when they are asked how a job stands.
        self.hanging: set[str] = set()
        #: What becomes of a submission whatever chance says: its order, and how often it was asked.
        self.fated: Callable[[int, int], str | None] = lambda _order, _times: None
        self.url = ""
        #: Told of each job that is made, and of each that is stopped.
        self.made: Callable[[Remote], None] = lambda _one: None
        self.stopped: Callable[[Remote], None] = lambda _one: None
        #: Told, now and then, just before the answer to a submission leaves.
        self.answering: Callable[[Random], None] = lambda _random: None
        #: Told, now and then, when an answer to a submission is on its way and takes its time.
        self.waiting: Callable[[Random], None] = lambda _random: None
        self._seed = seed
        self._history = history
        self._loop = loop
        self._asked: Counter[str] = Counter()
        self._keys: dict[tuple[str, str], Remote] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Hang up."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def random(self, *what: object) -> Random:
        """Chance that depends on nothing but the seed and *what* it is about."""
        return Random("/".join(map(str, (self._seed, *what))))

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (asked := await _read(reader)) is not None:
                name = asked.path.split("/")[1]
                self.under_way[name] += 1
                self.traffic.begin(self.apis[name], reader)
                try:
                    reply = await self._answer(asked)
                finally:
                    self.under_way[name] -= 1
                    self.traffic.end(self.apis[name], reader)
                if reply is None:
                    return
                if (wait := reply.headers.get("retry-after")) is not None:
                    self.traffic.refused(self.apis[name], int(wait))
                lines = [f"HTTP/1.1 {reply.status} -", f"content-length: {len(reply.body)}"]
                lines += [f"{name}: {value}" for name, value in reply.headers.items()]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + reply.body)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.close()

    async def _answer(self, asked: Asked) -> Reply | None:
        """The reply; ``None`` hangs up."""
        _, name, room, *rest = asked.path.split("/")
        api = self.apis[name]
        # What an unsigned wake-up names may be asked about at the provider's own address, which then denies it.
        if "poison" in asked.path and not (api.kind == "wake" and room == "jobs"):
            self._history.breaks("forged callbacks change nothing", f"{asked.method} {asked.path}")
        if asked.header("authorization") != f"Bearer {API_KEY}":
            self._history.breaks("our origins are asked with credentials", f"{asked.method} {asked.path}")
        match asked.method, room, rest:
            case "POST", "jobs", []:
                return await self._submit(api, asked)
            case "POST", "jobs", [remote_id, "cancel"]:
                return await self._cancel(remote_id)
            case "GET", "jobs", [remote_id]:
                return await self._status(remote_id)
            case "GET", "results", [remote_id, link]:
                return await self._result(remote_id, int(link))
        return Reply(status=404)

    # -- submissions ---------------------------------------------------------------------------------------

    async def _submit(self, api: Api, asked: Asked) -> Reply | None:
        request: dict[str, Any] = json.loads(asked.body)
        order = int(request["order"])
        self._asked[f"{api.name}/{order}"] += 1
        random = self.random("submit", api.name, order, self._asked[f"{api.name}/{order}"])
        fate = "ok" if self.calm else random.choices(list(FATES), list(FATES.values()))[0]
        fate = self.fated(order, self._asked[f"{api.name}/{order}"]) or fate
        key = asked.header("idempotency-key") if api.idempotent else None
        known = self._keys.get((api.name, key)) if key is not None else None
        self._history.tell(
            "provider asked", submit=f"{api.name}/{order}", fate=fate, known=known and known.id
        )
        match fate:
            case "vanish":
                return None
            case "500":
                return Reply(status=500)
            case "429":
                self.put_off.add(order)
                return Reply(status=429, headers={"retry-after": str(random.choice([1, 3, 20]))})
            case "400" if known is None:
                self.refused.add(order)
                return Reply(status=400, body=b'{"error": "no"}')
        one = known or self._make(api, order, request)
        if key is not None:
            self._keys[api.name, key] = one
        return await self._accepted(one, fate, random)

    def _make(self, api: Api, order: int, request: dict[str, Any]) -> Remote:
        number = len(self.remotes)
        random = self.random("job", api.name, order, len(self.bills[order]))
        one = remotes.make(api, number, request, random, now=self._loop.now, calm=self.calm)
        self.shape(one)
        self.remotes[one.id] = one
        self.bills[order].append(one.id)
        if len(self.bills[order]) > 1:
            self._history.breaks("no job is billed twice", f"order {order}: {self.bills[order]}")
        self._history.tell(
            "provider makes", job=one.id, order=order, ends=one.ends_at, outcome=one.outcome, keeps=one.keeps
        )
        self.made(one)
        return one

    async def _accepted(self, one: Remote, fate: str, random: Random) -> Reply | None:
        match fate:
            case "lost":
                return None
            case "500-made":
                return Reply(status=500)
            case "garbage-made":
                return Reply(body=b"<html>")
            case "hang-made":
                await self._loop.pause(_NEVER)
                return None
        asked = self._loop.now
        if fate == "slow":
            if not self.calm and random.random() < 0.3:
                self.waiting(random)
            self.awaited[one.id] = asked
            await self._loop.pause(random.uniform(1, 8) * SECOND)
            del self.awaited[one.id]
        one.answered = (asked, self._loop.now)
        if not self.calm and random.random() < 0.08:
            self.answering(random)
        # Only what it says at once: a job that has ended meanwhile is told of by the next answer.
        return Reply(body=encoded({"id": one.id, "state": "queued"}), headers=_JSON)

    # -- what it is asked ----------------------------------------------------------------------------------

    async def _status(self, remote_id: str) -> Reply | None:
        one, now = self.remotes.get(remote_id), self._loop.now
        if one is None:
            self._history.tell("provider asked", status=remote_id, told="unknown")
            return Reply(status=404)
        fault = self._fault(one.faults)
        lags = now < one.seen_from or (one.ended(now) and now < one.lags_until)
        if fault is None and lags and not self.calm:
            fault = "404" if now < one.seen_from else f"lag-{one.lags_as}"
        if fault is None and one.deleted(now):
            fault = f"gone-{one.gone}"
        if one.api.name in self.hanging:
            fault = "hang"
        one.looks.append((now, fault or one.state(now)))
        self._history.tell("provider asked", status=one.id, told=fault or one.state(now))
        match fault:
            case None:
                return Reply(body=encoded(self._document(one, now)), headers=_JSON)
            case "lag-running":
                return Reply(body=encoded({"id": one.id, "state": "running"}), headers=_JSON)
            case "other":
                return Reply(body=encoded({"id": "poison-other", "state": "broken"}), headers=_JSON)
            case "gone-410":
                one.said.add("gone")
                return Reply(status=410)
        return await self._faulty(fault)

    def _document(self, one: Remote, now: int) -> dict[str, Any]:
        if one.ended(now):
            one.said.add(STATES[one.state(now)])
        link = None
        if one.api.linked:
            given = (
                n for n, until in one.links.items() if now < until and not (one.renews and n in one.spent)
            )
            number = next(given, len(one.links))
            one.links.setdefault(number, now + (one.link_lasts or remotes.PATIENT * 10))
            link = f"{self.url}/{one.api.name}/results/{one.id}/{number}"
        return one.document(now, link=link, result=not one.api.linked)

    async def _result(self, remote_id: str, link: int) -> Reply | None:
        one, now = self.remotes[remote_id], self._loop.now
        fault = self._fault(one.result_faults)
        if link in one.spent:
            self._history.breaks("a single-use address is asked once", f"{one.id}: GET of link {link} again")
        if fault is None and now >= one.links.get(link, 0):
            fault = "404"
        if fault is None and one.deleted(now):
            fault = f"gone-{one.gone}"
        if one.api.single_use and fault in {None, "drop"}:
            one.spent.add(link)
        one.looks.append((now, f"result {fault or 'told'}"))
        self._history.tell("provider asked", result=one.id, link=link, told=fault or "result")
        match fault:
            case None:
                one.said.add("succeeded")
                return Reply(body=encoded(one.result()), headers=_JSON)
            case "redirect":
                return Reply(status=302, headers={"location": f"{self.url}/{one.api.name}/poison"})
            case "gone-410":
                one.said.add("gone")
                return Reply(status=410)
        return await self._faulty(fault)

    async def _faulty(self, fault: str) -> Reply | None:
        match fault:
            case "drop":
                return None
            case "hang":
                await self._loop.pause(_NEVER)
                return None
            case "429":
                return Reply(status=429, headers={"retry-after": "7"})
            case "500":
                return Reply(status=500)
            case "garbage":
                return Reply(body=b"<html>")
        return Reply(status=404)

    async def _cancel(self, remote_id: str) -> Reply | None:
        one, now = self.remotes.get(remote_id), self._loop.now
        self._history.tell("provider asked", cancel=remote_id)
        if one is None:
            return Reply(status=404)
        one.cancels += 1
        random = self.random("cancel", one.id, one.cancels)
        if not self.calm and random.random() < 0.25:
            return Reply(status=503)
        if random.random() < 0.8:
            one.end(now, "stopped")
            self.stopped(one)
        return Reply(status=202)

    def _fault(self, faults: list[str | None]) -> str | None:
        if not faults or self.calm:
            return None
        return faults.pop(0)


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        method, path, _ = first.decode().split(" ")
        headers = tuple((name, value.strip()) for name, _, value in (line.partition(b":") for line in lines))
        asked = Asked(method=method, path=path, headers=headers, body=b"")
        length = int(asked.header("content-length") or 0)
        return Asked(method=method, path=path, headers=headers, body=await reader.readexactly(length))
    except asyncio.IncompleteReadError:
        return None
