"""Provider: the description of one API, as read from its TOML file and validated.

``receiver/providers/README.md`` says in words how to write one; this module is the reference for every key.
Descriptions are data: nothing in one is ever executed.
"""

import re
from typing import Any, Literal, Self

import msgspec

from receiver.core.model import DAY, HOUR, MINUTE, SECOND, Delivery, JobState
from receiver.core.scheme import Scheme

_DURATION = re.compile(r"([0-9]+)(s|m|h|d)")
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_ORIGIN = re.compile(r"https://[a-z0-9.-]+(:[0-9]{1,5})?")


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


class Shape(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to read one kind of document of this API.

    A path is dotted (``data.run_id``, ``items.0.id``); ``query:NAME`` and ``header:NAME`` look beside the
    body. Where several paths are given, the first that exists counts.
    """

    content: Literal["json", "json-string", "form", "query", "any"] = "json"
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

    def __post_init__(self) -> None:
        refuse_own_states(self.states.values())
        if self.states and self.status is None:
            raise ValueError("states needs status")


class Idempotency(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the provider takes a key that keeps a repeated submission from being billed twice."""

    where: Literal["header", "body"]
    name: str


class Operation(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one operation of the API does differently from ``[submit]``."""

    url: str | None = None
    content: Literal["json", "multipart"] | None = None


class Submit(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a job is submitted."""

    url: str
    method: Literal["POST", "PUT", "GET"] = "POST"
    content: Literal["json", "multipart"] = "json"
    #: Where the caller's request goes in the body; the body itself if absent.
    wrap: str | None = None
    #: Values set where the caller's request has none.
    set: dict[str, Any] = {}
    #: Values set, over the caller's too, where the job will be polled.
    set_polled: dict[str, Any] = {}
    idempotency: Idempotency | None = None
    answer: str = "answer"


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
    path: str = ""
    encode: Literal["plain", "base64-json"] = "plain"
    #: Path in the submission for the per-job signing secret.
    secret_path: str | None = None
    secret_encoding: Literal["hex", "base64"] = "hex"
    #: Further values set in the submission when a callback is asked for.
    set: dict[str, Any] = {}
    delivers: Delivery = Delivery.RESULT
    delivers_when: tuple[Variant, ...] = ()
    methods: tuple[Literal["POST", "PUT", "GET"], ...] = ("POST",)
    #: The shape of what arrives, by what was asked for.
    notification: str = "notification"
    result: str = "result"
    #: How long after submission a callback is expected; then polling takes over.
    expected: Duration = Duration(10 * MINUTE)
    #: What the provider wants to hear.
    ack: int = 200

    def __post_init__(self) -> None:
        if self.where != "registered" and not self.path:
            raise ValueError(f"where = {self.where!r} needs path")


class KeySource(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the key that verifies callbacks comes from."""

    source: Literal["settings", "per-job"] = "settings"
    #: ``env:NAME`` or ``file:PATH``; several keys, comma-separated, newest first, during a rotation.
    secret: str | None = None

    def __post_init__(self) -> None:
        if (self.source == "settings") != (self.secret is not None):
            raise ValueError("source = 'settings' needs secret, 'per-job' takes none")
        if self.secret is not None:
            check_reference(self.secret)


class Poll(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the provider is asked for a job's status."""

    #: Tried in order; the first whose placeholders (``{id}``, ``{response_url}``) are known is used.
    url: tuple[str, ...]
    method: Literal["GET", "POST"] = "GET"
    answer: str = "answer"
    every: Duration = Duration(10 * SECOND)
    #: Each wait is this much longer than the one before, up to ``longest``.
    factor: float = 1.5
    longest: Duration = Duration(2 * MINUTE)
    #: HTTP statuses that mean "not yet".
    pending: tuple[int, ...] = (202,)


class Fetch(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a result that has an address of its own is fetched."""

    #: One successful GET deletes it.
    single_use: bool = False
    #: Whether the address, when its origin is listed, wants our credentials.
    authenticated: bool = True


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

    concurrency: int = 8
    #: Requests a second, polls and fetches together.
    rate: float = 10.0


class Sample(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document as the source shows it, and how it must be read; ``receiver providers check`` runs them."""

    shape: str
    body: str
    id: str | None = None
    state: JobState | None = None
    result: bool = False


class Provider(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One API: how to submit, what it calls back with, how to ask it, what it may be sent."""

    name: str
    title: str
    sources: tuple[Cited, ...]
    #: What the sources leave open, in sentences.
    unverified: tuple[str, ...] = ()
    #: The only places that credentials go to: ``https://host[:port]``.
    origins: tuple[str, ...] = ()
    credentials: tuple[Credential, ...] = ()
    #: Further headers of every request; values are text or references.
    headers: dict[str, str] = {}
    submit: Submit | None = None
    #: The first one is the default.
    operations: dict[str, Operation] = {}
    callback: CallbackTerms | None = None
    verify: Scheme | None = None
    key: KeySource | None = None
    poll: Poll | None = None
    fetch: Fetch = Fetch()
    cancel: Cancel | None = None
    retention: Retention | None = None
    limits: Limits = Limits()
    #: A job without a word for this long after submission is timed out.
    deadline: Duration = Duration(6 * HOUR)
    shapes: dict[str, Shape] = {}
    samples: tuple[Sample, ...] = ()
    #: Whether the origins were replaced by a setting (a simulator, a proxy): plain http to loopback may pass.
    relocated: bool = False

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise ValueError(f"name {self.name!r} must be lower-case letters, digits and '-'")
        if not self.relocated:
            for origin in self.origins:
                if _ORIGIN.fullmatch(origin) is None:
                    raise ValueError(f"origins: {origin!r} is not https://host[:port]")
            self._check_addresses()
        self._check_shapes()
        self._check_callback()

    def _check_addresses(self) -> None:
        urls = [self.submit.url] if self.submit else []
        urls += [operation.url for operation in self.operations.values() if operation.url]
        urls += [url for url in (self.poll.url if self.poll else ()) if url != "{response_url}"]
        urls += [self.cancel.url] if self.cancel and self.cancel.url != "{cancel_url}" else []
        for url in urls:
            if not any(url.startswith(origin + "/") for origin in self.origins):
                raise ValueError(f"{url!r} is outside origins")

    def _check_shapes(self) -> None:
        wanted = {self.submit.answer} if self.submit else set()
        wanted |= {self.poll.answer} if self.poll else set()
        wanted |= {sample.shape for sample in self.samples}
        if self.callback is not None:
            asked = {self.callback.delivers} | {variant.delivers for variant in self.callback.delivers_when}
            wanted |= {self.callback.notification} if Delivery.NOTIFICATION in asked else set()
            wanted |= {self.callback.result} if Delivery.RESULT in asked else set()
        if missing := sorted(wanted - self.shapes.keys()):
            raise ValueError(f"shapes.{missing[0]} is used but not described")

    def _check_callback(self) -> None:
        if self.callback is None:
            if self.verify is not None:
                raise ValueError("verify needs callback")
            if self.submit is not None and self.poll is None:
                raise ValueError("a provider with neither callback nor poll can never finish a job")
            return
        if self.verify is None:
            raise ValueError("callback needs verify (scheme = 'none' where the provider signs nothing)")
        if self.signed and self.key is None:
            raise ValueError("verify needs key")
        if self.callback.where == "registered" and not self.signed:
            raise ValueError("an account-wide address must be signed: no token vouches for it")
        per_job = self.key is not None and self.key.source == "per-job"
        if per_job != (self.callback.secret_path is not None):
            raise ValueError("key.source = 'per-job' and callback.secret_path belong together")

    @property
    def signed(self) -> bool:
        """Whether the provider's callbacks prove by themselves that they are genuine."""
        return self.verify is not None and self.verify.authenticates

    def shape(self, delivery: Delivery) -> Shape:
        """How a callback reads that was asked for as *delivery*."""
        assert self.callback is not None  # noqa: S101  (only providers that call back are asked)
        notification = delivery is Delivery.NOTIFICATION
        return self.shapes[self.callback.notification if notification else self.callback.result]

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """What its callbacks may carry, the default first."""
        if self.callback is None:
            return ()
        variants = (variant.delivers for variant in self.callback.delivers_when)
        return tuple(dict.fromkeys((self.callback.delivers, *variants)))

    def at(self, base_url: str) -> "Provider":
        """The same API behind *base_url* (``RECEIVER_<PROVIDER>_BASE_URL``), its only allowed origin then.

        Every origin of the description is replaced, so an API spread over several hosts meets one.
        """
        base = base_url.rstrip("/")

        def moved(url: str) -> str:
            for origin in self.origins:
                if url.startswith(origin + "/"):
                    return base + url[len(origin) :]
            return url

        replace = msgspec.structs.replace
        return replace(
            self,
            relocated=True,
            origins=(origin_of(base),),
            submit=replace(self.submit, url=moved(self.submit.url)) if self.submit else None,
            operations={
                name: replace(one, url=moved(one.url) if one.url else None)
                for name, one in self.operations.items()
            },
            poll=replace(self.poll, url=tuple(map(moved, self.poll.url))) if self.poll else None,
            cancel=replace(self.cancel, url=moved(self.cancel.url)) if self.cancel else None,
        )


def origin_of(url: str) -> str:
    """The ``scheme://host[:port]`` of *url*."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def check_reference(reference: str) -> None:
    """Raise ValueError where *reference* is not ``env:NAME`` or ``file:PATH``."""
    kind, _, rest = reference.partition(":")
    if kind not in {"env", "file"} or not rest:
        raise ValueError(f"{reference!r} is not a reference: write env:NAME or file:PATH, never the secret")


def refuse_own_states(states: Any) -> None:  # noqa: ANN401
    """Raise ValueError where a description uses a state that only the receiver itself enters."""
    for state in states:
        if state in {JobState.SUBMITTING, JobState.FETCHING, JobState.TIMED_OUT}:
            raise ValueError(f"state {state!r} is the receiver's own; a provider cannot be in it")


def describe(document: dict[str, Any]) -> Provider:
    """Build a provider from a parsed TOML document; raises msgspec.ValidationError naming key and reason."""

    def convert(kind: type, value: object) -> object:
        if kind is Duration:
            return Duration.parse(value)
        raise NotImplementedError(kind)

    return msgspec.convert(document, Provider, dec_hook=convert)
