"""Minted credentials: had when they are needed, kept, and renewed before they lapse. None of them is ever logged.

Tokens are asked for over the vetted client, at the address that the description names. While a token is still good a
renewal that fails is no harm; one that the provider refuses (401) is forgotten.
"""

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlencode

import structlog

from receiver.core.asking.exchange import HttpRequest, HttpResponse
from receiver.core.asking.minting import Token, own_token, read_token, token_form
from receiver.core.description.provider import Provider
from receiver.core.errors import ConfigurationError, NeverConnectedError, ProviderError
from receiver.keys import Keys, Minted

log = structlog.get_logger(__name__)

_OK: Final = range(200, 300)
_REFUSED: Final = range(400, 500)
_BUSY: Final = 429
#: A token that was made so lately is not the reason for a refusal, in milliseconds.
_NEW: Final = 5_000
#: The region in a host of Amazon's: ``transcribe.eu-west-1.amazonaws.com``.
_REGION: Final = re.compile(r"\.([a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2})\.")
_USUAL_REGION: Final = "us-east-1"

#: Sends a request that asks for a token.
Ask = Callable[[HttpRequest], Awaitable[HttpResponse]]


class _Sent(NamedTuple):
    """What a signature covers of a request."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class Minting:
    """Hands out the headers that authenticate us to providers."""

    def __init__(self, *, keys: Keys, clock: Callable[[], int]) -> None:
        self._keys = keys
        self._clock = clock
        self._tokens: dict[str, Token] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def headers(
        self, provider: Provider, request: HttpRequest, *, url: str, sent: Mapping[str, str], ask: Ask
    ) -> dict[str, str]:
        """The headers that authenticate *request*, which goes to *url* with the headers *sent*.

        Raises:
            ConfigurationError: the credentials are not configured, or the provider refuses them.
            NeverConnectedError: no token can be had now: the request was not sent.
        """
        fixed = self._keys.credentials(provider)
        chosen = self._keys.minted(provider)
        if chosen is None:
            return fixed
        if chosen.mint.kind == "sigv4":
            body = request.body or b""
            return fixed | _signed(chosen, _Sent(request.method, url, sent, body))
        token = await self._token(provider, chosen, ask)
        return fixed | {chosen.header: chosen.prefix + token.text}

    def refused(self, provider: Provider) -> bool:
        """Forget the token of *provider*, which said 401 to it; whether a new one may help: it was no new one."""
        held = self._tokens.get(provider.name)
        if held is None or self._clock() - held.made_at < _NEW:
            return False
        del self._tokens[provider.name]
        return True

    async def _token(self, provider: Provider, chosen: Minted, ask: Ask) -> Token:
        name, mint, values = provider.name, chosen.mint, chosen.values
        async with self._asking.setdefault(name, asyncio.Lock()):
            now, held = self._clock(), self._tokens.get(name)
            if held is not None and held.is_fresh(now):
                return held
            if mint.kind == "hs256":
                made = own_token(
                    mint, access_key=values["access_key"], secret_key=values["secret_key"], now=now
                )
            else:
                try:
                    made = await self._asked(provider, chosen, ask, now)
                except (ProviderError, ConfigurationError) as error:
                    if held is not None and now < held.lapses_at:
                        log.warning("token_not_renewed", provider=name, reason=str(error))
                        return held
                    raise
            self._tokens[name] = made
            return made

    async def _asked(self, provider: Provider, chosen: Minted, ask: Ask, now: int) -> Token:
        mint, values = chosen.mint, chosen.values
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        if mint.kind == "oauth" and mint.shown == "basic":
            # RFC 6749, 2.3.1: each half is written as in a form first.
            pair = ":".join(urlencode({"": values[name]})[1:] for name in ("client_id", "client_secret"))
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        body = urlencode(token_form(mint, values=values, now=now)).encode()
        request = HttpRequest(
            purpose="keys",
            method="POST",
            url=mint.token_url or "",
            headers=headers,
            body=body,
            credentials=False,
            anywhere=True,
        )
        try:
            answer = await ask(request)
        except ProviderError as error:
            raise NeverConnectedError(f"No token for {provider.name} could be had: {error}") from error
        if answer.status in _REFUSED and answer.status != _BUSY:
            names = " and ".join(reference.partition(":")[2] for reference in mint.references)
            raise ConfigurationError(
                f"{provider.name} gives no token for {names} ({answer.status}): check them, and what they may do.",
                code="credentials_refused",
            )
        made = read_token(answer.body, now=now) if answer.status in _OK else None
        if made is None:
            raise NeverConnectedError(
                f"No token for {provider.name} could be had: it answered {answer.status}."
            )
        log.info("token_minted", provider=provider.name, lapses_at=made.lapses_at)
        return made


def _signed(chosen: Minted, sent: _Sent) -> dict[str, str]:
    """The headers of Signature Version 4, by Amazon's own library.

    Raises:
        ConfigurationError: the library is not installed (code ``extra_missing``).
    """
    try:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
    except ImportError as error:
        raise ConfigurationError(
            "Requests to Amazon are signed by its own library: in the folder of receiver, pip install '.[amazon]'.",
            code="extra_missing",
        ) from error
    found = _REGION.search(sent.url.partition("//")[2].partition("/")[0])
    region = found[1] if found is not None else _USUAL_REGION
    keep = {
        name: value
        for name, value in sent.headers.items()
        if name.lower() in {"content-type", "x-amz-target"}
    }
    request = AWSRequest(method=sent.method, url=sent.url, headers=keep, data=sent.body)
    values = chosen.values
    credentials = Credentials(values["access_key"], values["secret_key"], values.get("session_token"))
    SigV4Auth(credentials, chosen.mint.service or "", region).add_auth(request)
    wanted = {"authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"}
    return {name: str(value) for name, value in request.headers.items() if name.lower() in wanted}
