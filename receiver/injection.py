"""Injection: a handler's parameters say what it gets: the job, its result, or the result read as a type of the user's.

The types are those that msgspec reads (structs, dataclasses, typed dictionaries and what is made of these), and
pydantic's models, which are known by what they can do: pydantic itself is needed by nobody else.
"""

import inspect
import typing
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Final, NamedTuple, Union

import msgspec

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
    asked = [one for one in parameters if one.kind not in _VARIABLE and one.default is one.empty]
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
        if one.kind in _POSITIONAL:
            positional.append(source)
        else:
            named.append((one.name, source))
    if positional == [_job] and not named:
        return None
    return Wanted(tuple(positional), tuple(named), needs_result, needs_whole)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations, those that are written as text looked up; none where one of them cannot be."""
    plain = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    try:
        return typing.get_type_hints(plain)
    except Exception:  # noqa: BLE001  (a text is anything; each is dealt with by itself)
        return {}


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
    if hint in (Job, Any, object):
        return _job, False, False
    kind, optional = _without_none(hint)
    if kind is Result:
        return (_any_result if optional else _result), not optional, False
    read = _reading(kind, name=name, parameter=parameter)

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


def _reading(kind: Any, *, name: str, parameter: str) -> Callable[[Result], Any]:  # noqa: ANN401
    """How to read a result as *kind*."""
    shown = getattr(kind, "__name__", str(kind))
    if isinstance(kind, type) and callable(getattr(kind, "model_validate_json", None)):
        return _pydantic(kind, shown)
    try:
        decoder = msgspec.json.Decoder(kind)
    except TypeError as error:
        raise _wrong(
            name,
            f"nobody can read a result as {shown} for {parameter!r}; annotate it with Job, Result, a msgspec Struct, "
            f"a dataclass or a pydantic model ({error}).",
        ) from error
    return _msgspec(decoder, kind, shown)


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
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ResultUnfitError(f"The result does not fit {shown}: it is no JSON: {error}.") from error

    return read


def _pydantic(kind: Any, shown: str) -> Callable[[Result], Any]:  # noqa: ANN401
    def read(result: Result) -> Any:  # noqa: ANN401
        try:
            return kind.model_validate_json(result.content)
        except ValueError as error:
            told = getattr(error, "errors", None)
            found = told() if callable(told) else []
            fields = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in found]
            left = f" and {len(fields) - _MOST_FIELDS} more" if len(fields) > _MOST_FIELDS else ""
            reason = "; ".join(fields[:_MOST_FIELDS]) + left if fields else str(error)
            raise ResultUnfitError(f"The result does not fit {shown}: {reason}.") from error

    return read


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
