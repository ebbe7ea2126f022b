"""What a handler's parameters get: the job, its result, or the result read as a type; and what does not fit."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

import msgspec
import pydantic
import pytest

from receiver.core.errors import ConfigurationError
from receiver.core.model import Job, JobState, Result
from receiver.handlers import Handlers
from receiver.raising import Dead, NotWanted, ResultAbsentError, ResultUnfitError
from tests.core.making import job as made

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Answer(msgspec.Struct):
    """A result as msgspec reads it."""

    words: list[str]


@dataclasses.dataclass
class Page:
    """A result as a dataclass."""

    words: list[str]


class Model(pydantic.BaseModel):
    """A result as pydantic reads it."""

    words: list[str]


class Pages(msgspec.Struct, Generic[T]):
    """A result of the same form for several kinds of item."""

    items: list[T]


class Models(pydantic.BaseModel, Generic[T]):
    """The same in pydantic."""

    items: list[T]


class Said(msgspec.Struct, tag="said"):
    """One of two forms, told by a field."""

    words: list[str]


class Counted(msgspec.Struct, tag="counted"):
    """The other."""

    many: int


class Cat(pydantic.BaseModel):
    """One of two forms in pydantic."""

    kind: Literal["cat"]
    lives: int = 9


class Dog(pydantic.BaseModel):
    """The other."""

    kind: Literal["dog"]
    legs: int


@dataclasses.dataclass
class Sheet:
    """A dataclass that holds a model of pydantic's."""

    inner: Model
    note: str | None = None


@pydantic.dataclasses.dataclass
class Checked:
    """A dataclass of pydantic's own, which converts."""

    many: int


def ended(content: bytes | None = b'{"words": ["a"]}', state: JobState = JobState.SUCCEEDED) -> Job:
    """A job that ended, with a result."""
    result = None if content is None else Result(content=content, size=len(content))
    return made(state=state, result=result, metadata={"customer": "a"})


def registered(function: Callable[..., Any], **options: Any) -> Callable[[Job], Any]:  # noqa: ANN401
    """A function as it is called for a job."""
    handlers = Handlers()
    handlers.on(name="h", **options)(function)
    handler = handlers.get("h")
    assert handler is not None
    return handler.function


def test_each_parameter_gets_what_it_asks_for() -> None:
    """In any order and by name, several readings of one result too; what has a default keeps it."""

    def handler(
        answer: Answer,
        job: Job,
        page: Page,
        result: Result,
        extra: int = 7,
        *,
        model: Model,
        loose: dict[str, Any],
    ) -> None:
        seen.extend([answer.words, job.id, page.words, result.size, extra, model.words, loose])

    seen: list[object] = []
    done = ended()
    registered(handler)(done)
    assert seen == [["a"], done.id, ["a"], 16, 7, ["a"], {"words": ["a"]}]


def test_what_may_be_none_is_given_though_it_has_a_default() -> None:
    """`Report | None = None` says that there may be no result, and not that nobody is to give it."""
    seen: list[object] = []

    def handler(
        job: Job,
        count: int | None = None,
        answer: Answer | None = None,
        options: dict[str, Any] | None = None,
        *,
        page: Page | None = None,
        model: Model | None = None,
        pages: Pages[int] | None = None,
    ) -> None:
        seen.extend([job.id, count, answer, options, page, model, pages])

    def alone(answer: Answer | None = None) -> None:
        seen.append(answer)

    done, failed = ended(b'{"words": ["a"], "items": [1]}'), ended(None, JobState.FAILED)
    registered(handler, state="any")(done)
    assert seen == [done.id, None, Answer(["a"]), None, Page(["a"]), Model(words=["a"]), Pages([1])]
    seen.clear()
    registered(handler, state="any")(failed)
    registered(alone, state="any")(failed)
    registered(alone)(done)
    assert seen == [failed.id, *[None] * 7, Answer(["a"])]


def test_an_annotation_for_the_type_checker_is_understood() -> None:
    """`from __future__ import annotations` makes texts of them, and Job is then often imported for checking only."""
    seen: list[object] = []

    def handler(job: object, result: object, other: object = None) -> None:
        seen.extend([job, result, other])

    handler.__annotations__ = {"job": "elsewhere.Job", "result": "Result", "other": "Nowhere"}
    done = ended()
    registered(handler)(done)
    assert seen == [done, done.result, None]


def test_one_that_cannot_be_looked_up_takes_no_other_with_it() -> None:
    """Of a function with arguments given beforehand, too."""
    seen: list[object] = []

    def handler(before: object, answer: object, job: object) -> None:
        seen.extend([before, answer, job])

    handler.__annotations__ = {"before": "Nowhere", "answer": "list[Answer] | Answer", "job": "elsewhere.Job"}
    done = ended()
    registered(functools.partial(handler, 1))(done)
    assert seen == [1, Answer(["a"]), done]


def test_a_handler_of_a_job_is_called_as_it_is() -> None:
    """Nothing stands between the worker and a function that wants the job alone."""

    def handler(job: Job) -> None: ...

    assert registered(handler) is handler


async def test_a_coroutine_gets_them_too() -> None:
    """And is awaited."""
    seen: list[list[str]] = []

    async def handler(answer: Answer) -> None:
        seen.append(answer.words)

    await registered(handler)(ended())
    assert seen == [["a"]]


