"""Collect: get the pages of a result, one a look, each stored before the next; then make one document of them."""

import hashlib
from collections.abc import Sequence

from msgspec.structs import replace

from receiver.core.asking import exchange, pages
from receiver.core.asking.exchange import Gone, Pending, Seen, TryLater
from receiver.core.description.keeping import past_retention
from receiver.core.description.provider import Provider
from receiver.core.description.shape import Shape
from receiver.core.errors import (
    ConfigurationError,
    FetchRefusedError,
    NeverConnectedError,
    ProviderError,
)
from receiver.core.job.looking import Finding, Unanswered
from receiver.core.job.transition import Move
from receiver.core.model import Held, JobState, Observation
from receiver.core.reading.pagination import is_given_again
from receiver.outbound.answer import Sink, Storing
from receiver.steps.keeping import Keeping
from receiver.steps.settling import Looks
from receiver.storage import pages as storage
from receiver.storage import spent
from receiver.storage.claims import Claimed
from receiver.storage.pages import StoredPage
from receiver.storage.results import unfolded
from receiver.threads import off_loop


class Collect:
    """Gets the pages of results."""

    def __init__(self, looks: Looks, *, most: int, keeping: Keeping) -> None:
        self._looks = looks
        self._most = most
        self._keeping = keeping

    def concerns(self, claimed: Claimed) -> bool:
        """Whether what *claimed* is to fetch comes in pages."""
        return claimed.due.result_url is not None and (
            self._looks.catalog.named(claimed.job.provider).paged is not None
        )

    async def __call__(self, claimed: Claimed) -> Move | None:
        """Get one page, or make the result once all are here. Settle that, and return the move that it made, if any."""
        started = self._looks.clock()
        provider = self._looks.catalog.named(claimed.job.provider)
        shape = provider.paged
        assert shape is not None  # noqa: S101  (the worker looked)
        have = await self._looks.store.read(storage.stored, claimed.job.id)
        if have and have[-1].next_url is None:
            finding = await self._joined(claimed, shape, have)
            told = {"pages": len(have), "items": sum(one.items for one in have)}
            return await self._looks.settling(claimed, finding, started=started, detail=told)
        return await self._next(provider, shape, claimed, have, started)

    async def _next(
        self, provider: Provider, shape: Shape, claimed: Claimed, have: Sequence[StoredPage], started: int
    ) -> Move | None:
        job, due, url = claimed.job, claimed.due, claimed.due.result_url
        assert url is not None  # noqa: S101  (the worker looked)
        single_use = provider.fetch.single_use
        elsewhere = exchange.can_look(provider, job, replace(due, result_url=None))
        if single_use and have and url == have[0].url and have[-1].next_url is not None:
            # The first page's address was named again, and what it gave is here.
            url = have[-1].next_url
            elsewhere = elsewhere and not await self._looks.store.read(spent.asked, job.id, url)
        # Another address than the one that it stopped at: the result is begun anew, from a fresh first page.
        follows = bool(have) and url == have[-1].next_url
        number = len(have) + 1 if follows else 1
        if number > self._most:
            finding = Unanswered(code="too_many_pages")
            return await self._looks.settling(claimed, finding, started=started)

        async def get(_: Sink) -> Finding:
            finding = await self._get(provider, shape, claimed, url, have if follows else (), started)
            if isinstance(finding, Gone) and follows and not past_retention(job, self._looks.clock()):
                # The result is there, as its first page is: this page is asked for as long as it may be.
                return Unanswered(code=f"status_{finding.status}", unspent=True)
            return finding

        if single_use:
            return await self._keeping.once(claimed, url, get, elsewhere=elsewhere, started=started)
        return await self._looks.settling(claimed, await get(self._keeping.sink(job.id)), started=started)

    async def _get(
        self,
        provider: Provider,
        shape: Shape,
        claimed: Claimed,
        url: str,
        before: Sequence[StoredPage],
        started: int,
    ) -> Finding:
        conversation = pages.page(
            provider,
            shape,
            url,
            number=len(before) + 1,
            before=sum(one.items for one in before),
            job=claimed.job,
            largest=self._looks.largest,
            now=started,
        )
        try:
            outcome = await self._looks.outbound.converse(provider, conversation)
        except (FetchRefusedError, NeverConnectedError, ConfigurationError) as error:
            # The request was not sent, or was answered with a redirect: no page was handed out.
            return Unanswered(code=error.code, unspent=True)
        except ProviderError as error:
            return Unanswered(code=error.code)
        match outcome:
            case Seen():
                return self._judged(outcome, url, before, shape, attempt=claimed.due.attempt)
            case Gone() | Pending():
                return outcome
            case TryLater(code=code, wait=wait):
                return Unanswered(code=code, wait=wait, unspent=code.startswith("status_"))

    def _judged(
        self, outcome: Seen, url: str, before: Sequence[StoredPage], shape: Shape, *, attempt: int
    ) -> Finding:
        """What came, unless it leads in a circle or is more than a result may be."""
        page, result = outcome.page, outcome.seen.result
        if page is not None:
            if before and is_given_again(page, before[-1].sha256, shape):
                # This page is kept, and adds nothing: the pages before it are the whole result.
                return replace(outcome, page=replace(page, items=0, next_url=None))
            if page.next_url in {url, *(one.url for one in before)}:
                return Unanswered(code="page_repeated")
            if sum(one.size for one in before) + len(page.content) > self._looks.largest:
                return Unanswered(code="result_too_large")
            return outcome
        if result is None:
            return Unanswered(code="result_missing")
        held = Held(
            offset=attempt,
            size=len(result.content),
            sha256=hashlib.sha256(result.content).hexdigest(),
            content_type=result.content_type,
        )
        return replace(outcome, held=held, content=result.content)

    async def _joined(self, claimed: Claimed, shape: Shape, have: Sequence[StoredPage]) -> Finding:
        """All pages as one document: the first one, with the items of all."""
        job_id = claimed.job.id

        storing = Storing(self._keeping.sink(job_id), unfolded(claimed.due.attempt))
        after, between = b"", b""
        for one in have:
            content = await self._looks.store.read(storage.read, job_id, one.number)
            # Megabytes of JSON are not gone through on the event loop.
            begin, items, end = await off_loop(pages.taken_apart, content, one.content_type, shape)
            if one.number == 1:
                await storing.add(begin)
                after = end
            if one.items:
                await storing.add(between + items)
                between = b","
        await storing.add(after)
        held = await storing.end(shape.result_type.encode())
        return Seen(seen=Observation(state=JobState.SUCCEEDED), held=held)
