"""A registered handler as JSON."""

from typing import Any

from receiver.core.circuit import Circuit
from receiver.storage.nodes import Registered
from receiver.views.document import Document, FailureDocument, Moment, failure_document, moment, timestamp


class CircuitDocument(Document, frozen=True, kw_only=True):
    """The switch of a handler."""

    #: closed (completions reach it), open (one trial at a time), or paused (nothing reaches it until it is resumed).
    state: str
    #: How many attempts failed in a row.
    failures: int
    since: Moment | None
    #: When the next trial may begin.
    trial_at: Moment | None
    #: Who paused it, if a person did.
    by: str | None
    error: FailureDocument | None


class HandlerDocument(Document, frozen=True, kw_only=True):
    """A handler or sink that completions are dispatched to."""

    name: str
    #: Whose completions it wants; null for every provider's.
    provider: str | None
    state: str
    #: What a job's metadata must have, by key.
    metadata: dict[str, Any]
    #: What its completions are ordered by, one at a time.
    ordered_by: str | None
    #: The last sign of life of a process that has it.
    seen_at: Moment
    #: How many of its dispatches are not finished, up to a bound, and whether there are more than that.
    waiting: int
    more_waiting: bool
    #: How many are dead, up to a bound, and whether there are more than that.
    dead: int
    more_dead: bool
    circuit: CircuitDocument


def handler_document(one: Registered) -> HandlerDocument:
    """Describe a handler."""
    return HandlerDocument(
        name=one.name,
        provider=one.provider,
        state=one.state,
        metadata=one.metadata,
        ordered_by=one.ordered_by,
        seen_at=timestamp(one.seen_at),
        waiting=one.waiting,
        more_waiting=one.more_waiting,
        dead=one.dead,
        more_dead=one.more_dead,
        circuit=_circuit_document(one.circuit),
    )


def _circuit_document(circuit: Circuit | None) -> CircuitDocument:
    if circuit is None:
        return CircuitDocument(state="closed", failures=0, since=None, trial_at=None, by=None, error=None)
    return CircuitDocument(
        state=circuit.state,
        failures=circuit.failures,
        since=timestamp(circuit.since) if circuit.holds else None,
        trial_at=moment(circuit.trial_at),
        by=circuit.who,
        error=failure_document(circuit.error),
    )
