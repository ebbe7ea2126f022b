"""walk(): how a message is checked, one step after the other, for somebody who wants to see where it fails.

The verdict is not found here: that is ``verify``'s. Each step asks the same parts that ``verify`` is made of, and goes
on after a failure as far as it can. Neither a key nor an expected signature nor any part of the body is ever in it.
"""

from collections.abc import Generator, Iterator, Sequence
from typing import Final, Literal

from receiver.core.description.scheme import Scheme, listed
from receiver.core.errors import ConfigurationError, ReceiverError, RejectionError
from receiver.core.message import Message
from receiver.core.model import Value
from receiver.core.signature import jwt
from receiver.core.signature.cases import Case, cases_of
from receiver.core.signature.content import Content
from receiver.core.signature.extraction import Extraction, ProofHeader
from receiver.core.signature.keyform import Key
from receiver.core.signature.proof import prover, signature_decoder, signature_form
from receiver.core.signature.timestamp import check_age, parse_timestamp, span
from receiver.core.signature.verify import build

_NAMES: Final = {"hmac": "HMAC", "hash": "Hash", "ed25519": "Ed25519", "ecdsa": "ECDSA P-256", "rsa": "RSA"}
_PLUGINS: Final = {
    "twilio": "the address and its fields",
    "sns": "members of the body",
    "rfc9421": "what the signature's input names",
}

Mark = Literal["ok", "bad", "none"]


class Checked(Value, frozen=True, kw_only=True):
    """One step: whether it passed (``none``: it did not come to that), and what was done, in a sentence."""

    mark: Mark
    sentence: str


def walk(message: Message, *, scheme: Scheme, keys: Sequence[Key], now: int) -> list[Checked]:
    """Every step of checking *message* at *now* (milliseconds), in their order; raises nothing."""
    try:
        return list(_steps(message, scheme, tuple(keys), now))
    except (ReceiverError, ValueError) as error:
        return [Checked(mark="bad", sentence=str(error))]


def _steps(message: Message, scheme: Scheme, keys: tuple[Key, ...], now: int) -> Iterator[Checked]:
    if not scheme.authenticates:
        yield Checked(
            mark="none",
            sentence="The provider signs nothing. Only the token in the address speaks for it, so it is believed no "
            "further than that there is something to ask for.",
        )
    elif scheme.kind == "jwt":
        yield from _token(message, scheme, keys, now)
    elif scheme.kind in {"header_token", "basic"}:
        yield from _credential(message, scheme, keys, now)
    elif scheme.plugin in {"sns", "rfc9421"}:
        yield from _by_plugin(message, scheme, keys, now)
    else:
        yield from _signature(message, scheme, keys, now)


def _signature(message: Message, scheme: Scheme, keys: tuple[Key, ...], now: int) -> Iterator[Checked]:
    content, header = Content(scheme), ProofHeader(scheme)
    found: Extraction | None = None
    signatures: list[bytes] = []
    names = " or ".join(f"“{name}”" for name in scheme.headers)
    try:
        found = Extraction(message, content.headers.union(header.names), header.foldable)
        texts = header.candidates(found)
    except RejectionError as error:
        yield Checked(mark="bad", sentence=str(error))
    else:
        decode = signature_decoder(scheme)
        signatures = [raw for raw in map(decode, texts) if raw is not None]
        after = f" after “{scheme.prefix}”" if scheme.prefix else ""
        place = "The header" if scheme.headers else "The field"
        if not scheme.headers:
            names = f"of the form “{listed(scheme.proof)[0].partition(':')[2]}”"
        if signatures:
            count = "one signature" if len(signatures) == 1 else f"{len(signatures)} signatures"
            sentence = f"{place} {names} is there, with {count} of {signature_form(scheme)}{after}"
            yield Checked(mark="ok", sentence=sentence)
        else:
            form = f"{signature_form(scheme)}{after}"
            sentence = f"{place} {names} is there, but holds no signature of {form}"
            yield Checked(mark="bad", sentence=sentence)
    pieces: list[Sequence[bytes]] = []
    if found is not None:
        try:
            plugin = cases_of(scheme)
            pieces = [content.pieces(found)] if plugin is None else [one.content for one in plugin(found)]
        except RejectionError as error:
            yield Checked(mark="bad", sentence=str(error))
        else:
            what = _PLUGINS.get(scheme.plugin or "", f"“{scheme.signed}”")
            size = sum(map(len, pieces[0]))
            yield Checked(mark="ok", sentence=f"The signed content is {what}: {size:,} bytes")
    matched = yield from _tried(scheme, keys, [Case(one, signatures) for one in pieces if signatures])
    if content.timestamp and found is not None:
        yield _timestamp(found, content, scheme, now, matched=matched)


