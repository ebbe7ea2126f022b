"""verify(): whether a message is its sender's, by a provider's scheme and the keys in force.

The order is fixed: the signature over the received bytes first, the timestamp second, JSON last. So only a
genuine message is ever called stale, and nothing unproved is computed with or parsed.

Whatever the bytes, ``verify`` returns or raises RejectionError. That no key is at hand is the receiver's own
fault and another error (KeyUnavailableError).
"""

import hmac
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec

from receiver.core.description.parts import is_reference
from receiver.core.description.scheme import Scheme, parse_sources
from receiver.core.errors import (
    CredentialMismatchError,
    CredentialMissingError,
    KeyUnavailableError,
    KeyUnknownError,
    SignatureMalformedError,
    SignatureMismatchError,
    TimestampMissingError,
)
from receiver.core.message import Message
from receiver.core.signature import jwt
from receiver.core.signature.cases import Case, cases_of, decoded
from receiver.core.signature.content import Content
from receiver.core.signature.extraction import Extraction, ProofHeader
from receiver.core.signature.keyform import Key, load_key
from receiver.core.signature.proof import prover, signature_decoder
from receiver.core.signature.published import load_key_set
from receiver.core.signature.rfc9421 import check_expiry
from receiver.core.signature.sign import credential, sign, signed_body
from receiver.core.signature.timestamp import check_age, parse_timestamp

__all__ = [
    "Key",
    "Message",
    "Verified",
    "Verifier",
    "load_key",
    "load_key_set",
    "prepare",
    "sign",
    "signed_body",
    "verify",
]

#: Prepared verifiers kept at hand: the schemes in use times a few rotations, and the last per-job keys.
_MOST_PREPARED: Final = 128


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was proved about a message."""

    #: The key that made the signature; ``None`` where nothing is signed.
    key_id: str | None
    scheme: str
    #: Whether the message was proved to be the provider's. Not so where it signs nothing.
    authenticated: bool
    #: The same on every redelivery, where the scheme names its source and the message has it.
    delivery_id: str | None = None
    #: When it was signed, in milliseconds; ``None`` where the scheme has no timestamp.
    timestamp: int | None = None
    #: The claims of a jwt. Without ``body_claim`` in the scheme, they alone are proved and the body is not.
    claims: dict[str, Any] | None = None


class Verifier(Protocol):
    """A scheme and its keys, prepared once for many messages."""

    def verify(self, message: Message, *, now: int) -> Verified:
        """Say which key signed *message*; raises RejectionError where none did."""


def verify(message: Message, *, scheme: Scheme, keys: Sequence[Key], now: int) -> Verified:
    """Say which of *keys* signed *message*, judged at *now* (milliseconds since the Unix epoch).

    Raises:
        RejectionError: it is not proved genuine; ``code`` says which proof failed.
        KeyUnavailableError: there are no keys to prove it with.
    """
    return prepare(scheme, tuple(keys)).verify(message, now=now)


def build(scheme: Scheme, keys: tuple[Key, ...]) -> Verifier:
    """Make the verifier of *scheme* with *keys*; raises KeyUnavailableError where there is none."""
    if not scheme.authenticates:
        return _Unsigned(scheme)
    if not keys or not all(key.secret for key in keys):
        raise KeyUnavailableError(f"No key is configured to verify scheme {scheme.kind!r} with.")
    if any(key.public for key in keys):
        return _of_both_kinds(scheme, keys)
    if scheme.kind == "jwt":
        return _Token(scheme, keys)
    if scheme.kind in {"header_token", "basic"}:
        return _Credential(scheme, keys)
    return _Signature(scheme, keys)


#: ``build``, but what is made is kept and found again by equality: cheap to call for each message.
prepare = lru_cache(_MOST_PREPARED)(build)


class _Signature:
    """hmac, hash, ed25519, ecdsa and rsa: a signature over bytes of the message."""

    def __init__(self, scheme: Scheme, keys: tuple[Key, ...]) -> None:
        self._scheme = scheme
        self._content = Content(scheme)
        self._header = ProofHeader(scheme)
        self._key_id = parse_sources(scheme.key_id, field="key_id")
        named = {source.key for source in self._key_id if source.place == "header"}
        self._wanted = self._content.headers.union(self._header.names, named)
        self._foldable = frozenset(self._wanted) if scheme.plugin == "rfc9421" else self._header.foldable
        self._decode = signature_decoder(scheme)
        self._plugin = cases_of(scheme)
        self._expires = scheme.plugin == "rfc9421"
        self._provers = [(key.id, prover(key, scheme=scheme)) for key in keys]
        if is_reference(scheme.account or ""):
            name = (scheme.account or "").partition(":")[2]
            raise KeyUnavailableError(
                f"No signature can be verified: {name}, which says whose messages count, is not set."
            )

    def verify(self, message: Message, *, now: int) -> Verified:
        found = Extraction(message, self._wanted, self._foldable)
        if self._plugin is not None:
            return self._of_several(found, self._plugin(found), now)
        signatures = decoded(self._header.candidates(found), self._scheme, self._decode)
        content = self._content.pieces(found)
        if self._key_id:
            return self._of_several(found, [Case(content, signatures)], now)
        for key_id, proves in self._provers:
            if proves(content, signatures):
                return self._accepted(found, key_id, now)
        raise SignatureMismatchError

    def _of_several(self, found: Extraction, cases: Sequence[Case], now: int) -> Verified:
        """What one of *cases* proves, by the key that it names where it names one."""
        tried = False
        for case in cases:
            if case.items is not None:
                found.items = case.items
            named = found.identifier(self._key_id) if self._key_id else None
            for key_id, proves in self._provers:
                if named is not None and key_id != named:
                    continue
                tried = True
                if proves(case.content, case.signatures):
                    return self._accepted(found, key_id, now)
        raise SignatureMismatchError if tried else KeyUnknownError

    def _accepted(self, found: Extraction, key_id: str, now: int) -> Verified:
        signed_at = None
        if self._expires:
            check_expiry(found.items, now=now)
        if self._content.timestamp:
            text = found.read(self._content.timestamp)
            if not text:
                raise TimestampMissingError(f"There is no timestamp at {self._content.timestamp[0]}.")
            signed_at = parse_timestamp(text, self._scheme.timestamp_format)
            check_age(signed_at, scheme=self._scheme, now=now)
        return Verified(
            key_id=key_id,
            scheme=self._scheme.kind,
            authenticated=True,
            delivery_id=found.identifier(self._content.delivery_id),
            timestamp=signed_at,
        )


class _Either:
    """Shared secrets and public keys side by side: either vouches for the same content."""

    def __init__(self, shared: Verifier, public: Verifier) -> None:
        self._shared = shared
        self._public = public

    def verify(self, message: Message, *, now: int) -> Verified:
        try:
            return self._shared.verify(message, now=now)
        except (SignatureMalformedError, SignatureMismatchError) as error:
            try:
                return self._public.verify(message, now=now)
            except SignatureMalformedError:
                # The header holds nothing of that kind: the other error says more.
                raise error from None


def _of_both_kinds(scheme: Scheme, keys: tuple[Key, ...]) -> Verifier:
    assert scheme.public is not None  # noqa: S101  (no other scheme takes such keys)
    public = _Signature(scheme.public, tuple(key for key in keys if key.public))
    shared = tuple(key for key in keys if not key.public)
    return _Either(_Signature(scheme, shared), public) if shared else public


class _Token:
    """jwt: a token in a header that carries claims and, if the scheme says so, the body's hash."""

    def __init__(self, scheme: Scheme, keys: tuple[Key, ...]) -> None:
        self._scheme = scheme
        self._header = ProofHeader(scheme)
        self._delivery_id = parse_sources(scheme.delivery_id, field="delivery_id")
        named = {source.key for source in self._delivery_id if source.place == "header"}
        self._wanted = frozenset(named.union(self._header.names))
        self._keys = jwt.public_keys(keys)
        audience = scheme.audience or ""
        if is_reference(audience):
            name = audience.partition(":")[2]
            raise KeyUnavailableError(
                f"No token can be verified: {name}, the audience it is made for, is not set."
            )

    def verify(self, message: Message, *, now: int) -> Verified:
        found = Extraction(message, self._wanted)
        tokens = self._header.candidates(found)
        if len(tokens) != 1:
            raise SignatureMalformedError(f"The header {self._scheme.headers[0]!r} does not hold one token.")
        key_id, claims = jwt.prove_jwt(tokens[0], keys=self._keys)
        issued = jwt.check_claims(claims, scheme=self._scheme, body=message.body, now=now)
        delivery_id = found.with_claims(claims).identifier(self._delivery_id)
        return Verified(
            key_id=key_id,
            scheme="jwt",
            authenticated=True,
            delivery_id=delivery_id,
            timestamp=issued,
            claims=claims,
        )


