"""Links: which files a result links to, as its provider's description says where to look."""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from receiver.core.body.encoding import looks_packed, unpacked
from receiver.core.body.jsontext import BLANK, parse_json
from receiver.core.body.members import members_of
from receiver.core.charset import in_utf8
from receiver.core.description.keeping import UNKNOWN_RETENTION, expires_at
from receiver.core.description.linked import DEEPEST, Linked
from receiver.core.description.provider import Provider, origin_of
from receiver.core.errors import UnreadableError
from receiver.core.files.expiry import expiry
from receiver.core.model import Job, Value

#: Bytes that a result may unfold to whose own bytes say that it is packed.
_LARGEST: Final = 64 * 1024 * 1024
#: Characters of an address, of what is shown of it, and of a name.
LONGEST_URL: Final = 8192
_LONGEST_SOURCE: Final = 1000
_LONGEST_NAME: Final = 255
_LINK: Final = re.compile(r"\s*(data:|[a-z][a-z0-9+.-]{0,20}://)", re.IGNORECASE)
_DATA: Final = re.compile(r"data:([^,]*),", re.IGNORECASE)
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
#: What no database and no terminal takes: control characters, lone surrogates, and marks that turn text around.
_UNPRINTABLE: Final = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Link(Value, frozen=True, kw_only=True):
    """A file that a result links to."""

    #: From 1, in the order of the result.
    number: int
    place: str
    name: str
    #: The whole link; of ``data:`` only what comes before its bytes.
    url: str
    #: Empty where the link is none that anybody could follow.
    origin: str
    authenticated: bool
    #: What its description bounds it to.
    largest: int | None
    expires_at: int

    @property
    def written_out(self) -> bool:
        """Whether the file is in the link itself."""
        return self.url.startswith("data:")

    @property
    def source(self) -> str:
        """The link without what opens it."""
        return self.url[:_LONGEST_SOURCE].partition("?")[0].partition("#")[0]


def links(
    content: bytes, provider: Provider, job: Job, *, most: int, now: int, answer: bytes = b""
) -> tuple[list[Link], int]:
    """The first *most* files that a result links to, or that *answer*, which told how the job ended, names.

    And how many there are. A link that stands in it more than once is one file.

    Raises:
        UnreadableError: the result is not JSON.
    """
    found: dict[str, Link] = {}
    if reads_result(provider) and content.strip(BLANK)[:1] not in {b"{", b"[", b'"'}:
        parse_json(content)
    # What is in the result comes first: ``written_out`` counts that.
    for linked in sorted(provider.files, key=lambda one: one.url is not None):
        inside = linked.url is None
        naming = _Naming(linked, content if inside else answer)
        texts = _texts(content.strip(BLANK), linked.keys) if inside else _named(linked, answer)
        for place, text, around in texts:
            url = _link(text)
            if url is None or url in found:
                continue
            number = len(found) + 1
            if number > most:
                # Counted, and no longer kept: a result may hold millions.
                found[url] = found[next(iter(found))]
                continue
            head = _DATA.match(url)
            plain = head[0][:LONGEST_URL] if head else url
            odd = len(plain) > LONGEST_URL or _UNPRINTABLE.search(plain) is not None
            found[url] = Link(
                number=number,
                place=_shown(".".join(place))[:_LONGEST_SOURCE],
                name=naming(url, number, around=around),
                url=_shown(plain)[:LONGEST_URL],
                origin="" if odd else "data:" if head else origin_of(url),
                authenticated=linked.authenticated,
                largest=linked.largest,
                expires_at=deletion(job, linked, url, now=now),
            )
    return list(found.values())[:most], len(found)


def legible(content: bytes, content_type: str) -> bytes:
    """A result, which is kept as it arrived, as JSON is read from it: in UTF-8, and unpacked where it shows that it is.

    *content_type* is the one that it is kept with.
    """
    plain = unpacked(content, largest=_LARGEST) if looks_packed(content) else None
    return in_utf8(content if plain is None else plain, content_type)


def reads_result(provider: Provider) -> bool:
    """Whether files are looked for in the results of *provider*."""
    return any(one.path is not None for one in provider.files)


def names_in_answer(provider: Provider) -> bool:
    """Whether the answers of *provider* name files beside the result."""
    return any(one.url is not None for one in provider.files)


def _named(linked: Linked, answer: bytes) -> Iterator[tuple[tuple[str, ...], str, bytes]]:
    """The address of a file that an answer names, if it does, in the form of ``_texts``."""
    values = {path: quote(_shown(_value(answer, path)), safe="") for path in linked.parts}
    if all(values.values()):
        yield linked.parts, _filled(linked.url or "", values), answer


