"""What a test hands to the kit by mistake is told in a sentence."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from receiver.testing import Clock, Provider

if TYPE_CHECKING:
    from receiver import Receiver

#: Every method of the kit that a test calls, and what is wrong with what it is called with.
WRONG: dict[str, tuple[Any, ...]] = {
    "complete": ("acme", {}),
    "fail": ("acme",),
    "lose_result": ("acme",),
    "never": (None,),
    "begin": (1,),
    "settle": ("job_1",),
    "early": (1,),
    "duplicate": ("acme",),
    "forge": ("acme",),
    "stale": ("acme",),
    "deliver": ("acme", b"{}"),
    "description": (1,),
    "signed": ("pulse", {"not": "bytes"}),
    "send": ("pulse",),
    "serve": ("https://example.com/a", "text"),
}


def test_every_method_is_tried() -> None:
    """What the kit offers to tests, all of it."""
    found = {name for name, one in vars(Provider).items() if inspect.isfunction(one) and name[0] != "_"}
    assert found - {"overtake"} == WRONG.keys()


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_argument_is_told_in_a_sentence(name: str, provider: Provider) -> None:
    """It names the method, the argument, what is expected and what was given."""
    with pytest.raises(TypeError, match=rf"^provider\.{name}: [a-z_]+ is .*, and not .*\."):
        getattr(provider, name)(*WRONG[name])


async def test_a_missing_await_is_told(receiver: Receiver, provider: Provider) -> None:
    """What submit returns before it is awaited is no job."""
    with pytest.raises(TypeError, match="an 'await' is missing"):
        await provider.complete(receiver.submit("pulse", {}))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"provider.complete: missing a required argument: 'job'\."):
        await provider.complete()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="result is JSON or bytes"):
        await provider.early("pulse", object())


def test_a_clock_is_put_forward_by_a_span() -> None:
    """Which words there are is in the sentence."""
    with pytest.raises(TypeError, match="days, hours, minutes or seconds"):
        Clock().advance(hour=1)
