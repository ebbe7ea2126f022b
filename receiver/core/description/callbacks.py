"""How a provider calls back: the tables ``[callback]``, ``[[callback.challenge]]`` and ``[key]`` of a description."""

import re
from typing import Annotated, Any, Final, Literal

import msgspec

from receiver.core.address import networks
from receiver.core.description.parts import Duration, Part, check_reference
from receiver.core.description.scheme import parse_source
from receiver.core.model import HOUR, MINUTE, Delivery

#: A host, of which a label may be a region of Amazon's: ``sns.{region}.amazonaws.com``.
_HOST: Final = re.compile(r"[a-z0-9-]+(\.([a-z0-9-]+|\{region\}))*\.[a-z0-9-]+\.[a-z]{2,}")
#: It must look like a region: ``sns.s3-eu-west-1.amazonaws.com`` may be anybody's bucket.
_REGION: Final = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}")
_WORDS: Final = ("{challenge}", "{hmac}")


class Hosts(tuple[str, ...]):
    """Hosts that an address in a message may name: each as it is, or with ``{region}`` for one of Amazon's."""

    __slots__ = ()

    def hold(self, url: str) -> bool:
        """Whether *url* is https, at the usual port of one of them, and plainly written."""
        found = re.fullmatch(r"https://([a-z0-9.-]+)(/[!-~]*)?", url, re.ASCII)
        return found is not None and any(_fits(found[1], pattern) for pattern in self)


def _fits(host: str, pattern: str) -> bool:
    labels, wanted = host.split("."), pattern.split(".")
    return len(labels) == len(wanted) and all(
        _REGION.fullmatch(label) if want == "{region}" else label == want
        for label, want in zip(labels, wanted, strict=True)
    )


