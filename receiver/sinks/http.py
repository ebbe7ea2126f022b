"""HTTP: one POST an event in CloudEvents' binary mode, signed with Standard Webhooks; a 2xx confirms.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md (read 2026-11-20) asks
receivers to answer 2xx, and to answer 410 where they want nothing more.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx

from receiver.core.errors import ConfigurationError
from receiver.core.model import HOUR, SECOND
from receiver.core.retry import parse_retry_after
from receiver.core.signature.sign import sign
from receiver.core.signature.standard import STANDARD_WEBHOOKS
from receiver.core.signature.verify import load_key
from receiver.core.trace import passed_on
from receiver.discreet import DiscreetClient
from receiver.sinks.configuration import FIELD, SinkConfig, filled
from receiver.sinks.event import Event
from receiver.sinks.sink import SinkAwayError, SinkFailedError, SinkGoneError, SinkRefusedError, trust, why

if TYPE_CHECKING:
    from receiver.core.signature.keyform import Key

_GONE: Final = 410
#: Answers after which the same event will be answered alike: it is malformed to them, too large, or has no place.
_NEVER: Final = frozenset({400, 404, 405, 406, 411, 413, 414, 415, 422, 431})
_LONGEST_WORDS: Final = 300
#: What a person does once an other side that wanted no more events wants them again.
AFTERWARDS: Final = "After that is settled: receiver handlers resume"


class HttpSink:
    """Posts events to an address; ``secret`` is a Standard Webhooks secret (``whsec_…``, or its base64)."""

    def __init__(self, config: SinkConfig, *, secret: str | None, clock: Callable[[], int]) -> None:
        try:
            # As it may be once the fields of an event stand in it.
            filled_in = FIELD.sub("1", config.to)
            host, _ = httpx.URL(filled_in).host, urlsplit(filled_in).port
        except (httpx.InvalidURL, ValueError) as error:
            raise config.unreadable(error) from error
        if not host or any(one.isspace() for one in urlsplit(filled_in).netloc):
            raise config.wrong("to", "it names no host, or one with a space in it.")
        self._to = config.to
        self._handler = config.handler
        self._clock = clock
        try:
            self._key: Key | None = (
                None if secret is None else load_key(config.name, secret, scheme=STANDARD_WEBHOOKS)
            )
        except ConfigurationError as error:
            raise config.wrong("secret", str(error)) from error
        # Certificates are read when the first event goes out; what proxies the environment names is not asked.
        self._client: httpx.AsyncClient | None = None
        self._timeout = config.timeout

    async def send(self, event: Event) -> str:
        """Post *event*; raises as ``Sink.send`` says."""
        if self._client is None:
            self._client = DiscreetClient(
                verify=trust(), trust_env=False, timeout=self._timeout, follow_redirects=False
            )
        headers = event.headers("ce-")
        if (traceparent := passed_on.get()) is not None:
            headers["traceparent"] = traceparent
        if self._key is not None:
            signed = sign(
                event.data, scheme=STANDARD_WEBHOOKS, key=self._key, now=self._clock(), delivery_id=event.id
            )
            headers |= {name.decode(): value.decode() for name, value in signed}
        try:
            async with self._client.stream(
                "POST", filled(self._to, event.fields), content=event.data, headers=headers
            ) as response:
                words = await _words(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise SinkAwayError(f"Nobody answers there: {why(error)}.") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise SinkRefusedError(
                f"With this event's values in it, the address is not valid: {error}"
            ) from error
        except httpx.HTTPError as error:
            raise SinkFailedError(f"It gave no whole answer: {type(error).__name__}.") from error
        return _confirmed(response, words, handler=self._handler, now=self._clock())

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None


async def _words(response: httpx.Response) -> str:
    """The beginning of an answer's body, for people; the rest is not read."""
    found = b""
    async for piece in response.aiter_raw():
        found += piece
        if len(found) >= _LONGEST_WORDS:
            break
    text = found[:_LONGEST_WORDS].decode(errors="replace")
    return "".join(one if one.isprintable() else " " for one in text).strip()


def _confirmed(response: httpx.Response, words: str, *, handler: str, now: int) -> str:
    status = response.status_code
    said = f"{status} {response.reason_phrase}{': ' if words else ''}{words}"
    if response.is_success:
        return said
    if status == _GONE:
        raise SinkGoneError(f"It wants no more events ({said}). {AFTERWARDS} {handler}")
    if status in _NEVER:
        raise SinkRefusedError(f"It refused the event: {said}")
    wait = parse_retry_after(response.headers.get("retry-after"), now=now, longest=HOUR)
    raise SinkFailedError(f"It answered {said}", after=None if wait is None else wait / SECOND)
