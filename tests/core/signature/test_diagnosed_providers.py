"""What goes wrong on the way and at the desk, with the packaged providers: each cause is named for every scheme."""

import base64
import json
from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from receiver.catalog import load_file, packaged
from receiver.core.description.scheme import Scheme
from receiver.core.errors import ConfigurationError, RejectionError
from receiver.core.message import Message, lowered
from receiver.core.signature.diagnosis import Diagnosis, diagnose
from receiver.core.signature.keyform import Key
from receiver.core.signature.keylist import load_keys
from receiver.core.signature.rewriting import rewritten
from receiver.core.signature.verify import sign, verify

NOW: Final = 1_763_700_000_000
NAMES: Final = (
    "stripe", "github", "slack", "standard-webhooks", "retell", "elevenlabs", "cloudinary", "docusign", "mux", "heygen",
    "cloudconvert", "parallel", "exa",
)  # fmt: skip
RAW: Final = b"0123456789-secret-of-production!"
DOCUMENT: Final = {
    "id": "evt_1", "created": "2025-11-21T04:40:00Z", "city": "São Paulo ✓", "at": "https://a.example/b",
    "html": "<b>&'", "amount": 1.10, "list": [1, {}, []],
}  # fmt: skip
BODY: Final = json.dumps(DOCUMENT, ensure_ascii=False, separators=(",", ":")).encode()
SECRETS: Final = {"whsec": "whsec_" + base64.b64encode(RAW).decode(), "utf8": RAW.decode()}


@cache
def scheme_of(name: str) -> Scheme:
    """How a packaged provider signs."""
    scheme = next(load_file(file) for file in packaged() if file.name == f"{name}.toml").verify
    assert scheme is not None
    return scheme


def as_configured(text: str, scheme: Scheme) -> tuple[Key, ...]:
    """The keys in a setting of that value."""
    return load_keys("SECRET", text, scheme=scheme).keys


def sent(
    body: bytes, scheme: Scheme, *, arrived: bytes | None = None, secret: bytes | None = None
) -> Message:
    """What arrives, where *body* was signed with the provider's secret, or with *secret*."""
    key = as_configured(SECRETS[scheme.key_encoding], scheme)[0]
    if secret is not None:
        key = replace(key, secret=secret)
    headers = sign(body, scheme=scheme, key=key, now=NOW, url="https://r.example/w", delivery_id="msg_1")
    return Message(
        body=body if arrived is None else arrived,
        headers=lowered([(b"content-type", b"application/json"), *headers]),
        url="https://r.example/w",
    )


def diagnosed(message: Message, scheme: Scheme, keys: tuple[Key, ...]) -> Diagnosis:
    """Let it be refused, and ask why."""
    with pytest.raises(RejectionError) as refused:
        verify(message, scheme=scheme, keys=keys, now=NOW)
    found = diagnose(message, scheme=scheme, keys=keys, now=NOW, error=refused.value)
    assert found.sentence[0].isupper()
    assert found.sentence.endswith(".")
    assert RAW.decode() not in found.sentence
    assert SECRETS["whsec"] not in found.sentence
    return found


class Change(NamedTuple):
    """What was signed, and what arrived instead; *code* names it."""

    code: str
    arrived: bytes
    signed: bytes = BODY


def dumped(**how: object) -> bytes:
    """The document, written as a program writes it."""
    return json.dumps(DOCUMENT, **how).encode()  # type: ignore[arg-type]


