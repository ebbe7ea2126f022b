"""RFC 9421: what an independent package signs is genuine here, what we sign is genuine there, and nothing less will do.

The clock is the package's own, so these tests read it too.
"""

import base64
import datetime as dt
import hashlib
import time
from collections.abc import Callable
from typing import Any

import http_message_signatures as hms
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from receiver.core.description.scheme import Scheme
from receiver.core.errors import RejectionError
from receiver.core.message import Message, lowered
from receiver.core.signature.diagnosis import diagnose
from receiver.core.signature.verify import Key, load_key, sign, verify
from receiver.core.signature.walk import walk

from .samples import PAIR

URL = "https://receiver.example/webhooks/p?a=1&name=x%20y"
BODY = '{"id": "j1", "note": "déjà vu"}'.encode()
SECRET = "a shared secret of some length"
COVERED = ("@method", "@target-uri", "@authority", "@path", "@query", "content-type", "content-digest")
CURVE, POINT = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()


def of(kind: str, **changes: Any) -> Scheme:  # noqa: ANN401
    """A scheme of RFC 9421 with keys of *kind*."""
    form: dict[str, Any] = {"ecdsa": {"signature_form": "raw"}}.get(kind, {})
    encoding = "utf8" if kind == "hmac" else "pem"
    made: Any = {
        "kind": kind,
        "plugin": "rfc9421",
        "timestamp": "part:created",
        "key_encoding": encoding,
        "components": ("@method", "@target-uri"),
        **form,
        **changes,
    }
    return Scheme(**made)


