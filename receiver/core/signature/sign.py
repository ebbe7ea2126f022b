"""sign(): the headers with which a provider would have sent a body. For tests, tools and local work.

Where the signature is in the body itself, ``signed_body()`` makes that.
"""

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from msgspec.structs import replace

from receiver.core.description.scheme import OVER_BYTES, Scheme, parse_sources
from receiver.core.errors import RejectionError, RequestError
from receiver.core.message import Message, lowered
from receiver.core.signature import jwt, rfc9421, sns, twilio
from receiver.core.signature.content import Content
from receiver.core.signature.extraction import Extraction
from receiver.core.signature.keyform import Key
from receiver.core.signature.proof import encode_signature, signer
from receiver.core.signature.timestamp import write_timestamp

_TOKEN_LIFE: Final = 300


def sign(
    body: bytes,
    *,
    scheme: Scheme,
    key: Key,
    now: int,
    url: str = "",
    delivery_id: str | None = None,
    method: str = "POST",
    values: Mapping[str, str] | None = None,
    claims: Mapping[str, object] | None = None,
) -> list[tuple[bytes, bytes]]:
    """Return the headers that make ``verify`` accept *body* at *now* (milliseconds) with *key*.

    *url* is the address it is sent to, where the scheme signs it or reads its query. *delivery_id* is made up
    from the body and *now* if not given. *values* says what stands in single sources
    (``{"header:X-User": "…"}``); one that is not given holds its own name. *claims* are further claims of
    a jwt.

    Raises:
        ConfigurationError: the key cannot sign, because only its public half is held.
        RequestError: *url* lacks what the scheme reads from it.
    """
    chosen = delivery_id or "msg_" + hashlib.sha256(b"%d." % now + body).hexdigest()[:24]
    if not scheme.authenticates or scheme.proof:
        return []  # where the signature is in the body, no header has it
    if key.public and scheme.public is not None:
        scheme = scheme.public
    if scheme.kind in {"header_token", "basic"}:
        sources = parse_sources(scheme.delivery_id, field="delivery_id")[:1]
        named = [(s.name.encode(), chosen.encode()) for s in sources if s.place == "header"]
        return [(scheme.headers[0].encode(), credential(key, scheme=scheme)), *named]
    if scheme.kind == "jwt":
        return _sign_jwt(body, scheme, key, now, chosen, claims or {})
    if scheme.plugin == "rfc9421":
        message = Message(body=body, url=url, method=method)
        return _sign_message(message, scheme, key, now, values or {})
    return _sign_content(Message(body=body, url=url, method=method), scheme, key, now, chosen, values or {})


def _sign_content(
    message: Message, scheme: Scheme, key: Key, now: int, chosen: str, values: Mapping[str, str]
) -> list[tuple[bytes, bytes]]:
    content = Content(scheme)
    texts = {str(source): source.name for source in content.sources}
    for source in content.delivery_id[:1]:
        texts[str(source)] = chosen
    for source in content.timestamp[:1]:
        texts[str(source)] = write_timestamp(now, scheme.timestamp_format).decode()
    texts |= values
    for source in parse_sources(scheme.key_id, field="key_id")[:1]:
        texts[str(source)] = key.id
    used = [*content.preferred, *parse_sources(scheme.key_id, field="key_id")[:1]]
    headers = [(s.name.encode(), texts[str(s)].encode()) for s in used if s.place == "header"]
    parts = [f"{s.name}={texts[str(s)]}".encode() for s in used if s.place == "part"]
    found = Extraction(replace(message, headers=lowered(headers)), content.headers)
    found.items = parts
    if any(source.place == "query" and not found.read([source]) for source in used):
        raise RequestError("The scheme signs a field of the query that the URL does not have.", field="url")
    pieces = twilio.contents(found)[0] if scheme.plugin == "twilio" else content.pieces(found)
    signature = encode_signature(signer(key, scheme=scheme)(pieces), encoding=scheme.encoding)
    items = [*parts, scheme.prefix.encode() + signature]
    return [*headers, (scheme.headers[0].encode(), scheme.item_sep.encode().join(items))]


def signed_body(body: bytes, *, scheme: Scheme, key: Key) -> bytes:
    """Return *body* as its provider would send it: with the signature in it, where the scheme says that it is there.

    Raises:
        ConfigurationError: the key cannot sign.
        RequestError: *body* is not what the scheme signs a part of.
    """
    if not scheme.proof or scheme.kind not in OVER_BYTES:
        return body
    message = Message(body=body, headers=[(b"content-type", b"application/x-www-form-urlencoded")])
    found = Extraction(message, frozenset())
    try:
        pieces = sns.content(found) if scheme.plugin == "sns" else Content(scheme).pieces(found)
    except RejectionError as error:
        raise RequestError(f"The body cannot be signed. {error}", field="body") from error
    encoded = encode_signature(signer(key, scheme=scheme)(pieces), encoding=scheme.encoding)
    if scheme.plugin == "sns":
        return sns.with_signature(body, encoded)
    name = parse_sources(scheme.proof, field="proof")[0].name
    return body + b"&" + urlencode({name: scheme.prefix + encoded.decode()}).encode()


def _sign_message(
    message: Message, scheme: Scheme, key: Key, now: int, values: Mapping[str, str]
) -> list[tuple[bytes, bytes]]:
    covered = rfc9421.covered_by(scheme)
    headers = [(b"content-digest", rfc9421.digest_of(message.body))]
    named = [name for name in covered if not name.startswith("@") and name != "content-digest"]
    headers += [(name.encode(), values.get(f"header:{name}", name).encode()) for name in named]
    signed = replace(message, headers=headers)
    created = write_timestamp(now, "unix")
    base, whole = rfc9421.base_of(covered, signed, created=created, key_id=key.id)
    signature = encode_signature(signer(key, scheme=scheme)(base), encoding="base64")
    return [*headers, (b"signature-input", b"sig1=" + whole), (b"signature", b"sig1=:" + signature + b":")]


def credential(key: Key, *, scheme: Scheme) -> bytes:
    """Return the header value that a header_token or basic scheme expects of *key*."""
    if scheme.kind == "basic":
        # RFC 7617; the key is "user:password".
        return b"Basic " + b64encode(key.secret)
    return scheme.prefix.encode() + key.secret


def _sign_jwt(
    body: bytes, scheme: Scheme, key: Key, now: int, delivery_id: str, extra: Mapping[str, object]
) -> list[tuple[bytes, bytes]]:
    issued = now // 1000
    claims: dict[str, object] = {"aud": scheme.audience, "iat": issued, "exp": issued + _TOKEN_LIFE}
    if scheme.issuer is not None:
        claims["iss"] = scheme.issuer
    if scheme.body_claim is not None:
        claims[scheme.body_claim] = hashlib.sha256(body).hexdigest()
    headers: list[tuple[bytes, bytes]] = []
    for source in parse_sources(scheme.delivery_id, field="delivery_id")[:1]:
        if source.place == "claim":
            claims[source.name] = delivery_id
        elif source.place == "header":
            headers.append((source.name.encode(), delivery_id.encode()))
    token = jwt.sign_jwt(claims | dict(extra), key=key)
    return [*headers, (scheme.headers[0].encode(), scheme.prefix.encode() + token)]
