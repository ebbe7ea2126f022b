"""Every known cause of a failed signature is produced here, and named."""

import base64
import gzip
import json
import zlib
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from receiver.core.description.scheme import Scheme
from receiver.core.errors import RejectionError
from receiver.core.signature.diagnosis import Diagnosis, diagnose
from receiver.core.signature.verify import Key, Message, load_key, sign, verify

from .samples import BODY, NOW, SCHEMES, header, key, message, replaced, signed, url_of

GITHUB, STANDARD, STRIPE = SCHEMES["github"], SCHEMES["standard-webhooks"], SCHEMES["stripe"]
KEY = key("github")
OTHER_KEY = Key(id="other", secret=b"of the other endpoint")
WHSEC = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
DOCUMENT = '{"b": 1, "a": {"t": "déjà vu", "f": 1.5}}'.encode()
SIGNATURE = b"X-Hub-Signature-256"


class Case(NamedTuple):
    """A callback that is refused, and why."""

    code: str
    arrived: Message
    scheme: Scheme = GITHUB
    keys: tuple[Key, ...] = (KEY,)
    now: int = NOW


def over(body: bytes, arrived: bytes) -> Message:
    """A message that was signed over *body* and arrived with another."""
    return replace(signed("github", body=body), body=arrived)


def text_key(text: str, scheme: Scheme) -> Key:
    """A key as an operator configured it."""
    return load_key("k", text, scheme=scheme)


def with_key(secret: bytes) -> Message:
    """A message that its provider signed with *secret*."""
    return signed("github", with_key=Key(id="theirs", secret=secret))


def standard_with(secret: bytes) -> Message:
    """A Standard Webhooks message that its provider signed with *secret*."""
    return signed("standard-webhooks", with_key=Key(id="theirs", secret=secret))


def rewritten(**how: object) -> bytes:
    """The document, written again."""
    return json.dumps(json.loads(DOCUMENT), **how).encode()  # type: ignore[arg-type]


def in_header(scheme: Scheme, name: bytes, *, body: bytes = BODY) -> Message:
    """A message whose signature is in the header *name*."""
    headers = sign(body, scheme=scheme, key=KEY, now=NOW, delivery_id="msg_1")
    carrier = scheme.headers[0].encode()
    return message(body, [(name if field == carrier else field, value) for field, value in headers])


def written_as(scheme: Scheme) -> Message:
    """A message signed by another scheme, under the header of ours."""
    return message(BODY, sign(BODY, scheme=scheme, key=KEY, now=NOW, delivery_id="msg_1"))


def at_url(seen: str, **headers: str) -> Message:
    """A Twilio callback signed for its public URL and seen at another."""
    genuine = replace(signed("twilio"), url=seen)
    more = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    others = [(name, value) for name, value in genuine.headers if name != b"host"]
    return replace(genuine, headers=[*others, *more])


def stamped(text: str, scheme: Scheme) -> Message:
    """A genuine message whose timestamp reads *text*."""
    values = {"header:X-Slack-Request-Timestamp": text}
    return message(BODY, sign(BODY, scheme=scheme, key=KEY, now=NOW, values=values))


SLACK = SCHEMES["slack"]
MILLISECONDS = replace(SLACK, timestamp_format="unix-ms")
TOKEN = SCHEMES["bearer"]
PUBLIC = url_of("twilio")
SHA1 = replace(GITHUB, alg="sha1")
BASE64 = replace(GITHUB, encoding="base64")
BARE = replace(GITHUB, prefix="")
GENUINE = signed("github")
PROOF = header(GENUINE, "X-Hub-Signature-256")

