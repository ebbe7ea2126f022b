"""Spans around what is asked of a provider for a job that was submitted: looks, pages, answers, files."""

from collections.abc import Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from receiver.core.description.provider import Provider
from receiver.core.description.shape import Shape
from receiver.core.file import File, FileState
from receiver.core.job.looking import Finding
from receiver.core.job.transition import Move
from receiver.core.model import Job, Step
from receiver.steps.collect import Collect
from receiver.steps.download import FetchFile
from receiver.storage.claims import Claimed
from receiver.storage.downloads import Fetching
from receiver.storage.pages import StoredPage
from receiver.telemetry.spans import Spans
from receiver.worker.steps import Steps


class TracedSteps(Steps):
    """Hands due rows to the steps, each within a span."""

    def __init__(self, *, spans: Spans, **parts: Any) -> None:  # noqa: ANN401  (those of Steps)
        super().__init__(**parts)
        self._spans = spans

    async def take(self, claimed: Claimed) -> object:
        """Do what a due row asks for; see ``Steps``."""
        due = claimed.due
        job = await self._spans.traced(claimed.job)
        step = self._name(claimed)
        facts = {"receiver.attempt": due.attempt, "receiver.step": step}
        # Which files a stored result links to is read here, and nobody is asked.
        kind = SpanKind.INTERNAL if due.step is Step.FILES else SpanKind.CLIENT
        with self._spans.around(f"{step} {job.provider}", kind, job=job, facts=facts) as span:
            done = await super().take(claimed)
            if isinstance(done, Move):
                span.set_attribute("receiver.state", done.job.state.value)
            return done

    def _name(self, claimed: Claimed) -> str:
        if claimed.due.step is not Step.LOOK:
            return claimed.due.step.value
        if claimed.job.ends_as is not None:
            # Its end is known, and the provider's last word about it is asked for.
            return "answer"
        if self.collect.concerns(claimed):
            return "page"
        # As the timeline calls it.
        return "fetch" if claimed.job.woken_by or claimed.due.result_url else "poll"


class TracedCollect(Collect):
    """Gets pages; the span around it says which, and that of the look after the last one that they are joined."""

    async def _get(
        self,
        provider: Provider,
        shape: Shape,
        claimed: Claimed,
        url: str,
        before: Sequence[StoredPage],
        started: int,
    ) -> Finding:
        trace.get_current_span().set_attribute("receiver.page", len(before) + 1)
        return await super()._get(provider, shape, claimed, url, before, started)

    async def _joined(self, claimed: Claimed, shape: Shape, have: Sequence[StoredPage]) -> Finding:
        span = trace.get_current_span()
        span.update_name(f"join {claimed.job.provider}")
        span.set_attributes({"receiver.step": "join", "receiver.pages": len(have)})
        return await super()._joined(claimed, shape, have)


class TracedDownload(FetchFile):
    """Fetches files, each attempt within a span."""

    def __init__(self, *, spans: Spans, **parts: Any) -> None:  # noqa: ANN401  (those of FetchFile)
        super().__init__(**parts)
        self._spans = spans

    async def __call__(self, fetching: Fetching) -> Move | None:
        """Fetch once; see ``FetchFile``."""
        download = fetching.download
        job: Job = await self._spans.traced(fetching.job)
        facts = {
            "receiver.attempt": download.attempt,
            "receiver.step": "download",
            "receiver.file": download.number,
        }
        with self._spans.around(f"download {job.provider}", SpanKind.CLIENT, job=job, facts=facts):
            return await super().__call__(fetching)

    def ended(self, file: File, outcome: str) -> None:
        """Say in the span how it ended."""
        span = trace.get_current_span()
        span.set_attribute("receiver.outcome", outcome)
        if file.size is not None:
            span.set_attribute("receiver.bytes", file.size)
        if file.code is not None:
            span.set_attribute("receiver.code", file.code)
        if file.state is not FileState.STORED:
            span.set_status(Status(StatusCode.ERROR, file.code))
