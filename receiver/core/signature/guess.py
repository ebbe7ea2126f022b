"""Guesses at what went wrong with a signature; each of them can be tried.

A guess is a message, a scheme and keys as they would be if one thing were different. If that verifies, the
one thing was the cause. So no rule of verification is written here a second time.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

from msgspec.structs import replace

from receiver.core.description.scheme import Scheme
from receiver.core.message import Message
from receiver.core.signature.alteration import Alteration, alterations, edges
from receiver.core.signature.keycopy import copies
from receiver.core.signature.keyform import Key

#: Keys of other providers: by name, how it signs and what with.
OtherKeys = Mapping[str, tuple[Scheme, Sequence[Key]]]

_MOST_KEYS: Final = 4
_MOST_HEADERS: Final = 8
_TELLING: Final = re.compile(rb"sign|hmac|digest|token|auth|secret")
#: Names of items, in front of what they say.
_NAMES: Final = re.compile(rb"(?<![^,; ])[A-Za-z0-9]{1,10}(?==)")
_PREFIX: Final = re.compile(rb"[A-Za-z0-9-]{1,10}[=,: ]")
_PREFIXES: Final = ("", "sha256=", "sha1=", "v1=", "v0=", "v1,", "Bearer ")
_CONTENTS: Final = ("{body}", "{timestamp}.{body}", "{timestamp}{body}", "{body}{timestamp}")
#: Ports at which such a service is often reached from outside.
_USUAL_PORTS: Final = ("8443", "8080", "8000", "3000")
#: What proxies say of the path that they cut off, and of the whole that was asked for.
_PREFIXED: Final = (b"x-forwarded-prefix", b"x-script-name")
_REWRITTEN: Final = (b"x-original-uri", b"x-original-url", b"x-forwarded-uri", b"x-envoy-original-path")
_ADDRESS: Final = re.compile(r"(https?)://([^/?#:]*)(:[0-9]{1,5})?([^?#]*)(.*)", re.DOTALL)


class Guess(NamedTuple):
    """One cause, and everything as it would be without it."""

    code: str
    sentence: str
    message: Message
    scheme: Scheme
    keys: tuple[Key, ...]


def guesses(
    message: Message, *, scheme: Scheme, keys: Sequence[Key], others: OtherKeys, retired: Sequence[Key]
) -> Iterator[Guess]:
    """Yield what may be wrong, the likely and cheap first; they are made one by one, as they are tried."""
    case = Guess("", "", message, scheme, tuple(keys))
    # First, because with a large body few more can be tried.
    yield from _bodies(case, edges(message.body))
    yield from _foreign_keys(case, others, retired)
    yield from _key_forms(case)
    yield from _headers(case)
    yield from _folded(case)
    yield from _spellings(case)
    yield from _urls(case)
    yield from _contents(case)
    yield from _bodies(case, alterations(message.body))


def lookalikes(message: Message, scheme: Scheme) -> list[bytes]:
    """Return the names of headers that might be meant by the scheme's, which is absent; at most eight."""
    wanted = {_letters(name.encode()) for name in scheme.headers}
    names = {name for name, _ in message.headers} - {name.lower().encode() for name in scheme.headers}
    found = [name for name in names if _letters(name) in wanted or _TELLING.search(name)]
    return sorted(found, key=lambda name: (_letters(name) not in wanted, b"sign" not in name, name))[
        :_MOST_HEADERS
    ]


def shown(name: bytes) -> str:
    """Write a header's name, which the sender chose, so that it is safe to show."""
    return repr(re.sub(rb"[^A-Za-z0-9_.-]", b"?", name[:60]).decode())


def _foreign_keys(case: Guess, others: OtherKeys, retired: Sequence[Key]) -> Iterator[Guess]:
    for key in retired:
        yield case._replace(
            code="key_not_in_force",
            sentence=f"It was signed with the key {key.id!r}, which is not in force. Configure it again "
            "until the provider has switched to the new one.",
            keys=(key,),
        )
    for name, (scheme, keys) in others.items():
        if not keys or not scheme.authenticates:
            continue
        yield case._replace(
            code="key_of_other_provider",
            sentence=f"It was signed with the key configured for {name!r}. Check which secret is whose.",
            keys=tuple(keys),
        )
        yield case._replace(
            code="callback_of_other_provider",
            sentence=f"It is a genuine callback of {name!r}, sent to another provider's address. Correct the "
            "callback URL that was given to it.",
            scheme=scheme,
            keys=tuple(keys),
        )


def _key_forms(case: Guess) -> Iterator[Guess]:
    if case.scheme.kind not in {"hmac", "hash", "header_token", "basic"}:
        return
    encoding = case.scheme.key_encoding
    for key in case.keys[:_MOST_KEYS]:
        for secret, code, sentence in copies(key.secret, encoding):
            yield case._replace(code=code, sentence=sentence, keys=(Key(id=key.id, secret=secret),))


