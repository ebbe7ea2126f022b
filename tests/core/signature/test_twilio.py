"""What Twilio signs: URL and form, or URL and the body's hash; nothing of a body stays unsigned."""

import pytest
from msgspec.structs import replace

from receiver.core.errors import RejectionError
from receiver.core.signature import Message, Verified, sign, verify

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
