"""Keys: from the form in which they are configured or published to the bytes that verify and sign.

``cryptography`` is imported where it is needed: it takes a tenth of a second, and most runs of the CLI never
see an asymmetric key.
"""

import base64
import binascii
import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from receiver.core.description.scheme import Scheme
from receiver.core.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

_WHSEC: Final = {"ed25519": ("whpk_", "whsk_")}
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_BASE64URL: Final = re.compile(rb"[A-Za-z0-9_-]*")
_HEX: Final = re.compile(r"([0-9A-Fa-f]{2})*")
_FRONTS: Final = ("whsec_", "whpk_", "whsk_")
_QUOTES: Final = frozenset("\"'`\u2018\u2019\u201c\u201d")
_AROUND: Final = re.compile("^[\\s\u200b-\u200f\u2060\ufeff]+|[\\s\u200b-\u200f\u2060\ufeff]+$")
_ASSIGNED: Final = re.compile(r"(export +)?[A-Za-z_][A-Za-z0-9_]*=[^=]")
_ED25519_SIZE: Final = 32
#: NIST SP 800-131A: shorter RSA keys no longer prove anything.
_SHORTEST_RSA: Final = 2048
MINIMUM_SECRET_SIZE: Final = 16


class Key(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """One key, ready for use; ``repr`` shows only its id.

    ``secret`` is the shared secret; for ed25519 the 32 raw bytes of the public key, or of the seed if
    ``private``; for jwt, rsa and ecdsa the DER of the key.
    """

    id: str
    secret: bytes
    private: bool = False
    #: Whether it is an ed25519 key of a scheme whose other keys are shared secrets.
    public: bool = False

    def __repr__(self) -> str:
        return f"Key(id={self.id!r})"


def load_key(key_id: str, text: str, *, scheme: Scheme, minimum: int = MINIMUM_SECRET_SIZE) -> Key:
    """Take a key as configured, in the scheme's ``key_encoding``; space around it is not part of it.

    A shared secret of fewer than *minimum* bytes is refused; only published test vectors need fewer than 16.

    Raises:
        ConfigurationError: the sentence names the key and what is wrong, never the key itself.
            Codes: ``key_empty``, ``key_malformed``, ``key_too_short``.
    """
    text = bare(text)
    if not text:
        raise ConfigurationError(f"The key {key_id!r} is empty.", code="key_empty")
    if scheme.kind == "ed25519":
        return _load_ed25519(key_id, text, scheme)
    if scheme.public is not None and text.startswith(_WHSEC["ed25519"]):
        return replace(_load_ed25519(key_id, text, scheme.public), public=True)
    if scheme.kind in {"jwt", "rsa", "ecdsa"}:
        return _load_der(key_id, text, scheme)
    if scheme.kind == "basic" and ":" not in text:
        raise _malformed(key_id, "user:password")
    secret = _decode(key_id, text, scheme)
    if len(secret) < max(minimum, 1):
        raise ConfigurationError(
            f"The key {key_id!r} has {len(secret)} byte{'' if len(secret) == 1 else 's'}, but it needs {minimum}: "
            "short ones are guessed.",
            code="key_too_short",
        )
    return Key(id=key_id, secret=secret)


def bare(text: str) -> str:
    """*text* without the blanks around it, also those that nobody sees: byte order marks, spaces of no width."""
    return _AROUND.sub("", text)


def ed25519_public(key: Key) -> "Ed25519PublicKey":
    """Return the public half of an ed25519 key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if key.private:
        return ed25519_private(key).public_key()
    try:
        return Ed25519PublicKey.from_public_bytes(key.secret)
    except ValueError as error:
        raise _malformed(key.id, "ed25519") from error


def ed25519_private(key: Key) -> "Ed25519PrivateKey":
    """Return an ed25519 key for signing; raises ConfigurationError where only the public half is held."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    _need_private(key)
    try:
        return Ed25519PrivateKey.from_private_bytes(key.secret)
    except ValueError as error:
        raise _malformed(key.id, "ed25519") from error


def rsa_public(key: Key) -> "RSAPublicKey":
    """Return the public half of an RSA key."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    public = rsa_private(key).public_key() if key.private else _from_der(key)
    if not isinstance(public, RSAPublicKey):
        raise _malformed(key.id, "RSA")
    return public


def rsa_private(key: Key) -> "RSAPrivateKey":
    """Return an RSA key for signing; raises ConfigurationError where only the public half is held."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    _need_private(key)
    private = _from_der(key)
    if not isinstance(private, RSAPrivateKey):
        raise _malformed(key.id, "RSA")
    return private


def ecdsa_public(key: Key) -> "EllipticCurvePublicKey":
    """Return the public half of a P-256 key."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    public = ecdsa_private(key).public_key() if key.private else _from_der(key)
    if not isinstance(public, EllipticCurvePublicKey):
        raise _malformed(key.id, "ECDSA")
    return public


def ecdsa_private(key: Key) -> "EllipticCurvePrivateKey":
    """Return a P-256 key for signing; raises ConfigurationError where only the public half is held."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    _need_private(key)
    private = _from_der(key)
    if not isinstance(private, EllipticCurvePrivateKey):
        raise _malformed(key.id, "ECDSA")
    return private


# A private RSA key is checked for 40 ms as it is read, and one key signs or verifies again and again.
@lru_cache(maxsize=64)
def _from_der(key: Key) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as forms

    try:
        if key.private:
            return forms.load_der_private_key(key.secret, password=None)
        return forms.load_der_public_key(key.secret)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _malformed(key.id, "DER") from error


def _need_private(key: Key) -> None:
    if not key.private:
        raise ConfigurationError(
            f"The key {key.id!r} is public; signing needs the private one.", code="key_public"
        )


def _malformed(key_id: str, form: str, text: str = "") -> ConfigurationError:
    named = {"whsec": "'whsec_' and Base64", "base64": "Base64", "hex": "hex"}.get(form, repr(form))
    return ConfigurationError(
        f"The key {key_id!r} is not in the form {named}. {_oddity(text, form)}".rstrip(), code="key_malformed"
    )


def _oddity(text: str, form: str) -> str:
    """A phrase that says what is wrong with the form of a key, with nothing of the key in it."""
    if text[:1] in _QUOTES or text[-1:] in _QUOTES:
        return "It has quotes around it: remove them."
    if text.endswith(("\\n", "\\r")):
        return "It ends with a line break that is written out as \\n: remove that."
    if _ASSIGNED.match(text) and not text.startswith(_FRONTS):
        return "It begins with the name of a setting and '=': keep only what follows."
    if form in {"whsec", "base64", "hex"}:
        allowed = "0-9a-fA-F" if form == "hex" else "A-Za-z0-9+/="
        odd = re.compile(f"[^{allowed}]").search(text, text.find("_") + 1 if text.startswith(_FRONTS) else 0)
        if odd is not None:
            return f"Character {odd.start() + 1} of {len(text)} cannot be in it: copy it from the provider again."
        return "It is cut off, or has something too much: copy it from the provider again." if text else ""
    return ""


def _decode(key_id: str, text: str, scheme: Scheme) -> bytes:
    encoding, given = scheme.key_encoding, text
    if encoding == "utf8":
        return text.encode("utf-8", "surrogateescape")
    if encoding == "hex" and _HEX.fullmatch(text):
        return bytes.fromhex(text)
    if encoding == "whsec":
        for prefix in _WHSEC.get(scheme.kind, ("whsec_",)):
            text = text.removeprefix(prefix)
    if encoding in {"whsec", "base64"} and _BASE64.fullmatch(text):
        # Some consoles show the secret without its padding.
        padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
        try:
            return base64.b64decode(padded, validate=True)
        except binascii.Error:
            pass
    raise _malformed(key_id, encoding, given)


def _load_ed25519(key_id: str, text: str, scheme: Scheme) -> Key:
    match scheme.key_encoding:
        case "jwk":
            return _load_jwk(key_id, text, scheme)
        case "pem":
            return _load_pem(key_id, text, scheme)
        case encoding:
            raw = _decode(key_id, text, scheme)
            if len(raw) == 2 * _ED25519_SIZE or text.startswith("whsk_"):
                # Seed and public key in a row, as libsodium and Standard Webhooks write a private key.
                key = Key(id=key_id, secret=raw[:_ED25519_SIZE], private=True)
                if len(raw) == 2 * _ED25519_SIZE and _raw_public(key) == raw[_ED25519_SIZE:]:
                    return key
                raise _malformed(key_id, encoding)
            if len(raw) != _ED25519_SIZE:
                raise _malformed(key_id, encoding)
            return Key(id=key_id, secret=raw)


def _raw_public(key: Key) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return ed25519_public(key).public_bytes(Encoding.Raw, PublicFormat.Raw)


def _load_der(key_id: str, text: str, scheme: Scheme) -> Key:
    match scheme.key_encoding:
        case "jwk":
            return _load_jwk(key_id, text, scheme)
        case "base64":
            key = Key(id=key_id, secret=_decode(key_id, text, scheme))
            return checked(key_id, _from_der(key), scheme)
        case _:
            return _load_pem(key_id, text, scheme)


def _load_pem(key_id: str, text: str, scheme: Scheme) -> Key:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.x509 import load_pem_x509_certificate

    key: object
    try:
        pem = text.encode()
        if "PRIVATE KEY" in text:
            key = forms.load_pem_private_key(pem, None)
        elif "BEGIN CERTIFICATE" in text:
            key = load_pem_x509_certificate(pem).public_key()
        else:
            key = forms.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _malformed(key_id, "pem") from error
    return checked(key_id, key, scheme)


def checked(key_id: str, key: object, scheme: Scheme) -> Key:
    """Take a key of ``cryptography`` for *scheme*; raises ConfigurationError where it is of another kind, or weak."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if scheme.kind == "ed25519":
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return Key(id=key_id, secret=key.private_bytes_raw(), private=True)
        if isinstance(key, ed25519.Ed25519PublicKey):
            return Key(id=key_id, secret=key.public_bytes_raw())
    elif scheme.kind == "ecdsa":
        if isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)) and isinstance(
            key.curve, ec.SECP256R1
        ):
            return _in_der(key_id, key)
    elif isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)):
        return _rsa_key(key_id, key)
    raise _malformed(key_id, f"{scheme.kind} key")


def _rsa_key(key_id: str, key: "RSAPrivateKey | RSAPublicKey") -> Key:
    if key.key_size < _SHORTEST_RSA:
        raise ConfigurationError(f"The RSA key {key_id!r} has fewer than 2048 bits.", code="key_too_short")
    return _in_der(key_id, key)


def _in_der(
    key_id: str, key: "RSAPrivateKey | RSAPublicKey | EllipticCurvePrivateKey | EllipticCurvePublicKey"
) -> Key:
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
        der = key.public_bytes(forms.Encoding.DER, forms.PublicFormat.SubjectPublicKeyInfo)
        return Key(id=key_id, secret=der)
    der = key.private_bytes(forms.Encoding.DER, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    return Key(id=key_id, secret=der, private=True)


def _load_jwk(key_id: str, text: str, scheme: Scheme) -> Key:
    try:
        key = from_jwk(key_id, msgspec.json.decode(text.encode()), scheme)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise _malformed(key_id, "jwk") from error
    if key is None:
        raise _malformed(key_id, f"{scheme.kind} jwk")
    return key


def from_jwk(key_id: str | None, entry: object, scheme: Scheme) -> Key | None:
    """Take the public key of one JWK (RFC 7517, RFC 8037); ``None`` where it is not for this scheme.

    Its id is *key_id*, else its ``kid`` or, without one, its RFC 7638 thumbprint.
    """
    if not isinstance(entry, dict):
        raise TypeError("a JWK is a JSON object")
    if entry.get("use", "sig") != "sig" or entry.get("alg") not in _ALGORITHMS[scheme.kind]:
        return None
    # A key for other operations must not be used to verify (RFC 7517, 4.3).
    if "key_ops" in entry and not (isinstance(entry["key_ops"], list) and "verify" in entry["key_ops"]):
        return None
    try:
        if scheme.kind == "ed25519" and (entry.get("kty"), entry.get("crv")) == ("OKP", "Ed25519"):
            return _raw_key(key_id or _kid(entry, "crv", "kty", "x"), base64url(entry["x"]))
        if scheme.kind == "ecdsa" and (entry.get("kty"), entry.get("crv")) == ("EC", "P-256"):
            return _ecdsa_jwk(key_id or _kid(entry, "crv", "kty", "x", "y"), entry)
        if scheme.kind in {"jwt", "rsa"} and entry.get("kty") == "RSA":
            return _rsa_jwk(key_id or _kid(entry, "e", "kty", "n"), entry)
    except (ValueError, LookupError, ConfigurationError):
        # One bad or weak entry must not take the good ones of the set away.
        pass
    return None


#: The names by which a JWK may be bound to an algorithm, where it is.
_ALGORITHMS: Final[dict[str, frozenset[str | None]]] = {
    "ed25519": frozenset({None, "EdDSA", "Ed25519"}),
    "ecdsa": frozenset({None, "ES256"}),
    "rsa": frozenset({None, "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    "jwt": frozenset({None, "RS256"}),
}


def _raw_key(key_id: str, raw: bytes) -> Key | None:
    return Key(id=key_id, secret=raw) if len(raw) == _ED25519_SIZE else None


def _rsa_jwk(key_id: str, entry: dict[str, object]) -> Key:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    modulus, exponent = (int.from_bytes(base64url(entry[name])) for name in ("n", "e"))
    return _rsa_key(key_id, RSAPublicNumbers(exponent, modulus).public_key())


def _ecdsa_jwk(key_id: str, entry: dict[str, object]) -> Key:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        SECP256R1,
        EllipticCurvePublicNumbers,
    )

    x, y = (int.from_bytes(base64url(entry[name])) for name in ("x", "y"))
    return _in_der(key_id, EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key())


def _kid(entry: dict[str, object], *members: str) -> str:
    kid = entry.get("kid")
    if isinstance(kid, str) and kid:
        return kid
    # RFC 7638: the required members, in alphabetical order, without space.
    canonical = msgspec.json.encode({name: entry[name] for name in members})
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()


def base64url(value: object) -> bytes:
    """Decode unpadded base64url (RFC 7515); raises ValueError unless it is canonical."""
    text = value.encode() if isinstance(value, str) else value
    if not isinstance(text, bytes) or _BASE64URL.fullmatch(text) is None:
        raise ValueError("not base64url")
    raw = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != text:
        raise ValueError("not canonical base64url")
    return raw