def _headers(case: Guess) -> Iterator[Guess]:
    for name in lookalikes(case.message, case.scheme):
        for wanted in case.scheme.headers:
            headers = _renamed(case.message.headers, name, wanted.lower().encode())
            yield case._replace(
                code="header_name",
                sentence=f"The signature is in the header {shown(name)}, and the scheme looks in {wanted!r}. "
                "Change 'header' in the scheme, or find out who renames it on the way.",
                message=replace(case.message, headers=headers),
            )


def _renamed(headers: Sequence[tuple[bytes, bytes]], name: bytes, wanted: bytes) -> list[tuple[bytes, bytes]]:
    """Rename a header, and with it its family: ``svix-signature`` takes ``svix-id`` along."""
    same = 0
    while same < min(len(name), len(wanted)) and name[-1 - same] == wanted[-1 - same]:
        same += 1
    family, wanted_family = name[: len(name) - same], wanted[: len(wanted) - same]
    kept = [(field, value) for field, value in headers if field != wanted]
    if not family:
        return [(wanted_family + field, value) if field == name else (field, value) for field, value in kept]
    return [
        (wanted_family + field[len(family) :], value) if field.startswith(family) else (field, value)
        for field, value in kept
    ]


def _folded(case: Guess) -> Iterator[Guess]:
    """One line or one piece of a header that came several times, or that holds several values by now."""
    for name in dict.fromkeys(one.lower().encode() for one in case.scheme.headers):
        lines = [value for header, value in case.message.headers if header == name]
        pieces = [piece for line in lines for piece in line.split(b", ")]
        singles = dict.fromkeys(
            [*(lines if len(lines) > 1 else ()), *(pieces if len(pieces) > len(lines) else ())]
        )
        others = [(header, value) for header, value in case.message.headers if header != name]
        for single in [*singles][:_MOST_HEADERS]:
            yield case._replace(
                code="header_folded",
                sentence=f"The header {shown(name)} came more than once, or several values were folded into one; one "
                "of them is genuine by itself. Find out what adds to that header on the way.",
                message=replace(case.message, headers=[*others, (name, single)]),
            )


def _spellings(case: Guess) -> Iterator[Guess]:
    scheme, message = case.scheme, case.message
    carriers = {name.lower().encode() for name in scheme.headers}
    values = [value for name, value in message.headers if name in carriers]
    for unwrapped, sentence in _unwrapped(values[0], scheme) if values else ():
        headers = [(n, unwrapped if n in carriers else v) for n, v in message.headers]
        yield case._replace(
            code="signature_wrapped", sentence=sentence, message=replace(message, headers=headers)
        )
    found = _PREFIX.match(values[0]) if values else None
    prefixes = dict.fromkeys([scheme.prefix, *_PREFIXES, *([found[0].decode()] if found else [])])
    algorithms = ("sha256", "sha1", "sha512", "sha384") if scheme.kind in {"hmac", "hash", "rsa"} else ()
    for alg in dict.fromkeys((scheme.alg, *algorithms)):
        for encoding in (scheme.encoding, "hex", "base64"):
            for prefix in prefixes:
                code, sentence = _difference(scheme, alg, encoding, prefix)
                yield from _with_scheme(case, code, sentence, alg=alg, encoding=encoding, prefix=prefix)


def _difference(scheme: Scheme, alg: str, encoding: str, prefix: str) -> tuple[str, str]:
    advice = f" Set prefix = {prefix!r}." if prefix != scheme.prefix else ""
    if encoding != scheme.encoding:
        advice = f" Set encoding = {encoding!r}.{advice}"
    if alg != scheme.alg:
        said = f"It was signed with {alg}, and the scheme says {scheme.alg}. Set alg = {alg!r}."
        return "algorithm_differs", said + advice
    if encoding != scheme.encoding:
        said = f"The signature is written in {encoding}, and the scheme says {scheme.encoding}."
        return "encoding_differs", said + advice
    return "prefix_differs", f"The signature stands behind {prefix!r}, not {scheme.prefix!r}.{advice}"


def _unwrapped(value: bytes, scheme: Scheme) -> Iterator[tuple[bytes, str]]:
    stripped = value.strip(b" \t\r\n\"'")
    if stripped != value:
        yield (
            stripped,
            "The header has space or quotes around the signature. Find out who adds them on the way.",
        )
    tidied = unquote_to_bytes(value).translate(
        None, b"\"'\t\r\n " if scheme.item_sep != " " else b"\"'\t\r\n"
    )
    if tidied not in {value, stripped}:
        yield (
            tidied,
            "There are spaces, quotes or percent signs inside the header. Find out who writes it anew on the way.",
        )
    lowered = _NAMES.sub(lambda found: found[0].lower(), value)
    if lowered != value:
        yield (
            lowered,
            "The names in the header with the signature are in upper case. Find out who changes them.",
        )
    if scheme.encoding == "base64":
        text = value.replace(b"-", b"+").replace(b"_", b"/")
        head, _, tail = text.rpartition(scheme.prefix.encode()) if scheme.prefix else (b"", b"", text)
        tail = tail.rstrip(b"=")
        padded = head + scheme.prefix.encode() + tail + b"=" * (-len(tail) % 4)
        if padded != value:
            yield (
                padded,
                (
                    "The signature is written in base64url or without padding, and the scheme says base64. "
                    "Ask the provider which it documents."
                ),
            )


