"""Keys are taken in the form in which providers hand them out, and in no other."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from msgspec.structs import replace

from receiver.core.description.scheme import Scheme
from receiver.core.errors import ConfigurationError, KeyUnavailableError
from receiver.core.signature.verify import load_key, load_key_set

from .samples import SCHEMES

HMAC = Scheme(kind="hmac", header="X")
ED25519 = Scheme(kind="ed25519", header="X", key_encoding="hex")
RAW = bytes(range(32))


def b64url(raw: bytes) -> str:
    """Bytes as a JWK writes them."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf8", "a secret of 32 bytes as it stands"),
        ("hex", RAW.hex()),
        ("hex", f"  {RAW.hex().upper()}\n"),
        ("base64", base64.b64encode(RAW).decode()),
        ("base64", base64.b64encode(RAW).decode().rstrip("=")),
        ("whsec", "whsec_" + base64.b64encode(RAW).decode()),
        ("whsec", base64.b64encode(RAW).decode()),
    ],
)
def test_a_shared_secret_is_read_in_its_encoding(encoding: str, text: str) -> None:
    """The same 32 bytes, however the provider's console shows them."""
    scheme = Scheme(kind="hmac", header="X", key_encoding=encoding)  # type: ignore[arg-type]
    expected = text.encode() if encoding == "utf8" else RAW
    assert load_key("k", text, scheme=scheme).secret == expected


@pytest.mark.parametrize(
    ("encoding", "text", "code"),
    [
        ("utf8", "", "key_empty"),
        ("utf8", " \n", "key_empty"),
        ("utf8", "15 bytes of key", "key_too_short"),
        ("hex", RAW[:15].hex(), "key_too_short"),
        ("hex", "0" * 33, "key_malformed"),
        ("hex", "zz" * 16, "key_malformed"),
        ("whsec", "whsec_", "key_too_short"),
        ("whsec", "whsec_not base64!", "key_malformed"),
        ("base64", "whsec_" + base64.b64encode(RAW).decode(), "key_malformed"),
        ("base64", "AAAAA", "key_malformed"),
    ],
)
def test_an_unusable_secret_is_a_configuration_error(encoding: str, text: str, code: str) -> None:
    """Empty, guessable and garbled keys stop the receiver at its start, and are not shown."""
    scheme = Scheme(kind="hmac", header="X", key_encoding=encoding)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError) as refused:
        load_key("the-key", text, scheme=scheme)
    assert refused.value.code == code
    assert "the-key" in str(refused.value)
    assert not text.strip() or text not in str(refused.value)


def test_only_a_published_vector_may_have_a_short_secret() -> None:
    """The minimum is a parameter, and an empty secret passes under none."""
    assert load_key("k", "12345", scheme=HMAC, minimum=1).secret == b"12345"
    with pytest.raises(ConfigurationError):
        load_key("k", "whsec_", scheme=replace(HMAC, key_encoding="whsec"), minimum=0)


def test_a_basic_credential_has_a_colon() -> None:
    """The key of a Basic scheme is user:password."""
    with pytest.raises(ConfigurationError, match="user:password"):
        load_key("k", "a password without a user", scheme=SCHEMES["basic"])


def test_ed25519_keys_are_read_in_every_form() -> None:
    """One public key, in the five forms in which providers publish it."""
    private = Ed25519PrivateKey.from_private_bytes(RAW)
    public = private.public_key()
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    forms = {
        "hex": raw.hex(),
        "base64": base64.b64encode(raw).decode(),
        "whsec": "whpk_" + base64.b64encode(raw).decode(),
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        "jwk": json.dumps({"kty": "OKP", "crv": "Ed25519", "x": b64url(raw)}),
    }
    for encoding, text in forms.items():
        key = load_key("k", text, scheme=replace(ED25519, key_encoding=encoding))
        assert (key.secret, key.private) == (raw, False)
    secrets = {
        "whsec": "whsk_" + base64.b64encode(RAW + raw).decode(),
        "pem": private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    }
    for encoding, text in secrets.items():
        key = load_key("k", text, scheme=replace(ED25519, key_encoding=encoding))
        assert (key.secret, key.private) == (RAW, True)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("hex", "00" * 31),
        ("hex", "00" * 64),
        ("whsec", "whsk_" + base64.b64encode(RAW).decode()),
        ("pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"),
        ("pem", "nonsense"),
        ("jwk", "nonsense"),
        ("jwk", "[]"),
        ("jwk", '{"kty":"OKP","crv":"Ed25519"}'),
        ("jwk", '{"kty":"OKP","crv":"Ed25519","x":"AAAA"}'),
        ("jwk", '{"kty":"OKP","crv":"X25519","x":"' + b64url(RAW) + '"}'),
    ],
)
def test_an_unusable_public_key_is_a_configuration_error(encoding: str, text: str) -> None:
    """A key of another size, kind or form is named when it is loaded, not when a callback arrives."""
    with pytest.raises(ConfigurationError) as refused:
        load_key("k", text, scheme=replace(ED25519, key_encoding=encoding))
    assert refused.value.code == "key_malformed"