def pem(key: Any, *, private: bool) -> str:  # noqa: ANN401
    """*key* as PEM."""
    made: bytes = (
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        if private
        else key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return made.decode()


KINDS: dict[str, tuple[Scheme, Any, Any]] = {
    "hmac": (of("hmac"), None, hms.algorithms.HMAC_SHA256),
    "ed25519": (of("ed25519"), POINT, hms.algorithms.ED25519),
    "ecdsa": (of("ecdsa"), CURVE, hms.algorithms.ECDSA_P256_SHA256),
    "rsa": (of("rsa"), PAIR, hms.algorithms.RSA_V1_5_SHA256),
    "pss": (of("rsa", padding="pss", alg="sha512"), PAIR, hms.algorithms.RSA_PSS_SHA512),
}


class _Resolver(hms.HTTPSignatureKeyResolver):
    """The other side's keys."""

    def __init__(self, key: Any) -> None:  # noqa: ANN401
        self._key = key

    def resolve_private_key(self, key_id: str) -> Any:  # noqa: ANN401, ARG002
        return SECRET.encode() if self._key is None else pem(self._key, private=True).encode()

    def resolve_public_key(self, key_id: str) -> Any:  # noqa: ANN401, ARG002
        return SECRET.encode() if self._key is None else pem(self._key, private=False).encode()


def ours(kind: str, *, private: bool = False) -> Key:
    """The key as it is configured here."""
    scheme, key, _ = KINDS[kind]
    return load_key("k", SECRET if key is None else pem(key, private=private), scheme=scheme)


def signed_by_package(kind: str, covered: tuple[str, ...] = COVERED, **more: Any) -> Message:  # noqa: ANN401
    """A request that the package signed."""
    _, key, algorithm = KINDS[kind]
    request = requests.Request("POST", URL, data=BODY, headers={"Content-Type": "application/json"}).prepare()
    digest = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    if "content-digest" in covered:
        request.headers["Content-Digest"] = f"sha-256=:{digest}:"
    signer = hms.HTTPMessageSigner(signature_algorithm=algorithm, key_resolver=_Resolver(key))
    extra: dict[str, Any] = {"use_existing_digest": True} if "content-digest" in covered else {}
    signer.sign(request, key_id="k", covered_component_ids=covered, **extra, **more)
    headers = [(name.encode(), str(value).encode()) for name, value in request.headers.items()]
    return Message(body=BODY, headers=lowered(headers), url=URL)


def now() -> int:
    """Milliseconds."""
    return time.time_ns() // 1_000_000


def refusal(message: Message, kind: str, *, at: int | None = None, scheme: Scheme | None = None) -> str:
    """The code with which *message* is refused."""
    with pytest.raises(RejectionError) as refused:
        verify(message, scheme=scheme or KINDS[kind][0], keys=[ours(kind)], now=at or now())
    return refused.value.code


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_package_signs_is_genuine(kind: str) -> None:
    """Every algorithm of the RFC that we know; another body, method, address or header is refused."""
    message = signed_by_package(kind)
    scheme = KINDS[kind][0]
    verified = verify(message, scheme=scheme, keys=[ours(kind)], now=now())
    assert verified.timestamp is not None
    assert {one.mark for one in walk(message, scheme=scheme, keys=[ours(kind)], now=now())} == {"ok"}
    assert refusal(replace(message, body=BODY + b" "), kind) == "digest_mismatch"
    assert refusal(replace(message, method="PUT"), kind) == "signature_mismatch"
    assert refusal(replace(message, url=URL + "&b=2"), kind) == "signature_mismatch"
    changed = [(n, b"text/plain" if n == b"content-type" else v) for n, v in message.headers]
    assert refusal(replace(message, headers=changed), kind) == "signature_mismatch"
    assert refusal(message, kind, at=now() + 301_000) == "timestamp_stale"
    assert refusal(message, kind, at=now() - 302_000) == "timestamp_future"


@pytest.mark.parametrize("kind", KINDS)
def test_what_we_sign_is_genuine_there(kind: str) -> None:
    """The package verifies our signature, and refuses it for another address."""
    scheme, key, algorithm = KINDS[kind]
    headers = sign(BODY, scheme=scheme, key=ours(kind, private=True), now=now(), url=URL)
    request = requests.Request("POST", URL, data=BODY).prepare()
    request.headers.update({name.decode().title(): value.decode() for name, value in headers})
    verifier = hms.HTTPMessageVerifier(signature_algorithm=algorithm, key_resolver=_Resolver(key))
    (result,) = verifier.verify(request, max_age=dt.timedelta(minutes=5))
    assert '"content-digest"' in result.covered_components
    request.url = URL + "&b=2"
    with pytest.raises(hms.InvalidSignature):
        verifier.verify(request)


def test_a_signature_that_covers_too_little_proves_nothing() -> None:
    """Without the body's digest, or without what the description wants, a genuine signature is refused."""
    bare = signed_by_package("hmac", ("@method", "@target-uri"))
    assert refusal(bare, "hmac") == "signature_malformed"
    short = signed_by_package("hmac", ("@method", "content-digest"))
    assert refusal(short, "hmac") == "signature_malformed"
    lax = replace(KINDS["hmac"][0], components=())
    assert verify(short, scheme=lax, keys=[ours("hmac")], now=now()).authenticated


def test_an_expired_signature_is_refused() -> None:
    """What the signature itself says of its end counts, however long the scheme would tolerate it."""
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=20)
    message = signed_by_package("hmac", expires=soon)
    assert verify(message, scheme=KINDS["hmac"][0], keys=[ours("hmac")], now=now()).authenticated
    assert refusal(message, "hmac", at=now() + 30_000) == "timestamp_stale"


def test_the_named_key_must_have_signed() -> None:
    """Where the description says that the key is named, another key does not do."""
    scheme = replace(KINDS["hmac"][0], key_id="part:keyid")
    message = signed_by_package("hmac")
    assert verify(message, scheme=scheme, keys=[ours("hmac")], now=now()).key_id == "k"
    stranger = replace(ours("hmac"), id="other")
    with pytest.raises(RejectionError) as refused:
        verify(message, scheme=scheme, keys=[stranger], now=now())
    assert refused.value.code == "key_unknown"


RFC_KEY = """-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2
+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+
oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHq
gDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5W
Utzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4
aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI
2wIDAQAB
-----END PUBLIC KEY-----"""
B22 = (
    (
        '("@authority" "content-digest" "@query-param";name="Pet");created=1618884473;keyid="test-key-rsa-pss"'
        ';tag="header-example"'
    ),
    (
        "LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowOB4+ECxCmT"
        "8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2fjBSpqfZ"
        "UJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQl3/XaVe4bXTugEjHSw=="
    ),
)
B23 = (
    (
        '("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length")'
        ';created=1618884473;keyid="test-key-rsa-pss"'
    ),
    (
        "bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768ZrCUb38K0fU"
        "xN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CCoC1xMy7JA1ipw"
        "vKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAFL2FUo5fTIztsDZKEgM4cUA=="
    ),
)


