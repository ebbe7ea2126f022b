"""The providers' own keys in a test, and requests signed with them."""

import base64
import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from msgspec.structs import replace

from receiver.core.description.parts import is_reference
from receiver.core.description.provider import Provider
from receiver.core.description.scheme import Scheme, parse_sources
from receiver.core.model import Value
from receiver.core.origin import settings_in
from receiver.core.signature.keyform import Key, ecdsa_public, ed25519_public, load_key, rsa_public
from receiver.core.signature.sign import sign
from receiver.core.signature.timestamp import write_timestamp

#: Text that does as a secret of any kind: letters only, and long enough for all of them.
_SECRET: Final = "the testing kit signs with this key"  # noqa: S105  (as the next line)
_STRANGER: Final = "what a stranger would sign with key"
_SEEDS: Final = {_SECRET: b"k" * 32, _STRANGER: b"s" * 32}
_RSA_BITS: Final = 2048
#: Kinds whose keys have a public half.
_PUBLIC: Final = frozenset({"ed25519", "jwt", "rsa", "ecdsa"})


class SignedRequest(Value, frozen=True, kw_only=True):
    """A callback as a provider sends it; ``headers`` in the order in which they are sent."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def settings_for(provider: Provider) -> dict[str, str]:
    """The variables that *provider* needs: credentials that nobody checks, and its key for callbacks."""
    found = _places(provider)
    for one in provider.credentials:
        if one.mint is not None and one.mint.token_url is not None and len(provider.credentials) > 1:
            continue  # nobody mints tokens here: another way in is used
        for reference in one.references:
            found |= _set(reference, "test")
    for value in provider.headers.values():
        found |= _set(value, "test")
    scheme, source = provider.verify, provider.key
    if scheme is None:
        return found
    if scheme.audience is not None and is_reference(scheme.audience):
        found |= _set(scheme.audience, "receiver-test")
    if scheme.account is not None and is_reference(scheme.account):
        found |= _set(scheme.account, "receiver-test")
    if source is not None and source.source == "settings":
        found |= _set(source.secret or "", configured(scheme))
    return found


def _places(provider: Provider) -> dict[str, str]:
    """What an account has of its own in addresses, where there is no usual value."""
    pattern = next((one for one in provider.origins if "*" in one), "https://test.example")
    whole = {
        name
        for url in provider.addresses
        for name in settings_in([url])
        if url.startswith(f"{{setting:{name}}}")
    }
    needed = [name for name, usual in provider.settings.items() if usual is None]
    return {name: pattern.replace("*", "test") if name in whole else "test" for name in needed}


def _set(reference: str, value: str) -> dict[str, str]:
    kind, _, name = reference.partition(":")
    return {name: value} if kind == "env" else {}


def configured(scheme: Scheme) -> str:
    """The key as it would be configured here: a shared secret, or the public half."""
    if scheme.kind in _PUBLIC:
        return _public_text(scheme, own_key(scheme))
    if scheme.kind == "basic":
        return f"user:{_SECRET}"
    return secret_text(scheme)


def secret_text(scheme: Scheme, secret: str = _SECRET) -> str:
    """A shared secret in the form that *scheme* has it in."""
    match scheme.key_encoding:
        case "whsec":
            return "whsec_" + base64.b64encode(secret.encode()).decode()
        case "base64":
            return base64.b64encode(secret.encode()).decode()
        case "hex":
            return secret.encode().hex()
        case _:
            return secret


def own_key(scheme: Scheme, secret: str = _SECRET) -> Key:
    """What the provider signs with."""
    if scheme.kind == "ed25519":
        return Key(id="kit", secret=_SEEDS[secret], private=True)
    if scheme.kind in {"jwt", "rsa"}:
        return Key(id="kit", secret=_rsa(secret), private=True)
    if scheme.kind == "ecdsa":
        return Key(id="kit", secret=_ecdsa(secret), private=True)
    text = f"user:{secret}" if scheme.kind == "basic" else secret_text(scheme, secret)
    return load_key("kit", text, scheme=scheme)


def account_key(provider: Provider) -> Key:
    """What *provider* signs with for the whole account."""
    assert provider.verify is not None  # noqa: S101  (it signs)
    key, source = own_key(provider.verify), provider.key
    if provider.verify.kind == "jwt" and source is not None and source.source == "settings":
        # A token names its key, and one in a setting goes by the setting's name.
        return replace(key, id=f"{(source.secret or '').partition(':')[2]}#1")
    return key


def strangers_key(scheme: Scheme) -> Key:
    """What somebody else signs with."""
    return own_key(scheme, _STRANGER)


@cache
def _rsa(secret: str) -> bytes:  # noqa: ARG001  (one for each)
    from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key  # noqa: PLC0415

    private = generate_private_key(65537, _RSA_BITS)
    return private.private_bytes(forms.Encoding.DER, forms.PrivateFormat.PKCS8, forms.NoEncryption())


@cache
def _ecdsa(secret: str) -> bytes:  # noqa: ARG001  (one for each)
    from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key  # noqa: PLC0415

    private = generate_private_key(SECP256R1())
    return private.private_bytes(forms.Encoding.DER, forms.PrivateFormat.PKCS8, forms.NoEncryption())


def key_set(scheme: Scheme) -> bytes:
    """The set of keys that the provider publishes."""
    return json.dumps({"keys": [_jwk(scheme, own_key(scheme))]}).encode()


def _jwk(scheme: Scheme, key: Key) -> dict[str, str]:
    if scheme.kind == "ed25519":
        raw = ed25519_public(key).public_bytes_raw()
        return {"kty": "OKP", "crv": "Ed25519", "kid": key.id, "use": "sig", "x": _base64url(raw)}
    if scheme.kind == "ecdsa":
        point = ecdsa_public(key).public_numbers()
        place = {"x": _base64url(point.x.to_bytes(32)), "y": _base64url(point.y.to_bytes(32))}
        return {"kty": "EC", "crv": "P-256", "kid": key.id, "use": "sig", **place}
    numbers = rsa_public(key).public_numbers()
    named = {
        name: _base64url(n.to_bytes((n.bit_length() + 7) // 8, "big"))
        for name, n in (("n", numbers.n), ("e", numbers.e))
    }
    return {"kty": "RSA", "kid": key.id, "use": "sig", "alg": "RS256", **named}


def _public_text(scheme: Scheme, key: Key) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    if scheme.key_encoding == "jwk":
        return json.dumps(_jwk(scheme, key))
    public: Any = {"ed25519": ed25519_public, "ecdsa": ecdsa_public}.get(scheme.kind, rsa_public)(key)
    if scheme.key_encoding == "pem":
        pem: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem.decode()
    if scheme.kind in {"rsa", "ecdsa"}:
        der: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode()
    raw = ed25519_public(key).public_bytes_raw()
    return raw.hex() if scheme.key_encoding == "hex" else base64.b64encode(raw).decode()


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed_paths(scheme: Scheme, *, now: int) -> dict[str, Any]:
    """What the body itself must hold because the scheme reads it there, by path: the time, an id."""
    found: dict[str, Any] = {}
    for field in ("timestamp", "delivery_id"):
        for source in parse_sources(getattr(scheme, field), field=field)[:1]:
            if source.place == "body":
                written = write_timestamp(now, scheme.timestamp_format).decode()
                found[source.name] = written if field == "timestamp" else "evt_kit"
    return found


def headers_for(
    scheme: Scheme,
    key: Key,
    *,
    body: bytes,
    url: str,
    method: str,
    now: int,
    delivery_id: str | None = None,
    claims: Mapping[str, Any] | None = None,
) -> list[tuple[str, str]]:
    """The headers that prove *body* genuine; none where the provider proves nothing."""
    made = sign(
        body,
        scheme=scheme,
        key=key,
        now=now,
        url=url,
        method=method,
        delivery_id=delivery_id,
        claims=claims,
    )
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in made]
