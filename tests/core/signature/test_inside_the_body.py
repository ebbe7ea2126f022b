"""Signatures and timestamps in the body: Transloadit's field of a form, in both spellings, and Linear's timestamp."""

import hmac
import json
from urllib.parse import urlencode

import pytest
from msgspec.structs import replace

from receiver.core.body.multipart import form_fields
from receiver.core.description.scheme import Scheme
from receiver.core.description.shape import Shape
from receiver.core.errors import RejectionError, UnreadableError
from receiver.core.message import Message
from receiver.core.reading.document import Document
from receiver.core.signature.verify import load_key, sign, signed_body, verify

NOW = 1_795_000_000_000
SECRET = "a shared secret of some length"
TEXT = '{"assembly_id":"a1","ok":"ASSEMBLY_COMPLETED","note":"déjà vu & more"}'
FORM = Scheme(
    kind="hmac",
    alg="sha384",
    proof="form:signature",
    prefix="sha384:",
    signed="{form:transloadit}",
)
LINEAR = Scheme(
    kind="hmac",
    header="linear-signature",
    timestamp="body:webhookTimestamp",
    timestamp_format="unix-ms",
    tolerance=60,
    delivery_id="body:webhookId",
)
KEY = load_key("k", SECRET, scheme=FORM)
SIGNATURE = "sha384:" + hmac.digest(SECRET.encode(), TEXT.encode(), "sha384").hex()
SHAPE = Shape(content="form-json", field="transloadit", id=("assembly_id",))


def urlencoded(fields: dict[str, str]) -> Message:
    """A form in the usual spelling."""
    return Message(
        body=urlencode(fields).encode(), headers=[(b"content-type", b"application/x-www-form-urlencoded")]
    )


def in_parts(fields: dict[str, str], boundary: str = "----x1") -> Message:
    """A form in parts."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    body = "".join(parts) + f"--{boundary}--\r\n"
    return Message(
        body=body.encode(), headers=[(b"content-type", f"multipart/form-data; boundary={boundary}".encode())]
    )


@pytest.mark.parametrize("write", [urlencoded, in_parts])
def test_a_field_of_a_form_is_vouched_for(write: object) -> None:
    """The signature is over the field's value as it is, in either spelling, and that field alone is read."""
    assert callable(write)
    message = write({"transloadit": TEXT, "signature": SIGNATURE, "other": "x"})
    assert verify(message, scheme=FORM, keys=[KEY], now=NOW).key_id == "k"
    assert Document(message, SHAPE, largest=10_000).find("assembly_id") == "a1"
    for changed in (
        {"transloadit": TEXT + " ", "signature": SIGNATURE},
        {"transloadit": TEXT, "signature": SIGNATURE[:-1] + "0"},
        {"transloadit": TEXT},
        {"signature": SIGNATURE},
    ):
        with pytest.raises(RejectionError):
            verify(write(changed), scheme=FORM, keys=[KEY], now=NOW)


def test_a_field_that_is_there_twice_is_none() -> None:
    """Two readers of such a form may disagree, so neither is believed."""
    message = urlencoded({"transloadit": TEXT, "signature": SIGNATURE})
    twice = replace(message, body=message.body + b"&transloadit=%7B%7D")
    with pytest.raises(RejectionError):
        verify(twice, scheme=FORM, keys=[KEY], now=NOW)


def test_a_form_that_is_cut_short_is_none() -> None:
    """A body in parts that does not end is refused, and unreadable."""
    message = in_parts({"transloadit": TEXT, "signature": SIGNATURE})
    for short in (message.body[:-6], message.body[:40], b"", b"--x"):
        cut = replace(message, body=short)
        with pytest.raises(RejectionError):
            verify(cut, scheme=FORM, keys=[KEY], now=NOW)
        with pytest.raises((UnreadableError, ValueError)):
            Document(cut, SHAPE, largest=10_000)


def test_files_in_a_form_are_left_aside() -> None:
    """A part that is a file is no field, and more parts than are read are refused."""
    part = b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\nv\r\n'
    body = part % (b"a", b'; filename="x"') + part % (b"c", b"") + b"--b--\r\n"
    kind = b"multipart/form-data; boundary=b"
    assert form_fields(body, kind) == [(b"c", b"v")]
    with pytest.raises(ValueError, match="more fields"):
        form_fields(part % (b"a", b"") * 1001 + b"--b--\r\n", kind)


def test_what_we_sign_is_a_body() -> None:
    """The signature belongs into the form: no header has it, and the body that we make is genuine."""
    plain = urlencode({"transloadit": TEXT}).encode()
    assert sign(plain, scheme=FORM, key=KEY, now=NOW) == []
    body = signed_body(plain, scheme=FORM, key=KEY)
    assert b"signature=sha384%3A" in body
    message = Message(body=body, headers=[(b"content-type", b"application/x-www-form-urlencoded")])
    assert verify(message, scheme=FORM, keys=[KEY], now=NOW).authenticated


def test_a_timestamp_inside_the_signed_body() -> None:
    """Linear's timestamp is vouched for with the body, and held to the tolerance."""
    body = json.dumps({"webhookTimestamp": NOW, "webhookId": "w1", "action": "create"}).encode()
    headers = [(b"linear-signature", hmac.digest(SECRET.encode(), body, "sha256").hex().encode())]
    key = load_key("k", SECRET, scheme=LINEAR)
    message = Message(body=body, headers=headers)
    found = verify(message, scheme=LINEAR, keys=[key], now=NOW + 59_000)
    assert (found.timestamp, found.delivery_id) == (NOW, "w1")
    with pytest.raises(RejectionError) as refused:
        verify(message, scheme=LINEAR, keys=[key], now=NOW + 61_000)
    assert refused.value.code == "timestamp_stale"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"signed": "{form:a}{form:b}", "header": "X-S"}, "proof"),
        ({"proof": "body:signature"}, "proof"),
        ({"proof": "query:s"}, "proof"),
        ({"signed": "x"}, "signed"),
        ({"account": "a"}, "account"),
        ({"signed": "{account}{body}"}, "account"),
        ({"plugin": "sns", "proof": "body:Signature"}, "plugin"),
        ({"plugin": "rfc9421", "proof": ()}, "timestamp"),
        ({"components": ("@method",), "plugin": "twilio"}, "components"),
        ({"key_id": "body:x"}, "key_id"),
        ({"padding": "pss"}, "padding"),
    ],
)
def test_what_would_prove_nothing_is_refused_when_it_is_described(
    changes: dict[str, object], word: str
) -> None:
    """The sentence begins with the key that is wrong."""
    with pytest.raises(ValueError, match=word):
        replace(FORM, **({"signed": "{body}"} | changes if "plugin" in changes else changes))
