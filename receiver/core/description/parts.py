"""The tables of a provider description, one class each; ``provider.py`` puts them together."""

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Annotated, Any, Literal, Self

import msgspec

from receiver.core.description.http import HEADER, check_headers, check_statuses
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, JobState

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DURATION = re.compile(r"([0-9]+)(s|m|h|d)")
#: The name of a header, or the beginning of some.
_HEADERS = re.compile(HEADER.pattern + r"\*?")
#: What is filled in where an upload is described.
_FILLED = re.compile(r"\{([^{}' ]+)\}")
_KNOWN = frozenset({"id", "+id", "response_url", "unique", "filename", "size", "sha256"})
_UNUSUAL = range(300, 500)
_SIZE = re.compile(r"([1-9][0-9]*)(B|KiB|MiB|GiB|TiB)")
_BYTES = {unit: 1024**power for power, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB"))}
_LONGEST = 3_650 * DAY
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}


class Duration(int):
    """A time span in milliseconds, written ``10s``, ``5m``, ``2h`` or ``3d`` in a description."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read a time span; raises ValueError where *text* is not one."""
        found = _DURATION.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ValueError(f"{text!r} is not a duration such as 10s, 5m, 2h or 3d")
        span = int(found[1]) * _UNITS[found[2]]
        if span > _LONGEST:
            raise ValueError(f"{text!r} is longer than ten years")
        return cls(span)


class Size(int):
    """A number of bytes, written ``500KiB``, ``20MiB`` or ``2GiB`` in a description."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read a size; raises ValueError where *text* is not one."""
        found = _SIZE.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ValueError(f"{text!r} is not a size such as 500KiB, 20MiB or 2GiB")
        return cls(int(found[1]) * _BYTES[found[2]])


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table of a description: unknown keys are mistakes."""


class Cited(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a description comes from."""

    url: str
    #: The day it was read, ISO 8601.
    read: str

    def __post_init__(self) -> None:
        try:
            date.fromisoformat(self.read)
        except ValueError as error:
            raise ValueError(f"read: {self.read!r} is no day such as 2026-11-20") from error


