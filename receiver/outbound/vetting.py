"""Vetting: which addresses are asked; judged on what ``httpx.URL``, the parser that sends, makes of them."""

from typing import TYPE_CHECKING, Final

from receiver.core.asking.exchange import HttpRequest
from receiver.core.description.provider import Provider
from receiver.core.errors import FetchRefusedError
from receiver.core.files.links import LONGEST_URL

if TYPE_CHECKING:
    import httpx

_LONGEST_URLS: Final = {"fetch": 2048, "download": LONGEST_URL}


def vet(provider: Provider, request: HttpRequest) -> "httpx.URL":
    """The address that *request* may go to; raises FetchRefusedError where it must not."""
    import httpx

    try:
        url = httpx.URL(request.url)
        # A resolver is given names alone, each part of them within its bounds.
        name = url.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError) as error:
        raise FetchRefusedError("The address is not a URL.") from error
    if not name or url.port == 0:
        raise FetchRefusedError("The address names no host, or no port.")
    if len(request.url) > _LONGEST_URLS.get(request.purpose, len(request.url)):
        raise FetchRefusedError("The address is too long.")
    if url.userinfo or url.fragment:
        raise FetchRefusedError("The address carries a user name or a fragment.")
    listed = provider.lists(str(url))
    if not listed and not request.anywhere:
        raise FetchRefusedError(f"{url.host} is not an origin of {provider.name}.")
    if url.scheme != "https" and not (listed and provider.relocated):
        raise FetchRefusedError("Only https addresses are asked.")
    return url