@pytest.mark.parametrize(
    ("kind", "content", "told"),
    [
        (Answer, b'{"words": ["a", 2]}', r"does not fit Answer: words\[1\]: Expected `str`, got `int`"),
        (Page, b"{}", "does not fit Page: the result itself: .*missing required field `words`"),
        (Model, b'{"words": [1]}', r"does not fit Model: words\.0: Input should be a valid string"),
        (Answer, b"no JSON", "does not fit Answer: it is no JSON"),
        (Model, b"no JSON", "does not fit Model: : Invalid JSON"),
    ],
)
def test_a_result_that_does_not_fit_is_a_dead_letter_that_names_the_field(
    kind: type, content: bytes, told: str
) -> None:
    """No later attempt can help, so it is dead at once."""

    def handler(answer: Any) -> None:  # noqa: ANN401
        raise AssertionError("it is not called")

    handler.__annotations__ = {"answer": kind}
    with pytest.raises(ResultUnfitError, match=told) as unfit:
        registered(handler)(ended(content))
    assert isinstance(unfit.value, Dead)
    assert unfit.value.code == "result_unfit"


@pytest.mark.parametrize(
    ("kind", "content", "got"),
    [
        (Pages[Answer], b'{"items": [{"words": []}]}', Pages([Answer([])])),
        (Models[int], b'{"items": ["1"]}', Models[int](items=[1])),
        (Said | Counted, b'{"type": "counted", "many": 2}', Counted(2)),
        (Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], b'{"kind": "dog", "legs": 4}', None),
        (Cat | Dog | None, b'{"kind": "cat"}', Cat(kind="cat")),
        (list[Model], b'[{"words": ["a"]}]', [Model(words=["a"])]),
        (dict[str, Sheet], b'{"a": {"inner": {"words": []}}}', {"a": Sheet(Model(words=[]))}),
        (Checked, b'{"many": "3"}', Checked(3)),
        (bytes, b"no JSON", b"no JSON"),
        (Annotated[list[int], "a remark"], b"[1]", [1]),
        (Model, '{"words": ["é"]}'.encode("utf-16"), Model(words=["é"])),
    ],
)
def test_what_types_are_made_of_is_read_too(kind: Any, content: bytes, got: object) -> None:  # noqa: ANN401
    """Generic ones, unions, containers, models within dataclasses; by pydantic what msgspec cannot read."""

    def handler(answer: Any) -> None:  # noqa: ANN401
        seen.append(answer)

    handler.__annotations__ = {"answer": kind}
    seen: list[object] = []
    registered(handler)(ended(content))
    assert seen == [Dog(kind="dog", legs=4) if got is None else got]


@pytest.mark.parametrize(
    ("kind", "content", "told"),
    [
        (Pages[Answer], b'{"items": [{"words": [1]}]}', r"items\[0\]\.words\[0\]: Expected `str`, got `int`"),
        (Said | Counted, b'{"type": "sung"}', "type: Invalid value 'sung'"),
        (Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], b'{"kind": "cow"}', "kind.*'cow'|'cow'"),
        (list[Model], b'[{"words": [1]}]', r"0\.words\.0: Input should be a valid string"),
        (Sheet, b'{"inner": {}}', r"does not fit Sheet: inner\.words: Field required"),
        (Answer, b'{"other": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "it is no JSON: maximum recursion"),
        (Model, b'{"other": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "Invalid JSON: recursion"),
    ],
)
def test_a_part_that_does_not_fit_is_named(kind: Any, content: bytes, told: str) -> None:  # noqa: ANN401
    """Wherever it is; and what no parser gets to the bottom of is no reason to try again."""

    def handler(answer: Any) -> None: ...  # noqa: ANN401

    handler.__annotations__ = {"answer": kind}
    with pytest.raises(ResultUnfitError, match=told):
        registered(handler)(ended(content))


def test_what_python_reads_as_json_is_read() -> None:
    """NaN is no JSON, and some providers send it."""

    def handler(result: dict[str, float]) -> None:
        seen.append(result["n"])

    seen: list[float] = []
    registered(handler)(ended(b'{"n": NaN}'))
    assert str(seen) == "[nan]"


def test_a_job_without_a_result() -> None:
    """Whoever says `| None` hears of it with None; whoever does not hears of jobs that succeeded only."""

    def lenient(answer: Answer | None, result: Result | None) -> None:
        seen.append((answer, result))

    def strict(answer: Answer) -> None: ...

    seen: list[tuple[object, object]] = []
    registered(lenient, state="any")(ended(None, JobState.FAILED))
    assert seen == [(None, None)]
    with pytest.raises(ConfigurationError, match=r"wants a result, .* write … \| None"):
        registered(strict, state="any")
    with pytest.raises(ResultAbsentError):
        registered(strict)(ended(None))


def test_where_is_asked_before_anything_is_read() -> None:
    """What is not wanted is dropped, however it looks."""

    def handler(answer: Answer) -> None: ...

    ask = registered(handler, where=lambda job: job.metadata["customer"] == "b")
    with pytest.raises(NotWanted):
        ask(ended(b"no JSON"))
