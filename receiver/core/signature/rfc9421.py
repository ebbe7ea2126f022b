"""HTTP Message Signatures (RFC 9421) over requests, with the body bound by Content-Digest (RFC 9530).

Only what is written canonically is understood, so that nothing can be read in two ways: single spaces, no parameters of
components but the name of ``@query-param``. Both RFCs are known; neither page was opened for this.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_plus, urlsplit

from receiver.core.description.scheme import Scheme
from receiver.core.errors import (
    DigestMismatchError,
    SignatureMalformedError,
    SignatureMissingError,
    SignedValueMissingError,
    TimestampStaleError,
)
from receiver.core.message import Message

_MOST_SIGNATURES: Final = 4
_MOST_COMPONENTS: Final = 50
_LONGEST: Final = 8192
_LABEL: Final = rb"([a-z*][a-z0-9_.*-]{0,60})"
_STRING: Final = rb'"(?:[ !#-\[\]-~]|\\["\\])*"'
_BYTES: Final = rb":[A-Za-z0-9+/]*={0,2}:"
_VALUE: Final = (
    rb"(?:" + _STRING + rb"|-?[0-9]{1,15}|[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*|" + _BYTES + rb")"
)
_PARAMETER: Final = re.compile(rb";([a-z*][a-z0-9_.*-]{0,60})=(" + _VALUE + rb")")
_ITEM: Final = rb'"[a-z@][a-z0-9-]*"(?:;name=' + _STRING + rb")?"
_INPUT: Final = re.compile(
    _LABEL
    + rb"=(\((?:"
    + _ITEM
    + rb"(?: "
    + _ITEM
    + rb")*)?\)(?:;[a-z*][a-z0-9_.*-]{0,60}="
    + _VALUE
    + rb")*)"
)
_SIGNATURE: Final = re.compile(_LABEL + rb"=:([A-Za-z0-9+/]*={0,2}):")
_DIGEST: Final = re.compile(rb"([a-z0-9-]{1,30})=:([A-Za-z0-9+/]*={0,2}):")
_NEXT: Final = re.compile(rb"[ \t]*,[ \t]*")
_COMPONENT: Final = re.compile(_ITEM)
_USUAL_PORTS: Final = {"http": "80", "https": "443"}
_DIGESTS: Final = {b"sha-256": "sha256", b"sha-512": "sha512"}
#: What a signature of ours covers where the scheme names nothing.
_USUAL: Final = ("@method", "@target-uri")
_BODY: Final = "content-digest"


class Signed(NamedTuple):
    """One signature of a message."""

    #: The signature base (RFC 9421, 2.5).
    content: Sequence[bytes]
    signature: bytes
    #: Its parameters, as ``name=value``.
    items: list[bytes]


def signatures(message: Message, scheme: Scheme) -> list[Signed]:
    """Return the signatures of *message* that cover what *scheme* wants.

    Raises:
        SignatureMissingError: there is no ``Signature`` or no ``Signature-Input``.
        SignatureMalformedError: one of them is not canonical, or none covers enough.
        SignedValueMissingError: something covered is not there.
        DigestMismatchError: the body is not the one whose digest is covered.
    """
    inputs = dict(_dictionary(message, b"signature-input", _INPUT))
    proofs = dict(_dictionary(message, b"signature", _SIGNATURE))
    wanted = {_BODY, *scheme.components}
    found, refused = [], SignatureMalformedError("No signature has both an input and a value.")
    for label, (whole,) in inputs.items():
        if label not in proofs:
            continue
        listed, _, parameters = whole.partition(b")")
        covered: list[bytes] = _COMPONENT.findall(listed)
        names = {item.partition(b";")[0].strip(b'"').decode() for item in covered}
        items = _parameters(parameters)
        if missing := sorted(wanted - names):
            refused = SignatureMalformedError(
                f"The signature does not cover {missing[0]!r}, which is wanted."
            )
        elif len(set(covered)) < len(covered) or len(covered) > _MOST_COMPONENTS:
            refused = SignatureMalformedError("The signature covers something twice, or too much.")
        elif not _fits(items, scheme):
            refused = SignatureMalformedError("The signature says that it was made with another algorithm.")
        else:
            lines = [b"%b: %b\n" % (item, component(item, message)) for item in covered]
            raw = _decoded(proofs[label][0])
            found.append(Signed([*lines, b'"@signature-params": ' + whole], raw, items))
    if not found:
        raise refused
    check_digest(message)
    return found


def component(item: bytes, message: Message) -> bytes:
    """Return the value of one covered component (RFC 9421, 2.1 and 2.2).

    Raises:
        SignedValueMissingError: it is not there.
        SignatureMalformedError: it is of a kind that is not understood.
    """
    name, _, parameter = item.partition(b";name=")
    plain = name.strip(b'"')
    if not plain.startswith(b"@"):
        if parameter:
            raise SignatureMalformedError("The signature covers a part of a header, which is not understood.")
        values = [value.strip(b" \t") for field, value in message.headers if field.lower() == plain]
        if not values:
            raise SignedValueMissingError(
                f"The signature covers the header {plain.decode()!r}, which is missing."
            )
        return b", ".join(values)
    return _derived(plain.decode(), parameter, message).encode("utf-8", "surrogatepass")


def check_digest(message: Message) -> None:
    """Hold the body against Content-Digest (RFC 9530); raises DigestMismatchError where one of the digests differs."""
    known = [
        (_DIGESTS[name], _decoded(value))
        for name, (value,) in _dictionary(message, b"content-digest", _DIGEST)
        if name in _DIGESTS
    ]
    if not known:
        raise SignatureMalformedError("Content-Digest has neither sha-256 nor sha-512.")
    for name, digest in known:
        if not hmac.compare_digest(hashlib.new(name, message.body).digest(), digest):
            raise DigestMismatchError("The body is not the one that Content-Digest says.")


def check_expiry(items: Sequence[bytes], *, now: int) -> None:
    """Raise TimestampStaleError where the proved parameters say that the signature has run out."""
    for item in items:
        name, _, value = item.partition(b"=")
        if name == b"expires" and (not value.isdigit() or now > int(value) * 1000):
            raise TimestampStaleError("The signature has run out, as it says itself.")


def covered_by(scheme: Scheme) -> list[str]:
    """What a signature of ours covers."""
    return list(dict.fromkeys([*(scheme.components or _USUAL), _BODY]))


def digest_of(body: bytes) -> bytes:
    """The value of Content-Digest for *body*."""
    return b"sha-256=:" + base64.b64encode(hashlib.sha256(body).digest()) + b":"


def base_of(
    covered: Sequence[str], message: Message, *, created: bytes, key_id: str
) -> tuple[list[bytes], bytes]:
    """The signature base over *covered*, and the value of ``Signature-Input`` without its label."""
    items = [f'"{name}"'.encode() for name in covered]
    whole = b"(" + b" ".join(items) + b");created=" + created + b';keyid="' + key_id.encode() + b'"'
    return [
        *(b"%b: %b\n" % (item, component(item, message)) for item in items),
        b'"@signature-params": ' + whole,
    ], whole


def _dictionary(
    message: Message, name: bytes, member: re.Pattern[bytes]
) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
    """The members of a structured header (RFC 8941), as this module understands them."""
    text = b", ".join(value.strip(b" \t") for field, value in message.headers if field.lower() == name)
    if not text:
        if name == b"content-digest":
            raise SignedValueMissingError("The signature covers Content-Digest, which is missing.")
        raise SignatureMissingError(f"The header {name.decode()!r} is missing.")
    seen: set[bytes] = set()
    place = 0
    while True:
        found = member.match(text, place)
        label = found[1] if found is not None else b""
        if found is None or label in seen or len(text) > _LONGEST or len(seen) >= _MOST_SIGNATURES:
            raise SignatureMalformedError(f"The header {name.decode()!r} is not written as RFC 9421 says.")
        seen.add(label)
        yield label, found.groups()[1:]
        if found.end() == len(text):
            return
        comma = _NEXT.match(text, found.end())
        place = comma.end() if comma is not None else len(text)


def _parameters(text: bytes) -> list[bytes]:
    found = [(name, value.strip(b'"')) for name, value in _PARAMETER.findall(text)]
    if len({name for name, _ in found}) < len(found):
        raise SignatureMalformedError("The signature has a parameter twice.")
    return [name + b"=" + value for name, value in found]


def _fits(items: Sequence[bytes], scheme: Scheme) -> bool:
    said = next((item.removeprefix(b"alg=").decode() for item in items if item.startswith(b"alg=")), None)
    rsa = f"rsa-{'v1_5' if scheme.padding == 'pkcs1' else 'pss'}-{scheme.alg}"
    ours = {"hmac": f"hmac-{scheme.alg}", "ed25519": "ed25519", "ecdsa": "ecdsa-p256-sha256", "rsa": rsa}
    return said is None or said == ours[scheme.kind]


def _derived(name: str, parameter: bytes, message: Message) -> str:
    address = urlsplit(message.url)
    query = address.query or message.query.decode("latin-1")
    match name:
        case "@method":
            return message.method
        case "@target-uri":
            return message.url
        case "@authority":
            host, port = (address.hostname or "").lower(), str(address.port or "")
            return f"{host}:{port}" if port and port != _USUAL_PORTS.get(address.scheme) else host
        case "@scheme":
            return address.scheme.lower()
        case "@path":
            return address.path or "/"
        case "@query":
            return f"?{query}"
        case "@request-target":
            return (address.path or "/") + (f"?{query}" if query else "")
        case "@query-param" if parameter:
            return _query_parameter(query, parameter.strip(b'"').decode())
    raise SignatureMalformedError(f"The signature covers {name!r}, which is not understood.")


def _query_parameter(query: str, name: str) -> str:
    fields = [field.partition("=") for field in query.split("&") if field]
    values = [value for one, _, value in fields if _written(one) == name]
    if len(values) != 1:
        raise SignedValueMissingError("The signature covers a field of the query that is not there once.")
    return _written(values[0])


def _written(text: str) -> str:
    """A name or value of a query, as RFC 9421 (2.2.8) writes it."""
    return quote(unquote_plus(text), safe="*-._").replace("~", "%7E")


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise SignatureMalformedError("A value is not Base64.") from error
