"""The conversation by which a provider is asked to cancel a job."""

from collections.abc import Generator
from typing import Final

from receiver.core.asking.exchange import Gone, HttpRequest, HttpResponse, Look, Pending, Seen, TryLater
from receiver.core.description.placeholders import fill
from receiver.core.description.provider import Provider
from receiver.core.model import HOUR, Job, JobState, Observation
from receiver.core.retry import parse_retry_after

_OK: Final = range(200, 300)
_TRY_LATER: Final = 429
_SERVER_ERROR: Final = 500


def cancel(provider: Provider, job: Job, *, now: int) -> Generator[HttpRequest, HttpResponse, Look]:
    """Ask the provider to cancel *job*; whether it did is for an observation to say."""
    assert provider.cancel is not None  # noqa: S101  (the intent was refused otherwise)
    url = fill(provider.cancel.url, job, None)
    if url is None:
        return Gone(status=404)
    response = yield HttpRequest(purpose="cancel", method=provider.cancel.method, url=url)
    if response.status in _OK:
        if provider.cancel.confirms:
            return Seen(seen=Observation(state=JobState.CANCELED))
        return Pending()
    if response.status == _TRY_LATER or response.status >= _SERVER_ERROR:
        wait = parse_retry_after(response.header(b"retry-after"), now=now, longest=HOUR)
        return TryLater(code=f"status_{response.status}", wait=wait)
    return Gone(status=response.status)