CHANGES: Final[dict[str, Change]] = {
    "taken for Latin-1, written as UTF-8": Change("body_charset", BODY.decode("latin-1").encode()),
    "taken for Windows-1252": Change(
        "body_charset",
        BODY.replace("✓".encode(), b"").decode("cp1252").encode(),
        BODY.replace("✓".encode(), b""),
    ),
    "written in Latin-1": Change(
        "body_charset",
        BODY.decode().replace("✓", "").encode("latin-1"),
        BODY.decode().replace("✓", "").encode(),
    ),
    "written in UTF-16": Change("body_charset", BODY.decode().encode("utf-16")),
    "accents taken apart": Change("body_charset", BODY.decode().replace("ã", "a\u0303").encode()),
    "an event of a gateway": Change("body_wrapped", json.dumps({"body": BODY.decode()}).encode()),
    "an event of a gateway, in Base64": Change(
        "body_wrapped",
        json.dumps({"isBase64Encoded": True, "body": base64.b64encode(BODY).decode()}).encode(),
    ),
    "an object around it": Change("body_wrapped", json.dumps({"payload": json.loads(BODY)}).encode()),
    "taken for a form": Change("body_wrapped", BODY.replace(b"&", b"%26").replace(b"+", b"%2B") + b"="),
    "a field of a form": Change(
        "body_wrapped", b"payload=" + BODY.replace(b"&", b"%26").replace(b"+", b"%2B").replace(b"=", b"%3D")
    ),
    "blanks around it": Change("body_rewritten", b" " + BODY + b"\n "),
    "PHP's escapes lost": Change("body_rewritten", BODY, dumped(separators=(",", ":")).replace(b"/", b"\\/")),
    "PHP's pretty print lost": Change("body_rewritten", BODY, dumped(indent=4).replace(b"/", b"\\/")),
    "Go's escapes lost": Change(
        "body_rewritten",
        BODY,
        BODY.replace(b"<", rb"\u003c").replace(b">", rb"\u003e").replace(b"&", rb"\u0026"),
    ),
    "tabs lost": Change("body_rewritten", BODY, dumped(indent="\t", ensure_ascii=False)),
    "numbers kept by a program that lays out anew": Change(
        "body_rewritten", BODY.replace(b"1.1,", b"1.10, "), BODY.replace(b"1.1,", b"1.10,")
    ),
    "members sorted": Change("body_altered", dumped(sort_keys=True)),
    "characters replaced": Change("body_altered", BODY.decode("ascii", "replace").encode()),
    "cut off": Change("body_altered", BODY[:-9]),
    "nothing": Change("body_altered", b""),
    "as Python prints it": Change("body_altered", repr(DOCUMENT).encode()),
    "Python's bytes": Change("body_altered", str(BODY).encode()),
    "another document": Change("signature_mismatch", b'{"id":"evt_2"}'),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", CHANGES)
def test_what_happened_to_the_body_is_named(name: str, what: str) -> None:
    """Where the original can be made again by trying; else by the mark that the change left."""
    scheme, change = scheme_of(name), CHANGES[what]
    message = sent(change.signed, scheme, arrived=change.arrived)
    found = diagnosed(message, scheme, as_configured(SECRETS[scheme.key_encoding], scheme))
    assert found.code == change.code


CONFIGURED: Final[dict[str, tuple[str, Callable[[str], str]]]] = {
    "in Base64 once more": ("key_not_decoded", lambda text: base64.b64encode(text.encode()).decode()),
    "with quotes": ("key_quoted", lambda text: f'"{text}"'),
    "with a line break written out": ("key_quoted", lambda text: text + "\\n"),
    "with the setting's name": ("key_prefix", lambda text: f"SECRET={text}"),
    "with Bearer": ("key_prefix", lambda text: f"Bearer {text}"),
    "in upper case": ("key_case", str.upper),
}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "standard-webhooks"])
@pytest.mark.parametrize("what", CONFIGURED)
def test_how_a_secret_was_miscopied_is_named(name: str, what: str) -> None:
    """For secrets that may be any text, so that no form shows what is wrong with them."""
    scheme = scheme_of(name)
    code, miscopied = CONFIGURED[what]
    keys = as_configured(miscopied(SECRETS["utf8"]), scheme)
    assert diagnosed(sent(BODY, scheme), scheme, keys).code == code


@pytest.mark.parametrize("around", ["\ufeff", "\u200b", "\u2060", "\u00a0", "\r", "\n", "\t"])
@pytest.mark.parametrize("name", ["stripe", "standard-webhooks"])
def test_what_nobody_sees_is_no_part_of_a_secret(name: str, around: str) -> None:
    """Byte order marks and spaces of no width come along when a secret is copied from a page or a file."""
    scheme = scheme_of(name)
    keys = as_configured(around + SECRETS[scheme.key_encoding] + around, scheme)
    assert verify(sent(BODY, scheme), scheme=scheme, keys=keys, now=NOW).authenticated


def test_the_provider_has_quotes_around_its_copy() -> None:
    """It was pasted there with them."""
    scheme = scheme_of("stripe")
    keys = as_configured(SECRETS["utf8"], scheme)
    assert diagnosed(sent(BODY, scheme, secret=b'"' + RAW + b'"'), scheme, keys).code == "key_space"


