"""Replay: new dispatches for what is stored, or stored bytes read again; the old ones stay as they are."""

from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from receiver.catalog import Catalog
from receiver.core.errors import ConflictError, NotFoundError, ProviderError, RejectionError, RequestError
from receiver.core.identity import CALLBACK, JOB, REPLAY, is_id, new_id
from receiver.core.job.admission import Examined, Unreadable, admit
from receiver.core.model import Callback, Job, Value, Verdict
from receiver.steps.proving import Proving
from receiver.storage.nodes import specs
from receiver.storage.pages import stored
from receiver.storage.queries import Page
from receiver.storage.readmission import Readmission
from receiver.storage.store import Store

log = structlog.get_logger(__name__)

_PAGE: Final = 200
#: Set by whatever carries the request anew, or about a connection that is gone.
_CONNECTION_HEADERS: Final = {
    b"host",
    b"content-length",
    b"connection",
    b"transfer-encoding",
    b"keep-alive",
    b"upgrade",
    b"te",
    b"trailer",
    b"expect",
}


class Replayed(Value, frozen=True, kw_only=True):
    """What a replay did, or would do."""

    id: str
    dry_run: bool
    #: The replay's own id, which sets its dispatches apart; ``None`` in a dry run.
    replay_id: str | None = None
    job_id: str | None = None
    state: str | None = None
    #: For a callback: what it is now.
    verdict: str | None = None
    code: str | None = None
    #: The handlers that get a dispatch.
    handlers: list[str] = []
    #: For a job: how many pages the result came in that they get whole; 0 where it did not come in pages.
    pages: int = 0


class Reverified(Value, frozen=True, kw_only=True):
    """What became of quarantined callbacks that were proved again."""

    provider: str
    dry_run: bool
    admitted: list[Replayed]
    #: How many are still not proved genuine, by code.
    refused: dict[str, int]


class Resent(Value, frozen=True, kw_only=True):
    """The answer of an address that a stored callback was sent to again."""

    id: str
    url: str
    status: int
    body: bytes


