"""What Twilio signs: URL and form, or URL and the body's hash; nothing of a body stays unsigned."""

from collections.abc import Iterator
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from receiver.core.errors import RejectionError
from receiver.core.signature.verify import Message, Verified, sign, verify

from .samples import NOW, SCHEMES, body_of, key, message


def check(arrived: Message) -> Verified:
    """Verify as a callback of Twilio."""
    return verify(arrived, scheme=SCHEMES["twilio"], keys=[key("twilio")], now=NOW)


@pytest.mark.parametrize("port", ["", ":443", ":8443"])
def test_twilio_signs_with_and_without_the_port(port: str) -> None:
    """Either spelling of the URL is accepted, whichever Twilio took."""
    scheme, host = SCHEMES["twilio"], "https://receiver.example"
    body, token = body_of("twilio"), key("twilio")
    arrived_at = f"{host}{port}/x?y=1"
    for signed_at in {f"{host}/x?y=1", f"{host}{port or ':443'}/x?y=1"}:
        exact = replace(scheme, plugin=None, signed="{url}{body}")
        fields = b"CallSidCA1234567890ABCDEDigits1234EmptyFrom+14158675309"
        headers = sign(fields, scheme=exact, key=token, now=NOW, url=signed_at)
        assert check(message(body, headers, url=arrived_at)).authenticated


def test_twilio_never_leaves_a_body_unsigned() -> None:
    """A signature over a URL alone vouches for no body but the one that bodySHA256 names."""
    url = "https://receiver.example/x"
    headers = sign(b"", scheme=SCHEMES["twilio"], key=key("twilio"), now=NOW, url=url)
    assert check(message(b"", headers, url=url)).authenticated
    for body in (b'{"a":1}', b"a", b"=&=&&", b"\xff"):
        with pytest.raises(RejectionError):
            check(message(body, headers, url=url))
    digest = "?bodySHA256=015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    headers = sign(b'{"a":1}', scheme=SCHEMES["twilio"], key=key("twilio"), now=NOW, url=url + digest)
    assert check(message(b'{"a":1}', headers, url=url + digest)).authenticated
    with pytest.raises(RejectionError):
        check(message(b'{"a":2}', headers, url=url + digest))


class Form:
    """A form as the vendor's validator takes one whose fields may be there several times."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields

    def __iter__(self) -> Iterator[str]:
        return iter(name for name, _ in self._fields)

    def getlist(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for one, value in self._fields if one == name]


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)


@given(
    fields=st.lists(
        st.tuples(st.sampled_from(["Body", "From", "é", "a b"]) | TEXT, TEXT), min_size=1, max_size=6
    ),
    query=st.lists(st.tuples(st.sampled_from(["a", "é"]), TEXT), max_size=2),
    plus=st.booleans(),
)
@example(
    fields=[("Body", "S\u00e3o Paulo"), ("City", "\u2713 \U0001f60a"), ("Empty", "")], query=[], plus=True
)
@example(
    fields=[("Body", "O'Brien @ 5:30"), ("Body", ""), ("Body", "O'Brien @ 5:30")],
    query=[("a", "é")],
    plus=False,
)
def test_every_form_verifies_as_with_the_vendors_own_validator(
    fields: list[tuple[str, str]], query: list[tuple[str, str]], *, plus: bool
) -> None:
    """Accents, emoji, repeated and empty fields, whichever way spaces are written, beside a query or not."""
    url = "https://receiver.example/x" + (f"?{urlencode(query)}" if query else "")
    validator = RequestValidator(key("twilio").secret.decode())
    signature = validator.compute_signature(url, Form(fields))
    body = urlencode(fields).encode() if plus else urlencode(fields, quote_via=quote).encode()
    headers = [(b"x-twilio-signature", signature.encode())]
    assert check(message(body, headers, url=url)).authenticated
    changed = [(name, value + "x") for name, value in fields]
    with pytest.raises(RejectionError):
        check(message(urlencode(changed).encode(), headers, url=url))
