"""Traces: which distributed trace a job belongs to."""

from receiver.storage.driver import Transaction


def traceparent(tx: Transaction, job_id: str) -> str | None:
    """The ``traceparent`` that a job was submitted with; ``None`` if there is none."""
    found = tx.run("SELECT traceparent FROM submission WHERE job_id = :id", {"id": job_id})
    return found[0][0] if found else None
