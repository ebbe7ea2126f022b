"""Provider: the description of one API, as read from its TOML file and validated.

``receiver/providers/README.md`` says in words how to write one; this module is the reference for every key.
Descriptions are data: nothing in one is ever executed.
"""

import re
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import msgspec

from receiver.core.address import Network, networks
from receiver.core.description.callbacks import CallbackTerms, Challenge, KeySource, Variant
from receiver.core.description.credential import Credential
from receiver.core.description.emptiness import first_empty
from receiver.core.description.http import check_headers
from receiver.core.description.linked import Linked
from receiver.core.description.parts import (
    Cancel,
    Cited,
    Duration,
    Fetch,
    Idempotency,
    Limits,
    Operation,
    Part,
    Poll,
    Retention,
    Sample,
    Size,
    Submit,
    check_reference,
    is_reference,
)
from receiver.core.description.placeholders import check_filled
from receiver.core.description.scheme import Scheme
from receiver.core.description.sdk import Sdk
from receiver.core.description.shape import About, Condition, Rule, Shape
from receiver.core.model import HOUR, Delivery, JobState
from receiver.core.origin import (
    completed,
    has_setting_in_front,
    is_origin,
    lies_in,
    moved_to,
    origin_of,
    settings_in,
)

__all__ = [
    "About",
    "CallbackTerms",
    "Cancel",
    "Challenge",
    "Cited",
    "Condition",
    "Credential",
    "Duration",
    "Fetch",
    "Idempotency",
    "KeySource",
    "Limits",
    "Operation",
    "Part",
    "Poll",
    "Provider",
    "Retention",
    "Rule",
    "Sample",
    "Shape",
    "Submit",
    "Variant",
    "check_reference",
    "describe",
    "is_reference",
    "origin_of",
]

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_OPERATION = re.compile(r"[A-Za-z0-9_./-]{1,100}")


