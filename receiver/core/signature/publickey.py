"""Public-key signatures over bytes: Ed25519, ECDSA on P-256 (FIPS 186-5) and RSA (RFC 8017), by ``cryptography``.

It is imported where it is needed: that takes a tenth of a second, and most runs of the CLI never see such a key.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from receiver.core.description.scheme import Scheme
from receiver.core.signature.keyform import (
    Key,
    ecdsa_private,
    ecdsa_public,
    ed25519_private,
    ed25519_public,
    rsa_private,
    rsa_public,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

#: Whether a signature is a key's over those bytes.
Verifies = Callable[[bytes, bytes], bool]
_HALF: Final = 32


def public_verifier(key: Key, *, scheme: Scheme) -> Verifies:
    """Prepare the public half of *key* for verification; raises ConfigurationError where it is none."""
    from cryptography.exceptions import InvalidSignature

    check = _check(key, scheme)

    def verifies(signature: bytes, content: bytes) -> bool:
        try:
            check(signature, content)
        except (InvalidSignature, ValueError):
            return False
        return True

    return verifies


def public_signer(key: Key, *, scheme: Scheme) -> Callable[[bytes], bytes]:
    """Prepare *key* for signing; raises ConfigurationError where only the public half is held."""
    if scheme.kind == "ed25519":
        return ed25519_private(key).sign
    if scheme.kind == "rsa":
        rsa, hashed = rsa_private(key), _digest(scheme.alg)
        return lambda content: rsa.sign(content, _padding(scheme), hashed)
    ecdsa, algorithm = ecdsa_private(key), _ecdsa()
    if scheme.signature_form == "der":
        return lambda content: ecdsa.sign(content, algorithm)
    return lambda content: _raw(ecdsa.sign(content, algorithm))


def _check(key: Key, scheme: Scheme) -> Callable[[bytes, bytes], None]:
    if scheme.kind == "ed25519":
        return ed25519_public(key).verify
    if scheme.kind == "ecdsa":
        public, algorithm = ecdsa_public(key), _ecdsa()
        if scheme.signature_form == "der":
            return lambda signature, content: public.verify(signature, content, algorithm)
        return lambda signature, content: public.verify(_der(signature), content, algorithm)
    return _check_rsa(key, scheme)


def _check_rsa(key: Key, scheme: Scheme) -> Callable[[bytes, bytes], None]:
    from cryptography.exceptions import InvalidSignature

    public = rsa_public(key)
    # Amazon signs with SHA-1 (version 1) or SHA-256 (version 2), and a topic may change over at any time: a description
    # that still accepts the weaker one accepts both.
    algorithms = ["sha256", "sha1"] if scheme.plugin == "sns" and scheme.alg == "sha1" else [scheme.alg]
    digests = [_digest(one) for one in algorithms]

    def check(signature: bytes, content: bytes) -> None:
        for digest in digests:
            try:
                public.verify(signature, content, _padding(scheme), digest)
            except InvalidSignature:
                continue
            return
        raise InvalidSignature

    return check


def _padding(scheme: Scheme) -> Any:  # noqa: ANN401  (cryptography has no name for either kind that it exports)
    from cryptography.hazmat.primitives.asymmetric import padding

    if scheme.padding == "pkcs1":
        return padding.PKCS1v15()
    digest = _digest(scheme.alg)
    # RFC 9421, 3.3.1: the salt is as long as the digest.
    return padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)


def _digest(name: str) -> "HashAlgorithm":
    from cryptography.hazmat.primitives import hashes

    kinds: dict[str, type[HashAlgorithm]] = {
        "sha1": hashes.SHA1,  # noqa: S303  (what Amazon SNS still signs with, unless a topic is told otherwise)
        "sha256": hashes.SHA256,
        "sha384": hashes.SHA384,
        "sha512": hashes.SHA512,
    }
    return kinds[name]()


def _ecdsa() -> Any:  # noqa: ANN401
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    return ECDSA(_digest("sha256"))


def _raw(signature: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    return b"".join(number.to_bytes(_HALF) for number in decode_dss_signature(signature))


def _der(signature: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    if len(signature) != 2 * _HALF:
        raise ValueError("not two numbers of 32 bytes")
    return encode_dss_signature(int.from_bytes(signature[:_HALF]), int.from_bytes(signature[_HALF:]))
