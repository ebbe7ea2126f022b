"""A round in which a lot is to be done and nothing is to wait for long: no accidents, but providers at their limits."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.model.apis import HOUR, MINUTE, SECOND, Api
from tests.model.machine import Machine
from tests.model.waits import Waits

if TYPE_CHECKING:
    from tests.model.remote import Remote

#: The orders of each API begin at this number: of the one with more open jobs than it may be asked about; of the one
#: that hangs; of its neighbour; and of the one whose jobs are all alike.
CROWDED, HANGING, NEIGHBOUR, STEADY, LATE = 100, 200, 300, 400, 500


class Crowd(Machine):
    """The world of such a round."""

    beats = True
    #: Between two signs of life.
    beat = 2 * SECOND
    lasts = 7 * MINUTE
    #: From when on what is due is to keep up.
    full = 3 * MINUTE
    #: How many jobs the crowded API has, at least and at most, and how many each of the others.
    crowded = (20, 26)
    many = {HANGING: 10, NEIGHBOUR: 4, STEADY: 14, LATE: 3}

    def invent(self) -> list[Api]:
        """One API at its limit, one that hangs, its neighbour, and one that is alike from job to job."""
        random = self.random
        polled = {
            "kind": "polled", "idempotent": False, "cancels": True, "marks": False, "linked": False,
            "single_use": False, "counted_from": "submission", "deadline": HOUR, "expected": 10 * MINUTE,
            "every": 5 * SECOND, "longest": 20 * SECOND, "keeps": None, "rate": 20, "concurrency": 8,
        }  # fmt: skip
        steady = {"kind": random.choice(["result", "note", "wake", "sealed"])}
        crowded = {"rate": 0.5, "concurrency": 2, "keeps": random.choice([None, 2 * HOUR])}
        made = [
            polled | {"name": "crowded"} | crowded,
            polled | {"name": "hanging", "concurrency": random.choice([3, 4])},
            polled | {"name": "neighbour"},
            polled | {"name": "steady"} | steady,
        ]
        return [Api(**one) for one in made]  # type: ignore[arg-type]

    async def happen(self) -> None:
        """Have everybody come at once; then cancel some, and have more come."""
        self.history.tell("crowd", nodes=self.plan.nodes)
        providers, random = self.providers, self.random
        providers.calm = providers.traffic.hearing = True
        providers.hanging = {"hanging"}
        providers.shape = self._shape
        providers.fated = self._fate
        self._beaten = 0
        self.waits = Waits(self.record, providers, self.history, self.loop)
        for _ in range(self.plan.nodes):
            await self.start()
        crowded, hanging, neighbour, steady = self.apis
        for number in range(random.randint(*self.crowded)):
            self._order(0, CROWDED + number, crowded)
        for number in range(self.many[HANGING]):
            # All at once, once the nodes have heard of one another: more than may be under way.
            self._order(15 * SECOND, HANGING + number, hanging)
        for number in range(self.many[NEIGHBOUR]):
            self._order(random.uniform(0, 60) * SECOND, NEIGHBOUR + number, neighbour)
        for number in range(self.many[STEADY]):
            self._order(number * 12 * SECOND, STEADY + number, steady)
        for number in range(self.many[LATE]):
            self._order(self.full + random.uniform(0, 90) * SECOND, LATE + number, crowded)
            self.later(self.full + random.uniform(0, 90) * SECOND, self._cancel(number))
        await self.advance(self.lasts)
        providers.hanging.clear()
        self.waits.over = True
        for one in providers.remotes.values():
            one.end(self.loop.now, "done")

    def _order(self, after: float, number: int, api: Api) -> None:
        self.later(after, self.callers.order(number, api))

    async def _cancel(self, number: int) -> None:
        one = next((o for o in self.providers.remotes.values() if o.order == CROWDED + number), None)
        job = next((job for job in self.record.jobs() if one is not None and job.remote_id == one.id), None)
        node = self.callers.ready(Random(number))
        if one is not None and job is not None and node is not None:
            await self.callers.ask(node, "DELETE", f"/v1/jobs/{job.id}")
            self.history.tell("cancel wished", id=job.id)
            self.waits.wished[one.id] = self.loop.now

    def _shape(self, one: Remote) -> None:
        """What its jobs are like: of one API they last for about as long, and some of the last are not called back."""
        one.keeps = one.api.keeps
        one.outcome = "done"
        if one.api.name == "steady":
            random = self.providers.random("steady", one.order)
            one.ends_at = self.loop.now + int(random.uniform(12, 20) * SECOND)
            one.tells = one.order < STEADY + 10
        else:
            one.ends_at = self.loop.now + 20 * MINUTE
        one.lags_until = one.seen_from = 0

    def _fate(self, order: int, times: int) -> str | None:
        """What becomes of submissions: those that come late to the crowd are put off at first."""
        if order >= LATE and times == 1:
            return "429"
        return "slow" if HANGING <= order < NEIGHBOUR else None

    def watch(self) -> None:
        """Let the nodes hear of one another, and look whether anything waits for too long."""
        if self.loop.now >= self._beaten + self.beat:
            self._beaten = self.loop.now
            for node in self.nodes:
                node.beat()
        self.waits.watch()


class SmallCrowd(Crowd):
    """One that is played in seconds also where each commit goes to a server."""

    beat = 4 * SECOND
    lasts = 4 * MINUTE
    full = MINUTE
    crowded = (7, 9)
    many = {HANGING: 6, NEIGHBOUR: 2, STEADY: 13, LATE: 2}
