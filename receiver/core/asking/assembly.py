"""What a submission consists of: the caller's request, put together with what the receiver adds to it."""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from itertools import pairwise
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

from msgspec.structs import replace

from receiver.core.description.callbacks import CallbackTerms
from receiver.core.description.parts import Submit
from receiver.core.description.provider import Provider
from receiver.core.errors import RequestError
from receiver.core.model import Job, Observation, Value

_FIELD: Final = re.compile(r"\{request:([^{}]+)\}")
_LONGEST_FIELD: Final = 512
#: RFC 9110, 5.6.2.
_NAME: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
#: Headers that no description can let a job set: they say who we are, or how what is sent is to be read.
_NEVER: Final = frozenset(
    {
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "expect",
    }
    | {
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "accept-encoding",
    }
)
#: OpenAI takes sixteen pairs of metadata (openai 3.52.0, types/shared_params/metadata.py, read 2026-11-29): a
#: submission is not spoiled for the sake of a mark.
_MOST_BESIDE: Final = 16


class Extras(Value, frozen=True, kw_only=True):
    """What the submission of one job carries beside its request, as far as the description lets a job set it."""

    headers: dict[str, str] = {}
    query: dict[str, Any] = {}


class Assembled(Value, frozen=True, kw_only=True):
    """The parts of a submission, ready to be sent."""

    content: Literal["json", "multipart", "form", "query"]
    url: str
    headers: dict[str, str]
    body: Any

    def fields(self) -> dict[str, str]:
        """The body as the text fields of a form."""
        return {name: _text(value) for name, value in self.body.items() if value is not None}


def assemble(
    provider: Provider,
    job: Job,
    request: Mapping[str, Any],
    *,
    callback_url: str | None,
    secret: bytes | None,
    extras: Extras = Extras(),  # noqa: B008  (it is frozen)
) -> Assembled:
    """Put the submission of *job* together.

    Raises:
        RequestError: the request sets a field that the receiver sets, lacks one that the address needs, or carries what
            would go nowhere.
    """
    terms = provider.submit
    assert terms is not None  # noqa: S101  (the caller looked)
    _refuse_unlisted(provider, extras)
    operation = provider.operations.get(job.operation)
    template = (operation.url if operation else None) or terms.url
    content = (operation.content if operation else None) or terms.content
    if provider.callback is not None:
        _refuse_reserved(provider.callback, request)
    asked = _asked(terms, request, polled=callback_url is None)
    # All addresses are filled in now: once the job is accepted it is too late to find that a field is missing.
    url, *_ = [_fill(one, asked) for one in (template, terms.response_url, terms.cancel_url) if one]
    for name in _FIELD.findall(template):
        asked.pop(name, None)
    query = _in_query(terms, asked) | extras.query
    if content == "query":
        query, asked = query | asked, {}
    # The body may be a list, so it is held by something that it can be replaced in.
    holder = _held(terms, asked, job.provider)
    headers = extras.headers | _repeatable(terms, holder, job)
    _mark(terms, holder, job)
    callback = provider.callback
    if callback_url is not None and callback is not None and callback.where != "registered":
        if callback.where == "query":
            _ask_in_query(callback, query, callback_url, secret)
        else:
            _ask_in_body(callback, holder, callback_url, secret)
    if query:
        fields = {name: _texts(value) for name, value in query.items() if value is not None}
        url += ("&" if "?" in url else "?") + urlencode(fields, doseq=True)
    return Assembled(content=content, url=url, headers=headers, body=holder["body"])


def _held(terms: Submit, asked: dict[str, Any], provider: str) -> dict[str, Any]:
    """The body that a request makes, at ``body`` of what is returned."""
    if terms.wrap is None or is_wrapped(terms.wrap, asked):
        return {"body": asked if terms.unwrap is None else _unwrapped(terms.unwrap, asked, provider)}
    holder: dict[str, Any] = {}
    put(holder, f"body.{terms.wrap}", asked)
    return holder


def _repeatable(terms: Submit, holder: dict[str, Any], job: Job) -> dict[str, str]:
    """Put a key where the provider takes one, so that a repetition is not billed twice; the headers that it takes."""
    if terms.idempotency is None:
        return {}
    if terms.idempotency.where == "header":
        return {terms.idempotency.name: job.id}
    if at_path(holder, f"body.{terms.idempotency.name}") is None:
        put(holder, f"body.{terms.idempotency.name}", job.id)
    return {}


