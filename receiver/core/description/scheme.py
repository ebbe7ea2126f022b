"""Scheme: how a provider signs its callbacks, the ``[verify]`` table of a provider description.

::

    [verify]
    scheme = "hmac"                      # how it signs: see Kind
    header = "X-Signature"               # where the signature is; a list where it has several names
    item_sep = ","                       # t=1700000000,v1=5257a8…: the header holds a list
    prefix = "v1="                       # what stands before a signature; other items are skipped
    encoding = "hex"                     # or base64
    timestamp = "part:t"                 # a source, see below
    signed = "{timestamp}.{body}"        # the bytes that were signed
    key_encoding = "utf8"                # how the configured key is written

A **source** says where a value is found: ``header:NAME``, ``part:NAME`` (an item ``NAME=…`` of the signature
header), ``query:NAME``, ``form:NAME`` (a field of a body that is a form), ``body:PATH`` or ``claim:PATH`` (dotted,
through JSON objects; read only once the signature has been proved). Of a list of sources the first that the message
has is used.

**signed** is text with placeholders: ``{body}``, ``{body_sha256}`` (hex), ``{body_crc32}`` (decimal), ``{timestamp}``,
``{delivery_id}``, ``{url}``, ``{method}``, ``{account}``, ``{secret}`` (plain hashes only), or any ``header:``,
``part:``, ``query:`` or ``form:`` source.

Nothing in a message chooses an algorithm, a key's form or a place to look: all of it is in this table.
"""

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Final, Literal, cast

import msgspec

Kind = Literal["hmac", "hash", "ed25519", "ecdsa", "rsa", "jwt", "header_token", "basic", "url_token", "none"]
Place = Literal["header", "part", "query", "form", "body", "claim"]

#: The kinds whose signature is over bytes of the message.
OVER_BYTES: Final[frozenset[Kind]] = frozenset({"hmac", "hash", "ed25519", "ecdsa", "rsa"})

_SOURCE: Final = re.compile(r"(header|part|query|form|body|claim):([!-z|~]{1,100})")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_PLAIN_NAMES: Final = frozenset(
    {"body", "body_sha256", "body_crc32", "timestamp", "delivery_id", "url", "method", "account", "secret"}
)

_SIGNATURE: Final = frozenset(
    {"header", "proof", "prefix", "item_sep", "encoding", "signed", "body_norm", "key_id", "account"}
)
_AGE: Final = frozenset({"tolerance", "future_tolerance"})
_TIMESTAMP: Final = _AGE | {"timestamp", "timestamp_format"}
_SIGNED: Final = _SIGNATURE | _TIMESTAMP | {"key_encoding", "delivery_id"}
_USED: Final[dict[Kind, frozenset[str]]] = {
    "hmac": _SIGNED | {"alg", "plugin", "components", "public_prefix"},
    "hash": _SIGNED | {"alg"},
    "ed25519": _SIGNED | {"plugin", "components"},
    "ecdsa": _SIGNED | {"plugin", "components", "signature_form"},
    "rsa": _SIGNED | {"alg", "plugin", "components", "padding"},
    "jwt": _AGE | {"header", "prefix", "key_encoding", "delivery_id", "audience", "issuer", "body_claim"},
    "header_token": frozenset({"header", "prefix", "delivery_id"}),
    "basic": frozenset({"header", "delivery_id"}),
    "url_token": frozenset(),
    "none": frozenset(),
}
_KEY_ENCODINGS: Final[dict[str, frozenset[str]]] = {
    "hmac": frozenset({"utf8", "whsec", "base64", "hex"}),
    "hash": frozenset({"utf8", "whsec", "base64", "hex"}),
    "ed25519": frozenset({"whsec", "base64", "hex", "pem", "jwk"}),
    "ecdsa": frozenset({"base64", "pem", "jwk"}),
    "rsa": frozenset({"base64", "pem", "jwk"}),
    "jwt": frozenset({"pem", "jwk"}),
}


class Source(msgspec.Struct, frozen=True):
    """Where one value of a message is found."""

    place: Place
    name: str
    #: The name as it is looked up: a header's in lower case, a part's with its ``=``.
    key: bytes

    def __str__(self) -> str:
        return f"{self.place}:{self.name}"


