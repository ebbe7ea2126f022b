"""Shapes: how a description says what one kind of document of an API means."""

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Final, Literal, Self

import msgspec

from receiver.core.description.parts import Part
from receiver.core.model import JobState

#: What stands in a template for the number of items on all pages so far.
SO_FAR: Final = "items_so_far"
#: How a document is written: ``form-json`` is JSON in one field of a form, ``json-json`` in a text of a JSON document.
Content = Literal["json", "json-string", "json-json", "form", "form-json", "query", "claims", "any"]

#: The meaning of a word for a job that goes on only once a person has done something.
NEEDS_ACTION: Final = "needs_action"
#: What a provider's word may mean, and the state that a job is in then.
MEANINGS: Final[Mapping[str, JobState]] = {
    one.value: one
    for one in JobState
    if one not in {JobState.SUBMITTING, JobState.FETCHING, JobState.TIMED_OUT}
} | {NEEDS_ACTION: JobState.RUNNING}
UNSUCCESSFUL: Final = frozenset({JobState.FAILED, JobState.CANCELED, JobState.EXPIRED})
_RANGE: Final = re.compile(r"(-?[0-9]{1,18})\.\.(-?[0-9]{1,18})")
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")
_FORM: Final = "application/x-www-form-urlencoded"
_MULTIPART: Final = "multipart/form-data"


