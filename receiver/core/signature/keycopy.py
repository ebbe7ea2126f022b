"""A secret as it may stand on the other side: what happens to it when it is copied."""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Final

_DECODED: Final = "The provider signs with the secret's text, and we decoded it. Set key_encoding = 'utf8'."
_SPACE_AFTER: Final = (
    "The provider's copy of the secret ends in a line break or space. Enter it there again, without."
)
_QUOTED_THERE: Final = (
    "The provider's copy of the secret has quotes around it. Enter it there again, without."
)
_QUOTED: Final = "The configured key has quotes, space, or a written-out line break around it. Remove them."
_CASE: Final = (
    "It was signed with the same secret in {case} letters. Copy it from the provider as it is shown there."
)
_WRITTEN_TWICE: Final = (
    "The configured secret is written in Base64 or hex once more, as in the data of a Kubernetes Secret. Configure "
    "what it decodes to."
)
#: What is copied along in front of a secret.
_LABEL: Final = re.compile(rb"(?:export +)?[A-Za-z_][A-Za-z0-9_]*=|Bearer |Basic |whsec_|v1,")
_LOOSE: Final = b"\"'` \t\r\n\xe2\x80\x98\x99\x9c\x9d"


def copies(secret: bytes, encoding: str) -> Iterator[tuple[bytes, str, str]]:
    """Yield other bytes than *secret*, which was configured in *encoding*, a stable code, and a sentence for each."""
    if encoding == "utf8":
        yield from _as_text(secret)
    else:
        yield from _as_code(secret, encoding)
    for stripped in {secret.strip(b"\"'"), secret.strip(), _loosened(secret)} - {secret, b""}:
        yield stripped, "key_quoted", _QUOTED
    for other, case in ((secret.lower(), "lower-case"), (secret.upper(), "upper-case")):
        if other != secret:
            yield other, "key_case", _CASE.format(case=case)
    for end in (b"\n", b"\r\n", b" "):
        yield secret + end, "key_space", _SPACE_AFTER
    for quote in (b'"', b"'"):
        yield quote + secret + quote, "key_space", _QUOTED_THERE


def _as_text(secret: bytes) -> Iterator[tuple[bytes, str, str]]:
    bare = secret.removeprefix(b"whsec_")
    for form, decoded in (("base64", _from_base64(bare)), ("hex", _from_hex(bare))):
        if decoded:
            written = "whsec" if bare != secret and form == "base64" else form
            yield decoded, "key_not_decoded", _not_decoded(form, written)
    label = _LABEL.match(secret)
    if label is not None and label.end() < len(secret):
        front = label[0].decode()
        front = (
            repr(front)
            if front in {"whsec_", "v1,", "Bearer ", "Basic "}
            else "the name of a setting and '='"
        )
        yield secret[label.end() :], "key_prefix", _without(front)


def _as_code(secret: bytes, encoding: str) -> Iterator[tuple[bytes, str, str]]:
    text = secret.hex().encode() if encoding == "hex" else base64.b64encode(secret)
    spellings = [text, text.upper()] if encoding == "hex" else [text, text.rstrip(b"="), b"whsec_" + text]
    for spelled in spellings:
        yield spelled, "key_decoded", _DECODED
    # A secret in the wrong one of two encodings, or in two on top of each other.
    again = [] if encoding == "hex" else [_from_hex(text)]
    inner = secret.removeprefix(b"whsec_")
    for decoded in (*again, _from_base64(inner), _from_hex(inner)):
        if decoded:
            yield decoded, "key_not_decoded", _WRITTEN_TWICE


def _loosened(secret: bytes) -> bytes:
    bare = secret.strip(_LOOSE)
    for written in (b"\\r\\n", b"\\n", b"\\r"):
        bare = bare.removesuffix(written)
    return bare.strip(_LOOSE)


def _not_decoded(form: str, written: str) -> str:
    return (
        f"The configured secret is written in {form}, and the provider signs with what that decodes to. Configure the "
        f"decoded secret; or, where the provider itself shows it in {form}, set key_encoding = {written!r} in its "
        "description."
    )


def _without(front: str) -> str:
    return f"The provider signs with the secret's text without {front} in front of it. Configure it so."


def _from_base64(text: bytes) -> bytes | None:
    bare = text.rstrip(b"=")
    other = b"-_" if {*b"-_"} & {*text} else None
    return _decoded(lambda: base64.b64decode(bare + b"=" * (-len(bare) % 4), other, validate=True))


def _from_hex(text: bytes) -> bytes | None:
    return _decoded(lambda: binascii.unhexlify(text))


def _decoded(decode: Callable[[], bytes]) -> bytes | None:
    try:
        return decode()
    except ValueError:
        return None
