"""Registering handlers: whatever can be called is one; what cannot be meant is refused, with what to write instead."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import pytest

from receiver.core.errors import ConfigurationError
from receiver.handlers import Handlers
from tests.test_injection import Answer, Model, ended, registered

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.core.model import Job


class Mixed(msgspec.Struct):
    """What neither of the two can read."""

    inner: Model


class Odd:
    """A class that says nothing of its fields."""


class Shape(Protocol):
    """What has a form, and is made by nobody."""

    words: list[str]


@pytest.mark.parametrize(
    ("function", "options", "told"),
    [
        (lambda: None, {}, "takes no argument"),
        (lambda answer: None, {"annotation": Odd}, "nobody can read a result as Odd"),  # noqa: ARG005
        (lambda answer: None, {"annotation": list[Odd]}, "nobody can read a result as list"),  # noqa: ARG005
        (lambda answer: None, {"annotation": Shape}, "nobody can read a result as Shape"),  # noqa: ARG005
        (lambda answer: None, {"annotation": Mixed}, "nobody can read a result as Mixed"),  # noqa: ARG005
        (lambda answer: None, {"annotation": "Nowhere"}, "'Nowhere' of 'answer' cannot be looked up"),  # noqa: ARG005
        (lambda answer: None, {"annotation": Answer, "pieces": True}, "without pieces=True"),  # noqa: ARG005
        (lambda job: None, {"state": "submitting"}, "no state 'submitting'"),  # noqa: ARG005
        (lambda job: None, {"metadata": {"a": {1, 2j}}}, "must be JSON"),  # noqa: ARG005
        (lambda job: None, {"ordered_by": "customer"}, "order completions by 'customer'"),  # noqa: ARG005
        (lambda job: None, {"ordered_by": "job", "on_dead": "stop"}, "on_dead is block or continue"),  # noqa: ARG005
        (lambda job: None, {"rate": -1}, "must not be negative"),  # noqa: ARG005
        (lambda job: None, {"aliases": ["h"]}, "a handler 'h' already"),  # noqa: ARG005
        (lambda job: None, {"aliases": ["a b"]}, "cannot name a handler"),  # noqa: ARG005
    ],
)
def test_what_cannot_be_meant_is_refused_when_it_is_registered(
    function: Callable[..., Any], options: dict[str, Any], told: str
) -> None:
    """With a sentence that says what to write instead."""
    if "annotation" in options:
        function.__annotations__ = {"answer": options.pop("annotation")}
    with pytest.raises(ConfigurationError, match=told) as wrong:
        registered(function, **options)
    assert wrong.value.code == "handler_invalid"


class Service:
    """An object with handlers in it."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def keep(self, answer: Answer) -> None:
        """A method."""
        self.seen.append(answer.words)

    @staticmethod
    def look(job: Job, into: list[object]) -> None:
        """A function with something to be given beforehand."""
        into.append(job.id)

    async def __call__(self, answer: Answer | None) -> None:
        """The object itself."""
        self.seen.append(answer)


async def test_whatever_can_be_called_is_a_handler() -> None:
    """Methods, functions with arguments given beforehand, and objects; awaited where they are to be."""
    service = Service()
    done = ended()
    registered(service.keep)(done)
    registered(functools.partial(Service.look, into=service.seen))(done)
    await registered(service)(done)
    assert service.seen == [["a"], done.id, Answer(["a"])]


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (functools.partial(Service.look, into=[]), r"A partial has no name of its own; pass name="),
        (Service(), r"A Service has no name of its own; pass name="),
        (lambda job: None, "'<lambda>' cannot name a handler; pass a name="),  # noqa: ARG005
    ],
)
def test_what_has_no_name_must_be_given_one(function: Callable[..., Any], told: str) -> None:
    """The store knows handlers by name."""
    with pytest.raises(ConfigurationError, match=told) as wrong:
        Handlers().on()(function)
    assert wrong.value.code == "handler_invalid"


@pytest.mark.parametrize(
    ("provider", "told"),
    [(lambda job: None, r"write @receiver\.on\(\)"), (["pulse", "netnut"], "the name of one provider")],  # noqa: ARG005
)
def test_what_is_no_provider_is_refused(provider: Any, told: str) -> None:  # noqa: ANN401
    """`@receiver.on` without its brackets would register nothing, and say nothing."""
    with pytest.raises(ConfigurationError, match=told) as wrong:
        Handlers().on(provider)
    assert wrong.value.code == "handler_invalid"


def test_a_predicate_that_would_have_to_be_awaited_is_refused() -> None:
    """It would be true whatever it says."""

    async def later(_job: Job) -> bool:
        return False

    with pytest.raises(ConfigurationError, match="where must be a plain function"):
        registered(lambda job: None, where=later)  # noqa: ARG005