def test_a_standard_secret_in_two_codings_is_found() -> None:
    """The data of a Kubernetes Secret is Base64 of what a console shows in Base64."""
    scheme = scheme_of("standard-webhooks")
    for text in (base64.b64encode(SECRETS["whsec"].encode()).decode(), RAW.hex()):
        assert diagnosed(sent(BODY, scheme), scheme, as_configured(text, scheme)).code == "key_not_decoded"


def test_a_large_body_leaves_room_for_what_happened_to_it() -> None:
    """Guesses that end at the header cost no work, so those about a body of a megabyte are still tried."""
    scheme = scheme_of("stripe")
    body = json.dumps({"text": "a" * 1_000_000}).encode()
    message = sent(body, scheme, arrived=body + b"\n")
    found = diagnosed(message, scheme, as_configured(SECRETS["utf8"], scheme))
    assert found.code == "body_trailing_newline"


def test_microseconds_are_named() -> None:
    """A signed timestamp of sixteen digits is no clock that is wrong by fifty thousand years."""
    scheme = scheme_of("stripe")
    key = as_configured(SECRETS["utf8"], scheme)[0]
    headers = sign(BODY, scheme=replace(scheme, timestamp_format="unix-us"), key=key, now=NOW)
    message = Message(body=BODY, headers=[(name.lower(), value) for name, value in headers])
    found = diagnosed(message, scheme, (key,))
    assert found.code == "timestamp_format"
    assert "unix-us" in found.sentence


@pytest.mark.parametrize(
    ("arrived", "code"),
    [
        ("SmsSid=SM1&Body=S%C3%83%C2%A3o+Paulo&Empty=", "body_charset"),
        ("SmsSid=SM1&Body=S%E3o+Paulo&Empty=", "body_charset"),
        ("SmsSid=SM1&Body=Sa%CC%83o+Paulo&Empty=", "body_charset"),
        (json.dumps({"SmsSid": "SM1", "Body": "São Paulo", "Empty": ""}), "body_rewritten"),
        ("SmsSid=SM1&Body=S%C3%A3o+Paulo", "signature_mismatch"),
    ],
)
def test_what_happened_to_a_form_is_named(arrived: str, code: str) -> None:
    """Where the signature is over its fields; one that was dropped cannot be guessed, and the sentence says so."""
    scheme = scheme_of("twilio")
    message = sent(b"SmsSid=SM1&Body=S%C3%A3o+Paulo&Empty=", scheme, arrived=arrived.encode())
    found = diagnosed(message, scheme, as_configured(SECRETS["utf8"], scheme))
    assert found.code == code
    assert code != "signature_mismatch" or "every field" in found.sentence
    assert code != "signature_mismatch" or "'https://r.example'" in found.sentence


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8))
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
INDENTS: Final = (None, 2, 4, "\t")


@given(
    document=st.dictionaries(st.text(max_size=5), DOCUMENTS, min_size=1, max_size=4),
    indents=st.tuples(st.sampled_from(INDENTS), st.sampled_from(INDENTS)),
    escaped=st.booleans(),
)
def test_any_document_is_found_in_the_spelling_that_was_signed(
    *, document: dict[str, object], indents: tuple[int | str | None, int | str | None], escaped: bool
) -> None:
    """Whatever it holds: from one layout the other is made, and every spelling says the same."""
    separators = None if indents[0] is not None else (",", ":")
    signed = json.dumps(document, indent=indents[0], separators=separators, ensure_ascii=escaped)
    arrived = json.dumps(document, indent=indents[1], ensure_ascii=not escaped)
    spellings = [text for text, _ in rewritten(arrived.encode())]
    assert signed.encode() in [*spellings, arrived.encode()]
    for text in spellings:
        assert json.loads(text) == document


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'"{SECRETS["whsec"]}"', "quotes"),
        (f"\u201c{SECRETS['whsec']}\u201d", "quotes"),
        (SECRETS["whsec"] + "\\n", "line break"),
        ("STANDARD_WEBHOOKS_SECRET=" + SECRETS["whsec"], "name of a setting"),
        (SECRETS["whsec"].replace("M", "$", 1), "Character 7 of"),
        ("whsec_" + SECRETS["whsec"], "Character 12 of"),
        ("whsec_A", "cut off"),
    ],
)
def test_what_is_odd_about_a_key_is_said(text: str, words: str) -> None:
    """At the start and by doctor; with nothing of the key in it."""
    with pytest.raises(ConfigurationError, match=words) as refused:
        as_configured(text, scheme_of("standard-webhooks"))
    assert refused.value.code == "key_malformed"
    assert SECRETS["whsec"][6:20] not in str(refused.value)