def _in_query(terms: Submit, asked: dict[str, Any]) -> dict[str, Any]:
    """Take the fields out of the request that travel in the address."""
    if terms.query == "*":
        kept = {*terms.body, *filter(None, (terms.unwrap,))}
        names = [name for name in asked if name not in kept]
    else:
        names = [name for name in terms.query if name in asked]
    return {name: asked.pop(name) for name in names}


def is_wrapped(wrap: str, asked: Mapping[str, Any]) -> bool:
    """Whether a request is in the vendor's outer form already; it would be wrapped twice."""
    return isinstance(at_path(asked, wrap), Mapping)


def _unwrapped(name: str, asked: Mapping[str, Any], provider: str) -> Any:  # noqa: ANN401
    """The field of the request that is the body; what stands beside it would go nowhere."""
    if asked.get(name) is None:
        raise RequestError(
            f"The submission's body is the request's {name}, which is not there.",
            code="request_field_missing",
            field=f"request.{name}",
        )
    if beside := sorted(asked.keys() - {name}):
        raise RequestError(
            f"The request sets {', '.join(beside)}, and {provider} has no place for that: the body is {name} alone, "
            "and submit.query of its description does not name it.",
            code="request_field_unknown",
            field=f"request.{beside[0]}",
        )
    return asked[name]


def _refuse_unlisted(provider: Provider, extras: Extras) -> None:
    """Refuse headers and fields of the address that the description does not let a job set."""
    terms = provider.submit
    assert terms is not None  # noqa: S101  (the caller looked)
    ours = {one.header.lower() for one in provider.credentials}
    ours |= {name.lower() for name in (*provider.headers, *terms.headers)}
    for name, value in extras.headers.items():
        if not _allowed(name.lower(), terms.job_headers) or name.lower() in ours | _NEVER:
            raise _unlisted(provider, "header", name, terms.job_headers)
        if _NAME.fullmatch(name) is None:
            raise RequestError("A header has a name that none can have.", field="headers")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise RequestError(f"The header {name} is no printable text.", field=f"headers.{name}")
    for name in extras.query:
        if not _allowed(name, terms.job_query):
            raise _unlisted(provider, "query", name, terms.job_query)
        taken = {one.query for one in provider.credentials}
        if provider.callback is not None:
            taken |= {provider.callback.path, provider.callback.secret_path}
        if name in taken:
            raise _reserved(name)


def _allowed(name: str, listed: Iterable[str]) -> bool:
    return any(
        name.startswith(one[:-1].lower()) if one.endswith("*") else name == one.lower() or name == one
        for one in listed
    )


def _unlisted(provider: Provider, kind: str, name: str, listed: Sequence[str]) -> RequestError:
    what = "header" if kind == "header" else "field of the address"
    may = f"it may set {', '.join(listed)}" if listed else "it may set none"
    return RequestError(
        f"The description of {provider.name} does not let a job set the {what} {name}; {may} (submit.job_"
        f"{'headers' if kind == 'header' else 'query'}).",
        code="request_field_unknown",
        field=f"{'headers' if kind == 'header' else 'query'}.{name}",
    )


def _refuse_reserved(terms: CallbackTerms, request: Mapping[str, Any]) -> None:
    """Refuse a callback of the caller's own, wherever the request may be put: with it a secret would travel inside."""
    if terms.where == "registered":
        return
    for path in filter(None, (terms.path, terms.secret_path)):
        if at_path(request, path) is not None:
            raise _reserved(path)


def _mark(terms: Submit, holder: dict[str, Any], job: Job) -> None:
    """Have the provider keep our id beside the caller's own words, where there is room for it."""
    if terms.mark is None:
        return
    path = f"body.{terms.mark}"
    beside = at_path(holder, path.rpartition(".")[0])
    full = isinstance(beside, Mapping) and len(beside) >= _MOST_BESIDE and terms.mark.count(".") > 0
    if at_path(holder, path) is None and not full:
        with suppress(RequestError):  # something else stands there, and it is the caller's
            put(holder, path, job.id)


def with_addresses(terms: Submit, seen: Observation, request: Mapping[str, Any]) -> Observation:
    """Add the addresses that follow from the request and the id in the answer, where the answer named none."""
    if seen.remote_id is None:
        return seen
    asked = _asked(terms, request, polled=False)
    made = {
        name: _fill(template, asked).replace("{id}", quote(seen.remote_id, safe=""))
        for name, template in (("response_url", terms.response_url), ("cancel_url", terms.cancel_url))
        if template is not None and getattr(seen, name) is None
    }
    return replace(seen, **made) if made else seen


