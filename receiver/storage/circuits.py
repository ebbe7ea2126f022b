"""Circuits: a handler whose attempts fail in a row is left alone but for one trial at a time, on every node.

A closed circuit whose last attempt succeeded has no row, so that those who never fail pay for nothing: a process
settles a success against this table only where it knows of a row (``receiver/circuits.py``).
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

from msgspec.structs import replace

from receiver.core.circuit import Circuit, Sign
from receiver.core.errors import NotFoundError
from receiver.core.model import Dispatch, Failure
from receiver.storage.driver import Row, Transaction

CIRCUIT: Final = "handler, state, failures, trials, since, trial_at, who, error_code, error_text"
_CHANGE: Final = (
    "ON CONFLICT (handler) DO UPDATE SET state = excluded.state, failures = excluded.failures, "
    "trials = excluded.trials, since = excluded.since, trial_at = excluded.trial_at, who = excluded.who, "
    "error_code = excluded.error_code, error_text = excluded.error_text"
)
#: A condition on dispatches of the handler ``:handler``. As part of what the index is read up to it is asked once for a
#: whole claim; as a condition of its own SQLite asks it for each row, and reads all that waits for an open circuit.
LETS_THROUGH: Final = "NOT EXISTS (SELECT 1 FROM circuit WHERE handler = :handler AND state <> 'closed')"
#: The same for dispatches of several handlers.
EACH_LETS_THROUGH: Final = (
    "NOT EXISTS (SELECT 1 FROM circuit AS one WHERE one.handler = dispatch.handler AND one.state <> 'closed')"
)


def row_of(circuit: Circuit) -> Row:
    """A circuit as a row of CIRCUIT."""
    error = circuit.error
    return (
        circuit.handler,
        circuit.state,
        circuit.failures,
        circuit.trials,
        circuit.since,
        circuit.trial_at,
        circuit.who,
        None if error is None else error.code,
        None if error is None else error.text,
    )


def circuit_of(row: Row) -> Circuit:
    """A circuit from a row of CIRCUIT."""
    handler, state, failures, trials, since, trial_at, who, code, text = row
    return Circuit(
        handler=handler,
        state=state,
        failures=failures,
        trials=trials,
        since=since,
        trial_at=trial_at,
        who=who,
        error=None if code is None else Failure(code=code, text=text or ""),
    )


def circuits(tx: Transaction) -> list[Circuit]:
    """Every circuit that has failures or is not closed, by the name of its handler."""
    return [circuit_of(row) for row in tx.run(f"SELECT {CIRCUIT} FROM circuit ORDER BY handler")]


def take(tx: Transaction, signs: Sequence[tuple[Dispatch, Sign, Failure | None, int]]) -> None:
    """Have circuits follow how attempts ended: (dispatch, what its end says, error, now), in that order."""
    names = sorted({dispatch.handler for dispatch, _, _, _ in signs})
    where, params = tx.among("handler", names)
    # If another node makes a row for the same handler at this moment, the write of ours waits for it.
    found = tx.run(f"SELECT {CIRCUIT} FROM circuit WHERE {where} ORDER BY handler {{for_update}}", params)
    stored = {row[0]: circuit_of(row) for row in found}
    changed: list[Circuit] = []
    closed: list[Row] = []
    for name, those in groupby(sorted(signs, key=lambda one: one[0].handler), key=lambda one: one[0].handler):
        before = after = stored.get(name)
        for dispatch, sign, error, now in those:
            after = _after(after, dispatch, sign, error=error, now=now)
        if after is None and before is not None:
            closed.append((name,))
        elif after is not None and after != before:
            changed.append(after)
    tx.delete("circuit", closed, key="handler")
    tx.insert("circuit", CIRCUIT, [row_of(one) for one in changed], conflict=_CHANGE)


def _after(
    circuit: Circuit | None, dispatch: Dispatch, sign: Sign, *, error: Failure | None, now: int
) -> Circuit | None:
    """A circuit after one more attempt has ended; ``None`` for one that is closed and has no failures."""
    if circuit is not None and circuit.state == "paused":
        return circuit
    match sign.word:
        case "works":
            return None
        case "pauses":
            failures = 1 if circuit is None else circuit.failures + 1
            return Circuit(
                handler=dispatch.handler, state="paused", failures=failures, since=now, error=error
            )
        case "unclear":
            return None if circuit is None else replace(circuit, trial_at=now)
    circuit = circuit or Circuit(handler=dispatch.handler, since=now)
    if circuit.state == "open":
        if not dispatch.trial:
            return circuit  # it began before the circuit opened
        return replace(
            circuit,
            failures=circuit.failures + 1,
            trials=dispatch.trial,
            trial_at=now + sign.wait,
            error=error,
        )
    circuit = replace(circuit, failures=circuit.failures + 1, error=error)
    if circuit.failures < sign.most:
        return circuit
    return replace(circuit, state="open", since=now, trials=0, trial_at=now + sign.wait)


def begin_trials(tx: Transaction, wanted: Mapping[str, int], *, now: int) -> dict[str, int]:
    """Which of some handlers may try one dispatch now: the number of that trial of each.

    *wanted* says for how many milliseconds no other trial begins. A caller that finds nothing to try gives its trial
    back (``put_off``).
    """
    where, params = tx.among("handler", sorted(wanted))
    found = tx.run(
        f"SELECT handler, trials FROM circuit WHERE {where} AND state = 'open' AND trial_at <= :now "
        "ORDER BY handler {for_update} {skip_locked}",
        params | {"now": now},
    )
    return {name: trials + 1 for name, trials in found}


def lease_trials(tx: Transaction, begun: Mapping[str, int]) -> None:
    """Have no other trial of some handlers begin before a time."""
    tx.update("circuit", "trial_at", [(until, name) for name, until in sorted(begun.items())], key="handler")


def pause(tx: Transaction, items: Sequence[tuple[str, str, int]]) -> list[Circuit]:
    """Pause handlers by hand: (handler, who does it, now); nothing of theirs is attempted until they are resumed.

    Raises:
        NotFoundError: no handler of that name is registered.
    """
    paused = []
    for name, who, now in items:
        _refuse_unknown(tx, name)
        paused.append(Circuit(handler=name, state="paused", since=now, who=who))
    tx.insert("circuit", CIRCUIT, sorted(row_of(one) for one in paused), conflict=_CHANGE)
    return paused


def resume(tx: Transaction, items: Sequence[str]) -> list[bool]:
    """Close circuits by hand, whether they were paused or open; whether there was anything to close.

    Raises:
        NotFoundError: no handler of that name is registered.
    """
    answers = []
    for name in items:
        _refuse_unknown(tx, name)
        found = tx.run("DELETE FROM circuit WHERE handler = :name RETURNING state", {"name": name})
        answers.append(any(row[0] != "closed" for row in found))
    tx.announce()
    return answers


def _refuse_unknown(tx: Transaction, name: str) -> None:
    if not tx.run("SELECT 1 FROM handler WHERE name = :name", {"name": name}):
        raise NotFoundError(f"No handler {name!r} is registered.", code="handler_unknown")
