"""Injection: a handler's parameters say what it gets: the job, its result, or the result read as a type of the user's.

The types are those that msgspec reads (structs, dataclasses, typed dictionaries and what is made of these), and else
those that pydantic reads (its models, and what has one in it). pydantic is needed by nobody for this: where a type is
its own it has been imported already.
"""

import contextlib
import dataclasses
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Iterator
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Final, NamedTuple, Union

import msgspec

from receiver.core.charset import in_utf8
from receiver.core.errors import ConfigurationError
from receiver.core.model import Job, Result
from receiver.raising import ResultAbsentError, ResultUnfitError

#: Reads a job's result; ``None`` only where the job has none.
Source = Callable[[Job], Any]

_POSITIONAL: Final = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
_VARIABLE: Final = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
_MOST_FIELDS: Final = 5


class Wanted(NamedTuple):
    """What a handler is called with."""

    positional: tuple[Source, ...]
    named: tuple[tuple[str, Source], ...]
    #: Whether it cannot be called for a job without a result.
    needs_result: bool
    #: Whether it reads the result as a type, and so needs the whole of it.
    needs_whole: bool

    def arguments(self, job: Job) -> tuple[list[Any], dict[str, Any]]:
        """The arguments for *job*.

        Raises:
            ResultUnfitError: the result is not of the type that is asked for; the sentence names the field.
            ResultAbsentError: there is no result, and one is asked for.
        """
        return [source(job) for source in self.positional], {name: source(job) for name, source in self.named}


def wanted_by(function: Callable[..., Any], *, name: str) -> Wanted | None:
    """What *function* wants besides or instead of the job; ``None`` where it is simply called with the job.

    Raises:
        ConfigurationError: it wants what nobody can give it.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # nobody knows what it takes
        return None
    hints = _hints(function)
    asked = [
        one
        for one in parameters
        if one.kind not in _VARIABLE
        and (one.default is one.empty or _may_be_given(one, hints.get(one.name, one.annotation)))
    ]
    if not asked:
        if not parameters:
            raise _wrong(name, "it takes no argument; write at least job: Job.")
        return None
    positional: list[Source] = []
    named: list[tuple[str, Source]] = []
    needs_result = needs_whole = False
    for one in asked:
        hint = hints.get(one.name, Job if one.annotation is one.empty else one.annotation)
        source, result, whole = _source(hint, name=name, parameter=one.name)
        needs_result, needs_whole = needs_result or result, needs_whole or whole
        if one.kind in _POSITIONAL and one.default is one.empty:
            positional.append(source)
        else:
            named.append((one.name, source))
    if positional == [_job] and not named:
        return None
    return Wanted(tuple(positional), tuple(named), needs_result, needs_whole)


def _may_be_given(parameter: inspect.Parameter, hint: Any) -> bool:  # noqa: ANN401
    """Whether a parameter with a default asks for something all the same: ``report: Report | None = None`` does.

    Other defaults are the function's own, as are those of what every result could be read as: numbers, dictionaries.
    """
    kind, optional = _without_none(_without_extras(hint))
    kind = typing.get_origin(kind) or kind
    if parameter.kind is parameter.POSITIONAL_ONLY or parameter.default is not None or not optional:
        return False
    return kind in (Job, Result) or (
        isinstance(kind, type)
        and (
            issubclass(kind, msgspec.Struct)
            or dataclasses.is_dataclass(kind)
            or typing.is_typeddict(kind)
            or callable(getattr(kind, "model_validate_json", None))
        )
    )


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations, those that are written as text looked up; without those that cannot be."""
    while isinstance(function, functools.partial):
        function = function.func
    plain = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    try:
        return typing.get_type_hints(plain, include_extras=True)
    except Exception:  # noqa: BLE001  (a text is anything)
        known = getattr(inspect.unwrap(plain), "__globals__", {})
    found: dict[str, Any] = {}
    for name, hint in getattr(plain, "__annotations__", {}).items():
        # One that is imported for a type checker only must not take the others with it.
        alone = SimpleNamespace(__annotations__={name: hint})
        with contextlib.suppress(Exception):
            found |= typing.get_type_hints(alone, known, include_extras=True)
    return found


def _source(hint: Any, *, name: str, parameter: str) -> tuple[Source, bool, bool]:  # noqa: ANN401
    """How to get what *hint* asks for; whether that needs a result, and the whole of it."""
    if isinstance(hint, str):
        # Written as text, and imported only for a type checker.
        known = {"Job": Job, "Result": Result}.get(hint.rpartition(".")[2])
        if known is None:
            raise _wrong(
                name,
                f"the annotation {hint!r} of {parameter!r} cannot be looked up; import it in the module itself.",
            )
        hint = known
    kind, optional = _without_none(_without_extras(hint))
    if kind in (Job, Any, object):
        return _job, False, False
    if kind is Result:
        return (_any_result if optional else _result), not optional, False
    # What is said beside a type (a constraint, a discriminator) is for whoever reads the result.
    read = _reading(kind if optional else hint, name=name, parameter=parameter)

    def source(job: Job) -> Any:  # noqa: ANN401  (a type of the user's)
        return None if optional and job.result is None else read(_result(job))

    return source, not optional, True