class _Credential:
    """header_token and basic: a secret in a header, which vouches for its sender and not for the body."""

    def __init__(self, scheme: Scheme, keys: tuple[Key, ...]) -> None:
        self._scheme = scheme
        self._header = ProofHeader(scheme)
        self._delivery_id = parse_sources(scheme.delivery_id, field="delivery_id")
        named = {source.key for source in self._delivery_id if source.place == "header"}
        self._wanted = frozenset(named.union(self._header.names))
        self._expected = [(key.id, credential(key, scheme=scheme)) for key in keys]

    def verify(self, message: Message, *, now: int) -> Verified:  # noqa: ARG002  (a credential has no age)
        try:
            found = Extraction(message, self._wanted)
        except SignatureMalformedError as error:
            raise CredentialMismatchError(str(error)) from error
        values = [found.headers[name] for name in self._header.names if name in found.headers]
        if not values:
            raise CredentialMissingError(f"The header {self._scheme.headers[0]!r} is missing.")
        for key_id, expected in self._expected:
            for value in values:
                if hmac.compare_digest(_normal(value, self._scheme), expected):
                    return Verified(
                        key_id=key_id,
                        scheme=self._scheme.kind,
                        authenticated=True,
                        delivery_id=found.identifier(self._delivery_id),
                    )
        raise CredentialMismatchError


class _Unsigned:
    """url_token and none: the provider signs nothing."""

    def __init__(self, scheme: Scheme) -> None:
        self._verified = Verified(key_id=None, scheme=scheme.kind, authenticated=False)

    def verify(self, message: Message, *, now: int) -> Verified:  # noqa: ARG002  (a credential has no age)
        return self._verified


def _normal(value: bytes, scheme: Scheme) -> bytes:
    # The name of the authentication scheme is case-insensitive (RFC 9110, 11.1), what follows is not.
    name = b"Basic " if scheme.kind == "basic" else scheme.prefix.encode()
    if name.endswith(b" ") and value[: len(name)].lower() == name.lower():
        return name + value[len(name) :]
    return value