class Condition(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A condition on one path of a document."""

    path: str
    is_: Any = msgspec.field(name="is", default=msgspec.UNSET)
    not_: Any = msgspec.field(name="not", default=msgspec.UNSET)
    exists: bool | None = None

    def __post_init__(self) -> None:
        if [self.is_ is msgspec.UNSET, self.not_ is msgspec.UNSET, self.exists is None].count(False) != 1:
            raise ValueError(f"the condition on {self.path!r} needs exactly one of is, not, exists")
        check_path(self.path)


class Rule(Condition, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A condition on one path of a document, and what it means."""

    #: One of the provider's states, or ``needs_action``.
    state: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_meaning(self.state)


class About(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which documents concern jobs of this description, where one address hears of other things too.

    Any other document is kept and read no further (``event_of_no_job``).
    """

    #: Path of the provider's word for the kind of event.
    path: str
    #: The words that count.
    is_: tuple[str, ...] = msgspec.field(name="is", default=())
    #: Beginnings of further words that count.
    begins: tuple[str, ...] = ()
    #: Beginnings of words that do not count although they match: events of another object, whose id is no job's.
    excludes: tuple[str, ...] = ()
    #: Whether a document without such a word counts.
    absent: bool = False

    def __post_init__(self) -> None:
        if not (self.is_ or self.begins):
            raise ValueError("about needs is or begins")
        if unused := [one for one in self.excludes if not one.startswith(self.begins or ("\0",))]:
            raise ValueError(f"about.excludes: {unused[0]!r} does not begin as about.begins says")

    def concerns(self, word: object) -> bool:
        """Whether a document with that *word* concerns jobs."""
        if word is None:
            return self.absent
        if not isinstance(word, str):
            return False
        return word in self.is_ or (
            bool(self.begins)
            and word.startswith(self.begins)
            and not word.startswith(self.excludes or ("\0",))
        )


class Shape(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to read one kind of document of this API.

    A path is dotted (``data.run_id``, ``items.0.id``); ``items[state=done].url`` goes on in the first member of a list
    whose ``state`` is ``done``; ``query:NAME`` and ``header:NAME`` look beside the body. Where several paths are given,
    the first that exists counts. An address is the path of one, or a template
    (``https://api.example.com/files/{output_file_id}``) whose placeholders are paths.
    """

    #: ``query``: the fields of the query string; ``claims``: the claims of the jwt, the body is not believed;
    #: ``any``: bytes that are not looked into.
    content: Content = "json"
    #: What the body is instead, by its media type (``Content-Type`` without parameters, in lower case).
    content_types: dict[str, Content] = {}
    #: ``form-json``: the field of the form whose text is the JSON document; a form without it is read as ``form``.
    #: ``json-json``: the member whose text is the document that counts; if it is none, the outer one is read.
    field: str | None = None
    about: About | None = None
    id: tuple[str, ...] = ()
    #: First match wins; they come before ``status``.
    rules: tuple[Rule, ...] = ()
    #: Path of the provider's word for the state, or several; the first that exists.
    status: str | tuple[str, ...] | None = None
    #: What the provider's words mean, case-sensitive; ``40000..59999`` stands for every whole number from, to.
    states: dict[str, str] = {}
    #: What a word means that is not there; it is counted and shown all the same.
    unknown: str = JobState.RUNNING.value
    #: Path of the result; ``.`` is the whole document.
    result: str | None = None
    result_type: str = "application/json"
    #: Path of the address where the result is, for those that do not send it along.
    result_url: str | None = None
    #: What must hold for ``result_url`` to be one; else the result is in the document.
    result_url_when: Condition | None = None
    #: States other than success, or words for them, that may come with a result all the same.
    result_for: tuple[str, ...] = ()
    response_url: str | None = None
    cancel_url: str | None = None
    #: Paths of the provider's reason for a failure.
    error: tuple[str, ...] = ()
    #: Paths of what the provider repeats of ``submit.mark``.
    mark: tuple[str, ...] = ()
    #: Path of the list that further pages add to, inside ``result``; ``.`` is the whole document. Of several the first
    #: that exists.
    items: str | tuple[str, ...] | None = None
    #: Where the next page is: the path of its address, or a template of it. One that begins with ``?`` sets fields of
    #: the address that this page came from, one that begins with ``#`` fields of ``poll.body``. Without a value the
    #: page is the last.
    next: str | None = None
    #: Path of a flag that says whether there is a next page.
    more: str | None = None
    #: Path of the number of items on all pages.
    total: str | None = None

    def _check_ranges(self) -> None:
        """One number has one meaning: which of two ranges would hold is for nobody to guess."""
        ranges = sorted(
            (int(found[1]), int(found[2]), word)
            for word in self.states
            if (found := _RANGE.fullmatch(word)) is not None
        )
        for (_, end, one), (begin, _, other) in pairwise(ranges):
            if begin <= end and self.states[one] != self.states[other]:
                raise ValueError(f"states: the ranges {one!r} and {other!r} have numbers in common")

    def __post_init__(self) -> None:
        self._check_pages()
        for word, meaning in self.states.items():
            try:
                check_meaning(meaning)
            except ValueError as error:
                raise ValueError(f"states: {word!r}: {error}") from error
            found = _RANGE.fullmatch(word)
            if found is not None and int(found[1]) > int(found[2]):
                raise ValueError(f"states: the range {word!r} ends before it begins")
        self._check_ranges()
        if self.states and self.status is None:
            raise ValueError("states needs status")
        if MEANINGS.get(self.unknown) not in {JobState.RUNNING, JobState.FAILED}:
            raise ValueError(f"unknown = {self.unknown!r}: it is 'running', 'needs_action' or 'failed'")
        if self.result_url_when is not None and self.result_url is None:
            raise ValueError("result_url_when needs result_url")
        self._check_result_for()
        nested = {"form-json", "json-json"} & {self.content, *self.content_types.values()}
        if bool(nested) != (self.field is not None):
            raise ValueError("content 'form-json' or 'json-json' and field belong together")
        addresses = (self.result_url, self.response_url, self.cancel_url)
        leads = (self.next, self.more, self.total)
        for path in (*self.id, *self.error, *self.mark, *self.statuses, self.result, *addresses, *leads):
            check_path(path or ".")

    def _check_pages(self) -> None:
        if (self.items is None) != (self.next is None):
            raise ValueError("items and next belong together: what pages add to, and where the next one is")
        if self.next is None:
            if self.more is not None or self.total is not None:
                raise ValueError("more and total need next")
            return
        result = self.result or ""
        if any(result not in {".", one} and not one.startswith(f"{result}.") for one in self.lists):
            raise ValueError("items must lie in result: what pages add to is a part of the result")
        if (
            self.result_url is not None
            or self.content != "json"
            or self.content_types
            or "[" in "".join(self.lists)
        ):
            raise ValueError(
                "a page is JSON that brings items by a plain path, not the address of something else"
            )

    def _check_result_for(self) -> None:
        if self.result_for and self.result is None and self.result_url is None:
            raise ValueError("result_for needs result or result_url")
        for one in self.result_for:
            if one not in UNSUCCESSFUL and MEANINGS.get(self.states.get(one, "")) not in UNSUCCESSFUL:
                raise ValueError(
                    f"result_for: {one!r} is neither failed, canceled nor expired, nor a word for it"
                )

    def meaning(self, word: str) -> str | None:
        """What a word of the provider's means; ``None`` where the description does not list it."""
        found = self.states.get(word)
        if found is not None or _NUMBER.fullmatch(word) is None:
            return found
        return next((meaning for span, meaning in self.states.items() if _within(word, span)), None)

    def may_have_result(self, state: JobState, word: str | None) -> bool:
        """Whether a document may bring a result although it tells of no success."""
        return bool(self.result_for) and (state.value in self.result_for or word in self.result_for)

    @property
    def unsuccessful_with_result(self) -> tuple[JobState, ...]:
        """The states other than success that may come with a result."""
        meant = (MEANINGS[self.states.get(one, one)] for one in self.result_for)
        return tuple(dict.fromkeys(meant))

    def content_of(self, content_type: bytes | None) -> Content:
        """How a body of that ``Content-Type`` is written."""
        if not self.content_types or content_type is None:
            return self.content
        media_type = content_type.partition(b";")[0].strip().lower().decode("latin-1")
        if media_type == _MULTIPART and media_type not in self.content_types:
            media_type = _FORM  # the same fields in the other spelling
        return self.content_types.get(media_type, self.content)

    @property
    def statuses(self) -> tuple[str, ...]:
        """The paths of the provider's word for the state."""
        return (self.status,) if isinstance(self.status, str) else self.status or ()

    @property
    def lists(self) -> tuple[str, ...]:
        """The paths of the list that pages add to."""
        return (self.items,) if isinstance(self.items, str) else self.items or ()

    @property
    def templates(self) -> tuple[str, ...]:
        """The addresses among its keys that are templates rather than paths."""
        urls = (self.result_url, self.response_url, self.cancel_url, self.next)
        return tuple(url for url in urls if url is not None and "{" in url and not url.startswith(("?", "#")))

    def at(self, moved: Callable[[str], str]) -> Self:
        """The same shape with its templates elsewhere."""
        moves = {url: moved(url) for url in self.templates}
        return msgspec.structs.replace(
            self,
            result_url=moves.get(self.result_url or "", self.result_url),
            response_url=moves.get(self.response_url or "", self.response_url),
            cancel_url=moves.get(self.cancel_url or "", self.cancel_url),
            next=moves.get(self.next or "", self.next),
        )


def check_meaning(meaning: str) -> None:
    """Raise ValueError where a word is said to mean what no provider can say."""
    if meaning in MEANINGS:
        return
    if meaning in set(JobState):
        raise ValueError(f"state {meaning!r} is the receiver's own; a provider cannot be in it")
    raise ValueError(f"{meaning!r} is no state; there are {', '.join(MEANINGS)}")


def check_path(path: str) -> None:
    """Raise ValueError where a path, or one in a template, searches a list in a form that nobody reads."""
    for one in _PLACEHOLDER.findall(path) if "{" in path else (path,):
        split_path(one.removeprefix("+"))


_PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")
_SEARCH: Final = re.compile(r"\[([^\[\]=]+)=([^\[\]]*)\]")
_STEP: Final = re.compile(r"(?:\A|\.)([^.\[\]]+)|(\[[^\[\]]*\])")


def split_path(path: str) -> tuple[str, ...]:
    """The steps of a dotted path; a search (``[state=done]``) is a step of its own.

    Raises:
        ValueError: a bracket in it is no search.
    """
    if "[" not in path and "]" not in path:
        return tuple(path.split("."))
    steps, at = [], 0
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None or (found[2] is not None and (at == 0 or _SEARCH.fullmatch(found[2]) is None)):
            raise ValueError(f"the path {path!r} searches a list in a form other than items[state=done].url")
        steps.append(found[1] or found[2])
        at = found.end()
    return tuple(steps)


def search_of(step: str) -> tuple[str, str] | None:
    """The key and the value that a step searches a list for; ``None`` where it is no search."""
    found = _SEARCH.fullmatch(step)
    return None if found is None else (found[1], found[2])


def _within(word: str, span: str) -> bool:
    found = _RANGE.fullmatch(span)
    return found is not None and int(found[1]) <= int(word) <= int(found[2])
