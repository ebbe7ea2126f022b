"""The clock that everything is planned by, and what happens to the plans when it is set.

How far it is ahead of a steady clock, which nobody sets, stands in the database. So whoever reads both sees that it was
set, also while nobody was there, and whoever is first moves what is planned; the others find that it was done.
"""

from collections.abc import Sequence
from typing import Final

from receiver.clock import STEP
from receiver.core.model import DAY, Value
from receiver.storage.driver import Transaction

_NAME: Final = "clock"
_TOTAL: Final = f"SELECT total FROM clock_set WHERE name = '{_NAME}'"
#: Whether leases of others count as lapsed for whoever claims: not while he does not know yet that the clock was set.
#: In the claim itself, so that nothing comes in between.
KNOWN: Final = f"(:set_by = :anyway OR :set_by = ({_TOTAL}))"
#: Columns with times that lie ahead, besides those of work, or that must not lie ahead.
_AHEAD: Final = (
    ("due", "doubt_since"),
    ("alarm_notice", "run_at"),
    ("circuit", "trial_at"),
    ("held", "until"),
    ("pause", "until"),
)
_FORGOTTEN_AFTER: Final = 30 * DAY


class ClockStep(Value, frozen=True, kw_only=True):
    """A clock that was set: what it said, and what it says now (milliseconds since the Unix epoch)."""

    before: int
    now: int
    #: How long a lease lasts that may have been taken since; none where nobody takes any meanwhile.
    lease_ms: int = 0


class Reading(Value, frozen=True, kw_only=True):
    """Both clocks of a process at one moment."""

    #: Names the steady clock: all readings of it while this machine runs.
    boot: str
    ahead: int
    now: int
    lease_ms: int
    #: Whether what is planned is moved by whoever reads, if the clock was set; else somebody else here does.
    moves: bool = True
    #: The total at a time since which the clock was certainly not set.
    unset_since: int | None = None


class Followed(Value, frozen=True, kw_only=True):
    """What a reading came to."""

    #: By how much the clock has been set, and everything moved along, in all.
    total: int
    #: By how much it was moved now.
    step: int
    #: Whether the steady clock was known, so that a step would have been seen.
    known: bool
    #: Whether it was set so short a time ago that another node may go by it as it was, and hold leases that it took so.
    lately: bool


def params(set_by: int | None) -> dict[str, int]:
    """The parameters of ``KNOWN``: the total that whoever claims knows of, or ``None`` where it makes no difference."""
    return {"set_by": 0, "anyway": 0} if set_by is None else {"set_by": set_by, "anyway": set_by - 1}


def follow(tx: Transaction, item: Reading) -> Followed:
    """Compare both clocks with what is known of them, and move what is planned if one was set."""
    [(total, set_at)] = tx.run(f"SELECT total, set_at FROM clock_set WHERE name = '{_NAME}' {{for_update}}")
    found = tx.run("SELECT ahead FROM clock_seen WHERE boot = :boot", {"boot": item.boot})
    known = bool(found)
    if item.unset_since is not None and item.unset_since != total:
        step = 0  # the clock was set before we came, and only now a process that knew it earlier has said so
    elif known:
        step = item.ahead - found[0][0] - total
    else:
        # Nobody has seen this steady clock before. But the time cannot be before one that somebody has seen.
        [(last,)] = tx.run("SELECT coalesce(max(seen_at), 0) FROM clock_seen")
        step = min(item.now - last, 0)
    if abs(step) <= STEP:
        step = 0
    lately = bool(step) or (set_at is not None and item.now < set_at + item.lease_ms)
    if step and not item.moves:
        return Followed(total=total, step=0, known=known, lately=lately)
    if step:
        shift(tx, [ClockStep(before=item.now - step, now=item.now, lease_ms=item.lease_ms)])
        total += step
    tx.run("DELETE FROM clock_seen WHERE seen_at < :before", {"before": item.now - _FORGOTTEN_AFTER})
    tx.insert(
        "clock_seen",
        "boot, ahead, seen_at",
        [(item.boot, item.ahead - total, item.now)],
        conflict="ON CONFLICT (boot) DO UPDATE SET ahead = excluded.ahead, seen_at = excluded.seen_at",
    )
    return Followed(total=total, step=step, known=known, lately=lately)


def shift(tx: Transaction, items: Sequence[ClockStep]) -> list[None]:
    """Move what is planned along with a clock that was set, so that nothing waits for hours or lapses at once.

    Set back, everything that lies ahead comes as soon as it would have. Set forward, leases and deadlines move too;
    the next attempts of what waits may come early, which harms nobody.
    """
    for item in items:
        step = item.now - item.before
        tx.run("UPDATE clock_set SET total = total + :step, set_at = :now", {"step": step, "now": item.now})
        # A time at which somebody was seen is not over any more.
        tx.run("UPDATE clock_seen SET seen_at = seen_at + :step", {"step": step})
        for table in ("node", "handler"):
            # A step of the clock makes nobody silent for longer than before.
            tx.run(f"UPDATE {table} SET seen_at = seen_at + :step", {"step": step})
        told = {"step": step, "now": item.now, "before": item.before, "lease": item.lease_ms}
        if step < 0:
            for table in ("due", "dispatch", "download"):
                # A lease that was taken, or extended, since it was set is as it should be.
                tx.run(
                    f"UPDATE {table} SET run_at = run_at + :step "
                    "WHERE run_at > :now + CASE WHEN owner IS NULL THEN 0 ELSE :lease END",
                    told,
                )
            for table, column in _AHEAD:
                tx.run(f"UPDATE {table} SET {column} = {column} + :step WHERE {column} > :now", told)
        else:
            for table in ("due", "dispatch", "download"):
                tx.run(f"UPDATE {table} SET run_at = run_at + :step WHERE owner IS NOT NULL", told)
        made = "" if step < 0 else "AND created_at <= :before"
        tx.run(
            "UPDATE job SET deadline_at = deadline_at + :step, "
            # The retention of a result counts from these.
            "submitted_at = submitted_at + CASE WHEN submitted_at > :now THEN :step ELSE 0 END, "
            "succeeded_at = succeeded_at + CASE WHEN succeeded_at > :now THEN :step ELSE 0 END "
            f"WHERE id IN (SELECT job_id FROM due) AND ended_at IS NULL {made}",
            told,
        )
    return [None] * len(items)
