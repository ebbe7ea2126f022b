"""What the provider knows of a job in a test, and how it answers when it is asked."""

import json
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import httpx
import msgspec

from receiver.core.description.provider import Provider
from receiver.core.description.shape import Shape
from receiver.core.model import Delivery, JobState
from receiver.testing.writing import Facts, Written, as_bytes, paged, write

#: What the provider says that has not ended.
_OPEN = (JobState.RUNNING, JobState.SUBMITTED)
#: What a result is where a test gives none.
USUAL = {"output": "made by the testing kit"}


class Remote:
    """One job at its provider.

    Args:
        provider: Its description.
        job_id: The provider's id of it.
        callback_url: Where its end is told; ``None``: nowhere.
        secret: What its callbacks are signed with, where the submission or the answer to it named a key.
    """

    def __init__(
        self, provider: Provider, job_id: str, *, callback_url: str | None = None, secret: str | None = None
    ) -> None:
        self.provider = provider
        self.id = job_id
        self.callback_url = callback_url
        self.secret = secret
        self.state = JobState.RUNNING
        self.result: Any = None
        self.reason = ""
        #: What is gone: nothing, the result from its address, or all of the job.
        self.lost: Literal["", "result", "all"] = ""
        #: The addresses that the provider has named.
        self.result_url: str | None = None
        self._file_url = f"{self._origin}/kit/{job_id}/file"
        self.response_url = f"{self._origin}/kit/{job_id}"
        self.cancel_url = f"{self._origin}/kit/{job_id}/cancel"

    @property
    def _origin(self) -> str:
        return self.provider.origins[0] if self.provider.origins else "https://provider.test"

    def end(self, state: JobState, *, result: object = None, reason: str = "") -> None:
        """Let it have ended."""
        self.state, self.reason = state, reason
        self.result = USUAL if result is None else result

    def accepted(self, *, key: str | None) -> Written | None:
        """The answer to its submission."""
        terms, source = self.provider.submit, self.provider.key
        assert terms is not None  # noqa: S101  (it was submitted)
        also = {source.path: key} if source is not None and source.path is not None else {}
        name = terms.answer
        return self._write(name, states=(JobState.SUBMITTED, JobState.RUNNING, None), also=also)

    def status(self) -> httpx.Response:
        """The answer to a question about it."""
        poll = self.provider.poll
        assert poll is not None  # noqa: S101  (it was asked)
        if self.lost == "all":
            return httpx.Response(410, json={"error": "The result is gone."})
        written = self.told(poll.answer)
        if written is None and not self.state.ended:
            return httpx.Response(poll.pending[0] if poll.pending else 404, json={})
        return _response(written, f"{self.provider.name} cannot be asked about a job that is {self.state}.")

    def stored(self) -> httpx.Response:
        """The answer at the address of its result."""
        if self.lost:
            return httpx.Response(410, json={"error": "The result is gone."})
        content_type = "application/octet-stream" if isinstance(self.result, bytes) else "application/json"
        return httpx.Response(200, content=as_bytes(self.result), headers={"content-type": content_type})

    def _at_result(self, *, further: bool) -> httpx.Response:
        """The answer at the address of its result: the result, or where that is; *further*: after its only page."""
        name, kept = self.provider.fetch.answer, self.result_url
        if name is None or self.lost:
            return self.stored()
        shape = self.provider.shapes[name]
        if shape.next is not None:
            return httpx.Response(200, json=paged(shape, _parsed(self.result), empty=further))
        written = self._write(name, states=(JobState.SUCCEEDED, None), result_url=self._file_url)
        self.result_url = kept
        return _response(written, f"{self.provider.name} cannot say where a result is.")

    def told(
        self, name: str, *, delivery: Delivery | None = None, also: dict[str, Any] | None = None
    ) -> Written | None:
        """What the provider says of it in a document of the shape called *name*."""
        if not self.state.ended:
            return self._write(name, states=_OPEN, also=also)
        if self.state is not JobState.SUCCEEDED:
            quiet = (None,) if delivery is Delivery.NOTIFICATION else ()
            return self._write(name, states=(self.state, *quiet), reason=self.reason, also=also)
        if delivery is Delivery.NOTIFICATION:
            return self._write(name, states=(JobState.SUCCEEDED, None), also=also)
        shape = self.provider.shapes[name]
        ways = (self._inline, self._linked) if _prefers_inline(shape) else (self._linked, self._inline)
        return ways[0](name, shape, also) or ways[1](name, shape, also)

    def _inline(self, name: str, shape: Shape, also: dict[str, Any] | None) -> Written | None:
        if shape.result is None:
            return None
        result = paged(shape, _parsed(self.result))
        return self._write(name, states=(JobState.SUCCEEDED, None), result=result, also=also)

    def _linked(self, name: str, shape: Shape, also: dict[str, Any] | None) -> Written | None:
        if shape.result_url is None:
            return None
        url = f"{self._origin}/kit/{self.id}/result"
        return self._write(name, states=(JobState.SUCCEEDED,), result_url=url, also=also)

    def _write(
        self,
        name: str,
        *,
        states: tuple[JobState | None, ...],
        result: object = msgspec.UNSET,
        reason: str | None = None,
        result_url: str | None = None,
        also: dict[str, Any] | None = None,
    ) -> Written | None:
        facts = Facts(
            id=self.id,
            states=states,
            result=result,
            reason=reason,
            result_url=result_url,
            response_url=self.response_url,
            cancel_url=self.cancel_url,
            also=also or {},
        )
        written = write(self.provider.shapes[name], self.provider.samples, facts, name=name)
        if written is not None:
            self.response_url = written.seen.response_url or self.response_url
            self.cancel_url = written.seen.cancel_url or self.cancel_url
            self.result_url = written.seen.result_url or self.result_url
        return written

    def answer(self, method: str, url: str) -> httpx.Response:
        """The answer to a request that names it."""
        cancel = self.provider.cancel
        if cancel is not None and method == cancel.method:
            wanted = self.cancel_url if cancel.url == "{cancel_url}" else cancel.url.replace("{id}", self.id)
            if _leads_to(url, wanted):
                if not self.state.ended:
                    self.end(JobState.CANCELED)
                return httpx.Response(200, json={})
        if self.result_url is not None and urlsplit(url)[:3] == urlsplit(self.result_url)[:3]:
            return self._at_result(further=url != self.result_url)
        if url == self._file_url:
            return self.stored()
        return self.status()


def _leads_to(url: str, wanted: str) -> bool:
    """Whether *url* is the address *wanted*, with further fields or without."""
    asked, known = urlsplit(url), urlsplit(wanted)
    return asked.path == known.path and set(parse_qsl(known.query)) <= set(parse_qsl(asked.query))


def _response(written: Written | None, why: str) -> httpx.Response:
    if written is None:
        return httpx.Response(501, json={"error": why})
    return httpx.Response(200, content=written.body, headers=written.headers)


def _prefers_inline(shape: Shape) -> bool:
    return shape.result is not None and "{" not in (shape.result_url or "")


def _parsed(result: object) -> object:
    """A result as it stands in a document: JSON that was given as bytes is JSON there."""
    if not isinstance(result, bytes):
        return result
    try:
        return json.loads(result)
    except ValueError:
        return result
