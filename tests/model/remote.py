"""One job as its provider sees it: the truth that the receiver has to find out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.model.apis import DAY, HOUR, MINUTE, SECOND, STATES, Api

if TYPE_CHECKING:
    from random import Random

#: A result that is kept for so long can always be had, whatever happens in a round.
PATIENT: Final = 5 * DAY
#: What may go wrong when a job is asked for.
FAULTS: Final = ("500", "404", "drop", "hang", "429", "garbage", "other")


@dataclass
class Remote:
    """A job that a provider made, and is paid for. Times are milliseconds since the model's beginning."""

    id: str
    api: Api
    #: The caller's number of it, which travels in the request.
    order: int
    hook: str | None
    secret: str | None
    #: What it was given to be repeated.
    meta: Any
    made_at: int
    #: When it ends by itself, and how; ``None``: never.
    ends_at: int | None
    outcome: str
    #: From when on it is found, and until when its end is not yet told of.
    seen_from: int
    lags_until: int
    lags_as: str
    keeps: int | None
    gone: int
    #: What goes wrong the next times, each once; ``None`` is an answer as it should be.
    faults: list[str | None]
    result_faults: list[str | None]
    #: Milliseconds that an address of its result holds; ``None``: as long as the result.
    link_lasts: int | None
    links: dict[int, int] = field(default_factory=dict)
    #: The ends that authenticated answers and acknowledged callbacks have told of.
    said: set[str] = field(default_factory=set)
    #: When it was asked for, and what came of that.
    looks: list[tuple[int, str]] = field(default_factory=list)
    #: Whether an acknowledged, genuine callback, or an answer that arrived, has named it.
    named: bool = False
    #: When its submission was asked and answered, if the answer says its name.
    answered: tuple[int, int] | None = None
    #: The single-use addresses that have been asked, and whether another is given then.
    spent: set[int] = field(default_factory=set)
    renews: bool = True
    cancels: int = 0
    #: Whether its end is called back, at once and once; ``None``: as chance has it.
    tells: bool | None = None

    def state(self, now: int) -> str:
        """The provider's word for how it stands."""
        if self.ends_at is not None and now >= self.ends_at:
            return self.outcome
        return "queued" if now < self.made_at + SECOND else "running"

    def ended(self, now: int) -> bool:
        """Whether it is over."""
        return self.ends_at is not None and now >= self.ends_at

    def kept_until(self) -> int | None:
        """Until when its result can be had; ``None``: for ever."""
        if self.keeps is None or self.ends_at is None:
            return None
        return (self.made_at if self.api.counted_from == "submission" else self.ends_at) + self.keeps

    def deleted(self, now: int) -> bool:
        """Whether the provider has deleted it."""
        until = self.kept_until()
        return until is not None and now >= until

    def patient(self) -> bool:
        """Whether its end can be had for longer than any round lasts."""
        until = self.kept_until()
        return self.ends_at is not None and (until is None or until - self.ends_at >= PATIENT)

    def result(self) -> dict[str, Any]:
        """What it gives."""
        return {"answer": f"the answer of {self.id}", "order": self.order}

    def document(self, now: int, *, link: str | None = None, result: bool = False) -> dict[str, Any]:
        """What the provider says about it."""
        word = self.state(now)
        told: dict[str, Any] = {"id": self.id, "state": word, "meta": self.meta}
        if STATES[word] == "succeeded":
            if link is not None:
                told["link"] = link
            if result:
                told["result"] = self.result()
        if word == "broken":
            told["reason"] = f"{self.id} broke"
        return told

    def end(self, now: int, word: str) -> None:
        """Let it end."""
        if not self.ended(now):
            self.ends_at, self.outcome, self.lags_until = now, word, now


def make(api: Api, number: int, asked: dict[str, Any], random: Random, *, now: int, calm: bool) -> Remote:
    """A job of *api*, with everything that will happen to it."""
    lasts = random.choice([SECOND // 2, 3 * SECOND, 20 * SECOND, 2 * MINUTE, 9 * MINUTE, 40 * MINUTE])
    lasts = int(lasts * random.uniform(0.5, 1.5))
    outcome = random.choices(["done", "broken", "stopped", "never"], [75, 12, 3, 10])[0]
    ends_at = None if outcome == "never" else now + lasts
    keeps = api.keeps if api.keeps is not None else random.choice([None, None, 30 * DAY])
    lags = 0 if calm or random.random() < 0.6 else random.choice([2, 10, 40]) * SECOND
    faults: list[str | None] = []
    result_faults: list[str | None] = []
    if not calm:
        faults = [random.choice(FAULTS) if random.random() < 0.35 else None for _ in range(8)]
        if random.random() < 0.5:
            faults = [None] * random.randrange(8)
        result_faults = [
            random.choice(["500", "404", "drop", "429", "redirect"]) if random.random() < 0.3 else None
            for _ in range(3)
        ]
    return Remote(
        id=f"{api.name}-r{number}",
        api=api,
        order=int(asked.get("order", 0)),
        hook=asked.get("hook"),
        secret=asked.get("hook_secret"),
        meta=asked.get("meta"),
        made_at=now,
        ends_at=ends_at,
        outcome="running" if outcome == "never" else outcome,
        seen_from=now + (0 if calm else random.choice([0, 0, 0, 3, 15]) * SECOND),
        lags_until=0 if ends_at is None else ends_at + lags,
        lags_as=random.choice(["running", "404"]),
        keeps=keeps,
        gone=random.choice([404, 410]),
        faults=faults,
        result_faults=result_faults,
        link_lasts=random.choice([None, None, 5 * MINUTE, HOUR]),
        renews=random.random() < 0.5,
    )


def encoded(document: dict[str, Any]) -> bytes:
    """The bytes of a document."""
    return json.dumps(document).encode()
