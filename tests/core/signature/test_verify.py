"""What verify promises for every way of signing."""

import binascii

import pytest
from msgspec.structs import replace

from receiver.core.errors import (
    CredentialMismatchError,
    CredentialMissingError,
    KeyUnavailableError,
    RejectionError,
    SignatureMalformedError,
    SignatureMismatchError,
    SignatureMissingError,
    SignedValueMissingError,
    TimestampFutureError,
    TimestampMalformedError,
    TimestampMissingError,
    TimestampStaleError,
)
from receiver.core.signature.verify import Key, Message, Verified, load_key, sign, verify

from .samples import (
    BODY,
    COVERING,
    NOW,
    SCHEMES,
    SIGNING,
    TIMED,
    header,
    key,
    message,
    public,
    replaced,
    signed,
    spaced,
)

MINUTE = 60_000
ENCODED = sorted(name for name in SIGNING if SCHEMES[name].kind in {"hmac", "hash", "ed25519"})


def check(name: str, arrived: Message, *, now: int = NOW, keys: list[Key] | None = None) -> Verified:
    """Verify with the scheme of that name."""
    return verify(arrived, scheme=SCHEMES[name], keys=[key(name)] if keys is None else keys, now=now)


@pytest.mark.parametrize("name", SIGNING)
def test_what_is_signed_is_accepted(name: str) -> None:
    """A genuine message is accepted, and it is said by which key and when it was signed."""
    verified = check(name, signed(name), keys=[key(name, 1), key(name)])
    assert verified.key_id == "key-0"
    assert verified.authenticated
    assert verified.scheme == SCHEMES[name].kind
    assert verified.timestamp == (NOW if name in TIMED else None)


@pytest.mark.parametrize(
    ("name", "delivery_id"),
    [
        ("github", "msg_1"),
        ("standard-webhooks", "msg_1"),
        ("fal", "msg_1"),
        ("gemini", "msg_1"),
        ("stripe", "evt_1"),
        ("baseten", "r_1"),
        ("slack", None),
    ],
)
def test_the_delivery_id_is_read_where_the_scheme_says(name: str, delivery_id: str | None) -> None:
    """A redelivery can be told by the id, wherever the provider puts it."""
    assert check(name, signed(name)).delivery_id == delivery_id


@pytest.mark.parametrize("name", SIGNING)
def test_another_key_is_refused(name: str) -> None:
    """A message signed with a key that is not in force is refused."""
    with pytest.raises(RejectionError):
        check(name, signed(name), keys=[key(name, 1)])


@pytest.mark.parametrize("name", COVERING)
def test_every_flipped_bit_of_the_body_is_refused(name: str) -> None:
    """One flipped bit anywhere in the body, and the signature no longer holds."""
    genuine = signed(name)
    for place in range(len(genuine.body)):
        body = bytearray(genuine.body)
        body[place] ^= 1
        with pytest.raises(RejectionError):
            check(name, replace(genuine, body=bytes(body)))


@pytest.mark.parametrize("name", SIGNING)
def test_every_flipped_bit_of_the_proof_is_refused(name: str) -> None:
    """One flipped bit anywhere in the header that carries the proof is refused, its prefix included."""
    genuine = signed(name)
    carrier = SCHEMES[name].headers[0]
    proof = header(genuine, carrier)
    for place in range(len(proof)):
        for bit in (1, 2, 128):
            changed = bytearray(proof)
            changed[place] ^= bit
            with pytest.raises(RejectionError):
                check(name, replaced(genuine, carrier.encode(), bytes(changed)))


@pytest.mark.parametrize("name", sorted(n for n in TIMED if str(SCHEMES[n].timestamp).startswith("header:")))
def test_every_flipped_bit_of_the_timestamp_is_refused(name: str) -> None:
    """A timestamp cannot be freshened without the key."""
    genuine = signed(name)
    carrier = str(SCHEMES[name].timestamp).removeprefix("header:")
    text = header(genuine, carrier)
    for place in range(len(text)):
        changed = bytearray(text)
        changed[place] ^= 1
        with pytest.raises(SignatureMismatchError):
            check(name, replaced(genuine, carrier.encode(), bytes(changed)))


