"""How a document says that it is one page of several, and where the next one is."""

import hashlib
import re
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit, urlunsplit

from receiver.core.description.shape import SO_FAR, Shape
from receiver.core.errors import UnreadableError
from receiver.core.message import Message
from receiver.core.model import Value
from receiver.core.reading.document import Document

_PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")
#: Cursors may be long, addresses that nobody can use need not be kept.
_LONGEST: Final = 8192
_LONGEST_TYPE: Final = 200
#: What stands where the next page's address would, on the last one.
_NOTHING: Final = (None, "", False)


class ResultPage(Value, frozen=True, kw_only=True):
    """One of several answers that make up a result, as it arrived."""

    #: From 1.
    number: int
    #: Where it was asked for.
    url: str
    content: bytes
    content_type: str
    #: How many items it adds to the list that pages add to.
    items: int
    #: Where the next one is; ``None`` for the last.
    next_url: str | None

    @property
    def sha256(self) -> str:
        """The digest of its bytes."""
        return hashlib.sha256(self.content).hexdigest()


def is_given_again(page: ResultPage, before: str, shape: Shape) -> bool:
    """Whether *page* is once more the one whose digest is *before*, and fewer items than were asked for.

    Whoever knows of no offset answers every one of them with the same list, which never ends.
    """
    if page.sha256 != before or SO_FAR not in (shape.next or ""):
        return False
    asked = dict(parse_qsl(urlsplit(page.url).query)).get("limit", "")
    return not asked.isdecimal() or page.items < int(asked)


def goes_on(document: Document, shape: Shape) -> bool:
    """Whether the result that *document* brings goes on elsewhere; raises UnreadableError as ``page_of`` does."""
    if shape.next is None:
        return False
    if "{" not in shape.next and document.find(shape.next) in _NOTHING:
        return False  # what is no page at all need not have a list either
    return _next(document, shape, url="", before=0, items=_items(document, shape)) is not None


def page_of(
    message: Message, shape: Shape, *, url: str, number: int = 1, before: int = 0, largest: int
) -> ResultPage:
    """The page that came from *url*, with *before* items on the pages in front of it.

    Raises:
        UnreadableError: it is no such page; decoded, it may have at most *largest* bytes.
    """
    document = Document(message, shape, largest=largest)
    items = _items(document, shape)
    content_type = (message.header(b"content-type") or b"application/json").decode("latin-1")
    return ResultPage(
        number=number,
        url=url,
        content=document.plain,
        content_type=content_type[:_LONGEST_TYPE],
        items=items,
        next_url=_next(document, shape, url=url, before=before, items=items),
    )


def _items(document: Document, shape: Shape) -> int:
    """How many items the document brings."""
    for path in shape.lists:
        # Strictly: two readers would not agree about a list that is there twice.
        if document.find(path) is not None and (found := document.count(path)) is not None:
            return found
    where = " or ".join(map(repr, shape.lists))
    raise UnreadableError(f"There is no list at {where}, which pages add to.", code="items_missing")


def _next(document: Document, shape: Shape, *, url: str, before: int, items: int) -> str | None:
    if shape.more is not None and document.find(shape.more) not in (True, "true"):
        return None
    if shape.total is not None:
        total = _number(document.find(shape.total))
        if total is not None and before + items >= total:
            return None
    template = shape.next or ""
    if "{" not in template:
        value = document.find(template)
        return None if value in _NOTHING else _clean(urljoin(url, _text(value)))
    values = {SO_FAR: str(before + items)}
    for path in _PLACEHOLDER.findall(template):
        if path not in values:
            found = document.find(path)
            if found in (None, ""):
                return None
            values[path] = _text(found)
    if items == 0:
        # A cursor that leads nowhere must not be followed for ever.
        return None
    return _clean(_filled(template, values, url))


def _filled(template: str, values: dict[str, str], url: str) -> str:
    if not template.startswith(("?", "#")):
        return _PLACEHOLDER.sub(lambda found: quote(values[found[1]], safe=""), template)
    set_anew = [
        (name, _PLACEHOLDER.sub(lambda found: values[found[1]], text))
        for name, text in parse_qsl(template[1:], keep_blank_values=True)
    ]
    if template.startswith("#"):
        # The fragment is not sent with the address: whoever asks there puts it where it belongs.
        return f"{url.partition('#')[0]}#{urlencode(set_anew)}"
    parts = urlsplit(url)
    names = {name for name, _ in set_anew}
    kept = [(n, v) for n, v in parse_qsl(parts.query, keep_blank_values=True) if n not in names]
    return urlunsplit(parts._replace(query=urlencode([*kept, *set_anew]), fragment=""))


def _number(value: Any) -> int | None:  # noqa: ANN401
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise UnreadableError("What leads to the next page is no text.", code="url_unreadable")
    return value


def _clean(url: str) -> str:
    if len(url) > _LONGEST or not url.isprintable():
        raise UnreadableError("The next page's address is too long or not printable.", code="url_unreadable")
    return url