def deletion(job: Job, linked: Linked, url: str, *, now: int) -> int:
    """By when the provider deletes a file: what is sooner of its description and the link, else our guess."""
    start = job.succeeded_at or now
    if linked.keeps is None:
        told = expires_at(job)
    else:
        told = int(linked.keeps) + (
            (job.submitted_at or job.created_at) if linked.counted_from == "submission" else start
        )
    known = [at for at in (told, expiry(url)) if at is not None]
    return min(known, default=start + UNKNOWN_RETENTION)


def written_out(content: bytes, provider: Provider, number: int) -> tuple[bytes, str]:
    """The bytes of a ``data:`` link, and their type; raises UnreadableError where they are not as RFC 2397 says."""
    seen: set[str] = set()
    for linked in provider.files:
        if linked.url is not None:
            continue
        for _, text, _ in _texts(content.strip(BLANK), linked.keys):
            url = _link(text)
            if url is None or url in seen:
                continue
            seen.add(url)
            if len(seen) == number:
                return _decoded(url)
    raise UnreadableError("The link is no longer where it was.", code="file_refused")


def _decoded(url: str) -> tuple[bytes, str]:
    head = _DATA.match(url)
    if head is None:
        raise UnreadableError("The data: link has no comma.", code="file_refused")
    kind, _, coding = head[1].rpartition(";") if head[1].lower().endswith(";base64") else (head[1], "", "")
    content = unquote_to_bytes(url[head.end() :])
    if coding:
        try:
            content = base64.b64decode(content.translate(None, b" \t\r\n"), validate=True)
        except (binascii.Error, ValueError) as error:
            raise UnreadableError("The data: link is not base64.", code="file_refused") from error
    return content, kind or "text/plain"


def _link(text: str) -> str | None:
    """*text* as a link, if it is one; what browsers pass by is left out."""
    if _LINK.match(text) is None:
        return None
    url = text.strip()
    return url if url[:5].lower() == "data:" else url.partition("#")[0]


def _texts(
    raw: bytes, keys: Sequence[str], place: tuple[str, ...] = (), around: bytes = b""
) -> Iterator[tuple[tuple[str, ...], str, bytes]]:
    """The texts that *keys* lead to: where each stands, itself, and the object or list that it stands in."""
    if not keys:
        if raw[:1] == b'"':
            text = _scalar(raw)
            if isinstance(text, str):
                yield place, text, around
        return
    key, rest = keys[0], keys[1:]
    if key == "**":
        yield from _texts(raw, rest, place, around)
    if raw[:1] not in {b"{", b"["} or len(place) >= DEEPEST:
        return
    for name, member in members_of(raw):
        if key == "**":
            if member[:1] in {b"{", b"["} or not rest:
                yield from _texts(member, keys, (*place, name), raw)
        elif key in {"*", name}:
            yield from _texts(member, rest, (*place, name), raw)


class _Naming:
    """What files are called, in somebody else's words."""

    def __init__(self, linked: Linked, content: bytes) -> None:
        self._template = linked.name
        self._beside = [one for one in linked.placeholders if one[:1] == "."]
        # Looked up once for all files, and what is beside them once for neighbours: a result may have thousands.
        others = [one for one in linked.placeholders if one[:1] != "." and one != "number"]
        self._values = {one: _value(content, one) for one in others}
        self._around: bytes | None = None

    def __call__(self, url: str, number: int, *, around: bytes) -> str:
        if self._template is None:
            text = "" if url[:5].lower() == "data:" else unquote(_path(url)).rpartition("/")[2]
        else:
            if around is not self._around:
                self._around = around
                self._values |= {one: _value(around, one.lstrip(".")) for one in self._beside}
            text = _filled(self._template, self._values | {"number": str(number)})
        return _shown(text).strip()[:_LONGEST_NAME] or f"file-{number}"


def _shown(text: str) -> str:
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _filled(template: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)


def _value(raw: bytes, path: str) -> str:
    """A text or number at *path*; empty where there is none."""
    found = raw.strip(BLANK)
    for key in path.split("."):
        if found[:1] not in {b"{", b"["}:
            return ""
        found = dict(members_of(found)).get(key, b"")
    value = _scalar(found)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _scalar(raw: bytes) -> object:
    """A value that is no object and no list; ``None`` for what is, and for what is no JSON."""
    if raw[:1] in {b"{", b"["}:
        return None
    try:
        # Half an emoji is text for this parser, and for no other.
        return json.loads(raw, strict=False)
    except ValueError:
        return None


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""
