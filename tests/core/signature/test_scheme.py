"""A description whose [verify] table would prove nothing is refused when it is read."""

from typing import Any

import msgspec
import pytest

from receiver.core.description.scheme import Scheme

from .samples import SCHEMES

HMAC = {"scheme": "hmac", "header": "X-Signature"}
HASH = {"scheme": "hash", "header": "X-Signature", "signed": "{body}{secret}"}
JWT = {"scheme": "jwt", "header": "X-Token", "audience": "us", "key_encoding": "jwk"}


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"scheme": "md5", "header": "X"}, "Invalid enum value"),
        ({"scheme": "hmac"}, "header: scheme 'hmac' needs one"),
        ({"scheme": "ed25519", "header": "X"}, "key_encoding: scheme 'ed25519' takes one of"),
        ({**HMAC, "key_encoding": "pem"}, "key_encoding: scheme 'hmac' takes one of"),
        ({**HMAC, "header": "two words"}, "header: 'two words' is not a header name"),
        ({**HMAC, "header": ["X", ""]}, "header: '' is not a header name"),
        ({**HMAC, "alg": "md5"}, "Invalid enum value 'md5'"),
        ({**HMAC, "prefix": "é"}, "prefix: only ASCII"),
        ({**HMAC, "prefix": "v1,", "item_sep": ","}, "prefix: it contains item_sep"),
        ({**HMAC, "audience": "us"}, "audience: scheme 'hmac' does not use it"),
        ({**HMAC, "unknown": 1}, "unknown field `unknown`"),
        ({**HMAC, "tolerance": 600}, "tolerance: it needs timestamp"),
        (
            {**HMAC, "timestamp": "part:t", "signed": "{timestamp}{body}"},
            "timestamp: 'part:t' needs item_sep",
        ),
        ({**HMAC, "timestamp": "header:T"}, "timestamp: it is not in signed"),
        ({**HMAC, "timestamp": "now", "signed": "{timestamp}{body}"}, "timestamp: 'now' is not a source"),
        ({**HMAC, "timestamp": "claim:iat"}, "timestamp: only scheme 'jwt' has claims"),
        (
            {**HMAC, "timestamp": "body:t", "signed": "{timestamp}{body}"},
            "timestamp: the body is not read before",
        ),
        ({**HMAC, "signed": "{timestamp}.{body}"}, "timestamp: signed contains it, so it needs a source"),
        ({**HMAC, "signed": "{delivery_id}.{body}"}, "delivery_id: signed contains it, so it needs a source"),
        ({**HMAC, "signed": "{url}"}, "signed: it leaves the body out"),
        ({**HMAC, "signed": "{body"}, "signed: a brace stands alone"),
        ({**HMAC, "signed": "{}{body}"}, "signed: a placeholder is empty"),
        ({**HMAC, "signed": "{nonsense}{body}"}, "signed: 'nonsense' is not a source"),
        ({**HMAC, "signed": "{body:id}{body}"}, "signed: 'body:id' cannot be read before"),
        ({**HMAC, "signed": "{part:t}{body}"}, "signed: 'part:t' needs item_sep"),
        ({**HMAC, "signed": "{header:a b}{body}"}, "signed: 'header:a b' is not a source"),
        ({**HMAC, "signed": "{body}{secret}"}, "signed: {secret} belongs to scheme 'hash'"),
        ({**HMAC, "signed": "{url}{body}", "plugin": "twilio"}, "signed: the plugin says what was signed"),
        ({**HASH, "signed": "{body}"}, "signed: {secret} belongs to scheme 'hash'"),
        ({**HASH, "signed": "{secret}{body}"}, "signed: {secret} must come last"),
        ({**HASH, "plugin": "twilio"}, "plugin: scheme 'hash' does not use it"),
        ({**JWT, "audience": ""}, "audience: a jwt without one"),
        ({**JWT, "key_encoding": "hex"}, "key_encoding: scheme 'jwt' takes one of"),
        ({**JWT, "alg": "sha512"}, "alg: scheme 'jwt' does not use it"),
        ({**JWT, "tolerance": 0}, "tolerance: seconds, from 1 to 604800"),
        ({**JWT, "future_tolerance": 604_801}, "future_tolerance: seconds, from 1 to 604800"),
        ({"scheme": "url_token", "header": "X"}, "header: scheme 'url_token' does not use it"),
        ({"scheme": "none", "delivery_id": "header:X"}, "delivery_id: scheme 'none' does not use it"),
    ],
)
def test_a_wrong_combination_is_refused_by_the_name_of_its_key(table: dict[str, Any], reason: str) -> None:
    """The sentence begins with the key to change."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011  (the reason is compared below, as text)
        msgspec.convert(table, Scheme)
    assert reason in str(refused.value)


def test_only_a_scheme_that_signs_authenticates() -> None:
    """A token in the URL, or nothing, vouches for nobody's signature."""
    silent = {name for name, scheme in SCHEMES.items() if not scheme.authenticates}
    assert silent == {"url-token", "none"}


def test_a_scheme_can_be_written_back() -> None:
    """What was read from a table is the same table when it is written."""
    for scheme in SCHEMES.values():
        assert msgspec.convert(msgspec.to_builtins(scheme), Scheme) == scheme
