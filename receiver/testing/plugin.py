"""The fixtures: ``receiver``, ``provider`` and ``receiver_clock``, and what they can be told.

pytest loads this module in every run where the receiver is installed. So it imports nothing but pytest until a test
asks for a fixture, and what is installed beside it does not matter: the receiver begins in the event loop that first
uses it, which is the test's own, and is stopped in it before the test ends. That is so with pytest-asyncio in both of
its modes, with anyio's plugin on asyncio, and in an ``unittest.IsolatedAsyncioTestCase``.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from receiver import Receiver
    from receiver.testing import Clock, Kit, Provider

_KIT = pytest.StashKey[Any]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the setting ``receiver_app``."""
    parser.addini("receiver_app", "module:object, the Receiver that holds your handlers", default="")


@pytest.fixture
def receiver_clock() -> Clock:
    """The clock of the receiver in this test: ``receiver_clock.advance(hours=2)``."""
    from receiver.testing.clock import Clock  # noqa: PLC0415  (as this module says)

    return Clock()


@pytest.fixture
def receiver_environ() -> dict[str, str]:
    """Settings of your own, by their variables; yours alone: nothing else of the environment is read."""
    folder = os.environ.get("RECEIVER_PROVIDERS_DIR")
    return {"RECEIVER_PROVIDERS_DIR": folder} if folder else {}


@pytest.fixture
def receiver_app(request: pytest.FixtureRequest) -> Receiver:
    """The receiver that is tested: what ``receiver_app`` in the configuration names, else one without handlers."""
    from receiver import Receiver  # noqa: PLC0415

    named = str(request.config.getini("receiver_app"))
    if not named:
        return Receiver()
    from pkgutil import resolve_name  # noqa: PLC0415

    try:
        found = resolve_name(named)
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(f"receiver_app: {named} cannot be loaded: {error}") from error
    if not isinstance(found, Receiver):
        raise pytest.UsageError(f"receiver_app: {named} is a {type(found).__name__}; write module:object.")
    return found


@pytest.fixture
def receiver_kit(
    request: pytest.FixtureRequest,
    receiver_app: Receiver,
    receiver_clock: Clock,
    receiver_environ: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Kit]:
    """What the other fixtures are taken from."""
    from receiver.testing.kit import staged  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("receiver")
    with staged(receiver_app, clock=receiver_clock, folder=folder, environ=receiver_environ) as kit:
        request.node.stash[_KIT] = kit
        yield kit


@pytest.fixture
def receiver(receiver_kit: Kit) -> Receiver:
    """Your receiver, with a database of its own; it begins when it is first used, and is stopped after the test."""
    return receiver_kit.receiver


@pytest.fixture
def provider(receiver_kit: Kit) -> Provider:
    """Every provider that is described, to be told what to do: ``await provider.complete(job, result)``."""
    return receiver_kit.provider


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Have a coroutine that uses the kit stop its receiver in the loop that it ran in."""
    kit = item.stash.get(_KIT, None)
    function = getattr(item, "obj", None)
    if kit is None or not isinstance(item, pytest.Function) or not inspect.iscoroutinefunction(function):
        return (yield)

    @functools.wraps(function)
    async def within(*given: Any, **named: Any) -> Any:  # noqa: ANN401  (the test's own)
        async with kit:
            return await function(*given, **named)

    item.obj = within
    if "unittest" in sys.modules and isinstance(item.instance, sys.modules["unittest"].TestCase):
        # unittest looks its methods up by name.
        setattr(item.instance, item.name, within)
    try:
        return (yield)
    finally:
        item.obj = function
