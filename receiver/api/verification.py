"""``/v1/verify``: verification as a service, for callbacks that arrive elsewhere; nothing is recorded."""

from collections.abc import Callable
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from receiver.api.filters import parse_moment
from receiver.api.resource import Operation, answer
from receiver.catalog import Catalog
from receiver.core.description.provider import Provider
from receiver.core.description.scheme import Scheme
from receiver.core.errors import NotFoundError, RejectionError, RequestError
from receiver.core.signature.diagnosis import diagnose
from receiver.core.signature.verify import Key, Message
from receiver.keys import Keys
from receiver.settings import Settings
from receiver.steps.proving import Proving, Way
from receiver.threads import off_loop
from receiver.views.document import Moment, timestamp
from receiver.wire.web import Bodies

log = structlog.get_logger(__name__)

_OWN: Final = b"x-receiver-"
_OF_ONE_JOB: Final = {"per-job", "submit-answer"}
_URL: Final = "X-Receiver-Url"
_AT: Final = "X-Receiver-At"


class Proved(msgspec.Struct, frozen=True, kw_only=True):
    """The message is genuine."""

    verified: Literal[True] = True
    key_id: str | None
    delivery_id: str | None
    #: When it was signed, where the scheme says so.
    timestamp: Moment | None
    scheme: str


class NotProved(msgspec.Struct, frozen=True, kw_only=True):
    """The message is not proved genuine."""

    verified: Literal[False] = False
    #: The proof that failed, as a sender would be told.
    code: str
    #: The code of the cause; the same as ``code`` where none was found.
    cause: str
    #: For a person: the cause, and what to do next.
    diagnosis: str


class Verification:
    """The operation that verifies a message."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        keys: Keys,
        proving: Proving,
        settings: Settings,
        bodies: Bodies,
        clock: Callable[[], int],
    ) -> None:
        self._catalog = catalog
        self._keys = keys
        self._proving = proving
        self._settings = settings
        self._bodies = bodies
        self._clock = clock

    @property
    def operations(self) -> list[Operation]:
        """What can be asked for."""
        return [
            Operation(
                method="POST",
                path="/v1/verify/{provider}",
                summary="Verify a message: its raw body, with its original headers.",
                endpoint=self.verify,
                takes="application/octet-stream",
                headers=(_URL, _AT, "X-Receiver-Authorization"),
                answers={200: Proved, 401: NotProved},
                problems=(400, 404, 408, 413),
                own_header=True,
            )
        ]

    async def verify(self, request: Request) -> Response:
        """Say whether the message is genuine: as of now, or of ``X-Receiver-At``.

        Raises:
            KeyUnavailableError: the key that would prove it is missing: our fault, so 503 and never 401.
        """
        body = await self._bodies.read(request.receive, request.scope["headers"])
        provider, scheme = self._described(request.path_params["provider"])
        now = self._moment(request)
        url = request.headers.get(_URL, "")
        way = self._way(provider, url)
        url = url or self._usual_url(provider)
        query = url.partition("?")[2].encode("latin-1", "replace")
        message = Message(body=body, headers=_original(request), url=url, query=query)
        try:
            proved = await self._proving.verify(message, way, now=now)
        except RejectionError as error:
            try:
                keys = tuple(await self._proving.keys_for(way, message, now=now))
            except RejectionError:
                keys = ()
            return await self._refused(message, scheme, keys, error, provider=provider, now=now)
        signed_at = None if proved.timestamp is None else timestamp(proved.timestamp)
        return answer(
            Proved(
                key_id=proved.key_id,
                delivery_id=proved.delivery_id,
                timestamp=signed_at,
                scheme=proved.scheme,
            )
        )

    async def _refused(
        self,
        message: Message,
        scheme: Scheme,
        keys: tuple[Key, ...],
        error: RejectionError,
        *,
        provider: Provider,
        now: int,
    ) -> Response:
        others = self._keys.others(self._catalog, but=provider.name)
        # Some hundred MACs over the whole body: not on the event loop.
        found = await off_loop(
            diagnose, message, scheme=scheme, keys=keys, now=now, error=error, other_keys=others
        )
        log.info("verification_refused", provider=provider.name, code=error.code, cause=found.code)
        return answer(NotProved(code=error.code, cause=found.code, diagnosis=found.sentence), status=401)

    def _described(self, name: str) -> tuple[Provider, Scheme]:
        provider = self._catalog.get(name)
        if provider is None:
            raise NotFoundError(
                f"There is no provider of that name. {self._catalog.hint(name)}",
                code="provider_unknown",
                field="provider",
            )
        if provider.verify is None or not provider.signed:
            raise RequestError(
                f"{provider.name} signs nothing that could be verified.",
                code="unsigned_provider",
                field="provider",
            )
        return provider, provider.verify

    def _moment(self, request: Request) -> int:
        text = request.headers.get(_AT)
        if text is None:
            return self._clock()
        try:
            return parse_moment(text)
        except ValueError as error:
            raise RequestError(f"{_AT}: {error}", code="header_invalid", field=_AT) from error

    def _way(self, provider: Provider, url: str) -> Way:
        if provider.key is None or provider.key.source not in _OF_ONE_JOB:
            return Way(provider=provider)
        # The key is the job's own, and only the token says which job it is.
        try:
            token = urlsplit(url).path.rpartition("/")[2]
        except ValueError:
            token = ""
        named = self._keys.check(token, provider=provider.name)
        if named is None:
            raise RequestError(
                f"{provider.name} signs with a key for each job: send the callback URL that was minted for "
                f"the job as {_URL}.",
                code="header_invalid",
                field=_URL,
            )
        return Way(provider=provider, job_id=named[0], master=named[1])

    def _usual_url(self, provider: Provider) -> str:
        return f"{(self._settings.public_url or '').rstrip('/')}/webhooks/{provider.name}"


def _original(request: Request) -> tuple[tuple[bytes, bytes], ...]:
    """The original message's headers: without those that are for us, the API token among them."""
    named = "x-receiver-authorization" in request.headers
    return tuple(
        (name, value)
        for name, value in request.scope["headers"]
        if not name.startswith(_OWN) and (named or name != b"authorization")
    )
