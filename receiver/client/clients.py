"""The two clients: one for asyncio, one for everybody else. They carry the same conversations."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from receiver.client import calls, files
from receiver.client.calls import (
    Answered,
    ApiError,
    Asked,
    FeedPart,
    NoAnswerFromReceiverError,
    Pause,
    problem_of,
)
from receiver.core.model import Result
from receiver.views.completion import CompletionDocument
from receiver.views.file import FileDocument
from receiver.views.job import JobDocument

T = TypeVar("T")
#: Seconds that one request for the feed waits.
_LONG_POLL = 30.0


def _request(asked: Asked) -> dict[str, Any]:
    headers = {"content-type": "application/json"} if asked.body is not None else {}
    return {
        "method": asked.method,
        # Below the path of the base address, which may have one.
        "url": asked.path.removeprefix("/"),
        "params": asked.query,
        "content": asked.body,
        "headers": headers | asked.headers,
        "timeout": httpx.Timeout(asked.patience, connect=10.0),
    }


def _settings(url: str, token: str) -> dict[str, Any]:
    return {
        "base_url": url.rstrip("/") + "/",
        "headers": {"authorization": f"Bearer {token}"},
        # What a proxy's environment says is for the caller to decide, not for us to pick up.
        "trust_env": False,
    }


def _answered(response: httpx.Response) -> Answered:
    headers = {name.lower(): value for name, value in response.headers.items()}
    # Without a query, which may hold what nobody else is to read.
    address = str(response.url.copy_with(query=None, userinfo=b""))
    return Answered(status=response.status_code, headers=headers, body=response.content, address=address)


def _file(job_id: str, number: int) -> str:
    return f"v1/jobs/{calls.part(job_id)}/files/{number}"


def _unheard(error: httpx.HTTPError) -> Answered:
    unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return Answered(status=0, unsent=unsent)


class Client:
    """Speaks to a receiver from another process or machine.

    Args:
        url: Where the receiver is: ``https://hooks.example.com``, with the path it is mounted at, if any.
        token: The API token (RECEIVER_API_TOKEN there).
    """

    def __init__(self, url: str, *, token: str) -> None:
        self._http = httpx.Client(**_settings(url, token))

    def submit(self, provider: str, request: Mapping[str, Any], **options: Any) -> JobDocument:  # noqa: ANN401
        """Submit a job.

        Args:
            provider: The provider's name.
            request: What the provider's API takes, without callback URL and secret.
            **options: ``operation``, ``idempotency_key`` (made up where it is left out), ``metadata``, ``deadline``,
                ``callback``, ``headers``, ``query``, ``traceparent``, ``files``; see ``Receiver.submit``.

        Raises:
            ApiError: the receiver refused it; ``code`` says why.
            NoAnswerFromReceiverError: the receiver did not answer.
        """
        return self._run(calls.submit(provider, request, **options))

    def job(self, job_id: str) -> JobDocument:
        """One job as it is now; raises as ``submit`` does."""
        return self._run(calls.job(job_id))

    def wait(self, job_id: str, *, timeout: float | None = None) -> JobDocument:
        """The job once it has ended; raises StillRunningError after *timeout* seconds, else as ``submit`` does.

        A receiver that has answered once may be away for a while: within *timeout* it is asked again.
        """
        return self._run(calls.wait(job_id, timeout=timeout))

    def run(
        self,
        provider: str,
        request: Mapping[str, Any],
        *,
        timeout: float | None = None,
        **options: Any,  # noqa: ANN401
    ) -> JobDocument:
        """Submit a job and wait for its end; raises as ``submit`` and ``wait`` do."""
        job = self.submit(provider, request, **options)
        return self._run(calls.wait(job.id, timeout=timeout, known=True))

    def result(self, job_id: str) -> Result:
        """The result of a job, byte for byte; raises as ``submit`` does."""
        return self._run(calls.result(job_id))

    def answer(self, job_id: str) -> Result:
        """The provider's last answer about a job, whole; raises as ``submit`` does."""
        return self._run(calls.answer(job_id))

    def files(self, job_id: str) -> list[FileDocument]:
        """The files that a job's result links to, in its order; raises as ``submit`` does."""
        return self._run(calls.files(job_id))

    def save(self, job_id: str, number: int, path: str | Path) -> Path:
        """Save a stored file of a job at *path*, where it is once it is whole; a break is gone on after.

        Raises:
            ApiError: there is no such file, or it is not stored; ``code`` says which.
            NoAnswerFromReceiverError: the receiver did not answer, or gave other bytes than it names.
            OSError: it cannot be written.
        """
        target = Path(path)
        with files.download(target) as download:
            for wait in (*files.WAITS, None):
                try:
                    with self._http.stream(
                        "GET", _file(job_id, number), headers=download.headers
                    ) as response:
                        if not download.begin(response.status_code, response.headers):
                            response.read()
                            raise ApiError(document=problem_of(_answered(response)))
                        for piece in response.iter_raw():
                            download.write(piece)
                    break
                except httpx.HTTPError as error:
                    if wait is None:
                        raise NoAnswerFromReceiverError from error
                    time.sleep(wait)
        return target

    def cancel(self, job_id: str) -> JobDocument:
        """Ask the provider to cancel; raises as ``submit`` does."""
        return self._run(calls.cancel(job_id))

    def replay(self, any_id: str, *, handler: str | None = None, dry_run: bool = False) -> dict[str, Any]:
        """Make new dispatches for a job, or read a callback again; raises as ``submit`` does."""
        return self._run(calls.replay(any_id, handler=handler, dry_run=dry_run))

    def completions(
        self,
        *,
        after: str = "0",
        name: str | None = None,
        provider: str | None = None,
        state: str | None = None,
        follow: bool = True,
    ) -> Iterator[CompletionDocument]:
        """Completions after a cursor, and then those that come, unless *follow* is false; raises as ``submit``.

        With a *name* the receiver remembers how far its reader has come: it goes on there the next time, whatever
        *after* says. A completion counts as read when the next one is asked for, so one may come twice, and none is
        left out. A receiver that has answered once may be away for as long as it likes while it is followed.
        """
        if name is not None:
            after = self.reader(name) or after
        wait, until = (_LONG_POLL if follow else 0.0), 0.0
        while True:
            part = self._run(calls.completions(after, provider=provider, state=state, wait=wait, until=until))
            until = math.inf if follow else 0.0
            for one in part.completions:
                yield one
                if name is not None:
                    self._run(calls.stand(name, one.cursor, until=until))
            if name is not None and part.ends_unwanted(after):
                self._run(calls.stand(name, part.cursor, until=until))
            if not follow and part.cursor == after:
                return
            after = part.cursor

    def page(
        self, *, after: str = "0", provider: str | None = None, state: str | None = None, wait: float = 0.0
    ) -> FeedPart:
        """Some completions after a cursor, or none after *wait* seconds, and where to go on; raises as ``submit``."""
        return self._run(calls.completions(after, provider=provider, state=state, wait=wait))

    def reader(self, name: str) -> str | None:
        """The cursor that the reader *name* of the feed goes on after; ``None`` if there is none of that name."""
        return self._run(calls.reader(name))

    def stand(self, name: str, cursor: str) -> str:
        """Remember how far the reader *name* has come: a cursor, or ``latest``; returns the cursor that it is."""
        return self._run(calls.stand(name, cursor))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, talk: Generator[Asked | Pause | None, Any, T]) -> T:
        told: Any = None
        while True:
            try:
                wish = talk.send(told)
            except StopIteration as ended:
                found: T = ended.value
                return found
            match wish:
                case Asked():
                    try:
                        told = _answered(self._http.request(**_request(wish)))
                    except httpx.HTTPError as error:
                        told = _unheard(error)
                case Pause(seconds=seconds):
                    time.sleep(seconds)
                    told = None
                case None:
                    told = time.monotonic()


