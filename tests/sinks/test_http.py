"""The HTTP sink: signed, binary mode, and what each answer means."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from standardwebhooks import Webhook

from receiver.clock import read_clock
from receiver.core.errors import ConfigurationError
from receiver.sinks.sink import SinkAwayError, SinkFailedError, SinkGoneError, SinkRefusedError
from tests.ports import free_port
from tests.sinks.making import event, opened

if TYPE_CHECKING:
    from tests.sinks.sides import Http

SECRET = "whsec_" + base64.b64encode(b"twenty-four bytes of it!").decode()


async def test_the_library_of_standard_webhooks_verifies_what_is_sent(
    http_side: Http,
) -> None:
    """A receiver with Standard Webhooks' own library takes the event for genuine; its id is the message's."""
    sink = opened(http_side.to, secret="env:HOOK", environ={"HOOK": SECRET}, clock=read_clock)
    said = await sink.send(event())
    await sink.close()
    [(headers, body)] = http_side.requests
    Webhook(SECRET).verify(body, headers)
    assert headers["webhook-id"] == headers["ce-id"] == event().id
    assert headers["content-type"] == "application/json"
    assert said == "202 Accepted: said"


@pytest.mark.parametrize(
    ("status", "headers", "raised", "after"),
    [
        (500, {}, SinkFailedError, None),
        (503, {"retry-after": "7"}, SinkFailedError, 7000),
        (429, {"retry-after": "0"}, SinkFailedError, 0),
        (302, {"location": "http://127.0.0.1:1/"}, SinkFailedError, None),
        (401, {}, SinkFailedError, None),
        (413, {}, SinkRefusedError, None),
        (422, {}, SinkRefusedError, None),
        (410, {}, SinkGoneError, None),
    ],
)
async def test_only_a_2xx_confirms(
    http_side: Http, status: int, headers: dict[str, str], raised: type[Exception], after: int | None
) -> None:
    """Any other answer is a failure in its own words; Retry-After is kept to, and redirects are not followed."""
    http_side.answers.append((status, headers))
    sink = opened(http_side.to)
    with pytest.raises(raised, match=f"{status} .*said") as found:
        await sink.send(event())
    await sink.close()
    assert getattr(found.value, "after_ms", None) == after
    assert len(http_side.requests) == 1


async def test_an_address_that_nobody_serves_is_away() -> None:
    """Where nobody answers the sink says that it is away."""
    sink = opened(f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(SinkAwayError):
        await sink.send(event())
    await sink.close()


def test_a_secret_that_cannot_sign_is_refused_at_start() -> None:
    """The sentence says what is wrong with the secret, and not the secret."""
    with pytest.raises(ConfigurationError, match="secret") as raised:
        opened("https://example.com/", secret="env:HOOK", environ={"HOOK": "whsec_???"})
    assert "???" not in str(raised.value)
