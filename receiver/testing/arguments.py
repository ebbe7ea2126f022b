"""What a test hands to the kit is checked where it is called: a wrong argument is told in a sentence."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar, get_args

import msgspec

from receiver.core.model import Job
from receiver.testing.signing import SignedRequest

_Class = TypeVar("_Class")
#: What is said to be expected.
_WANTED: Final = {
    Job: "the job that 'await receiver.submit(…)' returned",
    SignedRequest: "a request that provider.signed(…) made",
    str: "a text",
    bytes: "bytes, as in b'{}'",
}


def checked(kind: type[_Class]) -> type[_Class]:
    """Have the public methods of *kind* raise TypeError, with a sentence, for arguments of another type."""
    for name, method in list(vars(kind).items()):
        if inspect.isfunction(method) and not name.startswith("_"):
            setattr(kind, name, _checking(method))
    return kind


def _checking(method: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(method)

    @wraps(method)
    def checking(*given: Any, **named: Any) -> Any:  # noqa: ANN401  (whatever the method takes and returns)
        try:
            bound = signature.bind(*given, **named)
        except TypeError as error:
            raise TypeError(f"provider.{method.__name__}: {error}.") from None
        for name, value in bound.arguments.items():
            wrong = _wrong(value, signature.parameters[name])
            if wrong is not None:
                raise TypeError(f"provider.{method.__name__}: {name} is {wrong}.")
        return method(*given, **named)

    return checking


def _wrong(value: object, parameter: inspect.Parameter) -> str | None:
    """What is wrong with an argument, if anything is."""
    wanted = next(
        (one for one in _WANTED if one in (get_args(parameter.annotation) or (parameter.annotation,))), None
    )
    if wanted is not None:
        if isinstance(value, wanted) or (value is None and parameter.default is None):
            return None
        return f"{_WANTED[wanted]}, and not {_shown(value)}"
    if parameter.name == "result":
        try:
            msgspec.json.encode(value)
        except (TypeError, ValueError, msgspec.MsgspecError):
            return f"JSON or bytes, and not {_shown(value)}"
    return None


def _shown(value: object) -> str:
    if inspect.iscoroutine(value):
        value.close()
        return "a coroutine: an 'await' is missing"
    text = repr(value)
    return f"{text if len(text) <= 60 else type(value).__name__} ({type(value).__name__})"  # noqa: PLR2004