@pytest.mark.parametrize("name", ["twilio", "url-and-query"])
def test_every_flipped_bit_of_a_signed_url_is_refused(name: str) -> None:
    """Where the provider signs the URL, the message is genuine at that URL only."""
    genuine = signed(name)
    for place in range(len(genuine.url)):
        changed = genuine.url[:place] + chr(ord(genuine.url[place]) ^ 1) + genuine.url[place + 1 :]
        with pytest.raises(RejectionError):
            check(name, replace(genuine, url=changed))


@pytest.mark.parametrize("name", SIGNING)
def test_a_truncated_proof_is_refused(name: str) -> None:
    """Never is a prefix of the proof enough; nor is an empty one, or one with more behind it."""
    genuine = signed(name)
    carrier = SCHEMES[name].headers[0]
    proof = header(genuine, carrier)
    for changed in [proof[:end] for end in range(len(proof))] + [proof + b"0", proof + b"=", proof + b"\0"]:
        with pytest.raises(RejectionError):
            check(name, replaced(genuine, carrier.encode(), changed))


@pytest.mark.parametrize("name", SIGNING)
def test_a_missing_proof_is_refused(name: str) -> None:
    """A message without the header is refused with a code of its own, never passed over."""
    genuine = replaced(signed(name), SCHEMES[name].headers[0].encode(), None)
    credential = SCHEMES[name].kind in {"basic", "header_token"}
    with pytest.raises(CredentialMissingError if credential else SignatureMissingError):
        check(name, genuine)


@pytest.mark.parametrize("name", SIGNING)
def test_a_repeated_header_is_refused(name: str) -> None:
    """Two headers of the name that carries the proof are refused, even where both are genuine."""
    genuine = signed(name)
    carrier = SCHEMES[name].headers[0]
    twice = replace(genuine, headers=[*genuine.headers, (carrier.upper().encode(), header(genuine, carrier))])
    credential = SCHEMES[name].kind in {"basic", "header_token"}
    with pytest.raises(CredentialMismatchError if credential else SignatureMalformedError):
        check(name, twice)


@pytest.mark.parametrize("name", SIGNING)
def test_order_and_letter_case_of_headers_do_not_matter(name: str) -> None:
    """Proxies reorder headers and change their case; the proof survives."""
    genuine = signed(name)
    for change in (bytes.upper, bytes.lower, bytes.title):
        headers = [(change(field), value) for field, value in reversed(genuine.headers)]
        assert check(name, replace(genuine, headers=headers)).key_id == "key-0"


@pytest.mark.parametrize("name", sorted(set(TIMED) - {"baseten"}))
def test_a_genuine_message_out_of_its_time_is_refused(name: str) -> None:
    """Stale and future are told apart, and only once the signature has been proved."""
    scheme = SCHEMES[name]
    genuine = signed(name)
    life = 300 if scheme.kind == "jwt" else 0
    stale = NOW + (scheme.tolerance + life) * 1000
    future = NOW - scheme.future_tolerance * 1000
    assert check(name, genuine, now=stale).authenticated
    assert check(name, genuine, now=future).authenticated
    with pytest.raises(TimestampStaleError):
        check(name, genuine, now=stale + 1)
    with pytest.raises(TimestampFutureError):
        check(name, genuine, now=future - 1)
    with pytest.raises(RejectionError) as refused:
        check(name, genuine, now=stale + 1, keys=[key(name, 1)])
    assert refused.value.code in {"signature_mismatch", "key_unknown"}


def test_a_timestamp_in_the_body_is_held_against_the_clock_too() -> None:
    """Baseten's time is a field of the body; it is read only after the signature has been proved."""
    with pytest.raises(TimestampStaleError):
        check("baseten", signed("baseten"), now=NOW + 301_000)
    with pytest.raises(TimestampMissingError):
        check("baseten", signed("baseten", body=b'{"request_id":"r"}'))
    with pytest.raises(TimestampMissingError):
        check("baseten", signed("baseten", body=b"\xff not JSON"))
    with pytest.raises(TimestampMalformedError):
        check("baseten", signed("baseten", body=b'{"time":"yesterday"}'))
    with pytest.raises(SignatureMismatchError):
        check("baseten", replace(signed("baseten"), body=b"\xff not JSON"))