class Provider(Part, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """One API: how to submit, what it calls back with, how to ask it, what it may be sent."""

    name: str
    title: str
    sources: tuple[Cited, ...]
    #: What the sources leave open, in sentences.
    unverified: tuple[str, ...] = ()
    #: The only places that credentials go to: ``https://host[:port]``. ``*`` stands for a label of a name that a
    #: setting fills in (``{setting:NAME}`` in an address): it is held against this, and is the place then.
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
    #: Where its results link to files, which are fetched and kept too.
    files: tuple[Linked, ...] = ()
    limits: Limits = Limits()
    #: A job without a word for this long after submission is timed out.
    deadline: Duration = Duration(6 * HOUR)
    shapes: dict[str, Shape] = {}
    samples: tuple[Sample, ...] = ()
    #: The vendor's own packages that say the same.
    sdk: tuple[Sdk, ...] = ()
    #: Whether the origins were replaced by a setting (a simulator, a proxy): plain http to loopback may pass.
    relocated: bool = False
    #: The settings that its addresses need and that are not set; ``None`` as long as nobody has looked.
    missing: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise ValueError(f"name {self.name!r} must be lower-case letters, digits and '-'")
        if not self.relocated and self.missing is None:
            for origin in self.origins:
                if not is_origin(origin) or ("*" in origin and not self.settings):
                    reason = (
                        " ('*' stands for what a setting in an address fills in)" if "*" in origin else ""
                    )
                    raise ValueError(f"origins: {origin!r} is not https://host[:port]{reason}")
            self._check_addresses()
        check_headers(self.headers)
        if self.deadline <= 0 or (self.callback is not None and self.callback.expected <= 0):
            raise ValueError("deadline and callback.expected are longer than nothing")
        for operation in self.operations:
            if _OPERATION.fullmatch(operation) is None:
                raise ValueError(
                    f"operations: {operation!r} is no word of letters, digits, '-', '_', '.' and '/'"
                )
        self._check_shapes()
        self._check_callback()

    @property
    def addresses(self) -> list[str]:
        """The addresses that the description itself names."""
        return [url for _, url in self._by_key]

    @property
    def _by_key(self) -> list[tuple[str, str]]:
        """The addresses that the description itself names, each with its key."""
        found = [("submit.url", self.submit.url)] if self.submit else []
        found += [(f"operations.{name}.url", one.url) for name, one in self.operations.items() if one.url]
        found += [
            ("poll.url", url) for url in (self.poll.url if self.poll else ()) if url != "{response_url}"
        ]
        found += (
            [("cancel.url", self.cancel.url)] if self.cancel and self.cancel.url != "{cancel_url}" else []
        )
        if self.submit is not None:
            later = {"response_url": self.submit.response_url, "cancel_url": self.submit.cancel_url}
            found += [(f"submit.{name}", url) for name, url in later.items() if url]
            found += [
                ("submit.upload", url) for url in (self.submit.upload.urls if self.submit.upload else ())
            ]
        found += [("files.url", one.url) for one in self.files if one.url]
        return found + [
            (f"shapes.{name}", url) for name, shape in self.shapes.items() for url in shape.templates
        ]

    @property
    def _filled(self) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        """Addresses by their keys, and what is filled in there beside settings."""
        asked: tuple[str, ...] = ("request:",)
        found: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
            (f"operations.{name}.url", (one.url or "",), asked) for name, one in self.operations.items()
        ]
        if self.submit is not None:
            later = (self.submit.response_url or "", self.submit.cancel_url or "")
            found.append(("submit.url", (self.submit.url,), asked))
            found.append(("submit.response_url or cancel_url", later, ("id", *asked)))
        if self.poll is not None:
            found.append(("poll.url", self.poll.url, ("id", "response_url", "operation")))
        if self.cancel is not None:
            names = ("id", "cancel_url", "response_url", "operation")
            found.append(("cancel.url", (self.cancel.url,), names))
        return found

    @property
    def token_urls(self) -> list[str]:
        """Where its credentials are minted."""
        minted = (one.mint.token_url for one in self.credentials if one.mint is not None)
        return [url for url in minted if url is not None]

    def _check_addresses(self) -> None:
        for key, urls, known in self._filled:
            for url in urls:
                check_filled(key, url, known)
        for key, url in self._by_key:
            if not lies_in(url, self.origins):
                raise ValueError(f"{key}: {url!r} is outside origins ({', '.join(self.origins)})")
        for url in self.token_urls:
            if has_setting_in_front(url) and not lies_in(url, self.origins):
                raise ValueError(
                    f"mint.token_url: {url!r} is outside origins, and a setting says where it leads"
                )
        if self.key is not None and self.key.url is not None and not self.key.url.startswith("https://"):
            raise ValueError("key.url must be https: whoever changes the key set signs for the provider")

    def _check_shapes(self) -> None:
        wanted = {self.submit.answer} if self.submit else set()
        wanted |= self.submit.upload.answers if self.submit and self.submit.upload else set()
        wanted |= {self.poll.answer} if self.poll else set()
        wanted |= {self.fetch.answer} if self.fetch.answer is not None else set()
        wanted |= {sample.shape for sample in self.samples}
        if self.callback is not None:
            asked = {self.callback.delivers} | {variant.delivers for variant in self.callback.delivers_when}
            wanted |= {self.callback.notification} if Delivery.NOTIFICATION in asked else set()
            wanted |= {self.callback.result} if Delivery.RESULT in asked else set()
        if missing := sorted(wanted - self.shapes.keys()):
            raise ValueError(f"shapes.{missing[0]} is used but not described")
        if self.fetch.answer is not None:
            shape = self.shapes[self.fetch.answer]
            if shape.result_url is None and shape.next is None:
                raise ValueError(
                    f"fetch.answer: shapes.{self.fetch.answer} needs result_url, where the bytes are, or items and next"
                )
        if self.poll is None and any(shape.next is not None for shape in self.shapes.values()):
            raise ValueError(
                "a result in pages needs poll: pages are asked for at addresses that an answer names"
            )

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
            raise ValueError("an account-wide address must be signed: it holds no token")
        if self.verify.kind == "jwt" and self.verify.body_claim is None:
            self._check_claims()
        self._check_proved(self.callback, self.verify)
        per_job = self.key is not None and self.key.source == "per-job"
        if per_job != (self.callback.secret_path is not None):
            raise ValueError("key.source = 'per-job' and callback.secret_path belong together")

    def _check_claims(self) -> None:
        if any(self.shape(delivery).content != "claims" for delivery in self.deliveries):
            raise ValueError("a jwt without body_claim vouches for its claims only: content = 'claims'")

    def _check_proved(self, callback: CallbackTerms, verify: Scheme) -> None:
        if verify.covered_field is not None:
            self._check_field(verify.covered_field)
        if any(one.proved for one in callback.challenge) and not self.signed:
            raise ValueError("callback.challenge: nothing proves it where nothing is signed: proved = false")

    def _check_field(self, field: str) -> None:
        shapes = [self.shape(delivery) for delivery in self.deliveries]
        if any((one.content, one.field, one.content_types) != ("form-json", field, {}) for one in shapes):
            raise ValueError(
                f"the signature vouches for the field {field!r} only: content = 'form-json', and no other"
            )

    @property
    def signed(self) -> bool:
        """Whether the provider's callbacks prove by themselves that they are genuine."""
        return self.verify is not None and self.verify.authenticates

    @cached_property
    def senders(self) -> tuple[Network, ...]:
        """Where its callbacks come from; empty where its description does not say."""
        return () if self.callback is None else networks(self.callback.allow_from)

    @cached_property
    def readings(self) -> tuple[tuple[Delivery, Shape], ...]:
        """How its callbacks read, for each way in which a job may have been submitted; the default first."""
        return tuple((delivery, self.shape(delivery)) for delivery in self.deliveries)

    @cached_property
    def result_for(self) -> frozenset[JobState]:
        """The states other than success in which the provider, if it is asked, may have a result."""
        if self.poll is None:
            return frozenset()
        return frozenset(self.shapes[self.poll.answer].unsuccessful_with_result)

    @cached_property
    def paged(self) -> Shape | None:
        """How the pages of its results read; ``None`` where a result is one answer."""
        names = (self.poll.answer if self.poll else None, self.fetch.answer)
        shapes = (self.shapes[name] for name in names if name is not None)
        return next((shape for shape in shapes if shape.next is not None), None)

    def lists(self, url: str) -> bool:
        """Whether *url* lies in one of the origins."""
        return origin_of(url) in self._listed

    @cached_property
    def _listed(self) -> frozenset[str]:
        return frozenset(map(origin_of, self.origins)) - {""}

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
        if not self.callback.delivers_when:
            return (self.callback.delivers,)
        variants = (variant.delivers for variant in self.callback.delivers_when)
        return tuple(dict.fromkeys((self.callback.delivers, *variants)))

    def at(self, base_url: str) -> "Provider":
        """The same API behind *base_url* (``RECEIVER_<PROVIDER>_BASE_URL``), its only allowed origin then.

        Every origin of the description is replaced, so an API spread over several hosts meets one.
        """
        base = base_url.rstrip("/")
        moved = partial(moved_to, base, origins=self.origins)
        credentials = tuple(one.at(base) for one in self.credentials)
        return self._placed(moved, relocated=True, origins=(origin_of(base),), credentials=credentials)

    @property
    def settings(self) -> dict[str, str | None]:
        """The settings that its addresses need, each with what it is where it is not set, if that is said."""
        return settings_in([*self.addresses, *self.token_urls])

    @property
    def unsettled(self) -> bool:
        """Whether settings say where it is, in part or in whole."""
        return bool(self.settings) or any("*" in origin for origin in self.origins)

    def completed(self, values: Mapping[str, str]) -> "Provider":
        """The same API at the addresses that settings complete; those without a value are ``missing`` from then on.

        Raises:
            ValueError: one would lead elsewhere than the origins allow; the sentence names the setting.
        """
        if not self.unsettled:
            return self
        needed = self.settings
        values = {name: default for name, default in needed.items() if default} | dict(values)
        if missing := tuple(name for name in needed if not values.get(name)):
            return msgspec.structs.replace(self, missing=missing)
        moved = partial(completed, values=values, origins=self.origins)
        places = [origin_of(moved(url)) for url in self.addresses]
        listed = dict.fromkeys([*(one for one in self.origins if "*" not in one), *places])
        credentials = tuple(one.moved(moved) for one in self.credentials)
        origins = tuple(filter(None, listed))
        return self._placed(moved, missing=(), origins=origins, credentials=credentials)

    def _placed(self, moved: Callable[[str], str], **changes: Any) -> "Provider":  # noqa: ANN401
        """The same API with every address of the description elsewhere."""
        replace = msgspec.structs.replace
        return replace(
            self,
            **changes,
            submit=self.submit.at(moved) if self.submit else None,
            shapes={name: shape.at(moved) for name, shape in self.shapes.items()},
            operations={
                name: replace(one, url=moved(one.url) if one.url else None)
                for name, one in self.operations.items()
            },
            poll=replace(self.poll, url=tuple(map(moved, self.poll.url))) if self.poll else None,
            cancel=replace(self.cancel, url=moved(self.cancel.url)) if self.cancel else None,
            key=replace(self.key, url=moved(self.key.url)) if self.key and self.key.url else self.key,
            files=tuple(replace(one, url=moved(one.url)) if one.url else one for one in self.files),
        )


def describe(document: dict[str, Any]) -> Provider:
    """Build a provider from a parsed TOML document; raises msgspec.ValidationError naming key and reason."""

    def convert(kind: type, value: object) -> object:
        if kind is Duration:
            return Duration.parse(value)
        if kind is Size:
            return Size.parse(value)
        raise TypeError(f"no rule to read {kind.__name__}")

    provider = msgspec.convert(document, Provider, dec_hook=convert)
    if (place := first_empty(document)) is not None:
        raise msgspec.ValidationError(f"it is empty; fill it in or leave it out - at `$.{place}`")
    return provider