def _urls(case: Guess) -> Iterator[Guess]:
    found = _ADDRESS.fullmatch(case.message.url)
    if found is None or not case.scheme.covers_url:
        return
    protocol, host, port, path, rest = found.groups()
    port = port or ""
    fields = {name: value.decode("latin-1") for name, value in case.message.headers}
    seen = [
        (name, fields[name]) for name in (b"x-forwarded-host", b"x-original-host", b"host") if name in fields
    ]
    other = "http" if protocol == "https" else "https"
    variants = [(f"{other}://{host}{port}{path}{rest}", f"{other} instead of {protocol}")]
    for name, value in seen:
        variants += [
            (f"{p}://{value}{path}{rest}", f"the host of the header {shown(name)}") for p in (protocol, other)
        ]
    ports = [fields[b"x-forwarded-port"]] if fields.get(b"x-forwarded-port", "").isdecimal() else []
    ports += [text for _, value in seen if (text := value.rpartition(":")[2]).isdecimal()]
    for given in dict.fromkeys((*ports, *_USUAL_PORTS)):
        variants.append((f"{protocol}://{host}:{given}{path}{rest}", f"the port {given}"))
    for carrier in _PREFIXED:
        if fields.get(carrier, "").startswith("/"):
            front = fields[carrier].rstrip("/")
            variants.append(
                (f"{protocol}://{host}{port}{front}{path}{rest}", f"the path of the header {shown(carrier)}")
            )
    for carrier in _REWRITTEN:
        if fields.get(carrier, "").startswith("/"):
            variants.append(
                (f"{protocol}://{host}{port}{fields[carrier]}", f"the path of the header {shown(carrier)}")
            )
    if rest.startswith("?"):
        pairs = rest[1:].split("&")
        variants += [
            (f"{protocol}://{host}{port}{path}?{'&'.join(order)}", "the query in another order")
            for order in (sorted(pairs), pairs[::-1])
        ]
        variants.append((f"{protocol}://{host}{port}{path}{unquote(rest)}", "the query decoded"))
    slashed = path[:-1] if path.endswith("/") else path + "/"
    variants += [
        (f"{protocol}://{host}{port}{slashed}{rest}", "another slash at the end of the path"),
        (f"{protocol}://{host}{port}{path}", "no query"),
        (f"{protocol}://{host}{path}{rest}", "no port"),
        (f"{protocol}://{host}:{443 if protocol == 'https' else 80}{path}{rest}", "the port written out"),
        (f"{path}{rest}", "the path alone"),
    ]
    for url, what in variants:
        yield case._replace(
            code="url_differs",
            sentence=f"It was signed for the same address with {what}. Behind a proxy the receiver must be "
            "told its public URL: check it, and what the proxy rewrites.",
            message=replace(case.message, url=url),
        )


def _contents(case: Guess) -> Iterator[Guess]:
    scheme = case.scheme
    if scheme.kind not in {"hmac", "ed25519", "ecdsa", "rsa"} or scheme.plugin:
        return
    for signed in (*_CONTENTS, "{delivery_id}.{timestamp}.{body}"):
        sentence = f"It was signed over {signed!r}, not {scheme.signed!r}. Set signed = {signed!r}."
        untimed = {} if "{timestamp}" in signed else _UNTIMED
        yield from _with_scheme(case, "content_differs", sentence, signed=signed, **untimed)


_UNTIMED: Final[dict[str, Any]] = {
    "timestamp": (),
    "timestamp_format": "unix",
    "tolerance": 300,
    "future_tolerance": 300,
}


def _bodies(case: Guess, altered: Iterable[Alteration]) -> Iterator[Guess]:
    for body, code, what in altered:
        yield case._replace(
            code=code,
            sentence=f"It was signed over {what}. {_ADVICE.get(code, _AS_THEY_CAME)}",
            message=replace(case.message, body=body),
        )


_AS_THEY_CAME: Final = (
    "Find what reads, decodes or writes the body on the way, and have it pass on the bytes as they came."
)
#: What to do about changes that a program on the way does not make by reading and writing.
_ADVICE: Final[Mapping[str, str]] = {
    "body_trailing_newline": "An editor or a shell does that to a file; on the way, whatever handles the body as text.",
    "body_wrapped": "Have the gateway or function pass on the request as it came: its headers, and the body alone.",
    "body_base64": "Have the gateway decode the body before it sends it on.",
    "body_decompressed": "Where the provider signs before it compresses, ask it to send the body as it is, or have "
    "a proxy in front unpack it.",
}


def _with_scheme(case: Guess, code: str, sentence: str, **changes: Any) -> Iterator[Guess]:  # noqa: ANN401
    try:
        scheme = replace(case.scheme, **changes)
    except ValueError:
        return  # A combination that no description may have is no cause either.
    yield case._replace(code=code, sentence=sentence, scheme=scheme)


def _letters(name: bytes) -> bytes:
    return re.sub(rb"^x[-_]|[^a-z0-9]", b"", name.lower())
