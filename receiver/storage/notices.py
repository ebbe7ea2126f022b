"""Sinks that are told of a completion in its own commit: PostgreSQL's NOTIFY, in the database of the record itself.

Whoever listens hears of a completion exactly if it is committed, and as soon as it is. There is no dispatch then: the
attempt stands in the timeline at once. Where it cannot be done so (the sink is paused or its circuit open, the server's
queue fills up, nobody can listen here) a dispatch is made as for every other sink.
"""

from collections.abc import Iterable

from receiver.core.event import attributes_of, notice_of, result_address
from receiver.core.handler import HandlerSpec
from receiver.core.identity import ATTEMPT, new_id
from receiver.core.model import PROGRESS, Attempt, Job
from receiver.storage.driver import Transaction


class Notices:
    """Tells those who listen, within one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._specs: dict[str, HandlerSpec] = {}
        #: The sinks whose circuit lets nothing through; read with the first completion that one of them wants.
        self._held: set[str] | None = None

    def are(self, specs: Iterable[HandlerSpec]) -> None:
        """Say who is registered."""
        self._specs = {one.name: one for one in specs if one.notice is not None}

    def __contains__(self, handler: str) -> bool:
        return handler in self._specs

    def tell(self, job: Job, handler: str, replay_id: str, *, now: int) -> Attempt | None:
        """Tell those who listen for *handler*; the attempt that this was, or ``None`` where a dispatch is to do it.

        *job* comes with its ``traceparent``.
        """
        notice = self._specs[handler].notice
        if notice is None or handler in self._holding():
            return None
        attributes = attributes_of(job, replay_id=replay_id)
        if replay_id not in PROGRESS and job.held is not None and job.held.size > notice.largest:
            attributes["dataref"] = result_address(job, public_url=notice.public_url)
        payload = notice_of(attributes, at=job.ended_at if job.ended_at is not None else now)
        if not self._tx.notify(notice.channel, payload, handler=handler):
            return None
        return Attempt(
            id=new_id(ATTEMPT, now),
            job_id=job.id,
            step="dispatch",
            handler=handler,
            replay_id=replay_id,
            number=1,
            started_at=now,
            outcome="succeeded",
            detail={"channel": notice.channel},
        )

    def _holding(self) -> set[str]:
        if self._held is None:
            where, params = self._tx.among("handler", sorted(self._specs))
            found = self._tx.run(f"SELECT handler FROM circuit WHERE {where} AND state <> 'closed'", params)
            self._held = {row[0] for row in found}
        return self._held