def _by_plugin(message: Message, scheme: Scheme, keys: tuple[Key, ...], now: int) -> Iterator[Checked]:
    content, plugin = Content(scheme), cases_of(scheme)
    assert plugin is not None  # noqa: S101  (the caller looked)
    cases: list[Case] = []
    found = Extraction(message, frozenset())
    try:
        cases = plugin(found)
    except RejectionError as error:
        yield Checked(mark="bad", sentence=str(error))
    else:
        count = "one signature" if len(cases) == 1 else f"{len(cases)} signatures"
        size = sum(map(len, cases[0].content))
        what = _PLUGINS[scheme.plugin or ""]
        yield Checked(mark="ok", sentence=f"There is {count}, of {signature_form(scheme)}")
        yield Checked(mark="ok", sentence=f"The signed content is {what}: {size:,} bytes")
        found.items = cases[0].items or ()
    matched = yield from _tried(scheme, keys, cases)
    if content.timestamp and cases:
        yield _timestamp(found, content, scheme, now, matched=matched)


def _tried(scheme: Scheme, keys: tuple[Key, ...], cases: Sequence[Case]) -> Generator[Checked, None, bool]:
    """Each key by itself; whether one of them matched."""
    how = _NAMES[scheme.kind] + (f"-{scheme.alg.upper()}" if scheme.kind in {"hmac", "hash", "rsa"} else "")
    matched = False
    if not keys:
        yield Checked(mark="bad", sentence="No key is configured to check it with")
    for key in keys:
        name = f"{how} with the key {key.id}"
        if matched or not cases:
            yield Checked(mark="none", sentence=f"{name}: not tried")
            continue
        try:
            prove = prover(key, scheme=scheme)
            matched = any(prove(one.content, one.signatures) for one in cases)
        except (ConfigurationError, ValueError) as error:
            yield Checked(mark="bad", sentence=f"{name}: {error}")
            continue
        yield Checked(
            mark="ok" if matched else "bad", sentence=f"{name} {'matches' if matched else 'does not match'}"
        )
    return matched


def _timestamp(found: Extraction, content: Content, scheme: Scheme, now: int, *, matched: bool) -> Checked:
    source = content.timestamp[0]
    try:
        text = found.read(content.timestamp)
        if not text:
            return Checked(mark="bad", sentence=f"There is no timestamp at {source}")
        signed_at = parse_timestamp(text, scheme.timestamp_format)
        check_age(signed_at, scheme=scheme, now=now)
    except RejectionError as error:
        return Checked(mark="bad", sentence=str(error))
    age = now - signed_at
    old = f"{span(age)} old" if age >= 0 else f"{span(-age)} ahead of our clock"
    sentence = f"The timestamp is {old} when it arrives; {span(scheme.tolerance * 1000)} are tolerated"
    return Checked(
        mark="ok" if matched else "none", sentence=sentence if matched else f"{sentence}: it would pass"
    )


def _token(message: Message, scheme: Scheme, keys: tuple[Key, ...], now: int) -> Iterator[Checked]:
    header = ProofHeader(scheme)
    try:
        tokens = header.candidates(Extraction(message, frozenset(header.names)))
    except RejectionError as error:
        yield Checked(mark="bad", sentence=str(error))
        return
    yield Checked(
        mark="ok" if len(tokens) == 1 else "bad", sentence=f"The header “{scheme.headers[0]}” holds a token"
    )
    try:
        key_id, claims = jwt.prove_jwt(tokens[0], keys=jwt.public_keys(keys))
    except (RejectionError, IndexError) as error:
        yield Checked(mark="bad", sentence=str(error) or "It holds no token")
        return
    yield Checked(mark="ok", sentence=f"RS256 with the key {key_id} of its key set matches")
    try:
        jwt.check_claims(claims, scheme=scheme, body=message.body, now=now)
    except RejectionError as error:
        yield Checked(mark="bad", sentence=str(error))
        return
    yield Checked(
        mark="ok", sentence="Audience, issuer, times and what it says of the body are as they must be"
    )


def _credential(message: Message, scheme: Scheme, keys: tuple[Key, ...], now: int) -> Iterator[Checked]:
    names = " or ".join(f"“{name}”" for name in scheme.headers)
    wanted = {name.lower().encode() for name in scheme.headers}
    if not any(name.lower() in wanted for name, _ in message.headers):
        yield Checked(mark="bad", sentence=f"The header {names} is missing")
    else:
        yield Checked(mark="ok", sentence=f"The header {names} is there")
    for key in keys:
        try:
            build(scheme, (key,)).verify(message, now=now)
        except RejectionError:
            yield Checked(mark="bad", sentence=f"It is not the credential {key.id}")
        else:
            yield Checked(mark="ok", sentence=f"It is the credential {key.id}")
    if not keys:
        yield Checked(mark="bad", sentence="No credential is configured to compare it with")
