"""Provider bytes → Observation.

Nothing in here believes anything: whether what was read counts is decided in ``admission`` and ``transition``.
Whatever the bytes, reading returns or raises UnreadableError; its code says what is wrong with them.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from receiver.core.body.jsontext import parse_json
from receiver.core.description.shape import MEANINGS, NEEDS_ACTION, UNSUCCESSFUL, Condition, Shape
from receiver.core.enum_members import SUCCEEDED
from receiver.core.errors import UnreadableError
from receiver.core.identity import JOB, is_id, is_remote_id
from receiver.core.message import Message
from receiver.core.model import Failure, JobState, Observation, ResultAt
from receiver.core.reading.document import Document
from receiver.core.reading.pagination import goes_on

#: Why a job failed whose outcome arrived and cannot be read.
UNREADABLE: Final = "result_unreadable"
_LONGEST_WORD: Final = 256
_LONGEST_URL: Final = 2048
_LONGEST_TEXT: Final = 2000
_FORM: Final = "application/x-www-form-urlencoded"
_BEGINNING: Final = 32
_PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")
_MAY_GO_ON: Final = {None, SUCCEEDED}
_NOT_YET: Final = {"status_missing", "event_of_no_job"}
#: A document of which nothing is known but that it is JSON.
_PLAIN: Final = Shape()
#: What is said of a job whose provider's word for its state is not in the description.
WORD_UNLISTED: Final = "word_unlisted"


def read(
    message: Message, shape: Shape, *, largest: int, claims: Mapping[str, Any] | None = None
) -> Observation:
    """Read what a document of *shape* says about a job; *claims* are what a jwt beside it was proved to say.

    Raises:
        UnreadableError: it is not in the described form; decoded, it may have at most *largest* bytes.
    """
    found = _Reading(Document(message, shape, largest=largest, claims=claims), message, shape)
    if shape.about is not None and not shape.about.concerns(found.find(shape.about.path)):
        raise UnreadableError("It is an event about something else than jobs.", code="event_of_no_job")
    state, word, attention = found.state()
    ends_with_result = state is not None and shape.may_have_result(state, word)
    result_url = None if shape.result_url is None else found.result_url(shape.result_url)
    if (
        result_url
        and state is not SUCCEEDED
        and not ends_with_result
        and (state in UNSUCCESSFUL or shape.result_url in shape.templates)
    ):
        result_url = None  # an address that we make ourselves says nothing before the end
    may_go_on = shape.next is not None and (ends_with_result or state in _MAY_GO_ON)
    paged = may_go_on and goes_on(found.document, shape)
    return Observation(
        state=state,
        word=word,
        remote_id=found.identifier(shape.id),
        response_url=None if shape.response_url is None else found.url(shape.response_url),
        cancel_url=None if shape.cancel_url is None else found.url(shape.cancel_url),
        result_url=result_url,
        result=None if result_url or paged else found.result(state, ends_with_result=ends_with_result),
        error=found.failure() if state in UNSUCCESSFUL else None,
        attention=attention,
        mark=found.mark() if shape.mark else None,
        goes_on=paged,
    )


def lost_to_readers(code: str, body: bytes) -> bool:
    """Whether a document that was refused with *code* will not be readable later either, and may be what was paid for.

    A document without a status may get one; an empty body or a page of HTML is what something on the way says.
    """
    return code not in _NOT_YET and body.strip()[:1] not in {b"", b"<"}


def unreadable_failure(code: str) -> Failure:
    """Why a job failed whose outcome nobody can read: *code* says what is wrong with the document, which is kept."""
    text = f"The outcome arrived and cannot be read ({code}); its bytes are kept as the job's result."
    return Failure(code=UNREADABLE, text=text)


def text_at(message: Message, path: str) -> str | None:
    """The text at *path* of a JSON body, or beside it, where there is one that can be printed."""
    if path.startswith(("query:", "header:")):
        message = replace(message, body=b"null", headers=())
    try:
        value = Document(message, _PLAIN, largest=len(message.body)).find(path)
    except UnreadableError:
        return None
    return value if isinstance(value, str) and len(value) <= _LONGEST_TEXT and value.isprintable() else None


class _Reading:
    """What a document of one shape says."""

    __slots__ = ("_message", "_shape", "document", "find")

    def __init__(self, document: Document, message: Message, shape: Shape) -> None:
        self.document = document
        self._message = message
        self._shape = shape
        self.find = document.find

    def state(self) -> tuple[JobState | None, str | None, str | None]:
        """What it says of the state, the provider's own word for that, and why that deserves attention, if it does."""
        shape = self._shape
        for rule in shape.rules:
            if _holds(rule, self.find(rule.path)):
                return MEANINGS[rule.state], None, NEEDS_ACTION if rule.state == NEEDS_ACTION else None
        if shape.status is None:
            return None, None, None
        status = shape.status
        word = _written(self.find(status) if isinstance(status, str) else self._first(status))
        if word is None:
            where = " or ".join(map(repr, shape.statuses))
            raise UnreadableError(f"There is no status at {where}.", code="status_missing")
        _clean(word, _LONGEST_WORD, "status")
        meaning = shape.states.get(word) or shape.meaning(word)
        if meaning is None:
            return MEANINGS[shape.unknown], word, WORD_UNLISTED
        return MEANINGS[meaning], word, NEEDS_ACTION if meaning == NEEDS_ACTION else None

    def identifier(self, paths: Sequence[str]) -> str | None:
        value = self._first(paths)
        if value is None:
            return None
        text = _written(value)
        if text is None or not is_remote_id(text):
            raise UnreadableError(
                "The job id is neither text nor a number, empty, too long, or not printable.",
                code="id_unreadable",
            )
        return text

    def mark(self) -> str | None:
        """Our own id of the job; what else may stand there is somebody else's."""
        value = self._first(self._shape.mark)
        return value if isinstance(value, str) and is_id(value, JOB) else None

    def result_url(self, path: str) -> str | None:
        """Where the result is, if the document says so at *path* and what must hold for that does."""
        condition = self._shape.result_url_when
        if condition is not None and not _holds(condition, self.find(condition.path)):
            return None
        return self.url(path)

    def url(self, path: str) -> str | None:
        if "{" in path:
            return self._filled(path)
        value = self._first((path,))
        if value is None:
            return None
        if not isinstance(value, str):
            raise UnreadableError("An address in the document is not a string.", code="url_unreadable")
        return _clean(value, _LONGEST_URL, "url")

    def failure(self) -> Failure:
        """The provider's reason, in whatever form it is: it decides nothing."""
        for path in self._shape.error:
            text = self._words(path)
            if text is not None:
                return Failure(code="provider_reported", text=text[:_LONGEST_TEXT])
        return Failure(code="provider_reported")

    def result(self, state: JobState | None, *, ends_with_result: bool) -> ResultAt | None:
        shape, plain = self._shape, self.document.plain
        if shape.result is None:
            return None
        if state is None:
            if any(rule.state == SUCCEEDED for rule in shape.rules):
                # The description says how success looks, and this does not look so.
                return None
        elif state is not SUCCEEDED and (not ends_with_result or shape.result_url is not None):
            # Where a result has an address, a document without one tells of none: only success has one all the same.
            return None
        content = self.document.cut(shape.result)
        if content is None:
            return None
        # A result that can be pointed at inside the stored bytes is not stored a second time.
        offset = _place(content, plain) if plain is self._message.body else -1
        charset = self.document.charset(content)
        # A form in place of JSON is told by its type.
        content_type = _FORM if shape.result == "." and self.document.is_form else shape.result_type
        if charset is not None:
            content_type += f"; charset={charset}"
        return ResultAt(content=content, content_type=content_type, offset=None if offset < 0 else offset)

    def _words(self, path: str) -> str | None:
        try:
            value = self.find(path)
            if isinstance(value, bytes):
                value = json.dumps(parse_json(value))
        except UnreadableError:
            value = (self.document.cut(path) or b"").decode(errors="replace")
        if value is None:
            return None
        text = value if isinstance(value, str) else json.dumps(value)
        return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")

    def _first(self, paths: Sequence[str]) -> Any:  # noqa: ANN401
        for path in paths:
            value = self.find(path)
            if value is not None:
                return value
        return None

    def _filled(self, template: str) -> str | None:
        """An address put together from values of the document; ``None`` where one of them is missing."""
        values = {path: self.identifier((path.removeprefix("+"),)) for path in _PLACEHOLDER.findall(template)}
        if None in values.values():
            return None
        # Where a name is a path of its own ("projects/p/operations/1"), no step of it may lead elsewhere.
        if any(path.startswith("+") and _leads_away(text or "") for path, text in values.items()):
            raise UnreadableError(
                "A name in the document cannot be part of an address.", code="url_unreadable"
            )

        def written(found: re.Match[str]) -> str:
            return quote(values[found[1]] or "", safe="/" if found[1].startswith("+") else "")

        url = _PLACEHOLDER.sub(written, template)
        return _clean(url, _LONGEST_URL, "url")