class Scheme(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, cache_hash=True, dict=True
):
    """How a provider signs; every combination that would prove nothing is refused when it is built.

    Raises:
        ValueError: the sentence begins with the name of the key that is wrong.
    """

    kind: Kind = msgspec.field(name="scheme")
    #: The digest of ``hmac``, ``hash`` and ``rsa``. ``jwt`` is always RS256, ``ecdsa`` P-256 with SHA-256.
    alg: Literal["sha256", "sha1", "sha384", "sha512"] = "sha256"
    #: The header that carries the proof. Of several, all that are present are looked at.
    header: str | tuple[str, ...] = ()
    #: The source of the signature where it stands in no header: ``form:signature``.
    proof: str | tuple[str, ...] = ()
    #: What stands before the proof in the header (``sha256=``, ``v1,``, ``Bearer ``).
    prefix: str = ""
    #: ``hmac``: what stands before an Ed25519 signature over the same content (``v1a,``), which keys written ``whpk_…``
    #: prove; empty where the provider makes none.
    public_prefix: str = ""
    #: What separates the items of the header, space around them aside; empty where it holds one signature and nothing
    #: else. Where it holds several, lines of the header are one list.
    item_sep: Literal["", ",", ";", " "] = ""
    #: How a signature is written.
    encoding: Literal["hex", "base64"] = "hex"
    #: The bytes that were signed.
    signed: str = "{body}"
    #: The source of the signed timestamp.
    timestamp: str | tuple[str, ...] = ()
    timestamp_format: Literal["unix", "unix-ms", "unix-us", "iso8601", "http-date"] = "unix"
    #: How old a timestamp may be, in seconds.
    tolerance: int = 300
    #: How far ahead of our clock a timestamp may be, in seconds.
    future_tolerance: int = 300
    #: ``rsa``: how the digest is padded.
    padding: Literal["pkcs1", "pss"] = "pkcs1"
    #: ``ecdsa``: two numbers in ASN.1, or one after the other.
    signature_form: Literal["der", "raw"] = "der"
    #: The source of the name of the key that signed, where the provider publishes several.
    key_id: str | tuple[str, ...] = ()
    #: What ``{account}`` stands for: a name of ours at the provider, which may be a reference. ``sns``: the topics
    #: whose messages count, comma-separated ARNs.
    account: str | None = None
    #: How the configured key is written. ``whsec`` is base64 after an optional ``whsec_``
    #: (for ed25519 ``whpk_`` or ``whsk_``); ``base64`` of an ``ecdsa`` or ``rsa`` key is its DER.
    key_encoding: Literal["utf8", "whsec", "base64", "hex", "pem", "jwk"] = "utf8"
    #: What the provider did to the body before it signed it.
    body_norm: Literal["none", "strip_crlf"] = "none"
    #: The source of the id that is the same on every redelivery. It is as trustworthy as it is signed.
    delivery_id: str | tuple[str, ...] = ()
    #: ``jwt``: the ``aud`` and ``iss`` that the token must carry.
    audience: str | None = None
    issuer: str | None = None
    #: ``jwt``: the claim that holds the hex SHA-256 of the body. Without one the token does not vouch for the
    #: body, so only the claims may be believed.
    body_claim: str | None = None
    #: Signed content that no template can say.
    plugin: Literal["twilio", "sns", "rfc9421"] | None = None
    #: ``rfc9421``: what a signature must cover at least; ``content-digest`` is always among it.
    components: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, default in _DEFAULTS.items():
            if name not in _USED[self.kind] and getattr(self, name) != default:
                raise ValueError(f"{name}: scheme {self.kind!r} does not use it")
        self._check_header()
        self._check_ages()
        for name in ("timestamp", "delivery_id", "key_id", "proof"):
            self._check_sources(name)
        encodings = _KEY_ENCODINGS.get(self.kind)
        if encodings is not None and self.key_encoding not in encodings:
            raise ValueError(
                f"key_encoding: scheme {self.kind!r} takes one of {', '.join(sorted(encodings))}"
            )
        if self.kind in OVER_BYTES:
            self._check_signed()
        if self.kind == "jwt" and not self.audience:
            # Keys of a public issuer sign for everyone; only the audience says that a token is for us.
            raise ValueError("audience: a jwt without one would be accepted whoever it was made for")

    @property
    def authenticates(self) -> bool:
        """Whether a callback that passes was proved to be the provider's."""
        return self.kind not in {"url_token", "none"}

    @cached_property
    def covers_url(self) -> bool:
        """Whether the address that was called is among what was signed."""
        return "{url}" in self.signed or self.plugin in {"twilio", "rfc9421"}

    @cached_property
    def covered_field(self) -> str | None:
        """The one field of a form that the signature covers instead of the body, if that is so."""
        names = [name for _, name in parse_signed(self.signed)]
        if not _WHOLE.isdisjoint(names):
            return None
        return next((name.removeprefix("form:") for name in names if name.startswith("form:")), None)

    @cached_property
    def public(self) -> "Scheme | None":
        """The scheme of the Ed25519 signatures that may stand beside the others, if there is one."""
        if not self.public_prefix:
            return None
        return msgspec.structs.replace(
            self, kind="ed25519", prefix=self.public_prefix, public_prefix="", alg="sha256", encoding="base64"
        )

    @property
    def headers(self) -> tuple[str, ...]:
        """The headers that may carry the proof, as written in the description."""
        if self.kind == "basic":
            return listed(self.header) or ("Authorization",)
        return ("Signature",) if self.plugin == "rfc9421" else listed(self.header)

    def _check_header(self) -> None:
        if self.authenticates and not self.headers and not self.proof:
            raise ValueError(f"header: scheme {self.kind!r} needs one")
        if self.headers and self.proof:
            raise ValueError("proof: the signature is in a header, or there")
        for name in self.headers:
            if _HEADER_NAME.fullmatch(name) is None:
                raise ValueError(f"header: {name!r} is not a header name")
        for name in ("prefix", "public_prefix"):
            if not (prefix := getattr(self, name)).isascii():
                raise ValueError(f"{name}: only ASCII stands in headers")
            if self.item_sep and self.item_sep in prefix:
                raise ValueError(f"{name}: it contains item_sep")
        if self.public_prefix and (self.key_encoding != "whsec" or self.plugin is not None):
            raise ValueError("public_prefix: it goes with key_encoding 'whsec', which tells the keys apart")

    def _check_ages(self) -> None:
        for name in ("tolerance", "future_tolerance"):
            value = getattr(self, name)
            if not 1 <= value <= 7 * 86_400:
                raise ValueError(f"{name}: seconds, from 1 to 604800")
        if self.kind != "jwt" and not self.timestamp:
            for name in ("timestamp_format", "tolerance", "future_tolerance"):
                if getattr(self, name) != _DEFAULTS[name]:
                    raise ValueError(f"{name}: it needs timestamp")

    def _check_sources(self, field: str) -> None:
        for text in listed(getattr(self, field)):
            source = parse_source(text, field=field)
            if source.place == "claim" and self.kind != "jwt":
                raise ValueError(f"{field}: only scheme 'jwt' has claims")
            if source.place == "part" and not self.item_sep and self.plugin != "rfc9421":
                raise ValueError(f"{field}: {text!r} needs item_sep")
            if field == "key_id" and source.place not in {"header", "part", "query"}:
                raise ValueError(f"key_id: {text!r} cannot be read before the signature is proved")
            if field == "proof" and source.place != ("body" if self.plugin == "sns" else "form"):
                raise ValueError(f"proof: {text!r} is no field of a form")

    def _check_signed(self) -> None:
        if self.plugin is not None:
            self._check_plugin()
            return
        names = [name for _, name in parse_signed(self.signed) if name]
        for name in names:
            if name not in _PLAIN_NAMES:
                self._check_placeholder(name)
        if ("account" in names) != (self.account is not None):
            raise ValueError("account: it is what {account} in signed stands for")
        if _WHOLE.isdisjoint(names) and not any(name.startswith("form:") for name in names):
            raise ValueError("signed: it leaves the body out, so the signature would not vouch for it")
        if (self.kind == "hash") != ("secret" in names) or names.count("secret") > 1:
            raise ValueError("signed: {secret} belongs to scheme 'hash', once, and to no other")
        if self.kind == "hash" and not self.signed.endswith("{secret}"):
            # SHA-1 and SHA-2 can be extended without knowing what came first.
            raise ValueError("signed: {secret} must come last, or the hash can be extended by anyone")
        for name in ("timestamp", "delivery_id"):
            self._check_bound(name, signed=name in names)

    def _check_plugin(self) -> None:
        if self.signed != "{body}":
            raise ValueError("signed: the plugin says what was signed")
        kinds = {"twilio": {"hmac"}, "sns": {"rsa"}, "rfc9421": {"hmac", "ed25519", "ecdsa", "rsa"}}
        if self.kind not in kinds[self.plugin or ""]:
            raise ValueError(f"plugin: {self.plugin!r} does not go with scheme {self.kind!r}")
        if self.plugin == "sns" and not self.account:
            # As with the audience of a token: Amazon signs for everyone who has a topic.
            raise ValueError("account: Amazon signs for everyone; name the topics whose messages count")
        if self.components and self.plugin != "rfc9421":
            raise ValueError("components: only 'rfc9421' has them")
        if self.plugin == "rfc9421" and (self.timestamp != "part:created" or self.header):
            raise ValueError("timestamp: 'rfc9421' has 'part:created', and no header of its own")
        if self.plugin == "rfc9421" and self.kind == "ecdsa" and self.signature_form != "raw":
            raise ValueError("signature_form: 'rfc9421' has 'raw' (RFC 9421, 3.3.4)")

    def _check_placeholder(self, name: str) -> None:
        source = parse_source(name, field="signed")
        if source.place not in {"header", "part", "query", "form"}:
            raise ValueError(f"signed: {name!r} cannot be read before the signature is proved")
        if source.place == "part" and not self.item_sep:
            raise ValueError(f"signed: {name!r} needs item_sep")

    def _check_bound(self, name: str, *, signed: bool) -> None:
        sources = [parse_source(text, field=name) for text in listed(getattr(self, name))]
        in_body = any(source.place == "body" for source in sources)
        if signed and not sources:
            raise ValueError(f"{name}: signed contains it, so it needs a source")
        if signed and in_body:
            raise ValueError(f"{name}: the body is not read before the signature is proved")
        if name == "timestamp" and sources and not signed and not all(s.place == "body" for s in sources):
            raise ValueError("timestamp: it is not in signed, so anyone could write a fresh one")