def _without_none(hint: Any) -> tuple[Any, bool]:  # noqa: ANN401
    """A type, and whether it may also be None."""
    if typing.get_origin(hint) in {Union, UnionType}:
        kinds = [one for one in typing.get_args(hint) if one is not NoneType]
        if len(kinds) < len(typing.get_args(hint)):
            return (kinds[0] if len(kinds) == 1 else Union[tuple(kinds)]), True  # noqa: UP007
    return hint, False


def _without_extras(hint: Any) -> Any:  # noqa: ANN401
    """A type without what is said beside it."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint


def _reading(kind: Any, *, name: str, parameter: str) -> Callable[[Result], Any]:  # noqa: ANN401
    """How to read a result as *kind*."""
    plain = _without_extras(kind)
    shown = plain.__name__ if isinstance(plain, type) else str(plain)
    if plain is bytes:
        return _content
    if callable(validate := getattr(plain, "model_validate_json", None)):
        return _pydantic(validate, shown)
    try:
        if not any(map(_foreign, _parts(msgspec.inspect.type_info(kind)))):
            return _msgspec(msgspec.json.Decoder(kind), kind, shown)
        reason = "one of its parts is no such thing"
    except (TypeError, NameError) as error:
        reason = str(error)
    if (pydantic := sys.modules.get("pydantic")) is not None:
        try:
            return _pydantic(pydantic.TypeAdapter(kind).validate_json, shown)
        except (pydantic.errors.PydanticUserError, NameError, TypeError) as error:
            reason = str(error).partition(". ")[0]
    raise _wrong(
        name,
        f"nobody can read a result as {shown} for {parameter!r}; annotate it with Job, Result, a msgspec Struct, "
        f"a dataclass or a pydantic model ({reason}).",
    )


def _parts(info: Any) -> Iterator[Any]:  # noqa: ANN401
    """What a type is made of, by msgspec's description of it: each part once, itself included."""
    waiting, known = [info], list[Any]()
    while waiting:
        one = waiting.pop()
        if isinstance(one, tuple):
            waiting += one
        elif isinstance(one, msgspec.inspect.Type | msgspec.inspect.Field) and not any(
            one is other for other in known
        ):
            known.append(one)
            waiting += [getattr(one, field) for field in one.__struct_fields__]
            yield one


def _foreign(part: Any) -> bool:  # noqa: ANN401
    """Whether a part of a type is nothing that msgspec reads, or is pydantic's to read."""
    if isinstance(part, msgspec.inspect.DataclassType):
        return hasattr(part.cls, "__pydantic_validator__")
    return isinstance(part, msgspec.inspect.CustomType)


def _msgspec(decoder: "msgspec.json.Decoder[Any]", kind: Any, shown: str) -> Callable[[Result], Any]:  # noqa: ANN401
    def read(result: Result) -> Any:  # noqa: ANN401
        try:
            try:
                return decoder.decode(result.content)
            except msgspec.ValidationError:
                raise
            except msgspec.DecodeError:
                # What Python's parser takes, and RFC 8259 does not: NaN, numbers of any length.
                return msgspec.convert(result.json(), kind)
        except msgspec.ValidationError as error:
            reason, _, place = str(error).partition(" - at ")
            field = place.strip("`").removeprefix("$").lstrip(".") or "the result itself"
            raise ResultUnfitError(f"The result does not fit {shown}: {field}: {reason}.") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ResultUnfitError(f"The result does not fit {shown}: it is no JSON: {error}.") from error

    return read


def _pydantic(validate: Callable[[bytes], Any], shown: str) -> Callable[[Result], Any]:
    def read(result: Result) -> Any:  # noqa: ANN401
        try:
            return validate(in_utf8(result.content, result.content_type))
        except ValueError as error:
            told = getattr(error, "errors", None)
            found = told() if callable(told) else []
            fields = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in found]
            left = f" and {len(fields) - _MOST_FIELDS} more" if len(fields) > _MOST_FIELDS else ""
            reason = "; ".join(fields[:_MOST_FIELDS]) + left if fields else str(error)
            raise ResultUnfitError(f"The result does not fit {shown}: {reason}.") from error

    return read


def _content(result: Result) -> bytes:
    return result.content


def _job(job: Job) -> Job:
    return job


def _any_result(job: Job) -> Result | None:
    return job.result


def _result(job: Job) -> Result:
    if job.result is None:
        raise ResultAbsentError(f"The job is {job.state.value} and has no result.")
    return job.result


def _wrong(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"Handler {name!r}: {reason}", code="handler_invalid")
