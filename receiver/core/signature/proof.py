"""Proofs that one key makes of signed bytes: MACs, hashes and public-key signatures, verified and made."""

import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from receiver.core.description.scheme import Scheme
from receiver.core.signature.keyform import Key
from receiver.core.signature.publickey import public_signer, public_verifier

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

#: Signed bytes in order, and a signature over them.
Sign = Callable[[Sequence[bytes]], bytes]
#: Signed bytes in order, signatures of the right size; whether one of them is genuine.
Prove = Callable[[Sequence[bytes], Sequence[bytes]], bool]

_SIZES: Final = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
#: Two numbers or points of 32 bytes: Ed25519, and P-256 where it is not written in ASN.1.
_PAIR: Final = 64
#: The length for an RSA key of 8192 bits; no longer signature is worth decoding.
_LONGEST: Final = 1024
_PUBLIC: Final = frozenset({"ed25519", "ecdsa", "rsa"})


def signature_size(scheme: Scheme) -> int | None:
    """Return how many bytes a signature of *scheme* has once decoded; ``None`` where that depends on the key."""
    if scheme.kind == "rsa" or (scheme.kind == "ecdsa" and scheme.signature_form == "der"):
        return None
    return _SIZES[scheme.alg] if scheme.kind in {"hmac", "hash"} else _PAIR


def signature_form(scheme: Scheme) -> str:
    """Say how a signature of *scheme* is written: ``32 bytes in hex``."""
    encoding = "base64" if scheme.plugin == "rfc9421" else scheme.encoding
    size = signature_size(scheme)
    return f"{'some' if size is None else size} bytes in {encoding}"


def signature_length(scheme: Scheme) -> int | None:
    """Return how many characters an encoded signature has; ``None`` where that depends on the key."""
    size = signature_size(scheme)
    if size is None:
        return None
    return 2 * size if scheme.encoding == "hex" else (size + 2) // 3 * 4


def signature_decoder(scheme: Scheme) -> Callable[[bytes], bytes | None]:
    """Return what decodes a signature in its one spelling (hex in either case), and all else to ``None``."""
    size, length = signature_size(scheme), signature_length(scheme)

    def from_hex(text: bytes) -> bytes | None:
        try:
            return binascii.unhexlify(text) if len(text) == length else None
        except ValueError:
            return None

    def from_base64(text: bytes) -> bytes | None:
        try:
            raw = binascii.a2b_base64(text) if len(text) == length else b""
        except ValueError:
            return None
        # Encoding it again refuses junk between the characters and stray bits in the last one.
        return raw if len(raw) == size and binascii.b2a_base64(raw, newline=False) == text else None

    def of_any_size(text: bytes) -> bytes | None:
        if not 0 < len(text) <= 2 * _LONGEST:
            return None
        try:
            raw = binascii.unhexlify(text) if scheme.encoding == "hex" else binascii.a2b_base64(text)
        except ValueError:
            return None
        exact = scheme.encoding == "hex" or binascii.b2a_base64(raw, newline=False) == text
        return raw if exact and len(raw) <= _LONGEST else None

    if size is None:
        return of_any_size

    return from_hex if scheme.encoding == "hex" else from_base64


def encode_signature(raw: bytes, *, encoding: str) -> bytes:
    """Write a signature as *encoding*."""
    return raw.hex().encode() if encoding == "hex" else binascii.b2a_base64(raw, newline=False)


def signer(key: Key, *, scheme: Scheme) -> Sign:
    """Prepare *key* for signing; raises ConfigurationError where it is only the public half."""
    if scheme.kind not in _PUBLIC:
        return _digester(key, scheme)
    private = public_signer(key, scheme=scheme)
    return lambda pieces: private(b"".join(pieces))


def prover(key: Key, *, scheme: Scheme) -> Prove:
    """Prepare *key* for verification."""
    if scheme.kind in _PUBLIC:
        return _public_prover(key, scheme)
    digest = _digester(key, scheme)

    def prove(pieces: Sequence[bytes], signatures: Sequence[bytes]) -> bool:
        expected = digest(pieces)
        for signature in signatures:  # noqa: SIM110  (any() over a generator takes longer than a comparison)
            if hmac.compare_digest(expected, signature):
                return True
        return False

    return prove


def _digester(key: Key, scheme: Scheme) -> Sign:
    if scheme.kind == "hash":
        plain = hashlib.new(scheme.alg)
        return lambda pieces: _fed(plain, [*pieces, key.secret]).digest()
    return maker_of_macs(key.secret, alg=scheme.alg)


def maker_of_macs(secret: bytes, *, alg: str = "sha256", begin: bytes = b"") -> Sign:
    """Prepare HMACs (RFC 2104) under *secret* over messages that all begin with *begin*.

    Hash states are made once and copied for each message, and a body of megabytes is fed as it is, not joined to what
    precedes it. On hashlib, because to copy hmac's own objects takes half as long again; and ``hmac.digest`` lets go
    of the interpreter, which it does not get back while another thread has it.
    """
    plain = hashlib.new(alg)
    block = (hashlib.new(alg, secret).digest() if len(secret) > plain.block_size else secret).ljust(
        plain.block_size, b"\0"
    )
    inner = _fed(plain, [bytes(byte ^ 0x36 for byte in block), begin])
    outer = _fed(plain, [bytes(byte ^ 0x5C for byte in block)])

    def mac(pieces: Sequence[bytes]) -> bytes:
        state, end = inner.copy(), outer.copy()
        for piece in pieces:
            state.update(piece)
        end.update(state.digest())
        return end.digest()

    return mac


def _fed(prepared: "Hash", pieces: Iterable[bytes]) -> "Hash":
    state = prepared.copy()
    for piece in pieces:
        state.update(piece)
    return state


def _public_prover(key: Key, scheme: Scheme) -> Prove:
    verifies = public_verifier(key, scheme=scheme)

    def prove(pieces: Sequence[bytes], signatures: Sequence[bytes]) -> bool:
        content = b"".join(pieces)
        return any(verifies(signature, content) for signature in signatures)

    return prove