#: Placeholders that stand for the whole body. A CRC is no hash: see ``receiver/docs/verification.md``.
_WHOLE: Final = frozenset({"body", "body_sha256", "body_crc32"})
_DEFAULTS: Final = {
    field.name: field.default for field in msgspec.structs.fields(Scheme) if not field.required
}


def listed(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """One text or several, as a tuple."""
    return (value,) if isinstance(value, str) else value


def parse_source(text: str, *, field: str) -> Source:
    """Read a source; raises ValueError naming *field* where *text* is none."""
    found = _SOURCE.fullmatch(text)
    if found is None:
        raise ValueError(f"{field}: {text!r} is not a source such as header:NAME, part:NAME or body:PATH")
    place, name = found.groups()
    if place == "header" and _HEADER_NAME.fullmatch(name) is None:
        raise ValueError(f"{field}: {name!r} is not a header name")
    key = {"header": name.lower(), "part": name + "="}.get(place, name)
    return Source(cast("Place", place), name, key.encode())


def parse_sources(value: str | tuple[str, ...], *, field: str) -> tuple[Source, ...]:
    """Read one or several sources; raises ValueError naming *field*."""
    return tuple(parse_source(text, field=field) for text in listed(value))


def parse_signed(template: str) -> Iterable[tuple[str, str]]:
    """Split a template into pairs of literal text and the placeholder after it (empty at the end).

    Raises:
        ValueError: a brace stands alone.
    """
    pieces = _PLACEHOLDER.split(template)
    for literal in pieces[::2]:
        if "{" in literal or "}" in literal:
            raise ValueError("signed: a brace stands alone")
    if "" in pieces[1::2]:
        raise ValueError("signed: a placeholder is empty")
    return list(zip(pieces[::2], [*pieces[1::2], ""], strict=True))