CASES: dict[str, Case] = {
    # keys
    "a retired key": Case("key_not_in_force", signed("github", with_key=key("github", 1))),
    "a key of another provider": Case("key_of_other_provider", with_key(b"the key of the other provider")),
    "a callback of another provider": Case(
        "callback_of_other_provider", signed("slack", with_key=key("slack", 2))
    ),
    "whsec_ taken as text, decoded by the provider": Case(
        "key_not_decoded", with_key(b"0123456789abcdef01234567"), keys=(text_key(WHSEC, GITHUB),)
    ),
    "base64 taken as text": Case(
        "key_not_decoded", with_key(b"0123456789abcdef01234567"), keys=(text_key(WHSEC[6:], GITHUB),)
    ),
    "hex taken as text": Case(
        "key_not_decoded", with_key(bytes(range(16))), keys=(text_key(bytes(range(16)).hex(), GITHUB),)
    ),
    "whsec_ decoded, taken as text by the provider": Case(
        "key_decoded", standard_with(WHSEC.encode()), STANDARD, (text_key(WHSEC, STANDARD),)
    ),
    "whsec_ decoded, its base64 taken as text by the provider": Case(
        "key_decoded", standard_with(WHSEC[6:].encode()), STANDARD, (text_key(WHSEC, STANDARD),)
    ),
    "hex decoded, taken as text by the provider": Case(
        "key_decoded",
        signed("bare-hex", with_key=Key(id="k", secret=bytes(20).hex().encode())),
        SCHEMES["bare-hex"],
        (text_key("00" * 20, SCHEMES["bare-hex"]),),
    ),
    "whsec_ cut off by the provider": Case(
        "key_prefix", with_key(WHSEC[6:].encode()), keys=(text_key(WHSEC, GITHUB),)
    ),
    "quotes around our key": Case(
        "key_quoted", GENUINE, keys=(Key(id="k", secret=b'"' + KEY.secret + b'"'),)
    ),
    "a line break after the provider's key": Case("key_space", with_key(KEY.secret + b"\n")),
    # headers
    "a header renamed": Case("header_name", in_header(GITHUB, b"x-signature")),
    "a header with underscores": Case("header_name", in_header(GITHUB, b"x_hub_signature_256")),
    "a family of headers renamed": Case(
        "header_name",
        message(
            BODY, [(b"x-" + n, v) for n, v in sign(BODY, scheme=STANDARD, key=KEY, now=NOW, delivery_id="m")]
        ),
        STANDARD,
    ),
    "a header missing, a lookalike present": Case(
        "header_lookalike", replaced(replaced(GENUINE, SIGNATURE, None), b"X-Hub-Signature", b"sha1=00")
    ),
    "a header missing": Case("header_missing", replaced(GENUINE, SIGNATURE, None)),
    "a timestamp missing": Case(
        "timestamp_missing", replaced(signed("slack"), b"X-Slack-Request-Timestamp", None), SLACK
    ),
    "a signed id missing": Case(
        "signed_value_missing",
        replaced(signed("standard-webhooks"), b"webhook-id", None),
        STANDARD,
        (key("standard-webhooks"),),
    ),
    # spelling
    "base64 for hex": Case("encoding_differs", written_as(BASE64)),
    "hex for base64": Case("encoding_differs", written_as(GITHUB), BASE64),
    "base64 without prefix for hex": Case("encoding_differs", written_as(replace(BASE64, prefix=""))),
    "no prefix": Case("prefix_differs", written_as(BARE)),
    "an unexpected prefix": Case("prefix_differs", written_as(GITHUB), BARE),
    "another version": Case("prefix_differs", written_as(replace(GITHUB, prefix="v1="))),
    "a prefix nobody else has": Case("prefix_differs", written_as(replace(GITHUB, prefix="hmac="))),
    "sha1 for sha256": Case("algorithm_differs", written_as(SHA1)),
    "sha512 for sha256": Case("algorithm_differs", written_as(replace(GITHUB, alg="sha512"))),
    "quotes around the signature": Case(
        "signature_wrapped", replaced(GENUINE, SIGNATURE, b'"' + PROOF + b'"')
    ),
    "base64url": Case(
        "signature_wrapped",
        replaced(
            written_as(BASE64),
            SIGNATURE,
            header(written_as(BASE64), SIGNATURE.decode())
            .rstrip(b"=")
            .replace(b"/", b"_")
            .replace(b"+", b"-"),
        ),
        BASE64,
    ),
    "an empty signature": Case("signature_empty", replaced(GENUINE, SIGNATURE, b"sha256=")),
    "an empty header": Case("signature_empty", replaced(GENUINE, SIGNATURE, b"")),
    "a signature cut off": Case("signature_truncated", replaced(GENUINE, SIGNATURE, PROOF[:-8])),
    "junk for a signature": Case("signature_malformed", replaced(GENUINE, SIGNATURE, b"sha256=" + b"z" * 64)),
    "a header sent twice": Case(
        "header_folded", replace(GENUINE, headers=[*GENUINE.headers, (SIGNATURE.lower(), PROOF)])
    ),
    # content
    "a timestamp left out of the content": Case(
        "content_differs",
        message(
            BODY,
            [
                (b"x-slack-request-timestamp", b"1795000000"),
                *sign(BODY, scheme=replace(SLACK, timestamp=(), signed="{body}"), key=KEY, now=NOW),
            ],
        ),
        SLACK,
    ),
    "another separator in the content": Case(
        "content_differs",
        message(BODY, sign(BODY, scheme=replace(SLACK, signed="{timestamp}.{body}"), key=KEY, now=NOW)),
        SLACK,
    ),
    # body
    "written again, compact": Case(
        "body_rewritten", over(rewritten(separators=(",", ":"), ensure_ascii=False), DOCUMENT)
    ),
    "written again, spaced": Case(
        "body_rewritten", over(DOCUMENT, rewritten(separators=(",", ":"), ensure_ascii=False))
    ),
    "written again, sorted": Case(
        "body_rewritten", over(rewritten(sort_keys=True, ensure_ascii=False), DOCUMENT)
    ),
    "written again, escaped": Case("body_rewritten", over(rewritten(ensure_ascii=True), DOCUMENT)),
    "written again, not escaped": Case("body_rewritten", over(DOCUMENT, rewritten(ensure_ascii=True))),
    "written again, sorted, compact and escaped": Case(
        "body_rewritten", over(rewritten(separators=(",", ":"), sort_keys=True), DOCUMENT)
    ),
    "written again, indented": Case("body_rewritten", over(rewritten(indent=2), DOCUMENT)),
    "a line break added": Case("body_trailing_newline", over(BODY, BODY + b"\n")),
    "a line break cut off": Case("body_trailing_newline", over(BODY + b"\n", BODY)),
    "CR and LF cut off": Case("body_trailing_newline", over(BODY + b"\r\n", BODY)),
    "two line breaks cut off": Case("body_trailing_newline", over(BODY + b"\n\n", BODY)),
    "a blank cut off": Case("body_rewritten", over(BODY + b" ", BODY)),
    "a blank cut off the beginning": Case("body_rewritten", over(b"\n" + BODY, BODY)),
    "blanks added": Case("body_rewritten", over(BODY, b" \t" + BODY + b" ")),
    "a byte order mark and a line break cut off": Case(
        "body_bom", over(b"\xef\xbb\xbf" + BODY + b"\n", BODY)
    ),
    "a byte order mark added": Case("body_bom", over(BODY, b"\xef\xbb\xbf" + BODY)),
    "a byte order mark cut off": Case("body_bom", over(b"\xef\xbb\xbf" + BODY, BODY)),
    "LF made CRLF": Case("body_line_ends", over(b'{\n"a":1}', b'{\r\n"a":1}')),
    "CRLF made LF": Case("body_line_ends", over(b'{\r\n"a":1}', b'{\n"a":1}')),
    "line ends not signed": Case("body_line_ends", over(b'{"a":1}', b'{\r\n"a":1\n}')),
    "gzip": Case("body_decompressed", over(BODY, gzip.compress(BODY))),
    "deflate": Case("body_decompressed", over(BODY, zlib.compress(BODY))),
    "raw deflate": Case("body_decompressed", over(BODY, zlib.compress(BODY, wbits=-15))),
    "JSON in a JSON string": Case("body_json_string", over(BODY, json.dumps(BODY.decode()).encode())),
    "base64 of a gateway": Case("body_base64", over(BODY, base64.b64encode(BODY))),
    "base64 with a line break": Case(
        "body_base64", over(BODY, base64.encodebytes(BODY).rstrip(b"\n") + b"\n")
    ),
    "base64 without padding": Case(
        "body_base64", over(BODY + b".", base64.b64encode(BODY + b".").rstrip(b"="))
    ),
    "base64 as a JSON string": Case("body_base64", over(BODY, b'"' + base64.b64encode(BODY) + b'"')),
    # address
    "http behind a proxy": Case(
        "url_differs", at_url(PUBLIC.replace("https:", "http:")), SCHEMES["twilio"], (key("twilio"),)
    ),
    "an inner host behind a proxy": Case(
        "url_differs",
        at_url("http://10.0.0.7:8000/callbacks/p/token?a=1", x_forwarded_host="receiver.example"),
        SCHEMES["twilio"],
        (key("twilio"),),
    ),
    "a slash added": Case(
        "url_differs", at_url(PUBLIC.replace("?", "/?")), SCHEMES["twilio"], (key("twilio"),)
    ),
    "a query added": Case(
        "url_differs",
        message(
            b"",
            sign(b"", scheme=SCHEMES["twilio"], key=key("twilio"), now=NOW, url="https://a.example/x"),
            url="https://a.example/x?y",
        ),
        SCHEMES["twilio"],
        (key("twilio"),),
    ),
    # time
    "held back": Case("timestamp_stale", signed("slack"), SLACK, now=NOW + 432_000),
    "our clock is ahead": Case(
        "clock_skew",
        replaced(signed("slack"), b"Date", b"Wed, 18 Nov 2026 11:06:42 GMT"),
        SLACK,
        now=NOW + 7_200_000,
    ),
    "sent again much later": Case(
        "timestamp_stale",
        replaced(signed("slack"), b"Date", b"Wed, 18 Nov 2026 13:06:40 GMT"),
        SLACK,
        now=NOW + 7_200_000,
    ),
    "our clock is behind": Case("clock_skew", signed("slack"), SLACK, now=NOW - 432_000),
    "milliseconds for seconds": Case("timestamp_in_milliseconds", stamped(str(NOW), SLACK), SLACK),
    "seconds for milliseconds": Case(
        "timestamp_in_seconds", stamped(str(NOW // 1000), MILLISECONDS), MILLISECONDS
    ),
    "a date for a number": Case("timestamp_format", stamped("2026-11-18T11:06:40Z", SLACK), SLACK),
    "stale, with a Date that is none": Case(
        "timestamp_stale", replaced(signed("slack"), b"Date", b"today"), SLACK, (key("slack"),), NOW + 432_000
    ),
    "no time at all": Case("timestamp_format", stamped("yesterday", SLACK), SLACK),
    # credentials
    "no Bearer": Case("prefix_differs", message(BODY, [(b"authorization", KEY.secret)]), TOKEN),
    "a token under another header": Case(
        "header_name", message(BODY, [(b"x-api-token", b"Bearer " + KEY.secret)]), TOKEN
    ),
    "no token": Case("header_missing", message(BODY, []), TOKEN),
    "another token": Case(
        "credential_mismatch", message(BODY, [(b"authorization", b"Bearer nonsense")]), TOKEN
    ),
    # nothing known
    "forged": Case("signature_mismatch", over(b"forged", b"{}")),
    "an unknown key id": Case(
        "key_unknown", signed("gemini"), SCHEMES["gemini"], (replace(key("gemini"), id="rotated"),)
    ),
    "another audience": Case(
        "claim_invalid", signed("gemini"), replace(SCHEMES["gemini"], audience="another"), (key("gemini"),)
    ),
}
OTHERS = {
    "other-provider": (GITHUB, (Key(id="o", secret=b"the key of the other provider"),)),
    "slack": (SLACK, (key("slack", 2),)),
    "keyless": (GITHUB, ()),
    "unsigned": (SCHEMES["none"], (Key(id="u", secret=b"nothing that signs"),)),
}


def diagnosed(case: Case) -> Diagnosis:
    """Let it be refused, and ask why."""
    with pytest.raises(RejectionError) as refused:
        verify(case.arrived, scheme=case.scheme, keys=case.keys, now=case.now)
    return diagnose(
        case.arrived,
        scheme=case.scheme,
        keys=case.keys,
        now=case.now,
        error=refused.value,
        other_keys=OTHERS,
        retired_keys=(key("github", 1),),
    )


@pytest.mark.parametrize("name", CASES)
def test_the_cause_is_named(name: str) -> None:
    """Each known cause has its code, and the sentence gives away neither key nor signature nor token."""
    named(CASES[name])


def named(case: Case) -> None:
    """Assert that its cause is found and told, and no secret with it."""
    found = diagnosed(case)
    assert found.code == case.code
    assert found.sentence[0].isupper()
    assert found.sentence.endswith(".")
    hidden = [one.secret for one in case.keys] + [one.secret.hex().encode() for one in case.keys]
    hidden += [value for field, value in case.arrived.headers if len(value) > 20 and field != b"Date"]
    assert not [secret for secret in hidden if secret.decode("latin-1") in found.sentence]
    assert "/callbacks/p/token" not in found.sentence


def test_a_line_break_cut_off_ten_megabytes_is_named_with_two_keys() -> None:
    """The cause is found in a body of 10 MB too, by the second of two keys."""
    case = Case(
        "body_trailing_newline", over(b"x" * 10_000_000 + b"\n", b"x" * 10_000_000), keys=(OTHER_KEY, KEY)
    )
    named(case)


def test_a_stale_message_says_how_stale() -> None:
    """The sentence has both spans: how late it came, and how late it might have come."""
    sentence = diagnosed(CASES["held back"]).sentence
    assert "7 min" in sentence
    assert "5 min" in sentence


def test_a_header_name_of_the_sender_is_shown_harmlessly() -> None:
    """A name with control characters does not reach a terminal."""
    arrived = message(BODY, [(b"x-signature\x1b[2J" + b"a" * 300, b"00")])
    sentence = diagnosed(Case("header_lookalike", arrived)).sentence
    assert sentence.isprintable()
    assert len(sentence) < 400
