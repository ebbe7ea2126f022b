"""What is taken out of a message: strictly, within bounds, and only where the scheme looks."""

import subprocess
import sys
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from receiver.core.description.scheme import Scheme
from receiver.core.errors import (
    ConfigurationError,
    RejectionError,
    RequestError,
    SignatureMalformedError,
    TimestampMalformedError,
    TimestampStaleError,
)
from receiver.core.signature.timestamp import check_age, parse_timestamp, span, write_timestamp
from receiver.core.signature.verify import Message, load_key, sign, verify

from .samples import BODY, NOW, SCHEMES, header, key, message, public, replaced, signed

LATEST = 253_402_300_799_000


@settings(max_examples=200, deadline=None)
@given(st.integers(0, LATEST), st.sampled_from(["unix", "unix-ms", "iso8601", "http-date"]))
def test_a_timestamp_survives_writing_and_reading(now: int, form: str) -> None:
    """Every form keeps the second, and those that have milliseconds keep them."""
    read = parse_timestamp(write_timestamp(now, form), form)
    assert read == (now if form in {"unix-ms", "iso8601"} else now // 1000 * 1000)


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("iso8601", b"2026-11-18T11:06:40Z", NOW),
        ("iso8601", b"2026-11-18T12:06:40.000000+01:00", NOW),
        ("http-date", b"Wed, 18 Nov 2026 11:06:40 GMT", NOW),
        ("unix", b"01795000000", NOW),
        ("iso8601", b"2026-11-18 11:06:40Z", None),
        ("iso8601", b"2026-11-18T11:06:40", None),
        ("iso8601", b"2026-02-30T11:06:40Z", None),
        ("iso8601", b"0000-01-01T00:00:00Z", None),
        ("iso8601", b"20261118T110640Z", None),
        ("http-date", b"Wed, 18 nov 2026 11:06:40 GMT", None),
        ("http-date", b"Wed, 31 Feb 2026 11:06:40 GMT", None),
        ("http-date", b"Wed, 18 Nov 2026 11:06:40 +0000", None),
        ("unix", b"", None),
    ],
)
def test_a_timestamp_is_read_in_its_one_form(form: str, text: bytes, expected: int | None) -> None:
    """What another parser would guess is refused."""
    if expected is None:
        with pytest.raises(TimestampMalformedError):
            parse_timestamp(text, form)
    else:
        assert parse_timestamp(text, form) == expected


def test_a_span_is_written_for_a_person() -> None:
    """Seconds, minutes, hours and days, whichever says enough."""
    assert [span(n * 1000) for n in (0, 119, 120, 7200, 172_800)] == ["0 s", "119 s", "2 min", "2 h", "2 d"]
    with pytest.raises(TimestampStaleError, match=r"2 h before .* tolerates 5 min"):
        check_age(NOW, scheme=SCHEMES["slack"], now=NOW + 7_200_000)


def test_a_header_of_endless_items_is_refused() -> None:
    """Splitting stops at a number of items that no scheme uses."""
    genuine = signed("stripe")
    for items in (64, 10_000):
        value = header(genuine, "Stripe-Signature") + b",x=1" * items
        with pytest.raises(SignatureMalformedError):
            verify(
                replaced(genuine, b"Stripe-Signature", value),
                scheme=SCHEMES["stripe"],
                keys=[key("stripe")],
                now=NOW,
            )


@pytest.mark.parametrize("query", ["&at=1", "&a=1" * 200])
def test_a_query_is_read_within_bounds_and_without_ambiguity(query: str) -> None:
    """A field that is there twice, or one among hundreds, is refused."""
    genuine = signed("url-and-query")
    changed = replace(genuine, url=genuine.url + query)
    with pytest.raises(SignatureMalformedError):
        verify(changed, scheme=SCHEMES["url-and-query"], keys=[key("url-and-query")], now=NOW)


def test_signing_says_what_the_url_lacks() -> None:
    """A scheme that reads its timestamp from the query cannot sign for a URL without one."""
    with pytest.raises(RequestError) as refused:
        sign(
            BODY, scheme=SCHEMES["url-and-query"], key=key("url-and-query"), now=NOW, url="https://a.example/"
        )
    assert refused.value.field == "url"


def test_the_raw_query_counts_before_the_urls() -> None:
    """What the server received is read; the URL is only what was signed."""
    scheme = Scheme(kind="hmac", header="X-Signature", delivery_id="query:id")
    headers = sign(BODY, scheme=scheme, key=key("github"), now=NOW, url="https://a.example/?id=1")
    arrived = Message(body=BODY, headers=headers, url="https://a.example/?id=1", query=b"id=2")
    assert verify(arrived, scheme=scheme, keys=[key("github")], now=NOW).delivery_id == "2"


FOLDED = sorted(name for name, one in SCHEMES.items() if one.kind in {"hmac", "hash", "ed25519"})


def folded(value: bytes, cuts: list[bool], joints: list[bytes]) -> list[bytes]:
    """The lines that *value* becomes where it is cut, or written anew, at its commas."""
    first, *pieces = value.split(b",")
    lines = [first]
    for number, piece in enumerate(pieces):
        if cuts[number % len(cuts)]:
            lines.append(piece)
        else:
            lines[-1] += joints[number % len(joints)] + piece
    return lines


