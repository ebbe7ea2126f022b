"""The tables of a provider description, one class each; ``provider.py`` puts them together."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

import msgspec

from receiver.core.model import DAY, HOUR, MINUTE, SECOND, JobState

_DURATION = re.compile(r"([0-9]+)(s|m|h|d)")
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}


#: How a document is written: ``form-json`` is JSON in one field of a form, ``json-json`` in a text of a JSON document.
Content = Literal["json", "json-string", "json-json", "form", "form-json", "query", "claims", "any"]


class Duration(int):
    """A time span in milliseconds, written ``10s``, ``5m``, ``2h`` or ``3d`` in a description."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read a time span; raises ValueError where *text* is not one."""
        found = _DURATION.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ValueError(f"{text!r} is not a duration such as 10s, 5m, 2h or 3d")
        return cls(int(found[1]) * _UNITS[found[2]])


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table of a description: unknown keys are mistakes."""


class Cited(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a description comes from."""

    url: str
    #: The day it was read, ISO 8601.
    read: str


class Credential(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to authenticate to the provider; the first whose secrets are configured is used."""

    header: str = "Authorization"
    #: What stands before the secret: ``"Bearer "``, ``"Api-Key "``.
    prefix: str = ""
    #: ``env:NAME`` or ``file:PATH``; never the secret itself.
    secret: str | None = None
    #: References to user name and password, for HTTP Basic.
    basic: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        if (self.secret is None) == (self.basic is None):
            raise ValueError("give either secret or basic")
        for reference in (self.secret,) if self.basic is None else self.basic:
            check_reference(reference or "")


class Rule(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A condition on one path of a document, and the state it means."""

    path: str
    is_: Any = msgspec.field(name="is", default=msgspec.UNSET)
    not_: Any = msgspec.field(name="not", default=msgspec.UNSET)
    exists: bool | None = None
    state: JobState

    def __post_init__(self) -> None:
        if [self.is_ is msgspec.UNSET, self.not_ is msgspec.UNSET, self.exists is None].count(False) != 1:
            raise ValueError(f"the rule on {self.path!r} needs exactly one of is, not, exists")
        refuse_own_states([self.state])


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
    #: Of those, beginnings of words that do not: events of another object, whose id is no job's.
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

    A path is dotted (``data.run_id``, ``items.0.id``); ``query:NAME`` and ``header:NAME`` look beside the
    body. Where several paths are given, the first that exists counts. An address is the path of one, or a
    template (``https://api.example.com/files/{output_file_id}``) whose placeholders are paths.
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
    #: Path of the provider's word for the state.
    status: str | None = None
    #: The provider's words, case-sensitive; a word that is not here means running, with a warning.
    states: dict[str, JobState] = {}
    #: Path of the result; ``.`` is the whole document.
    result: str | None = None
    result_type: str = "application/json"
    #: Path of the address where the result is, for those that do not send it along.
    result_url: str | None = None
    response_url: str | None = None
    cancel_url: str | None = None
    #: Paths of the provider's reason for a failure.
    error: tuple[str, ...] = ()
    #: Paths of what the provider repeats of ``submit.mark``.
    mark: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        refuse_own_states(self.states.values())
        if self.states and self.status is None:
            raise ValueError("states needs status")
        nested = {"form-json", "json-json"} & {self.content, *self.content_types.values()}
        if bool(nested) != (self.field is not None):
            raise ValueError("content 'form-json' or 'json-json' and field belong together")

    def content_of(self, content_type: bytes | None) -> Content:
        """How a body of that ``Content-Type`` is written."""
        if not self.content_types or content_type is None:
            return self.content
        media_type = content_type.partition(b";")[0].strip().lower().decode("latin-1")
        return self.content_types.get(media_type, self.content)

    @property
    def templates(self) -> tuple[str, ...]:
        """The addresses among its keys that are templates rather than paths."""
        urls = (self.result_url, self.response_url, self.cancel_url)
        return tuple(url for url in urls if url is not None and "{" in url)

    def at(self, moved: Callable[[str], str]) -> Self:
        """The same shape with its templates elsewhere."""
        moves = {url: moved(url) for url in self.templates}
        return msgspec.structs.replace(
            self,
            result_url=moves.get(self.result_url or "", self.result_url),
            response_url=moves.get(self.response_url or "", self.response_url),
            cancel_url=moves.get(self.cancel_url or "", self.cancel_url),
        )


class Idempotency(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the provider takes a key that keeps a repeated submission from being billed twice."""

    where: Literal["header", "body"]
    name: str


class Operation(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one operation of the API does differently from ``[submit]``."""

    url: str | None = None
    content: Literal["json", "multipart", "query"] | None = None


class Submit(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a job is submitted.

    ``{request:NAME}`` in an address is a field of the caller's request, which is not sent in the body then.
    """

    url: str
    method: Literal["POST", "PUT", "GET"] = "POST"
    #: ``query``: the whole request travels in the address.
    content: Literal["json", "multipart", "query"] = "json"
    #: Fields of the caller's request that travel in the address.
    query: tuple[str, ...] = ()
    #: The field of the caller's request that is the body, where the body is no object.
    unwrap: str | None = None
    #: Where the caller's request goes in the body (a path; ``0``: into a list); the body itself if absent.
    wrap: str | None = None
    #: Values set where the caller's request has none.
    set: dict[str, Any] = {}
    #: Values set, over the caller's too, where the job will be polled.
    set_polled: dict[str, Any] = {}
    idempotency: Idempotency | None = None
    answer: str = "answer"
    #: Where our job's id goes in the body, in a place that the provider keeps for its callers: what it repeats of it
    #: tells whose job an event at an account-wide address is about.
    mark: str | None = None
    #: Addresses to ask and to cancel at, for answers that name none, from ``{request:NAME}`` and ``{id}``.
    response_url: str | None = None
    cancel_url: str | None = None

    def at(self, moved: Callable[[str], str]) -> Self:
        """The same with its addresses elsewhere."""
        return msgspec.structs.replace(
            self,
            url=moved(self.url),
            response_url=moved(self.response_url) if self.response_url else None,
            cancel_url=moved(self.cancel_url) if self.cancel_url else None,
        )


class Poll(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the provider is asked for a job's status."""

    #: Tried in order; the first whose placeholders (``{id}``, ``{response_url}``) are known is used.
    url: tuple[str, ...]
    method: Literal["GET", "POST"] = "GET"
    answer: str = "answer"
    every: Duration = Duration(10 * SECOND)
    #: Each wait is this much longer than the one before, up to ``longest``.
    factor: Annotated[float, msgspec.Meta(ge=1, le=10)] = 1.5
    longest: Duration = Duration(2 * MINUTE)
    #: HTTP statuses that mean "not yet".
    pending: tuple[int, ...] = (202,)
    #: HTTP statuses that are the job's own failure; the body is the reason.
    failed: tuple[int, ...] = ()
    #: After what a 404 means that the result is gone: the provider's own success, or already a wake-up.
    gone_after: Literal["success", "wake-up"] = "success"


class Fetch(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a result that has an address of its own is fetched."""

    #: One successful GET deletes it.
    single_use: bool = False
    #: Whether the address, when its origin is listed, wants our credentials.
    authenticated: bool = True
    #: For so long a 404 is asked again that comes after success and within retention, at the status or the result.
    patience: Duration = Duration(2 * MINUTE)
    #: HTTP statuses that are the job's own failure; the body is the reason.
    failed: tuple[int, ...] = ()


class Cancel(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the provider is asked to cancel."""

    url: str
    method: Literal["POST", "DELETE", "GET", "PUT"] = "POST"
    #: Whether a 2xx answer is the provider's word that the job is canceled.
    confirms: bool = False


class Retention(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the provider keeps a result."""

    keeps: Duration
    counted_from: Literal["completion", "submission"] = "completion"


class Limits(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the provider's API bears from one account."""

    #: Requests at once, of every kind and of all nodes together.
    concurrency: Annotated[int, msgspec.Meta(ge=1)] = 8
    #: Requests a second, of every kind and of all nodes together.
    rate: Annotated[float, msgspec.Meta(gt=0)] = 10.0


class Sample(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document as the source shows it, and how it must be read; ``receiver providers check`` runs them."""

    shape: str
    body: str = ""
    query: str = ""
    headers: dict[str, str] = {}
    claims: dict[str, Any] = {}
    id: str | None = None
    state: JobState | None = None
    result: bool = False


def is_reference(text: str) -> bool:
    """Whether *text* is ``env:NAME`` or ``file:PATH``."""
    kind, _, rest = text.partition(":")
    return kind in {"env", "file"} and bool(rest)


def check_reference(reference: str) -> None:
    """Raise ValueError where *reference* is not ``env:NAME`` or ``file:PATH``."""
    if not is_reference(reference):
        raise ValueError(f"{reference!r} is not a reference: write env:NAME or file:PATH, never the secret")


def refuse_own_states(states: Any) -> None:  # noqa: ANN401
    """Raise ValueError where a description uses a state that only the receiver itself enters."""
    for state in states:
        if state in {JobState.SUBMITTING, JobState.FETCHING, JobState.TIMED_OUT}:
            raise ValueError(f"state {state!r} is the receiver's own; a provider cannot be in it")
