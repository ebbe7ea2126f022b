"""Renewing: asks a provider for fresh links, once a job; many sign new ones whenever they are asked."""

import asyncio
from collections.abc import Callable
from weakref import WeakValueDictionary

from receiver.core.asking import exchange
from receiver.core.asking.exchange import HttpRequest, Seen
from receiver.core.description.provider import Provider
from receiver.core.errors import ConfigurationError, ProviderError, UnreadableError
from receiver.core.file import Download
from receiver.core.files.links import legible, links
from receiver.core.model import Due, Job, Step
from receiver.outbound.client import Outbound
from receiver.storage import downloads, files
from receiver.storage.downloads import Renewal
from receiver.storage.store import Store
from receiver.threads import off_loop

_OK = range(200, 300)


class Renewing:
    """Asks for fresh links."""

    def __init__(
        self, *, store: Store, outbound: Outbound, clock: Callable[[], int], largest: int, most: int
    ) -> None:
        self._store = store
        self._outbound = outbound
        self._clock = clock
        self._largest = largest
        self._most = most
        self._jobs: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, provider: Provider, job: Job, download: Download) -> bool | None:
        """Whether there are fresh links now; ``None`` where the provider cannot be asked for any."""
        look = Due(job_id=job.id, step=Step.LOOK, provider=job.provider, run_at=0)
        if not exchange.can_look(provider, job, look):
            return None
        lock = self._jobs.setdefault(job.id, asyncio.Lock())
        async with lock:
            now = await self._store.read(downloads.current, job.id, download.number)
            if now is None or now.renewed:
                return True  # for another file of the job
            try:
                content = await self._ask(provider, job)
            except (ProviderError, ConfigurationError):
                return False
            if content is None:
                return False
            try:
                found, _ = await off_loop(links, content, provider, job, most=self._most, now=self._clock())
            except UnreadableError:
                found = []
            listed = await self._store.read(files.of_job, job.id)
            fresh = {one.place: one for one in found if one.origin and not one.written_out}
            renewed = {
                one.number: (fresh[one.place].url, fresh[one.place].origin, fresh[one.place].expires_at)
                for one in listed
                if one.place in fresh
            }
            await self._store.write(downloads.renew, Renewal(job_id=job.id, links=renewed))
            return True

    async def _ask(self, provider: Provider, job: Job) -> bytes | None:
        """The result as the provider gives it now; ``None`` where it gives none."""
        conversation = exchange.status(
            provider, job, candidate_id=None, largest=self._largest, now=self._clock()
        )
        outcome = await self._outbound.converse(provider, conversation)
        if not isinstance(outcome, Seen):
            return None
        seen = outcome.seen
        if seen.result is not None:
            return legible(seen.result.content, seen.result.content_type)
        if seen.result_url is None or provider.fetch.single_use:
            return None
        ours = provider.lists(seen.result_url)
        answer = await self._outbound.send(
            provider,
            HttpRequest(
                purpose="fetch",
                method="GET",
                url=seen.result_url,
                credentials=ours and provider.fetch.authenticated,
                anywhere=not ours,
            ),
        )
        if answer.status not in _OK:
            return None
        return legible(answer.body, answer.header(b"content-type") or "")