class Challenge(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a provider asks of an address before it calls back there, and what it wants to hear."""

    #: Where the text to be repeated, or the address to be visited, is: ``query:NAME``, or a path in the body.
    path: str
    #: How it is asked.
    methods: tuple[Literal["GET", "POST"], ...] = ("POST",)
    #: Path = what must stand there; a reference is compared with the secret that it names.
    when: dict[str, str] = {}
    #: Whether the question itself must be proved genuine, as a callback is. Where it need not be, anybody who knows the
    #: address can have a text of his own repeated, and no more.
    proved: bool = True
    #: The text of the answer, or the members of a JSON object: ``{challenge}`` is what was found, ``{hmac}``
    #: its HMAC-SHA256 in hex, with the key that callbacks are signed with.
    answer: str | dict[str, str] = "{challenge}"
    #: Instead of an answer: the hosts whose address, found at ``path``, is visited.
    visit: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_hosts(self.visit, field="visit")
        if self.visit and not self.proved:
            raise ValueError("visit: an address that nobody vouches for is not visited")
        for text in [self.answer] if isinstance(self.answer, str) else self.answer.values():
            if text not in _WORDS:
                raise ValueError(f"answer: {text!r} is neither {{challenge}} nor {{hmac}}")


class Variant(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request that makes the provider deliver otherwise."""

    #: Path in the caller's request.
    path: str
    is_: Any = msgspec.field(name="is")
    delivers: Delivery


class CallbackTerms(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the provider calls back."""

    #: ``registered``: one address per account, set by a person at the provider.
    where: Literal["body", "query", "registered"]
    #: Where the callback URL goes: a path in the body (a number is a place in a list), or a name in the query.
    path: str = ""
    #: What is put after the callback URL, where the provider fills in places of its own (``?id=$id``).
    suffix: str = ""
    encode: Literal["plain", "base64-json"] = "plain"
    #: base64-json: where the callback URL goes in the JSON document that is encoded.
    encoded_path: str = ""
    #: Where the per-job secret goes, as ``path``.
    secret_path: str | None = None
    #: What stands before the secret there (``Bearer ``).
    secret_prefix: str = ""
    secret_encoding: Literal["hex", "base64"] = "hex"  # noqa: S105  (an encoding, not a secret)
    #: Further values set in the submission (base64-json: beside ``encoded_path``) when a callback is asked for.
    set: dict[str, Any] = {}
    delivers: Delivery = Delivery.RESULT
    delivers_when: tuple[Variant, ...] = ()
    #: ``OPTIONS`` and ``HEAD`` are answered 200 at once and never taken for a callback.
    methods: tuple[Literal["POST", "PUT", "GET", "OPTIONS", "HEAD"], ...] = ("POST",)
    #: The shape of what arrives, by what was asked for.
    notification: str = "notification"
    result: str = "result"
    #: How long after submission a callback is expected; then polling takes over.
    expected: Duration = Duration(10 * MINUTE)
    #: What the provider wants to hear.
    ack: Annotated[int, msgspec.Meta(ge=200, le=299)] = 200
    #: What is asked of a new address before it is called back at.
    challenge: tuple[Challenge, ...] = ()
    #: Networks that callbacks come from (``203.0.113.0/24``): a second lock beside signature or token.
    allow_from: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            networks(self.allow_from)
        except ValueError as error:
            raise ValueError(f"allow_from: {error}") from error
        if self.where != "registered" and not self.path:
            raise ValueError(f"where = {self.where!r} needs path")
        if self.where == "body" and "" in self.path.split("."):
            raise ValueError(f"path {self.path!r}: there is nothing between two dots")
        if self.where == "registered" and self.secret_path is not None:
            raise ValueError("secret_path needs a place in the submission")
        if (self.encode == "base64-json") != bool(self.encoded_path):
            raise ValueError("encode = 'base64-json' and encoded_path belong together")


class KeyList(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a published document that is no JWKS has its keys, each a PEM text."""

    #: The member that holds the list.
    path: str
    #: What the name of a key and its text are called there.
    id: str
    key: str


class KeySource(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the key that verifies callbacks comes from."""

    source: Literal["settings", "per-job", "jwks", "submit-answer", "certificate"] = "settings"
    #: settings: ``env:NAME`` or ``file:PATH``; several keys, newest first, during a rotation.
    secret: str | None = None
    #: jwks: where the provider publishes its keys (https, fetched without credentials): a JWKS document, a PEM text, or
    #: what ``list`` describes.
    url: str | None = None
    list: KeyList | None = None
    #: certificate: the source of the certificate's address in the message itself, and the hosts that it may be at.
    at: str | None = None
    hosts: tuple[str, ...] = ()
    #: jwks, certificate: how long a fetched key set is used before it is fetched again.
    cache: Duration = Duration(24 * HOUR)
    #: submit-answer: path of the key in the provider's answer to the submission; it is kept encrypted.
    path: str | None = None

    def __post_init__(self) -> None:
        wanted = {"settings": "secret", "jwks": "url", "submit-answer": "path", "certificate": "at"}
        for source, name in wanted.items():
            if (self.source == source) != (getattr(self, name) is not None):
                raise ValueError(f"{name} belongs to source = {source!r}, and to no other")
        if self.list is not None and self.source != "jwks":
            raise ValueError("list belongs to source = 'jwks', and to no other")
        if (self.source == "certificate") != bool(self.hosts):
            raise ValueError("hosts: a certificate's address in a message is believed at named hosts only")
        check_hosts(self.hosts, field="hosts")
        if self.at is not None and parse_source(self.at, field="at").place not in {"header", "body"}:
            raise ValueError("at: header:NAME or body:PATH")
        if self.secret is not None:
            check_reference(self.secret)


def check_hosts(hosts: tuple[str, ...], *, field: str) -> None:
    """Raise ValueError where one of *hosts* is no host, or leaves its domain open."""
    for host in hosts:
        if _HOST.fullmatch(host) is None:
            raise ValueError(f"{field}: {host!r} is no host such as sns.{{region}}.amazonaws.com")