@pytest.mark.parametrize(("inputs", "signature"), [B22, B23], ids=["B.2.2", "B.2.3"])
def test_the_vectors_of_the_rfc(inputs: str, signature: str) -> None:
    """The published signatures over a request with the digest of its body (in the package's own tests, 3.0.0)."""
    digest = "WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew=="
    headers = {
        "date": "Tue, 20 Apr 2021 02:07:55 GMT",
        "content-type": "application/json",
        "content-digest": f"sha-512=:{digest}:",
        "content-length": "18",
        "signature-input": f"sig={inputs}",
        "signature": f"sig=:{signature}:",
    }
    message = Message(
        body=b'{"hello": "world"}',
        headers=[(name.encode(), value.encode()) for name, value in headers.items()],
        url="https://example.com/foo?param=Value&Pet=dog",
    )
    scheme = of("rsa", padding="pss", alg="sha512", components=("@authority",), key_id="part:keyid")
    key = load_key("test-key-rsa-pss", RFC_KEY, scheme=scheme)
    verified = verify(message, scheme=scheme, keys=[key], now=1_618_884_473_000)
    assert (verified.key_id, verified.timestamp) == ("test-key-rsa-pss", 1_618_884_473_000)
    with pytest.raises(RejectionError):
        verify(
            replace(message, url="https://example.com/foo?Pet=cat"),
            scheme=scheme,
            keys=[key],
            now=1_618_884_473_000,
        )


def test_the_cause_is_named() -> None:
    """A changed body and another address are told apart."""
    message = signed_by_package("hmac")
    for changed, code in (
        (replace(message, body=BODY + b" "), "digest_mismatch"),
        (replace(message, url=URL.replace("https", "http")), "url_differs"),
    ):
        with pytest.raises(RejectionError) as refused:
            verify(changed, scheme=KINDS["hmac"][0], keys=[ours("hmac")], now=now())
        found = diagnose(
            changed, scheme=KINDS["hmac"][0], keys=[ours("hmac")], now=now(), error=refused.value
        )
        assert found.code == code


MUTATIONS: list[Callable[[bytes], bytes]] = [
    lambda text: text.replace(b"sig", b"SIG"),
    lambda text: text + b"," + text,
    lambda text: text.replace(b";", b"; "),
    lambda text: text.replace(b'"', b"'"),
    lambda text: text[:-1],
    lambda text: text[:0],
    lambda text: text.replace(b"(", b"((").replace(b")", b"))"),
    lambda text: text.replace(b'"@method"', b'"@method" "@method"'),
    lambda text: text.replace(b'"@method"', b'"@method";req'),
    lambda text: text.replace(b"created=", b"created=-"),
    lambda text: b"x=(),".join([text] * 9),
]


@pytest.mark.parametrize("name", [b"signature", b"signature-input", b"content-digest"])
@pytest.mark.parametrize("mutate", MUTATIONS, ids=range(len(MUTATIONS)))
def test_what_is_not_written_canonically_is_refused(name: bytes, mutate: Callable[[bytes], bytes]) -> None:
    """No change of the three headers leaves a genuine message, and none raises anything but RejectionError."""
    message = signed_by_package("hmac")
    headers = [(n, mutate(v) if n == name else v) for n, v in message.headers]
    if headers != list(message.headers):
        refusal(replace(message, headers=headers), "hmac")


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=40))
def test_junk_is_refused_and_nothing_else(one: bytes, two: bytes, three: bytes) -> None:
    """Whatever stands in the headers, only RejectionError is raised."""
    headers = [(b"signature-input", b"sig1=" + one), (b"signature", b"sig1=:" + two + b":")]
    message = Message(body=BODY, headers=[*headers, (b"content-digest", three)], url=URL)
    refusal(message, "hmac", at=1_795_000_000_000)