@pytest.mark.parametrize(
    "text",
    [
        "1795000000.9",
        "1.795e9",
        "1_795_000_000",
        " 1795000000",
        "+1795000000",
        "-1",
        "17950000\uff10\uff10",
        "9" * 17,
        "nan",
    ],
)
def test_a_timestamp_is_ascii_digits_and_nothing_else(text: str) -> None:
    """What int() or float() would take is refused, even with a genuine signature over it."""
    values = {"header:X-Slack-Request-Timestamp": text}
    headers = sign(BODY, scheme=SCHEMES["slack"], key=key("slack"), now=NOW, values=values)
    with pytest.raises(TimestampMalformedError):
        check("slack", message(BODY, headers))


@pytest.mark.parametrize("name", ["standard-webhooks", "slack", "cloudinary", "fal"])
def test_a_missing_timestamp_is_refused(name: str) -> None:
    """A message is not accepted for ever because its timestamp was left out."""
    sources = SCHEMES[name].timestamp
    carrier = (sources if isinstance(sources, str) else sources[0]).removeprefix("header:").encode()
    for value in (None, b""):
        with pytest.raises(TimestampMissingError):
            check(name, replaced(signed(name), carrier, value))


def test_another_missing_signed_value_is_named() -> None:
    """The header that is missing is in the sentence."""
    with pytest.raises(SignedValueMissingError, match="webhook-id"):
        check("standard-webhooks", replaced(signed("standard-webhooks"), b"webhook-id", None))


def test_a_value_that_holds_its_separator_is_refused() -> None:
    """One signature must not fit two readings of the same bytes."""
    genuine = signed("standard-webhooks", body=b"1795000000.{}")
    moved = replaced(genuine, b"webhook-id", b"msg_1.1795000000")
    moved = replace(replaced(moved, b"webhook-timestamp", b"1795000000"), body=b"{}")
    with pytest.raises(SignatureMalformedError):
        check("standard-webhooks", moved)


@pytest.mark.parametrize("name", ENCODED)
def test_only_one_spelling_of_a_signature_is_accepted(name: str) -> None:
    """Junk, spaces, missing padding and stray bits are refused; hex may be in either case."""
    scheme = SCHEMES[name]
    genuine = signed(name)
    carrier = scheme.headers[0]
    proof = header(genuine, carrier)
    start = proof.rindex(scheme.prefix.encode()) + len(scheme.prefix) if scheme.prefix else 0
    head, text = proof[:start], proof[start:]
    bad = [
        text[:8] + b" " + text[8:],
        text + b"\n",
        # What joins a header that was split at its commas writes a space behind them.
        *([] if scheme.prefix.endswith(",") else [b" " + text]),
        text[:8] + b"\xc3\xa9" + text[8:],
        b"0x" + text,
    ]
    if scheme.encoding == "base64":
        raw = binascii.a2b_base64(text)
        bad += [text.rstrip(b"="), text + b"=", text[:8] + b"!" + text[8:], raw.hex().encode()]
        bad.append(text.replace(b"+", b"-").replace(b"/", b"_") if {43, 47} & set(text) else b"-" + text[1:])
        if text.endswith(b"="):
            stray = text.rstrip(b"=")[:-1] + bytes([text.rstrip(b"=")[-1] + 1])
            bad.append(stray + b"=" * (len(text) - len(stray)))
    else:
        assert check(name, replaced(genuine, carrier.encode(), head + text.upper())).authenticated
        bad += [binascii.b2a_base64(bytes.fromhex(text.decode()), newline=False)]
    for spelled in bad:
        with pytest.raises(RejectionError):
            check(name, replaced(genuine, carrier.encode(), head + spelled))


@pytest.mark.parametrize("name", ["standard-webhooks", "stripe", "baseten"])
def test_any_of_several_signatures_may_match(name: str) -> None:
    """During the provider's rotation its header holds the old and the new signature, and unknown versions."""
    scheme = SCHEMES[name]
    old = signed(name, with_key=key(name, 1))
    carrier = scheme.headers[0].encode()
    other, mine = header(old, scheme.headers[0]), header(signed(name), scheme.headers[0])
    separator = scheme.item_sep.encode()
    mine = mine.split(separator)[-1]
    both = separator.join([other, b"v9=zz", b"v9,zz", mine])
    assert check(name, replaced(old, carrier, both)).key_id == "key-0"
    assert check(name, replaced(old, carrier, both), keys=[key(name, 1)]).key_id == "key-1"


