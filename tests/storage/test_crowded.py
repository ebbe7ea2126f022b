"""However much is due, a claim reads no more than it takes, and neither does what is done beside claims.

What is read is counted: on PostgreSQL the rows, by the server itself, on SQLite the steps of its machine.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from receiver.core.file import Download
from receiver.core.job.urgency import ASKED, AWAITED, LANES, NEAR_DELETION, ROUTINE
from receiver.core.model import HOUR, Due, Step
from receiver.storage import circuits, claims, dispatches, downloads, nodes, queries, rows
from receiver.storage.claims import Claim
from receiver.storage.dispatches import DispatchClaim
from receiver.storage.downloads import DownloadClaim
from receiver.storage.driver import Transaction
from receiver.storage.files import DOWNLOAD
from receiver.storage.lines import LINED
from tests.core.making import NOW
from tests.storage.making import LEASE, Desk
from tests.storage.reads import Reads, Work, counted

FEW, MANY = 6_000, 36_000
#: Within so many times what it takes where few are due: an index of more rows is a step deeper.
SAME = 1.5
AT = NOW + 2 * HOUR
STEPS = {ASKED: (Step.SUBMIT, Step.CANCEL), NEAR_DELETION: (Step.LOOK,), AWAITED: (Step.LOOK, Step.FILES)}


class Crowd(Reads):
    """A store in which much is due."""

    def fill(self, many: int) -> None:
        """Have *many* rows due of every kind, most of one provider, and as many dispatches, most of one handler."""
        due, waiting = [], []
        for n in range(many):
            lane = LANES[n % 4]
            kinds = STEPS.get(lane, (Step.LOOK,))
            one = Due(
                job_id=f"job_{n:032}",
                step=kinds[n // 4 % len(kinds)],
                provider="left-alone" if n % 10 else "other",
                run_at=NOW + n % 1000,
                expires_at=AT + n if lane != ROUTINE else None,
                # Some have come near their deletion while they waited.
                urgent_at=NOW + n if n % 3 == 0 else None,
                lane=lane,
                # The lease of some has lapsed.
                owner="gone" if n % 5 == 0 else None,
            )
            due.append(rows.due_params(one))
            line = f"{n % 7}" if n % 10 == 0 else None
            name = "ordered" if line else "busy" if n % 100 else "gone"
            waiting.append(
                (one.job_id, name, LINED if line else "ready", NOW + n % 1000, 0, NOW, line, one.job_id, n)
            )
        with self.store.driver.write() as tx:
            tx.run("DELETE FROM due")
            tx.run("DELETE FROM dispatch")
            tx.run("DELETE FROM circuit")
            tx.insert("due", rows.DUE, due)
            tx.insert(
                "dispatch",
                "job_id, handler, state, run_at, attempt, created_at, line, told, place, replay_id",
                [(*one, "") for one in waiting],
            )
            tx.run("DELETE FROM download")
            tx.insert("download", DOWNLOAD.columns, [DOWNLOAD.row(_file(n)) for n in range(many)])
        self.learn()


def _file(n: int) -> Download:
    """A file that has failed and waits for its time, which has come for fifty."""
    return Download(
        job_id=f"job_{n:032}",
        number=1,
        provider="other",
        url=f"https://other.example/{n}",
        origin="https://closed.example" if n % 10 else f"https://other-{n % 7}.example",
        largest=1,
        run_at=NOW if n % 100 == 0 and n < 5_000 else AT + HOUR,
        expires_at=AT + MANY - n,
    )


@pytest.fixture
async def crowd(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Crowd]:
    """A store with nothing in it yet."""
    reads = await counted(url, monkeypatch)
    await Desk(reads.store).register("busy", "ordered", now=AT)
    yield Crowd(store=reads.store, url=url, steps=reads.steps)
    await reads.store.close()


def due(provider: str, limit: int) -> Work:
    """Claim what is due of a provider."""
    wish = Claim(owner="n", provider=provider, limit=limit, lease_ms=LEASE, now=AT)
    return lambda tx: claims.claim(tx, [wish])


def handled(*names: str, **more: Any) -> Work:  # noqa: ANN401
    """Claim dispatches."""
    limits = dict.fromkeys(names, 8)
    wish = DispatchClaim(owner="n", limits=limits, lease_ms=LEASE, now=AT, **more)
    return lambda tx: dispatches.work(tx, [wish])


def paused(tx: Transaction) -> None:
    """Claim for a handler that somebody has paused."""
    circuits.pause(tx, [("busy", "ada", NOW)])
    handled("busy", interrupted=True)(tx)


FETCHES = DownloadClaim(owner="n", limit=20, each=8, busy={}, closed=(), lease_ms=LEASE, now=AT)
LATER = replace(FETCHES, now=AT + HOUR, closed={"https://closed.example"})
WORK: dict[str, Work] = {
    "a little of most": due("left-alone", 8),
    "more of most": due("left-alone", 16),
    "a little of little": due("other", 8),
    "the providers": lambda tx: queries.due_providers(tx, AT),
    "dispatches": handled("busy"),
    "dispatches that were interrupted": handled("busy", interrupted=True),
    "dispatches of two, that were interrupted": handled("busy", "ordered", interrupted=True),
    "dispatches in lines": handled("ordered", ordering=["ordered"]),
    "dispatches of a paused handler": paused,
    "handlers that are gone": lambda tx: nodes.reap(tx, [NOW]),
    "whether a file is due": lambda tx: downloads.waiting(tx, AT),
    "files": lambda tx: downloads.claim(tx, [FETCHES]),
    "many files, of most an origin that is left alone": lambda tx: downloads.claim(tx, [LATER]),
}


async def test_what_is_read_does_not_grow_with_what_waits(crowd: Crowd) -> None:
    """Six times as much is due, of every kind, and nine tenths of one provider or handler: as much is read."""
    read: list[dict[str, int]] = []
    for many in (FEW, MANY):
        crowd.fill(many)
        for _ in range(2):  # at first what is near its deletion is set apart, and what is gone is buried
            found = {what: crowd.of(work) for what, work in WORK.items()}
        read.append(found)
    few, much = read
    assert {what: (few[what], many) for what, many in much.items() if many > SAME * max(few[what], 100)} == {}


async def test_of_each_kind_something_is_taken(crowd: Crowd) -> None:
    """So that the figures are about claims that find what they look for."""
    crowd.fill(FEW)
    with crowd.store.driver.write() as tx:
        for _ in range(4):
            due("left-alone", 64)(tx)
        due("other", 8)(tx)
        handled("busy")(tx)
        taken = {row[0] for row in tx.run("SELECT DISTINCT step FROM due WHERE owner = 'n'")}
        # Of others the fourth is taken by its age.
        assert taken >= {Step.SUBMIT, Step.CANCEL, Step.LOOK}
        assert len(tx.run("SELECT 1 FROM due WHERE owner = 'n'")) == 4 * 64 + 8
        assert len(tx.run("SELECT 1 FROM dispatch WHERE owner = 'n'")) == 8
