"""A cancellation: how each provider is asked, and what its answer comes to."""

import pytest

from receiver.core.asking import cancelling, exchange
from receiver.core.asking.exchange import (
    Gone,
    HttpRequest,
    HttpResponse,
    Pending,
    Seen,
    TryLater,
)
from receiver.core.description.provider import Provider
from receiver.core.model import HOUR, JobState
from tests.core.making import NOW, job, packaged

from .test_exchange import answer, play


def cancelled(provider: Provider, response: HttpResponse) -> tuple[HttpRequest, exchange.Look]:
    """How a cancellation is sent and what it comes to."""
    requests, outcome = play(cancelling.cancel(provider, job(remote_id="r1"), now=NOW), response)
    return requests[0], outcome


def test_cancelling_is_asked_as_documented() -> None:
    """Method and address by system; only where the answer confirms it is it an observation."""
    request, outcome = cancelled(packaged("perplexity-webhook"), answer(200, {}))
    assert (request.method, request.url) == ("DELETE", "https://api.perplexity.ai/async/chat/completions/r1")
    assert isinstance(outcome, Seen)
    assert outcome.seen.state is JobState.CANCELED
    request, outcome = cancelled(packaged("pulse"), answer(200, {}))
    assert (request.method, request.url, outcome) == ("DELETE", "https://api.runpulse.com/job/r1", Pending())
    request, outcome = cancelled(packaged("yandex"), answer(200, {}))
    assert (request.method, request.url) == (
        "POST",
        "https://operation.api.cloud.yandex.net/operations/r1:cancel",
    )
    assert outcome == Pending()


@pytest.mark.parametrize("status", [400, 404, 409])
def test_a_refused_cancellation_is_over(status: int) -> None:
    """It is not repeated; what became of the job is for a poll to say."""
    assert cancelled(packaged("pulse"), answer(status, b""))[1] == Gone(status=status)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failed_cancellation_is_repeated(status: int) -> None:
    """After the wait that the provider asked for."""
    far = ((b"retry-after", b"999999"),)
    assert cancelled(packaged("pulse"), answer(status, b"", far))[1] == TryLater(
        code=f"status_{status}", wait=HOUR
    )


def test_a_job_without_an_id_cannot_be_cancelled_upstream() -> None:
    """There is no address to ask."""
    assert play(cancelling.cancel(packaged("pulse"), job(remote_id=None), now=NOW)) == ([], Gone(status=404))
