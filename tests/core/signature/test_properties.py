"""What holds for every input: verify returns or rejects, and what was signed survives the way."""

import hmac
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from receiver.core.description.scheme import Scheme
from receiver.core.errors import RejectionError
from receiver.core.signature.proof import signer
from receiver.core.signature.verify import Key, Message, Verified, verify

from .samples import NOW, SCHEMES, SIGNING, header, key, replaced, signed

FEW = settings(max_examples=20, deadline=None)

#: What servers hand over: any byte but CR, LF and NUL, of which latin-1 text is the usual reading.
VALUES = st.binary(max_size=200) | st.text(st.characters(max_codepoint=255), max_size=80).map(
    lambda text: text.encode("latin-1")
)
NUMBERS = st.integers(-(1 << 70), 1 << 70).map(lambda number: str(number).encode())
NAMES = st.sampled_from(
    sorted(
        {name for scheme in SCHEMES.values() for name in scheme.headers}
        | {"webhook-id", "webhook-timestamp", "svix-id", "X-Slack-Request-Timestamp", "X-Cld-Timestamp"}
        | {"X-Fal-Webhook-Request-Id", "X-Fal-Webhook-User-Id", "X-Fal-Webhook-Timestamp"}
    )
).map(str.encode)
HEADERS = st.lists(st.tuples(NAMES | st.binary(max_size=20), VALUES | NUMBERS), max_size=12)
URLS = st.text(max_size=60) | st.sampled_from(["https://[", "https://a:99999/?at=1&at=2", "http://\ud800/?x"])


@pytest.mark.parametrize("name", sorted(SCHEMES))
@FEW
@given(st.binary(max_size=300), HEADERS, URLS, st.binary(max_size=40), st.integers(0, 1 << 50))
def test_whatever_the_bytes_verify_returns_or_rejects(
    name: str, body: bytes, headers: list[tuple[bytes, bytes]], url: str, query: bytes, now: int
) -> None:
    """No message chooses which exception is raised: nobody outside can make a 500."""
    arrived = Message(body=body, headers=headers, url=url, query=query)
    try:
        verified = verify(arrived, scheme=SCHEMES[name], keys=[key(name)], now=now)
    except RejectionError:
        return
    assert isinstance(verified, Verified)
    assert not verified.authenticated


@pytest.mark.parametrize("name", SIGNING)
@FEW
@given(st.data())
def test_whatever_replaces_one_header_verify_returns_or_rejects(name: str, data: st.DataObject) -> None:
    """A genuine message with one arbitrary header reaches deeper; still nothing but a rejection comes out."""
    genuine = signed(name)
    carrier = data.draw(st.sampled_from([field for field, _ in genuine.headers]))
    original = header(genuine, carrier.decode())
    place = data.draw(st.integers(0, len(original)))
    value = original[:place] + data.draw(VALUES) + original[place:] if data.draw(st.booleans()) else None
    with suppress(RejectionError):
        verify(replaced(genuine, carrier, value), scheme=SCHEMES[name], keys=[key(name)], now=NOW)


@pytest.mark.parametrize("name", SIGNING)
@FEW
@given(st.data(), st.integers(1_000_000_000, 4_000_000_000))
def test_a_signed_message_survives_any_order_and_letter_case(name: str, data: st.DataObject, at: int) -> None:
    """Whatever proxies do to the header list, a genuine message stays genuine."""
    now = at * 1000
    body = signed(name).body if name in {"twilio", "baseten"} else data.draw(st.binary(max_size=300))
    now = NOW if name == "baseten" else now
    genuine = signed(name, body=body, now=now)
    order = data.draw(st.permutations(genuine.headers))
    recased = [
        (
            bytes(
                byte ^ 0x20 if chr(byte).isalpha() and data.draw(st.booleans()) else byte for byte in field
            ),
            value,
        )
        for field, value in order
    ]
    verified = verify(replace(genuine, headers=recased), scheme=SCHEMES[name], keys=[key(name)], now=now)
    assert verified.authenticated


@given(st.binary(min_size=1, max_size=300), st.lists(st.binary(max_size=80), max_size=5))
@settings(max_examples=200, deadline=None)
def test_our_hmac_is_the_standard_librarys(secret: bytes, pieces: list[bytes]) -> None:
    """HMAC from prepared states equals hmac.digest, for keys shorter and longer than a block."""
    for algorithm in ("sha256", "sha1", "sha512"):
        scheme = Scheme(kind="hmac", header="X", alg=algorithm)
        made = signer(Key(id="k", secret=secret), scheme=scheme)(pieces)
        assert made == hmac.digest(secret, b"".join(pieces), algorithm)
