"""The providers' side of uploads: the file that a job is made of is taken before the job, as its description says."""

from itertools import count
from re import Pattern, escape, fullmatch, sub
from re import compile as pattern
from typing import Any

import httpx
import msgspec

from receiver.core.description.parts import Readiness, Uploading
from receiver.core.description.provider import Provider
from receiver.core.model import JobState
from receiver.testing.writing import Facts, Written, write

#: What a provider says of a file that is there.
_STATES = (None, JobState.SUCCEEDED, JobState.RUNNING, JobState.SUBMITTED)
_READY = (JobState.SUCCEEDED,)


class Uploads:
    """The files that were uploaded in a test; each is ready at once."""

    def __init__(self) -> None:
        self._numbers = count(1)
        #: The last of each provider's, which the requests that follow are about.
        self._last: dict[str, str] = {}

    def answer(self, provider: Provider, request: httpx.Request) -> httpx.Response | None:
        """The answer to *request*, if it belongs to an upload."""
        terms = provider.submit.upload if provider.submit is not None else None
        if terms is None:
            return None
        place = self._place(provider)
        path = f"{request.url.scheme}://{request.url.host}{request.url.path}"
        if terms.ready is not None and request.method == "GET" and _is_at(terms.ready.url, path, place):
            return self._said(provider, terms.ready)
        for asked in terms.requests:
            if request.method == asked.method and _is_at(asked.url, path, place):
                if asked is terms:
                    self._last[provider.name] = f"kit{next(self._numbers):06d}file"
                return httpx.Response(200, json={}) if asked.answer is None else self._said(provider, asked)
        return None

    def _place(self, provider: Provider) -> str:
        """Where the bytes go, if the provider names such an address."""
        return f"{provider.origins[0]}/kit/uploads/{self._last.get(provider.name, '')}"

    def _said(self, provider: Provider, asked: Uploading | Readiness) -> httpx.Response:
        written = self._written(provider, asked)
        if written is None:
            return httpx.Response(
                501, json={"error": f"No answer of {provider.name} to an upload can be written."}
            )
        return httpx.Response(200, content=written.body, headers=written.headers)

    def _written(self, provider: Provider, asked: Uploading | Readiness) -> Written | None:
        name = asked.answer or ""
        states = _READY if isinstance(asked, Readiness) else _STATES
        results: tuple[Any, ...] = (msgspec.UNSET, {})
        for result in results:
            facts = Facts(
                id=self._last.get(provider.name, ""),
                states=states,
                result=result,
                response_url=self._place(provider),
            )
            written = write(provider.shapes[name], provider.samples, facts, name=name)
            if written is not None:
                return written
        return None


def _is_at(url: str, path: str, place: str) -> bool:
    """Whether *path* is the address *url*, with something in its gaps, or the *place* that the provider has named."""
    return path == place if url == "{response_url}" else fullmatch(template(url), path) is not None


def template(url: str) -> Pattern[str]:
    """What fits an address with gaps, its fields left out."""
    return pattern(sub(r"\\\{[^{}]+\\\}", ".+", escape(url.partition("?")[0])))