def test_rsa_keys_are_read_from_pem_and_must_be_long() -> None:
    """An RS256 key has at least 2048 bits; a key of another kind is no RS256 key."""
    scheme = replace(SCHEMES["gemini"], key_encoding="pem")
    long, short = generate_private_key(65537, 2048), generate_private_key(65537, 1024)  # noqa: S505  (refusing it is the point)
    assert not load_key("k", pem(long.public_key()), scheme=scheme).private
    with pytest.raises(ConfigurationError) as refused:
        load_key("k", pem(short.public_key()), scheme=scheme)
    assert refused.value.code == "key_too_short"
    for other in (Ed25519PrivateKey.generate(), generate_ec(SECP256R1())):
        with pytest.raises(ConfigurationError):
            load_key("k", pem(other.public_key()), scheme=scheme)
    with pytest.raises(ConfigurationError):
        load_key("k", pem(long.public_key()), scheme=replace(ED25519, key_encoding="pem"))


def test_a_key_set_gives_the_keys_that_fit() -> None:
    """Keys of another kind or use are passed over; one without a kid is known by its thumbprint."""
    numbers = generate_private_key(65537, 2048).public_key().public_numbers()
    rsa = {"kty": "RSA", "kid": "r", "n": b64url(numbers.n.to_bytes(256)), "e": "AQAB"}
    # RFC 8037, appendix A.2 and A.3: the key and its thumbprint.
    okp = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    others = [
        {"kty": "EC", "crv": "P-256"},
        {**rsa, "use": "enc"},
        {**rsa, "alg": "RS512"},
        {**rsa, "n": "AQAB"},
    ]
    document = json.dumps({"keys": [*others, rsa, okp]}).encode()
    assert [key.id for key in load_key_set(document, scheme=SCHEMES["gemini"])] == ["r"]
    thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert [key.id for key in load_key_set(document, scheme=SCHEMES["fal"])] == [thumbprint]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":[]}',
        b'{"keys":{}}',
        b'{"keys":[1]}',
        b"\xff",
        b"[" * 9999,
        b" " * (2 << 20),
    ],
)
def test_an_unusable_key_set_is_not_the_senders_fault(document: bytes) -> None:
    """A broken key set is a 503: the provider's callbacks are not called forged."""
    with pytest.raises(KeyUnavailableError) as unavailable:
        load_key_set(document, scheme=SCHEMES["fal"])
    assert unavailable.value.status == 503


def pem(public: object) -> str:
    """A public key as PEM."""
    text: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return text.decode()


@pytest.mark.parametrize(
    ("operations", "usable"),
    [
        (["verify"], True),
        (["sign", "verify"], True),
        (["sign"], False),
        (["encrypt", "wrapKey"], False),
        ([], False),
        ("verify", False),
        (None, False),
        (["Verify"], False),
    ],
)
def test_a_key_for_other_operations_is_none_to_verify_with(operations: object, *, usable: bool) -> None:
    """Where a JWK names its operations, verify must be among them (RFC 7517, 4.3)."""
    scheme = Scheme(kind="ed25519", header="X", key_encoding="jwk")
    other = {"kty": "OKP", "crv": "Ed25519", "x": b64url(bytes(range(1, 33))), "kid": "other"}
    entry = {"kty": "OKP", "crv": "Ed25519", "x": b64url(RAW), "kid": "this", "key_ops": operations}
    found = load_key_set(json.dumps({"keys": [entry, other]}).encode(), scheme=scheme)
    assert [key.id for key in found] == (["this", "other"] if usable else ["other"])
