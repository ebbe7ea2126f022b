"""Shared secrets and public keys of one scheme side by side: Standard Webhooks v1 and v1a."""

import base64
from itertools import product

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from receiver.core.description.scheme import Scheme
from receiver.core.errors import RejectionError, SignatureMismatchError, TimestampStaleError
from receiver.core.signature.keylist import load_keys
from receiver.core.signature.verify import Key, Message, load_key, sign, verify
from tests.core.making import packaged

from .samples import NOW

BODY = b'{"type":"interaction.completed"}'
PRIVATE = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(3)]
SHARED = ["whsec_" + base64.b64encode(bytes([number]) * 24).decode() for number in range(3)]
PUBLIC = ["whpk_" + base64.b64encode(one.public_key().public_bytes_raw()).decode() for one in PRIVATE]


def scheme() -> Scheme:
    """The packaged description's."""
    found = packaged("standard-webhooks").verify
    assert found is not None
    return found


def keys(*texts: str) -> tuple[Key, ...]:
    """Keys as they are configured."""
    return load_keys("NAME", ",".join(texts), scheme=scheme()).keys


def delivered(*items: str) -> Message:
    """A message whose header holds these signatures."""
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(NOW // 1000),
        "webhook-signature": " ".join(items),
    }
    return Message(body=BODY, headers=[(name.encode(), value.encode()) for name, value in headers.items()])


def v1a(number: int, body: bytes = BODY) -> str:
    """A signature by a private key."""
    content = f"msg_1.{NOW // 1000}.".encode() + body
    return "v1a," + base64.b64encode(PRIVATE[number].sign(content)).decode()


def v1(number: int) -> str:
    """A signature by a shared secret."""
    (key,) = keys(SHARED[number])
    headers = sign(BODY, scheme=scheme(), key=key, now=NOW, delivery_id="msg_1")
    return dict(headers)[b"webhook-signature"].decode()


@given(
    configured=st.lists(st.sampled_from([*SHARED, *PUBLIC]), min_size=1, max_size=4, unique=True),
    sent=st.lists(st.sampled_from([*product(["v1", "v1a"], range(3))]), min_size=1, max_size=4),
)
def test_a_signature_counts_if_its_key_is_configured(
    configured: list[str], sent: list[tuple[str, int]]
) -> None:
    """Whatever stands beside it in the header, and whatever keys of the other kind are in force."""
    message = delivered(*(v1(number) if kind == "v1" else v1a(number) for kind, number in sent))
    genuine = any((SHARED if kind == "v1" else PUBLIC)[number] in configured for kind, number in sent)
    if genuine:
        verified = verify(message, scheme=scheme(), keys=keys(*configured), now=NOW)
        assert (verified.authenticated, verified.delivery_id) == (True, "msg_1")
        return
    with pytest.raises(RejectionError) as refused:
        verify(message, scheme=scheme(), keys=keys(*configured), now=NOW)
    assert refused.value.code in {"signature_mismatch", "signature_malformed"}


def test_a_public_key_proves_nothing_but_what_its_private_half_signed() -> None:
    """Another body, another time, or the other kind's prefix: refused, and a public key is never a shared secret."""
    both = keys(SHARED[0], PUBLIC[0])
    with pytest.raises(SignatureMismatchError):
        verify(delivered(v1a(0, b"other")), scheme=scheme(), keys=both, now=NOW)
    with pytest.raises(TimestampStaleError):
        verify(delivered(v1a(0)), scheme=scheme(), keys=both, now=NOW + 3_600_000)
    with pytest.raises(RejectionError):
        verify(delivered(v1a(0).replace("v1a,", "v1,")), scheme=scheme(), keys=both, now=NOW)
    # An HMAC under the public key's bytes, which everybody knows.
    raw = PRIVATE[0].public_key().public_bytes_raw()
    forged = sign(BODY, scheme=scheme(), key=Key(id="k", secret=raw), now=NOW, delivery_id="msg_1")
    for configured in ((PUBLIC[0],), (SHARED[0], PUBLIC[0])):
        with pytest.raises(RejectionError):
            verify(
                delivered(dict(forged)[b"webhook-signature"].decode()),
                scheme=scheme(),
                keys=keys(*configured),
                now=NOW,
            )


def test_a_private_key_signs_as_version_v1a() -> None:
    """What `receiver sign` makes with whsk_ is proved by the whpk_ of the same pair."""
    seed = bytes([0]) * 32 + PRIVATE[0].public_key().public_bytes_raw()
    key = load_key("k", "whsk_" + base64.b64encode(seed).decode(), scheme=scheme())
    headers = sign(BODY, scheme=scheme(), key=key, now=NOW)
    assert dict(headers)[b"webhook-signature"].startswith(b"v1a,")
    assert verify(
        Message(body=BODY, headers=headers), scheme=scheme(), keys=keys(PUBLIC[0]), now=NOW
    ).authenticated


def test_public_keys_are_taken_only_where_the_scheme_says_so() -> None:
    """Elsewhere whpk_ is no known form, and the prefix goes with keys that can be told apart."""
    plain = replace(scheme(), public_prefix="")
    with pytest.raises(Exception, match="not in the form"):
        load_keys("NAME", PUBLIC[0], scheme=plain)
    for changes in ({"key_encoding": "utf8"}, {"public_prefix": "v 1"}, {"public_prefix": "é"}):
        with pytest.raises(ValueError, match="public_prefix"):
            replace(scheme(), **changes)
