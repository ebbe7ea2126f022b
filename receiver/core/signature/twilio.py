"""What Twilio signs, which no template can say.

The HMAC covers the URL followed by every form field, name and value, sorted. Where the body is not a form,
the URL carries ``bodySHA256`` instead and is signed alone. Twilio signs the URL sometimes with and sometimes
without its port. https://www.twilio.com/docs/usage/security and the validator of the package ``twilio``
9.13.0, read 2026-11-20.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final

from receiver.core.body.fields import split_fields
from receiver.core.errors import SignatureMalformedError
from receiver.core.signature.extraction import Extraction, query_fields

_ADDRESS: Final = re.compile(r"(https?)://([^/?#]*?)(:[0-9]{1,5})?([/?#].*)?", re.DOTALL)


def contents(found: Extraction) -> Sequence[Sequence[bytes]]:
    """Return every content that Twilio may have signed for this message; each of them vouches for the body.

    Raises:
        SignatureMalformedError: the body is no form, and no ``bodySHA256`` in the URL stands for it.
    """
    message = found.message
    tails: list[list[bytes]] = []
    form = _form(message.body)
    if form is not None:
        tails.append([part for field in form for part in field])
    digest = hashlib.sha256(message.body).hexdigest().encode()
    if any(
        name == b"bodySHA256" and hmac.compare_digest(value, digest) for name, value in query_fields(message)
    ):
        tails.append([])
    if not tails:
        raise SignatureMalformedError("The body is no form, and no bodySHA256 in the URL stands for it.")
    return [
        [url.encode("utf-8", "surrogatepass"), *tail] for url in _spellings(message.url) for tail in tails
    ]


def _form(body: bytes) -> list[tuple[bytes, bytes]] | None:
    """Read a body that is a form to its last byte: what is left over would be unsigned."""
    if not body:
        return []
    if not all(b"=" in piece for piece in body.split(b"&")):
        return None
    try:
        return sorted(set(split_fields(body)))
    except ValueError:
        return None


def _spellings(url: str) -> list[str]:
    found = _ADDRESS.fullmatch(url)
    if found is None:
        return [url]
    scheme, host, port, rest = found.groups()
    default = ":443" if scheme == "https" else ":80"
    return [f"{scheme}://{host}{spelled}{rest or ''}" for spelled in ("", port or default)]