class Idempotency(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the provider takes a key that keeps a repeated submission from being billed twice."""

    where: Literal["header", "body"]
    name: str

    def __post_init__(self) -> None:
        if self.where == "header":
            check_headers({self.name: ""})


class Operation(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one operation of the API does differently from ``[submit]``."""

    url: str | None = None
    content: Literal["json", "multipart", "form", "query"] | None = None
    #: The part of a form in parts that is the caller's file.
    field: str | None = None


class Uploading(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request of an upload.

    In the address, and in the texts of ``headers`` and ``set``, are filled in: ``{id}`` and ``{response_url}`` of the
    answers so far, ``{unique}`` (letters and digits, others for each upload), ``{filename}``, ``{size}`` and
    ``{sha256}`` of the file, and ``{request:NAME=default}``, a field of the caller's request.
    """

    url: str
    method: Literal["POST", "PUT"] = "POST"
    #: What is sent: a form in parts with the file, or without it; JSON; the file's bytes; nothing.
    content: Literal["multipart", "fields", "json", "bytes", "none"] = "multipart"
    #: The part of the form that is the file.
    field: str = "file"
    headers: dict[str, str] = {}
    #: Further fields of the form, or the JSON.
    set: dict[str, Any] = {}
    #: Statuses other than 2xx that are an answer like it, and those that say that the file is there already.
    accepts: tuple[int, ...] = ()
    there: tuple[int, ...] = ()
    #: The shape of the answer, where it is read.
    answer: str | None = None

    def __post_init__(self) -> None:
        if self.set and self.content in {"bytes", "none"}:
            raise ValueError(f"upload.set: content = {self.content!r} has no place for it")
        if self.content in {"multipart", "fields"} and not all(
            isinstance(one, str) for one in self.set.values()
        ):
            raise ValueError("upload.set: the fields of a form are texts")
        for one in (*self.accepts, *self.there):
            if one not in _UNUSUAL:
                raise ValueError(f"upload: {one} is no status from 300 to 499; 2xx is taken anyway")
        if self.there and self.answer is None:
            raise ValueError("upload.there needs answer, which has the id of the file that is there")
        for name in _FILLED.findall(f"{self.url} {self.headers} {self.set}"):
            if name not in _KNOWN and not name.startswith(("request:", "setting:")):
                raise ValueError(
                    f"upload: nothing fills in {{{name}}}; there are {', '.join(sorted(_KNOWN))}, request:NAME"
                )

    @property
    def carries(self) -> bool:
        """Whether it brings the file."""
        return self.content in {"multipart", "bytes"}


class Readiness(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where it is asked whether an uploaded file may be used; the shape's success says so."""

    #: ``{id}`` is the file's.
    url: str
    answer: str
    every: Duration = Duration(5 * SECOND)


class Upload(Uploading, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the file is uploaded that a job is made of, before it is submitted; see ``core/asking/upload.py``."""

    filename: str = "batch.jsonl"
    #: The field of the caller's request with the lines, and the one with the path of a file of the caller's own.
    lines: str = "requests"
    file: str = "file"
    #: The most bytes that the provider takes in this way.
    largest: Size | None = None
    #: The shape of the answer, and where the file's id goes in the submission.
    answer: str = "file"
    into: str
    #: The requests that follow.
    then: tuple[Uploading, ...] = ()
    #: Where the file has to be made ready first.
    ready: Readiness | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if [one.carries for one in self.requests].count(True) != 1:
            raise ValueError("upload: one of its requests brings the file (content = 'multipart' or 'bytes')")
        if {"id", "+id", "response_url"} & set(_FILLED.findall(f"{self.url} {self.headers} {self.set}")):
            raise ValueError("upload: before the first answer there is neither {id} nor {response_url}")

    @property
    def requests(self) -> tuple[Uploading, ...]:
        """All of its requests, in order."""
        return (self, *self.then)

    @property
    def urls(self) -> list[str]:
        """The addresses that the description itself names."""
        urls = [one.url for one in self.requests if one.url != "{response_url}"]
        return urls + ([self.ready.url] if self.ready is not None else [])

    @property
    def answers(self) -> set[str]:
        """The shapes of its answers."""
        named = {one.answer for one in self.requests if one.answer is not None}
        return named | ({self.ready.answer} if self.ready is not None else set())

    def at(self, moved: Callable[[str], str]) -> Self:
        """The same with its addresses elsewhere."""
        replace = msgspec.structs.replace
        return replace(
            self,
            url=moved(self.url),
            then=tuple(replace(one, url=moved(one.url)) for one in self.then),
            ready=replace(self.ready, url=moved(self.ready.url)) if self.ready is not None else None,
        )


class Submit(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a job is submitted.

    ``{request:NAME}`` in an address is a field of the caller's request, which is not sent in the body then.
    """

    url: str
    method: Literal["POST", "PUT", "GET"] = "POST"
    #: Headers of this request alone; ``{operation}`` is filled in.
    headers: dict[str, str] = {}
    #: ``multipart``: a form in parts; ``form``: one of fields alone; ``query``: all of it travels in the address.
    content: Literal["json", "multipart", "form", "query"] = "json"
    #: ``multipart``: the part that is the caller's file.
    field: str = "file"
    #: Fields of the caller's request that travel in the address; ``*``: all that are not in ``body``.
    query: tuple[str, ...] | Literal["*"] = ()
    #: ``query = "*"``: the fields of the caller's request that are the body.
    body: tuple[str, ...] = ()
    #: The field of the caller's request that is the body, where the body is no object.
    unwrap: str | None = None
    #: Where the caller's request goes in the body (a path; ``0``: into a list); the body itself if absent. A request
    #: that has an object there already is the body as it is.
    wrap: str | None = None
    #: Values set where the caller's request has none.
    set: dict[str, Any] = {}
    #: Values set, over the caller's too, where the job will be polled.
    set_polled: dict[str, Any] = {}
    idempotency: Idempotency | None = None
    answer: str = "answer"
    #: What is uploaded first.
    upload: Upload | None = None
    #: Where our job's id goes in the body, in a place that the provider keeps for its callers: what it repeats of it
    #: tells whose job an event at an account-wide address is about.
    mark: str | None = None
    #: Addresses to ask and to cancel at, for answers that name none, from ``{request:NAME}`` and ``{id}``.
    response_url: str | None = None
    cancel_url: str | None = None
    #: Names of headers, and of fields of the address, that the submission of one job may set; ``x-*`` allows all that
    #: begin so.
    job_headers: tuple[str, ...] = ()
    job_query: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.body and self.query != "*":
            raise ValueError("submit.body needs query = '*': what is not in the address is the body anyway")
        if self.body and self.unwrap is not None:
            raise ValueError("submit.body and unwrap both say what the body is")
        check_headers(self.headers)
        for name in self.job_headers:
            if _HEADERS.fullmatch(name) is None:
                raise ValueError(
                    f"submit.job_headers: {name!r} is no name of a header, nor one that ends in '*'"
                )

    def at(self, moved: Callable[[str], str]) -> Self:
        """The same with its addresses elsewhere."""
        return msgspec.structs.replace(
            self,
            url=moved(self.url),
            upload=self.upload.at(moved) if self.upload else None,
            response_url=moved(self.response_url) if self.response_url else None,
            cancel_url=moved(self.cancel_url) if self.cancel_url else None,
        )


class Poll(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the provider is asked for a job's status."""

    #: Tried in order; the first whose placeholders (``{id}``, ``{response_url}``) are known is used.
    url: tuple[str, ...]
    method: Literal["GET", "POST"] = "GET"
    #: Headers of these requests alone; ``{operation}`` is filled in.
    headers: dict[str, str] = {}
    #: What is sent with a POST, as JSON; ``{id}`` and ``{operation}`` in a text of it are filled in.
    body: Any = None
    answer: str = "answer"
    every: Duration = Duration(10 * SECOND)
    #: Each wait is this much longer than the one before, up to ``longest``.
    factor: Annotated[float, msgspec.Meta(ge=1, le=10)] = 1.5
    longest: Duration = Duration(2 * MINUTE)
    #: HTTP statuses that mean "not yet".
    pending: tuple[int, ...] = (202,)
    #: HTTP statuses that are the job's own failure; the body is the reason.
    failed: tuple[int, ...] = ()
    #: Other statuses whose body may say how the job ended; one that does not is a failure of the provider's.
    reads: tuple[int, ...] = ()
    #: After what a 404 means that the result is gone: the provider's own success, or already a wake-up.
    gone_after: Literal["success", "wake-up"] = "success"

    def __post_init__(self) -> None:
        if self.body is not None and self.method != "POST":
            raise ValueError("poll.body needs method = 'POST'")
        if not self.url:
            raise ValueError("url: it names no address to ask at")
        if self.every < SECOND:
            raise ValueError("every: a provider is asked once a second at most")
        if self.longest < self.every:
            # As where only ``every`` is given, and is more than what ``longest`` is then.
            msgspec.structs.force_setattr(self, "longest", self.every)
        check_headers(self.headers)
        check_statuses(failed=self.failed)


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
    #: The shape of what is at the result's address, where that has to be read: it says where the bytes are
    #: (``result_url``), or comes in pages (``items``).
    answer: str | None = None

    def __post_init__(self) -> None:
        check_statuses(failed=self.failed)


class Cancel(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the provider is asked to cancel."""

    url: str
    method: Literal["POST", "DELETE", "GET", "PUT"] = "POST"
    #: Whether a 2xx answer is the provider's word that the job is canceled.
    confirms: bool = False


class Kept(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request whose result is kept for another time."""

    #: Path in the caller's request.
    path: str
    is_: Any = msgspec.field(name="is")
    keeps: Duration


class Retention(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the provider keeps a result."""

    keeps: Duration
    #: Requests whose results are kept for another time; the first that fits.
    keeps_when: tuple[Kept, ...] = ()
    #: Where a request itself says for how many seconds at most its result is kept.
    keeps_at: str | None = None
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
    #: Whether the result goes on at a next page.
    pages: bool = False
    #: How many files the result links to, as ``[[files]]`` says where to look.
    files: int = 0


def own_headers(headers: Mapping[str, str], operation: str) -> dict[str, str]:
    """The headers that a description gives one kind of request, names in lower case."""
    return {name.lower(): value.replace("{operation}", operation) for name, value in headers.items()}


def is_reference(text: str) -> bool:
    """Whether *text* is ``env:NAME`` or ``file:PATH``."""
    kind, _, rest = text.partition(":")
    return _VARIABLE.fullmatch(rest) is not None if kind == "env" else kind == "file" and bool(rest)


def check_reference(reference: str) -> None:
    """Raise ValueError where *reference* is not ``env:NAME`` or ``file:PATH``."""
    if not is_reference(reference):
        # It may be the secret itself, so it is not repeated.
        raise ValueError(
            "what stands there is not a reference: write env:NAME (letters, digits and '_') or file:PATH, never the "
            "secret"
        )
