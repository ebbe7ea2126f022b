"""How a message is checked, step by step: what the steps say agrees with the verdict, and nothing secret is in it."""

import pytest
from msgspec.structs import replace

from receiver.core.description.scheme import Scheme
from receiver.core.errors import RejectionError
from receiver.core.message import Message, lowered
from receiver.core.signature.verify import load_key, sign, verify
from receiver.core.signature.walk import walk

NOW = 1_795_960_000_000
BODY = b'{"id": "canary-body"}'
SCHEMES = {
    "standard": Scheme(
        kind="hmac",
        header="webhook-signature",
        item_sep=" ",
        prefix="v1,",
        encoding="base64",
        key_encoding="whsec",
        timestamp="header:webhook-timestamp",
        delivery_id="header:webhook-id",
        signed="{delivery_id}.{timestamp}.{body}",
    ),
    "plain": Scheme(kind="hmac", header="X-Signature"),
    "hash": Scheme(kind="hash", header="X-Signature", signed="{body}{secret}"),
    "token": Scheme(kind="header_token", header="X-Token"),
    "basic": Scheme(kind="basic"),
}
SECRETS = {"standard": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}


def _key(name: str, secret: str = "") -> object:
    text = secret or SECRETS.get(name, "canary-user:canary-secret")
    return load_key("KEY#1", text, scheme=SCHEMES[name])


@pytest.mark.parametrize("name", SCHEMES)
def test_every_step_of_a_genuine_message_passes(name: str) -> None:
    """No step fails, and the last one says which key it was."""
    scheme, key = SCHEMES[name], _key(name)
    headers = lowered(sign(BODY, scheme=scheme, key=key, now=NOW))  # type: ignore[arg-type]
    found = walk(Message(body=BODY, headers=headers), scheme=scheme, keys=[key], now=NOW + 1000)  # type: ignore[list-item]
    assert {one.mark for one in found} == {"ok"}
    assert any("KEY#1" in one.sentence for one in found)


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("change", ["body", "key", "late", "none", "twice", "garbage", "no keys"])
def test_a_message_that_is_refused_fails_at_a_step(name: str, change: str) -> None:
    """Where ``verify`` refuses, a step is marked; where it does not, none is; nothing secret is in a sentence."""
    scheme = SCHEMES[name]
    message, keys, now = _changed(name, change)
    found = walk(message, scheme=scheme, keys=keys, now=now)  # type: ignore[arg-type]
    failed = any(one.mark == "bad" for one in found)
    if keys:
        try:
            verify(message, scheme=scheme, keys=keys, now=now)  # type: ignore[arg-type]
        except RejectionError:
            assert failed, found
        else:
            assert not failed, found
    else:
        assert failed
    text = " ".join(one.sentence for one in found)
    assert "canary" not in text
    assert "MfKQ9r8" not in text


def test_an_unsigned_provider_is_told_as_what_it_is() -> None:
    """Nothing fails and nothing passes: only the token vouches for it."""
    (only,) = walk(Message(body=BODY), scheme=Scheme(kind="none"), keys=[], now=NOW)
    assert only.mark == "none"
    assert "signs nothing" in only.sentence


def _changed(name: str, change: str) -> tuple[Message, list[object], int]:
    """A message that is not as it was signed, the keys it is checked with, and when."""
    scheme, key = SCHEMES[name], _key(name)
    headers = lowered(sign(BODY, scheme=scheme, key=key, now=NOW))  # type: ignore[arg-type]
    changed = {
        "none": [],
        "twice": headers + headers,
        "garbage": [(one, b"\xff\x00garbage") for one, _ in headers],
    }
    keys = [] if change == "no keys" else [key]
    if change == "key":
        keys = [replace(key, secret=b"canary-another-key-of-ours")]  # type: ignore[type-var]
    body = BODY + b" " if change == "body" else BODY
    return (
        Message(body=body, headers=changed.get(change, headers)),
        keys,
        NOW + 3_600_000 * (change == "late"),
    )


def test_a_header_that_was_split_is_read_as_verification_reads_it() -> None:
    """At its comma, into two lines: no step says that it was sent twice."""
    scheme, key = SCHEMES["standard"], _key("standard")
    whole = dict(lowered(sign(BODY, scheme=scheme, key=key, now=NOW)))  # type: ignore[arg-type]
    lines = whole.pop(b"webhook-signature").split(b",")
    headers = [*whole.items(), *((b"webhook-signature", line) for line in lines)]
    found = walk(Message(body=BODY, headers=headers), scheme=scheme, keys=[key], now=NOW + 1000)  # type: ignore[list-item]
    assert {one.mark for one in found} == {"ok"}
