"""The checks of ``receiver doctor`` that ask: through the public URL, and the process that serves here."""

import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from receiver.catalog import Catalog
from receiver.cli.finding import FAIL, OK, WARN, Check, failed
from receiver.clock import read_clock
from receiver.core.errors import ConfigurationError
from receiver.core.signature.token import PROBE, answer_to_probe, callback_url, probe
from receiver.outbound.egress import Proxy, egress_of
from receiver.settings import Settings, is_loopback, provider_setting

if TYPE_CHECKING:
    import httpx

#: Seconds that an answer may take.
_PATIENCE: Final = 5.0
#: Bytes of a body that is no larger than many a result, and that some proxies refuse as they come (nginx: 1 MiB).
_LARGE: Final = 2 * 1024 * 1024
_OK: Final = 200
_ENTRY_TOO_LARGE: Final = 413
_REDIRECTS: Final = range(300, 400)
_BROKEN: Final = range(500, 600)
_MISSED: Final = re.compile(
    r'receiver_addresses_missed_total\{kind="([a-z_]+)",provider="([a-z0-9-]+)"\} (\S+)'
)
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (what a setting may say)
#: What was wrong with an address, and what to do about it.
_NEAR: Final = {
    "trailing_slash": ("a slash too many at the end", "Give the provider the address as it was printed."),
    "slash_doubled": ("a slash twice", "Look at how the proxy, or the provider, joins address and path."),
    "path_doubled": ("the path twice", "The address was given as a base to which the path is added again."),
    "path_prefixed": (
        "something in front of the path",
        "Have the proxy take it away, or put it into RECEIVER_PUBLIC_URL: what is below that is served too.",
    ),
    "path_cut": ("its beginning cut off", "The proxy takes too much of the path away."),
    "path_misspelled": (
        "/callbacks/ or /webhooks/ misspelled",
        "Give the provider the address as it was printed.",
    ),
    "token_longer": ("characters too many in its token", "Give the provider the address as it was printed."),
    "token_shorter": ("characters too few in its token", "Give the provider the address as it was printed."),
    "path_longer": ("something behind the token", "Give the provider the address as it was printed."),
    "wrong_case": ("capital letters", "Give the provider the address as it was printed."),
    "stray_character": ("a stray character at the token", "Copy the address without what stands around it."),
    "wrong_provider": ("another provider's name", "The token is good for the provider that is named here."),
    "wrong_route": ("a token at the account's address", "Addresses with a token begin with /callbacks/."),
    "token_missing": ("no token", "Give the provider the whole address that submit prints."),
    "no_shared_address": (
        "no token, and this provider has no address for the whole account",
        "Its callbacks come to the address that submit prints.",
    ),
}


async def check_public_url(settings: Settings) -> AsyncIterator[Check]:
    """Send a probe to our own public URL, and say what came back."""
    try:
        keys = settings.master_keys
    except ConfigurationError:
        return  # another check says so
    if settings.public_url is None or not keys:
        return
    import httpx  # noqa: PLC0415  (the other commands start faster without it)

    token = probe(keys[0], now=read_clock())
    url = callback_url(settings.public_url, provider=PROBE, token=token)
    # As providers do: from outside, where a company's machines get there only through its proxy.
    near_by = is_loopback(urlsplit(url).hostname or "")
    proxy = None if near_by else settings.egress_proxy or None
    async with httpx.AsyncClient(trust_env=False, timeout=_PATIENCE, proxy=proxy) as client:
        try:
            answer = await client.post(url, content=b"{}")
        except httpx.HTTPError as error:
            # Its text may hold the address, and the address holds the token.
            reason = "its certificate is not trusted" if "CERTIFICATE" in str(error) else type(error).__name__
            yield Check(
                name="public address",
                status=WARN,
                text=f"nobody answers through {settings.public_url} ({reason})",
                next="Start 'receiver serve'; if it runs, see that the name and the proxy lead to it.",
            )
            return
        found = _judged(answer, settings.public_url, answer_to_probe(token))
        yield found
        if found.status == OK and settings.max_body > _LARGE:
            yield await _check_large(client, url, settings.public_url)


