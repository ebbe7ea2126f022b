"""What a handler's parameters get: the job, its result, or the result read as a type; and what does not fit."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

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


def test_an_annotation_for_the_type_checker_is_understood() -> None:
    """`from __future__ import annotations` makes texts of them, and Job is then often imported for checking only."""
    seen: list[object] = []

    def handler(job: object, result: object, other: object = None) -> None:
        seen.extend([job, result, other])

    handler.__annotations__ = {"job": "elsewhere.Job", "result": "Result", "other": "Nowhere"}
    done = ended()
    registered(handler)(done)
    assert seen == [done, done.result, None]


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


@pytest.mark.parametrize(
    ("function", "options", "told"),
    [
        (lambda: None, {}, "takes no argument"),
        (lambda answer: None, {"annotation": int | str | bytes}, "nobody can read a result as"),  # noqa: ARG005
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


def test_a_predicate_that_would_have_to_be_awaited_is_refused() -> None:
    """It would be true whatever it says."""

    async def later(_job: Job) -> bool:
        return False

    with pytest.raises(ConfigurationError, match="where must be a plain function"):
        registered(lambda job: None, where=later)  # noqa: ARG005