def test_the_number_of_signatures_is_bounded() -> None:
    """A header with a thousand signatures is refused before any of them is tried."""
    genuine = signed("standard-webhooks")
    proof = header(genuine, "webhook-signature")
    most = replaced(genuine, b"webhook-signature", b" ".join([b"v1," + b"A" * 43 + b"="] * 15 + [proof]))
    assert check("standard-webhooks", most).authenticated
    for number in (17, 1000):
        many = replaced(genuine, b"webhook-signature", b" ".join([proof] * number))
        with pytest.raises(SignatureMalformedError):
            check("standard-webhooks", many)


def test_a_part_given_twice_is_refused() -> None:
    """Of two timestamps in one header nobody can say which was meant."""
    genuine = signed("stripe")
    twice = header(genuine, "Stripe-Signature") + b",t=1795000001"
    with pytest.raises(SignatureMalformedError):
        check("stripe", replaced(genuine, b"Stripe-Signature", twice))


@pytest.mark.parametrize("name", SIGNING)
def test_no_key_is_our_fault(name: str) -> None:
    """Without a key nobody's message is called forged: it is a 503, never a 401."""
    with pytest.raises(KeyUnavailableError) as unavailable:
        check(name, signed(name), keys=[])
    assert unavailable.value.status == 503
    with pytest.raises(KeyUnavailableError):
        check(name, signed(name), keys=[Key(id="empty", secret=b"")])


@pytest.mark.parametrize("name", ["url-token", "none"])
def test_what_is_not_signed_is_never_called_authenticated(name: str) -> None:
    """Where the provider signs nothing, verify says so."""
    verified = check(name, Message(body=b"anything", headers=[]), keys=[])
    assert not verified.authenticated
    assert verified.key_id is None
    assert sign(BODY, scheme=SCHEMES[name], key=key("github"), now=NOW) == []


@pytest.mark.parametrize("name", ["fal", "standard-webhooks-v1a", "bare-ed25519"])
def test_the_public_half_is_enough_to_verify(name: str) -> None:
    """What is configured for ed25519 is the public key; it cannot sign."""
    half = public(key(name))
    assert check(name, signed(name), keys=[half]).authenticated
    with pytest.raises(Exception, match="private"):
        signed(name, with_key=half)


def test_the_name_of_the_bearer_scheme_has_no_case() -> None:
    """RFC 9110, 11.1; the token itself has."""
    genuine = signed("bearer")
    value = header(genuine, "Authorization")
    assert check("bearer", replaced(genuine, b"Authorization", b"bEARER " + value[7:])).authenticated
    for other in (b"Bearer " + value[7:].swapcase(), value[7:], b"Bearer" + value[7:]):
        with pytest.raises(RejectionError):
            check("bearer", replaced(genuine, b"Authorization", other))


def test_the_name_of_the_basic_scheme_has_no_case() -> None:
    """RFC 9110, 11.1: the authentication scheme is case-insensitive; the credential is not."""
    genuine = signed("basic")
    value = header(genuine, "Authorization")
    assert check("basic", replaced(genuine, b"Authorization", b"bASIC " + value[6:])).authenticated
    with pytest.raises(CredentialMismatchError):
        check("basic", replaced(genuine, b"Authorization", value.upper()))


def test_a_body_written_again_is_refused() -> None:
    """The signature covers the bytes that were received, not what they mean."""
    genuine = signed("github", body=b'{"b":1, "a":2}')
    with pytest.raises(SignatureMismatchError):
        check("github", replace(genuine, body=spaced(genuine.body)))


def test_line_ends_count_unless_the_scheme_strips_them() -> None:
    """Mindee signs the body without CR and LF; nobody else does."""
    genuine = signed("mindee", body=b'{\r\n "a": 1\n}\r\n')
    assert check("mindee", replace(genuine, body=b'{ "a": 1}')).authenticated
    with pytest.raises(SignatureMismatchError):
        check("github", replace(signed("github", body=b"a\n"), body=b"a"))


def test_nothing_that_is_raised_or_shown_holds_a_key_or_a_signature() -> None:
    """Errors and reprs go to logs; secrets do not."""
    secret = load_key("k", "a-canary-secret-of-some-length", scheme=SCHEMES["github"])
    genuine = signed("github", with_key=secret)
    with pytest.raises(RejectionError) as refused:
        check("github", genuine)
    shown = f"{refused.value!r} {refused.value} {secret!r} {genuine!r}"
    assert "canary" not in shown
    assert header(genuine, "X-Hub-Signature-256").decode()[7:] not in shown
    assert "evt_1" not in shown