def at_path(document: Any, path: str) -> Any:  # noqa: ANN401
    """The value at a dotted path through objects and lists; ``None`` where there is none."""
    for key in path.split("."):
        if isinstance(document, Mapping):
            document = document.get(key)
        elif isinstance(document, list) and key.isdecimal() and int(key) < len(document):
            document = document[int(key)]
        else:
            return None
    return document


def put(holder: dict[str, Any], path: str, value: object) -> None:
    """Set the value at a dotted path, making the objects and lists on the way.

    Raises:
        RequestError: something else stands there.
    """
    keys = path.split(".")
    place: Any = holder
    for key, following in pairwise(keys):
        step = at_path(place, key)
        if step is None:
            step = [] if following.isdecimal() else {}
            _set(place, key, step)
        if not isinstance(step, list if following.isdecimal() else dict):
            raise RequestError(
                f"The request's {key} is no {'list' if following.isdecimal() else 'object'}, "
                f"but the receiver sets {path.removeprefix('body.')}.",
                code="request_field_reserved",
                field=f"request.{key}",
            )
        place = step
    _set(place, keys[-1], value)


def _set(place: Any, key: str, value: object) -> None:  # noqa: ANN401
    if isinstance(place, list):
        # A number beyond the end adds an item.
        place[int(key) : int(key) + 1] = [value]
    else:
        place[key] = value


def _asked(terms: Submit, request: Mapping[str, Any], *, polled: bool) -> dict[str, Any]:
    asked = deepcopy(dict(request))
    for path, value in terms.set.items():
        if at_path(asked, path) is None:
            put(asked, path, value)
    if polled:
        for path, value in terms.set_polled.items():
            put(asked, path, value)
    return asked


def _ask_in_query(
    terms: CallbackTerms, query: dict[str, Any], callback_url: str, secret: bytes | None
) -> None:
    for name in filter(None, (terms.path, terms.secret_path)):
        if query.get(name) is not None:
            raise _reserved(name)
    if terms.encode == "plain":
        query |= terms.set
    query[terms.path] = _encoded(terms, callback_url)
    if terms.secret_path is not None and secret is not None:
        query[terms.secret_path] = terms.secret_prefix + secret.decode()


def _ask_in_body(
    terms: CallbackTerms, holder: dict[str, Any], callback_url: str, secret: bytes | None
) -> None:
    for path in filter(None, (terms.path, terms.secret_path)):
        if at_path(holder, f"body.{path}") is not None:
            raise _reserved(path)
    put(holder, f"body.{terms.path}", _encoded(terms, callback_url))
    if terms.encode == "plain":
        for path, extra in terms.set.items():
            put(holder, f"body.{path}", extra)
    if terms.secret_path is not None and secret is not None:
        put(holder, f"body.{terms.secret_path}", terms.secret_prefix + secret.decode())


def _encoded(terms: CallbackTerms, callback_url: str) -> str:
    url = callback_url + terms.suffix
    if terms.encode == "plain":
        return url
    holder: dict[str, Any] = {}
    place = f"body.{terms.encoded_path}"
    put(holder, place, url)
    for name, extra in terms.set.items():
        put(holder, f"{place.rpartition('.')[0]}.{name}", extra)
    return base64.b64encode(json.dumps(holder["body"]).encode()).decode()


def _fill(template: str, asked: Mapping[str, Any]) -> str:
    for name in _FIELD.findall(template):
        value = asked.get(name)
        text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
        segments = text.split("/")
        if not text.isprintable() or len(text) > _LONGEST_FIELD or {"", ".", ".."} & set(segments):
            raise RequestError(
                f"The address of the submission needs the request's {name}, as a text.",
                code="request_field_missing",
                field=f"request.{name}",
            )
        template = template.replace(f"{{request:{name}}}", quote(text, safe="/~"))
    return template


def _reserved(path: str) -> RequestError:
    return RequestError(
        f"The request sets {path}, which the receiver sets itself; leave it out.",
        code="request_field_reserved",
        field=f"request.{path}",
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _texts(value: object) -> str | list[str]:
    return [_text(one) for one in value] if isinstance(value, list) else _text(value)