@given(
    name=st.sampled_from(FOLDED),
    cuts=st.lists(st.booleans(), min_size=1, max_size=4),
    joints=st.lists(st.sampled_from([b",", b", ", b" , ", b",\t", b" ,"]), min_size=1, max_size=4),
    space=st.sampled_from([b"", b" "]),
)
def test_a_header_that_was_split_or_joined_at_its_commas_is_read_as_it_was(
    name: str, cuts: list[bool], joints: list[bytes], space: bytes
) -> None:
    """Whatever the scheme: the lines together are what was sent (RFC 9110, 5.3), and prove what it proves."""
    genuine, carrier = signed(name), SCHEMES[name].headers[0].encode()
    lines = folded(header(genuine, carrier.decode()), cuts, joints)
    others = [(field, value) for field, value in genuine.headers if field.lower() != carrier.lower()]
    arrived = replace(genuine, headers=[*others, *((carrier, space + line) for line in lines)])
    if space:
        # A server takes the space around a field's value away.
        arrived = replace(arrived, headers=[(field, value.strip(b" ")) for field, value in arrived.headers])
    verified = verify(arrived, scheme=SCHEMES[name], keys=[key(name)], now=NOW)
    assert verified == verify(genuine, scheme=SCHEMES[name], keys=[key(name)], now=NOW)


@given(name=st.sampled_from(FOLDED), joint=st.sampled_from([b",", b", ", None]), same=st.booleans())
def test_two_whole_signatures_prove_nothing(name: str, joint: bytes | None, *, same: bool) -> None:
    """On two lines or folded into one, alike or not: another reader might take the other one."""
    genuine, carrier = signed(name), SCHEMES[name].headers[0]
    other = signed(name) if same else signed(name, body=b"another=1")
    values = [header(other, carrier), header(genuine, carrier)]
    # Baseten's header is a list of whole signatures, on one line.
    joint = None if name == "baseten" else joint
    lines = values if joint is None else [joint.join(values)]
    others = [(field, value) for field, value in genuine.headers if field.lower() != carrier.lower().encode()]
    arrived = replace(genuine, headers=[*others, *((carrier.encode(), line) for line in lines)])
    with pytest.raises(RejectionError):
        verify(arrived, scheme=SCHEMES[name], keys=[key(name)], now=NOW)


@pytest.mark.parametrize("value", [b"", b"\xff", b"a\x1bb", b"a" * 257])
def test_what_cannot_be_an_id_is_none(value: bytes) -> None:
    """An id goes to logs and unique indexes: printable UTF-8 of at most 256 bytes, or nothing."""
    arrived = replaced(signed("github"), b"X-GitHub-Delivery", value)
    assert verify(arrived, scheme=SCHEMES["github"], keys=[key("github")], now=NOW).delivery_id is None


@pytest.mark.parametrize(
    ("body", "expected"), [(b'{"id":7}', "7"), (b'{"id":true}', None), (b'{"id":{}}', None)]
)
def test_an_id_in_the_body_is_text_or_a_number(body: bytes, expected: str | None) -> None:
    """Anything else in its place is no id, and no error either: the message is genuine."""
    arrived = signed("stripe", body=body)
    assert verify(arrived, scheme=SCHEMES["stripe"], keys=[key("stripe")], now=NOW).delivery_id == expected


@pytest.mark.parametrize("path", ["claim:a.b", "header:X-Id"])
def test_the_id_of_a_token_is_read_where_the_scheme_says(path: str) -> None:
    """From a claim, nested or not, or from a header."""
    scheme = replace(SCHEMES["gemini"], delivery_id=path)
    headers = sign(BODY, scheme=scheme, key=key("gemini"), now=NOW, delivery_id="d", claims={"a": {"b": "d"}})
    assert verify(message(BODY, headers), scheme=scheme, keys=[key("gemini")], now=NOW).delivery_id == "d"
    bare = sign(BODY, scheme=replace(scheme, delivery_id=()), key=key("gemini"), now=NOW, claims={"a": 1})
    assert verify(message(BODY, bare), scheme=scheme, keys=[key("gemini")], now=NOW).delivery_id is None


def test_a_key_is_not_taken_for_another_kind() -> None:
    """A key where one of another kind belongs is the operator's to correct, and no sender's fault."""
    for name, wrong in (("gemini", public(key("fal"))), ("gemini", key("fal")), ("fal", key("github"))):
        with pytest.raises(ConfigurationError):
            verify(signed(name), scheme=SCHEMES[name], keys=[wrong], now=NOW)


def test_short_hmac_keys_are_refused_by_default() -> None:
    """The default minimum holds without anyone asking for it."""
    with pytest.raises(ConfigurationError, match="15 bytes"):
        load_key("k", "x" * 15, scheme=SCHEMES["github"])


def test_the_cli_does_not_pay_for_asymmetric_keys() -> None:
    """Importing verification and using HMAC imports no part of ``cryptography``."""
    code = (
        "import sys; from receiver.core.signature.verify import *;"
        "from receiver.core.signature.diagnosis import diagnose;"
        "from receiver.core.description.scheme import Scheme; s = Scheme(kind='hmac', header='X');"
        "k = load_key('k', 'x' * 32, scheme=s); h = sign(b'', scheme=s, key=k, now=0);"
        "assert verify(Message(body=b'', headers=h), scheme=s, keys=[k], now=0).authenticated;"
        "assert not [m for m in sys.modules if m.startswith('cryptography')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@given(value=st.text(st.characters(codec="utf-8"), min_size=1, max_size=12))
def test_a_field_of_the_query_is_bytes(value: str) -> None:
    """An id in the query may hold whatever text: nothing of it keeps a genuine message out."""
    scheme = Scheme(kind="hmac", header="X-Signature", delivery_id="query:id")
    headers = sign(BODY, scheme=scheme, key=key("github"), now=NOW, url="https://a.example/?id=1")
    arrived = Message(body=BODY, headers=headers, query=b"x=%ff&id=" + quote(value).encode())
    found = verify(arrived, scheme=scheme, keys=[key("github")], now=NOW).delivery_id
    assert found == (value if value.isprintable() else None)