class AsyncClient:
    """The same as ``Client``, for asyncio.

    Args:
        url: Where the receiver is.
        token: The API token.
    """

    def __init__(self, url: str, *, token: str) -> None:
        self._http = httpx.AsyncClient(**_settings(url, token))

    async def submit(self, provider: str, request: Mapping[str, Any], **options: Any) -> JobDocument:  # noqa: ANN401
        """See ``Client.submit``."""
        return await self._run(calls.submit(provider, request, **options))

    async def job(self, job_id: str) -> JobDocument:
        """See ``Client.job``."""
        return await self._run(calls.job(job_id))

    async def wait(self, job_id: str, *, timeout: float | None = None) -> JobDocument:  # noqa: ASYNC109
        """See ``Client.wait``."""
        return await self._run(calls.wait(job_id, timeout=timeout))

    async def run(
        self,
        provider: str,
        request: Mapping[str, Any],
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        **options: Any,  # noqa: ANN401
    ) -> JobDocument:
        """See ``Client.run``."""
        job = await self.submit(provider, request, **options)
        return await self._run(calls.wait(job.id, timeout=timeout, known=True))

    async def result(self, job_id: str) -> Result:
        """See ``Client.result``."""
        return await self._run(calls.result(job_id))

    async def answer(self, job_id: str) -> Result:
        """See ``Client.answer``."""
        return await self._run(calls.answer(job_id))

    async def files(self, job_id: str) -> list[FileDocument]:
        """See ``Client.files``."""
        return await self._run(calls.files(job_id))

    async def save(self, job_id: str, number: int, path: str | Path) -> Path:
        """See ``Client.save``."""
        target = Path(path)
        with files.download(target) as download:
            for wait in (*files.WAITS, None):
                try:
                    asked = self._http.stream("GET", _file(job_id, number), headers=download.headers)
                    async with asked as response:
                        if not download.begin(response.status_code, response.headers):
                            await response.aread()
                            raise ApiError(document=problem_of(_answered(response)))
                        async for piece in response.aiter_raw():
                            await asyncio.to_thread(download.write, piece)  # noqa: TID251  (it is its caller's loop)
                    break
                except httpx.HTTPError as error:
                    if wait is None:
                        raise NoAnswerFromReceiverError from error
                    await asyncio.sleep(wait)
        return target

    async def cancel(self, job_id: str) -> JobDocument:
        """See ``Client.cancel``."""
        return await self._run(calls.cancel(job_id))

    async def replay(
        self, any_id: str, *, handler: str | None = None, dry_run: bool = False
    ) -> dict[str, Any]:
        """See ``Client.replay``."""
        return await self._run(calls.replay(any_id, handler=handler, dry_run=dry_run))

    async def completions(
        self,
        *,
        after: str = "0",
        name: str | None = None,
        provider: str | None = None,
        state: str | None = None,
        follow: bool = True,
    ) -> AsyncIterator[CompletionDocument]:
        """See ``Client.completions``."""
        if name is not None:
            after = await self.reader(name) or after
        wait, until = (_LONG_POLL if follow else 0.0), 0.0
        while True:
            part = await self._run(
                calls.completions(after, provider=provider, state=state, wait=wait, until=until)
            )
            until = math.inf if follow else 0.0
            for one in part.completions:
                yield one
                if name is not None:
                    await self._run(calls.stand(name, one.cursor, until=until))
            if name is not None and part.ends_unwanted(after):
                await self._run(calls.stand(name, part.cursor, until=until))
            if not follow and part.cursor == after:
                return
            after = part.cursor

    async def page(
        self, *, after: str = "0", provider: str | None = None, state: str | None = None, wait: float = 0.0
    ) -> FeedPart:
        """See ``Client.page``."""
        return await self._run(calls.completions(after, provider=provider, state=state, wait=wait))

    async def reader(self, name: str) -> str | None:
        """See ``Client.reader``."""
        return await self._run(calls.reader(name))

    async def stand(self, name: str, cursor: str) -> str:
        """See ``Client.stand``."""
        return await self._run(calls.stand(name, cursor))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run(self, talk: Generator[Asked | Pause | None, Any, T]) -> T:
        told: Any = None
        while True:
            try:
                wish = talk.send(told)
            except StopIteration as ended:
                found: T = ended.value
                return found
            match wish:
                case Asked():
                    try:
                        told = _answered(await self._http.request(**_request(wish)))
                    except httpx.HTTPError as error:
                        told = _unheard(error)
                case Pause(seconds=seconds):
                    await asyncio.sleep(seconds)
                    told = None
                case None:
                    told = time.monotonic()