def _judged(answer: "httpx.Response", public_url: str, expected: str) -> Check:
    """What an answer to the probe says."""
    status = answer.status_code
    following = "See what stands before the receiver."
    if status == _OK and answer.text == expected:
        return Check(name="public address", status=OK, text=f"{public_url} leads to this receiver")
    if status == _OK:
        text = "something else answers 200 there; callbacks would be lost"
    elif status in _REDIRECTS:
        text = f"it answers {status}, a redirect, which senders do not follow"
        following = "Set RECEIVER_PUBLIC_URL to where it leads, or have the proxy hand requests on."
    elif status in {404, 405}:
        text = f"it answers {status}"
        following = (
            "Have the proxy hand /callbacks/ and /webhooks/ on, with or without the path of the public URL; if they "
            "arrive, the process there has another RECEIVER_SECRET_KEY."
        )
    elif status in {401, 403, 407, 429}:
        text = f"it answers {status}: somebody before the receiver turns senders away"
        following = "Let /callbacks/ and /webhooks/ pass without a login or a filter."
    elif status in _BROKEN:
        text = f"it answers {status}: the proxy does not reach the receiver, or the receiver its database"
    else:
        text = f"it answers {status}"
    return Check(
        name="public address", status=FAIL, text=f"asked through {public_url}: {text}", next=following
    )


async def _check_large(client: "httpx.AsyncClient", url: str, public_url: str) -> Check:
    """Whether a body of two megabytes arrives as well."""
    import httpx  # noqa: PLC0415

    name = "large callbacks"
    try:
        status: int | None = (await client.post(url, content=b" " * _LARGE)).status_code
    except httpx.HTTPError:
        status = None
    if status == _OK:
        return Check(name=name, status=OK, text="a body of 2 MiB arrives")
    text = "was cut off" if status is None else f"is answered {status}"
    following = "Raise its limit for bodies to RECEIVER_MAX_BODY (nginx: client_max_body_size)."
    if status != _ENTRY_TOO_LARGE:
        following = f"See what stands before the receiver. {following}"
    return Check(name=name, status=WARN, text=f"a body of 2 MiB sent to {public_url} {text}", next=following)


async def check_addresses(settings: Settings) -> AsyncIterator[Check]:
    """Say which addresses senders nearly hit, as the process that serves here has counted them."""
    import httpx  # noqa: PLC0415

    host = _EVERYWHERE.get(settings.host, settings.host)
    where = f"[{host}]" if ":" in host else host
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=_PATIENCE) as client:
            answer = await client.get(f"http://{where}:{settings.port}/metrics")
    except httpx.HTTPError:
        return  # another check says that nobody serves here
    if answer.status_code != _OK:
        return
    missed = Counter[tuple[str, str]]()
    for kind, provider, count in _MISSED.findall(answer.text):
        missed[provider, kind] += int(float(count))
    for check in _near_misses(missed):
        yield check
    if not missed:
        yield Check(name="addresses", status=OK, text="nobody asked for what is nearly an address of ours")


def _near_misses(missed: Counter[tuple[str, str]]) -> Iterator[Check]:
    for (provider, kind), count in sorted(missed.items()):
        wrong, following = _NEAR.get(kind, (kind, "Give the provider the address as it was printed."))
        times = "request" if count == 1 else "requests"
        yield Check(
            name=f"addresses {provider}",
            status=WARN,
            text=f"{count} {times} answered 404 for an address with {wrong} ({kind})",
            next=following,
        )


def check_ways_out(settings: Settings, catalog: Catalog) -> Iterator[Check]:
    """Say through which proxy providers are asked, whether it is there, and which may be in private networks."""
    proxies: dict[Proxy, list[str]] = {}
    for provider in catalog.values():
        try:
            egress = egress_of(settings, provider)
        except ConfigurationError as error:
            yield failed("egress", error, "Correct it, or take it out.")
            return
        if egress.proxy is not None:
            proxies.setdefault(egress.proxy, []).append(provider.name)
        if egress.private:
            networks = ", ".join(map(str, egress.private))
            yield Check(
                name=f"provider {provider.name} private",
                status=OK,
                text=f"its origins may be in {networks} ({provider_setting(provider.name, 'ALLOW_PRIVATE')})",
            )
    for proxy, names in proxies.items():
        whom = "all providers" if len(names) == len(catalog) else ", ".join(names)
        try:
            socket.create_connection((proxy.host, proxy.port), _PATIENCE).close()
        except OSError as error:
            yield Check(
                name=f"egress {proxy.name}",
                status=WARN,
                text=f"the proxy for {whom} is not reached: {error.strerror or type(error).__name__}",
                next="Correct RECEIVER_EGRESS_PROXY, or see that the proxy runs.",
            )
            continue
        yield Check(name=f"egress {proxy.name}", status=OK, text=f"{whom} are asked through it")