def _leads_away(text: str) -> bool:
    return bool({"", ".", ".."} & set(text.split("/")))


def _holds(rule: Condition, value: object) -> bool:
    if rule.exists is not None:
        return (value is not None) == rule.exists
    if isinstance(value, bytes):
        # An object or a list: only a rule about such a one needs to know what is in it.
        wanted = rule.not_ if rule.is_ is msgspec.UNSET else rule.is_
        value = parse_json(value) if isinstance(wanted, (dict, list)) else value
    if rule.is_ is not msgspec.UNSET:
        return type(value) is type(rule.is_) and value == rule.is_
    return not (type(value) is type(rule.not_) and value == rule.not_)


def _written(value: object) -> str | None:
    """A text or a whole number as text; ``None`` for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _clean(text: str, longest: int, what: str) -> str:
    # Control characters and lone surrogates would break logs, terminals and the database later.
    if not text.strip() or len(text) > longest or not text.isprintable():
        raise UnreadableError(f"The {what} is empty, too long or not printable.", code=f"{what}_unreadable")
    return text


def _place(content: bytes, body: bytes) -> int:
    """Where *content* begins in *body*; its beginning is looked for first, which as a rule is there once."""
    at = body.find(content[:_BEGINNING])
    return at if body.startswith(content, at) else body.find(content)
