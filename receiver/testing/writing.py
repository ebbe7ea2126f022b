"""Documents as a provider writes them: what a description says of reading, turned round.

What was written is read back by the same shape before it is used. So a document says what it is meant to say, or
there is none.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from itertools import product
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, urlencode

import msgspec

from receiver.core.asking.assembly import at_path, put
from receiver.core.description.parts import Sample
from receiver.core.description.shape import MEANINGS, Condition, Shape
from receiver.core.errors import RequestError, UnreadableError
from receiver.core.message import Message, lowered
from receiver.core.model import JobState, Observation, Value
from receiver.core.reading.observation import read

_LARGEST: Final = 1 << 30
_UNSUCCESSFUL: Final = frozenset({JobState.FAILED, JobState.CANCELED, JobState.EXPIRED})
Setter: TypeAlias = tuple[tuple[str, object], ...]
#: In place of a value: whatever stands there is taken away.
_ABSENT: Final = object()


class Facts(Value, frozen=True, kw_only=True):
    """What a document is to say."""

    id: str
    #: The states that will do, the best first; ``None``: it says nothing of the state.
    states: tuple[JobState | None, ...]
    #: The result, if it comes along: JSON, or bytes where a document is looked into by nobody.
    result: Any = msgspec.UNSET
    reason: str | None = None
    #: Addresses, where the document names some.
    result_url: str | None = None
    response_url: str | None = None
    cancel_url: str | None = None
    #: Further values by their paths.
    also: dict[str, Any] = {}


class Written(Value, frozen=True, kw_only=True):
    """A document, and what it reads as."""

    body: bytes
    content_type: str
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    claims: dict[str, Any] = {}
    seen: Observation


def write(shape: Shape, samples: Iterable[Sample], facts: Facts, *, name: str) -> Written | None:
    """A document of *shape*, which is called *name*, that says *facts*; ``None`` where the shape cannot say them."""
    ours = [_read_sample(one) for one in samples if one.shape == name]
    bases = [*_bases(shape, facts), *(deepcopy(one) for one in ours if isinstance(one, dict))]
    for state in facts.states:
        for base, about, setter in product(bases, _subjects(shape), _states(shape, state)):
            with suppress(RequestError, UnreadableError, ValueError, TypeError):
                written = _written(shape, facts, base, [*about, *setter])
                if _says(written.seen, facts, state):
                    return written
    return None


def _bases(shape: Shape, facts: Facts) -> Iterator[Any]:
    if facts.result is not msgspec.UNSET and shape.result == "." and shape.content != "any":
        if isinstance(facts.result, (dict, list)):
            yield facts.result
        return
    yield {}


def _read_sample(sample: Sample) -> Any:  # noqa: ANN401
    try:
        found = json.loads(sample.body or "null")
        return json.loads(found) if isinstance(found, str) else found
    except ValueError:
        return None


def _subjects(shape: Shape) -> Iterator[Setter]:
    """Ways to say that a document is about a job."""
    about = shape.about
    if about is None:
        yield ()
        return
    words = [*about.is_, *(one for one in about.begins if about.concerns(one))]
    if about.path in shape.statuses:
        # The word for the state says it, too.
        yield ()
    yield from (((about.path, word),) for word in words)


def _states(shape: Shape, state: JobState | None) -> Iterator[Setter]:
    """Ways to say *state*."""
    if state is None:
        yield ()
        return
    said = [(path, word, MEANINGS[meant]) for path in shape.statuses for word, meant in shape.states.items()]
    words: list[Setter] = [((path, _word(word)),) for path, word, meant in said if meant is state]
    rules = [tuple(_satisfied(one)) for one in shape.rules if MEANINGS[one.state] is state]
    yield from words
    yield from rules
    yield from ((*word, *rule) for word, rule in product(words, rules))
    # A word that means something else is no harm where a rule comes before it.
    others: list[Setter] = [((path, _word(word)),) for path, word, _ in said]
    yield from ((*word, *rule) for word, rule in product(others, rules))
    yield ()


def _word(word: str) -> str | int:
    # A number that stands for a state is a number in JSON, and of a range the first one will do.
    first = word.partition("..")[0]
    return int(first) if first.isdecimal() else word


def _satisfied(rule: Condition) -> Iterator[tuple[str, object]]:
    if rule.exists is False:
        yield rule.path, _ABSENT
    elif rule.exists:
        yield rule.path, {}
    elif rule.is_ is not msgspec.UNSET:
        yield rule.path, rule.is_
    else:
        yield rule.path, "otherwise"


class _Draft:
    """A document that is being written, and what stands beside it."""

    def __init__(self, base: Any) -> None:  # noqa: ANN401
        self._holder: dict[str, Any] = {"body": deepcopy(base)}
        self.beside: dict[str, dict[str, str]] = {"header": {}, "query": {}}

    @property
    def body(self) -> Any:  # noqa: ANN401
        return self._holder["body"]

    def say(self, path: str, value: object, *, over: bool = True) -> None:
        """Have *value* at *path*; where something is there already, only with *over*."""
        place, found, name = path.partition(":")
        if found and place in self.beside:
            self.beside[place][name] = str(value)
        elif value is _ABSENT:
            _take(self.body, path)
        elif path != "." and (over or at_path(self.body, path) is None):
            put(self._holder, f"body.{path}", value)

    def name(self, shape: Shape, address: str | None, url: str | None, *, job_id: str) -> None:
        """Have an address in it that reads as *url*, or as what its template makes of it."""
        if address is None or url is None:
            return
        if "{" not in address:
            self.say(address, url)
            return
        for piece in address.split("{")[1:]:
            path = piece.partition("}")[0].removeprefix("+")
            if path not in shape.id:
                self.say(path, f"{job_id}-{path.rpartition('.')[2]}", over=False)


def _written(shape: Shape, facts: Facts, base: Any, setters: Sequence[tuple[str, object]]) -> Written:  # noqa: ANN401
    draft = _Draft(base)
    if shape.result is not None and shape.result != ".":
        # First, because id and state may be inside of it.
        draft.say(shape.result, _ABSENT if facts.result is msgspec.UNSET else deepcopy(facts.result))
    if shape.id:
        known = next((path for path in shape.id if at_path(base, path) is not None), shape.id[0])
        draft.say(known, facts.id)
    for path, value in facts.also.items():
        # Where the id of the job is what tells deliveries apart, it stays what it is.
        if path not in shape.id:
            draft.say(path, value)
    for path, value in setters:
        # What only has to be there may be what the test gave.
        draft.say(path, value, over=value != {})
    # Where the word for the state is the reason too, it says both.
    if facts.reason is not None and shape.error and shape.error[0] not in shape.statuses:
        draft.say(shape.error[0], facts.reason)
    if facts.result_url is not None and shape.result_url_when is not None:
        for path, value in _satisfied(shape.result_url_when):
            draft.say(path, value)
    draft.name(shape, shape.result_url, facts.result_url, job_id=facts.id)
    draft.name(shape, shape.response_url, facts.response_url, job_id=facts.id)
    draft.name(shape, shape.cancel_url, facts.cancel_url, job_id=facts.id)
    return _encoded(shape, facts, draft)


def _take(document: Any, path: str) -> None:  # noqa: ANN401
    above, _, key = path.rpartition(".")
    place = at_path(document, above) if above else document
    if isinstance(place, dict):
        place.pop(key, None)


def _encoded(shape: Shape, facts: Facts, draft: _Draft) -> Written:
    document, beside = draft.body, draft.beside
    text = json.dumps(document)
    body, content_type = text.encode(), "application/json"
    query, claims = dict(beside["query"]), {}
    match shape.content:
        case "json-string":
            body = json.dumps(text).encode()
        case "form":
            body, content_type = _form(document), "application/x-www-form-urlencoded"
        case "form-json":
            body = urlencode({shape.field or "": text}).encode()
            content_type = "application/x-www-form-urlencoded"
        case "query":
            body, content_type = b"", ""
            query |= dict(parse_qsl(_form(document).decode()))
        case "claims":
            body, claims = b"", document
        case "any":
            given = b"" if facts.result is msgspec.UNSET else as_bytes(facts.result)
            body, content_type = given, shape.result_type
        case _:
            pass
    headers = {**beside["header"], **({"content-type": content_type} if content_type else {})}
    message = Message(
        body=body,
        headers=lowered((name.encode(), value.encode()) for name, value in headers.items()),
        query=urlencode(query).encode(),
    )
    seen = read(message, shape, largest=_LARGEST, claims=claims)
    return Written(
        body=body, content_type=content_type, headers=headers, query=query, claims=claims, seen=seen
    )


def _form(document: Mapping[str, Any]) -> bytes:
    return urlencode(
        {name: value if isinstance(value, str) else json.dumps(value) for name, value in document.items()}
    ).encode()


def paged(shape: Shape, result: object, *, empty: bool = False) -> object:
    """*result* as the only page of a result that comes in pages, or with *empty* the one after it; else as it is."""
    paths = shape.lists
    if not paths:
        return result
    if paths[0] == ".":
        whole = result if isinstance(result, list) else [result]
        return [] if empty else whole
    holder: dict[str, Any] = {"body": deepcopy(result) if isinstance(result, dict) else {}}
    if empty:
        holder = {"body": {}}
    if not any(isinstance(at_path(holder["body"], path), list) for path in paths):
        put(holder, f"body.{paths[0]}", result if isinstance(result, list) and not empty else [])
    if shape.more is not None:
        put(holder, f"body.{shape.more}", False)
    return holder["body"]


def as_bytes(result: object) -> bytes:
    """A result as the bytes of its own address."""
    if isinstance(result, bytes):
        return result
    return result.encode() if isinstance(result, str) else json.dumps(result).encode()


def _says(seen: Observation, facts: Facts, state: JobState | None) -> bool:
    if seen.state is not state or (seen.remote_id is not None and seen.remote_id != facts.id):
        return False
    if state is JobState.SUCCEEDED:
        if facts.result is not msgspec.UNSET:
            return seen.result is not None
        if facts.result_url is not None:
            return seen.result_url is not None
    return state in _UNSUCCESSFUL or facts.result is not msgspec.UNSET or seen.result is None
