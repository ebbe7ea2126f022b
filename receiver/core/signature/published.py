"""Keys that providers publish: key sets (JWKS), lists of PEM texts, a PEM document, and certificates."""

import hashlib
import json
from typing import Final

import msgspec

from receiver.core.charset import in_utf8
from receiver.core.description.callbacks import KeyList
from receiver.core.description.scheme import Scheme
from receiver.core.errors import (
    CertificateInvalidError,
    ConfigurationError,
    KeyUnavailableError,
)
from receiver.core.model import Value
from receiver.core.signature.keyform import Key, checked, from_jwk, load_key

_LONGEST: Final = 1 << 20
_MOST_KEYS: Final = 64


class Certificate(Value, frozen=True, kw_only=True):
    """The key of a certificate (RFC 5280), and when it is valid, in milliseconds."""

    key: Key
    begins: int
    ends: int

    def key_at(self, now: int) -> Key:
        """The key, if the certificate is valid at *now*; raises RejectionError where it is not."""
        if now < self.begins:
            raise CertificateInvalidError("The certificate that the message names is not valid yet.")
        if now > self.ends:
            raise CertificateInvalidError("The certificate that the message names has run out.")
        return self.key


def load_key_set(document: bytes, *, scheme: Scheme, entries: KeyList | None = None) -> tuple[Key, ...]:
    """Read the keys of a published document that fit *scheme*; others, of other use or kind, are passed over.

    Args:
        document: A JWKS document, a list of PEM texts as *entries* says, or one PEM text. A key's id is its ``kid``
            or, without one, its RFC 7638 thumbprint; of PEM texts the name beside it, or the beginning of its digest.
        scheme: What the keys are for.
        entries: Where the list is, and what its members are called.

    Raises:
        KeyUnavailableError: the document is none, or holds no key of this scheme: not the sender's fault.
    """
    if len(document) > _LONGEST:
        raise KeyUnavailableError("The provider's key set is larger than any key set.")
    pem = msgspec.structs.replace(scheme, key_encoding="pem")
    document = in_utf8(document, "")
    try:
        if document.lstrip().startswith(b"-----BEGIN"):
            text = document.decode("ascii")
            return (load_key(hashlib.sha256(document).hexdigest()[:16], text, scheme=pem),)
        # Of oddities in it only those of the keys themselves matter.
        found = json.loads(document, strict=False)
        if entries is None:
            keys = [_of_set(entry, scheme) for entry in found["keys"][:_MOST_KEYS]]
        else:
            keys = [_named(entry, entries, pem) for entry in found[entries.path][:_MOST_KEYS]]
    except (ValueError, TypeError, LookupError, RecursionError, ConfigurationError) as error:
        raise KeyUnavailableError("The provider's key set is not in the described form.") from error
    usable = tuple(key for key in keys if key is not None)
    if not usable:
        raise KeyUnavailableError(f"The provider's key set holds no key for scheme {scheme.kind!r}.")
    return usable


def load_certificate(document: bytes, *, name: str, scheme: Scheme) -> Certificate:
    """Read the first certificate of a PEM document, named *name*.

    Raises:
        CertificateInvalidError: it is none, or its key is not for *scheme*.
    """
    from cryptography.x509 import load_pem_x509_certificates

    try:
        certificate = load_pem_x509_certificates(document)[0]
        key = checked(name, certificate.public_key(), scheme)
    except (ValueError, TypeError, LookupError, ConfigurationError) as error:
        raise CertificateInvalidError from error
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return Certificate(key=key, begins=int(begins.timestamp() * 1000), ends=int(ends.timestamp() * 1000))


def _of_set(entry: object, scheme: Scheme) -> Key | None:
    try:
        return from_jwk(None, entry, scheme)
    except TypeError:
        return None  # what is no JWK at all takes the good ones of the set away as little


def _named(entry: object, entries: KeyList, scheme: Scheme) -> Key | None:
    try:
        name, text = entry[entries.id], entry[entries.key]  # type: ignore[index]  # or it is none
        return load_key(str(name), str(text), scheme=scheme)
    except (TypeError, LookupError, ConfigurationError):
        return None  # none, of another kind, or weak: the others are still good