class Replay:
    """Replays jobs and callbacks."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        proving: Proving,
        clock: Callable[[], int],
        notify: Callable[[], None],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._proving = proving
        self._clock = clock
        self._notify = notify
        # Bound once: replays come by the thousand.
        self._log = log.bind()

    async def __call__(
        self, any_id: str, *, handler: str | None = None, dry_run: bool = False, by: str = ""
    ) -> Replayed:
        """Replay the job or callback *any_id*, for one handler or for all that want it.

        A job is dispatched again with its stored result. A callback's stored bytes are verified and read
        again as of their arrival, with the keys and descriptions now in force, and admitted as if they had
        just come. *by* is who asks for it; it stands in the job's timeline.

        Raises:
            NotFoundError: there is no such job, callback or handler.
            ConflictError: the job has not ended.
            RejectionError: the callback is still not proved genuine.
        """
        if handler is not None and handler not in {one["name"] for one in await self._store.handlers()}:
            raise NotFoundError(
                f"No handler {handler!r} is registered.", code="handler_unknown", field="handler"
            )
        if is_id(any_id, CALLBACK):
            replayed = await self._callback(any_id, handler, dry_run=dry_run, by=by)
        elif is_id(any_id, JOB):
            replayed = await self._job(any_id, handler, dry_run)
        else:
            raise RequestError(f"{any_id!r} is the id of neither a job nor a callback.", code="id_invalid")
        if not dry_run:
            self._notify()
            self._log.info("replayed", id=any_id, replay=replayed.replay_id, handlers=replayed.handlers)
        return replayed

    async def reverify(
        self, provider: str, *, since: int | None = None, dry_run: bool = False, by: str = ""
    ) -> Reverified:
        """Prove quarantined callbacks again, each as of its arrival, with the keys now in force.

        What passes is admitted exactly as if it had just come; what does not stays in quarantine. This is the
        way back after our own secret was wrong. Handlers are not called again for a job that has ended already,
        though its sender may have called many times.

        Args:
            provider: Whose callbacks.
            since: Only those that came at or after this time, in milliseconds since the Unix epoch.
            dry_run: Say what would happen and touch nothing.
            by: Who asks for it; it stands in the timelines of the jobs.

        Raises:
            RequestError: there is no such provider.
            KeyUnavailableError: its key is missing.
        """
        described = self._catalog.named(provider)
        admitted: list[Replayed] = []
        refused: Counter[str] = Counter()
        before: str | None = None
        while True:
            page = Page(
                provider=provider, verdict=Verdict.REJECTED.value, since=since, before=before, limit=_PAGE
            )
            found = await self._store.callbacks(page)
            for listed in found:
                callback = await self._store.callback(listed.id)
                try:
                    examined, key_id = await self._proving.examine_stored(callback, described)
                except RejectionError as error:
                    refused[error.code] += 1
                    continue
                if dry_run:
                    admitted.append(await self._foresee(callback, examined, again=False))
                else:
                    admitted.append(
                        await self._readmit(callback, examined, key_id=key_id, again=False, by=by)
                    )
            if len(found) < _PAGE:
                break
            before = found[-1].id
        if admitted and not dry_run:
            self._notify()
            log.info("callbacks_reverified", provider=provider, admitted=len(admitted))
        return Reverified(provider=provider, dry_run=dry_run, admitted=admitted, refused=dict(refused))

    async def resend(self, callback_id: str, *, url: str) -> Resent:
        """Send a stored callback, byte for byte, to *url*; the operator's own choice of address.

        Raises:
            NotFoundError: there is no such callback.
            ProviderError: the address did not answer.
        """
        import httpx

        from receiver.discreet import DiscreetClient

        callback = await self._store.callback(callback_id)
        headers = [
            (name, value) for name, value in callback.headers if name.lower() not in _CONNECTION_HEADERS
        ]
        try:
            target = httpx.URL(url)
            if callback.query:
                target = target.copy_with(query=callback.query)
            async with DiscreetClient(trust_env=False, timeout=30, headers=None) as client:
                request = httpx.Request(callback.method, target, headers=headers, content=callback.body)
                answer = await client.send(request, follow_redirects=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ProviderError(
                f"{url} did not answer: {type(error).__name__}.", code="resend_failed"
            ) from error
        return Resent(id=callback_id, url=url, status=answer.status_code, body=answer.content)

    async def _job(self, job_id: str, handler: str | None, dry_run: bool) -> Replayed:  # noqa: FBT001
        job = await self._store.job(job_id)
        if dry_run:
            if not job.state.ended:
                raise ConflictError(
                    f"{job_id} is {job.state}; only an ended job can be replayed.", code="job_not_ended"
                )
            wanted = await self._wanted(job, handler)
            pages = await self._pages(job)
            return Replayed(
                id=job_id, dry_run=True, job_id=job_id, state=job.state, handlers=wanted, pages=pages
            )
        pages = await self._pages(job)
        now = self._clock()
        replay_id = new_id(REPLAY, now)
        made = await self._store.replay(job_id, handler=handler, replay_id=replay_id, now=now)
        return Replayed(
            id=job_id,
            dry_run=False,
            replay_id=replay_id,
            job_id=job_id,
            state=job.state,
            handlers=made,
            pages=pages,
        )

    async def _pages(self, job: Job) -> int:
        provider = self._catalog.get(job.provider)
        if provider is None or provider.paged is None:
            return 0  # and no query: replays come by the thousand
        return len(await self._store.read(stored, job.id))

    async def _callback(self, callback_id: str, handler: str | None, dry_run: bool, *, by: str) -> Replayed:  # noqa: FBT001
        callback = await self._store.callback(callback_id)
        provider = self._catalog.named(callback.provider)
        try:
            examined, key_id = await self._proving.examine_stored(callback, provider)
        except RejectionError as error:
            if not dry_run:
                raise
            return Replayed(id=callback_id, dry_run=True, verdict=Verdict.REJECTED, code=error.code)
        if dry_run:
            return await self._foresee(callback, examined, again=True, handler=handler)
        return await self._readmit(callback, examined, key_id=key_id, again=True, handler=handler, by=by)

    async def _readmit(
        self,
        callback: Callback,
        examined: Examined,
        *,
        key_id: str,
        again: bool,
        by: str,
        handler: str | None = None,
    ) -> Replayed:
        now = self._clock()
        replay_id = new_id(REPLAY, now)
        receipt, made = await self._store.readmit(
            Readmission(
                callback=callback,
                examined=examined,
                terms=self._catalog.terms(callback.provider, key_id=key_id),
                replay_id=replay_id,
                handler=handler,
                dispatch_again=again,
                by=by,
                now=now,
            )
        )
        return Replayed(
            id=callback.id,
            dry_run=False,
            replay_id=replay_id,
            job_id=receipt.job_id,
            state=receipt.state,
            verdict=receipt.verdict,
            code=receipt.code,
            handlers=made,
        )

    async def _foresee(
        self, callback: Callback, examined: Examined, *, again: bool, handler: str | None = None
    ) -> Replayed:
        if callback.job_id is None:
            return Replayed(
                id=callback.id,
                dry_run=True,
                verdict=Verdict.ACCEPTED if examined.remote_id else Verdict.UNREADABLE,
            )
        job = await self._store.job(callback.job_id)
        admission = admit(job, examined, callback_id=callback.id, now=callback.received_at)
        after = job if admission.move is None else admission.move.job
        unreadable = isinstance(examined.reading(job.delivery), Unreadable)
        completes = admission.move is not None and admission.move.completed
        dispatched = after.state.ended and not unreadable and (again or completes)
        wanted = await self._wanted(after, handler) if dispatched else []
        return Replayed(
            id=callback.id,
            dry_run=True,
            job_id=job.id,
            state=after.state,
            verdict=admission.verdict,
            code=admission.code,
            handlers=wanted,
        )

    async def _wanted(self, job: Job, handler: str | None) -> list[str]:
        if handler is not None:
            return [handler]
        return [
            one.name
            for one in await self._store.read(specs)
            if one.wants(job.provider, job.state) and one.accepts(job.metadata)
        ]
