"""Refusals before the body is here, heard by clients that send all of it first; over real sockets, on both loops."""

import asyncio
import http.client
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from starlette.types import Receive, Scope, Send

from receiver.wire import farewell
from receiver.wire.web import Bodies, BodyRefused

from .test_server import serving

_MIB = 1024 * 1024
_GO = """
package main

import ("bytes"; "fmt"; "net/http"; "os"; "strconv")

func main() {
	size, _ := strconv.Atoi(os.Args[2])
	times, _ := strconv.Atoi(os.Args[3])
	for i := 0; i < times; i++ {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: i % 2 == 0}}
		answer, err := client.Post(os.Args[1], "application/json", bytes.NewReader(make([]byte, size)))
		if err != nil { fmt.Println(err); continue }
		fmt.Println(answer.StatusCode)
		answer.Body.Close()
	}
}
"""
Loop = Callable[[], asyncio.AbstractEventLoop]
LOOPS = (asyncio.new_event_loop, uvloop.new_event_loop)


async def bounded(scope: Scope, receive: Receive, send: Send) -> None:
    """Read bodies of at most 100,000 bytes for at most two seconds; another path than / is unknown."""
    if scope["type"] != "http":
        return
    status = 404
    if scope["path"] == "/":
        try:
            await Bodies(largest=100_000, patience=2).read(receive, scope["headers"])
            status = 200
        except BodyRefused as refused:
            status = refused.response.status_code
    await send(
        {"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]},
    )
    await send({"type": "http.response.body"})


def on(loop: Loop, ask: Callable[[int], Coroutine[Any, Any, Any]]) -> Any:  # noqa: ANN401
    """What *ask* comes to, at a server on such a loop; it is given the port."""

    async def run() -> Any:  # noqa: ANN401
        async with serving(bounded) as (_, port):
            return await ask(port)

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(run())


def posted(port: int, path: str, size: int, *, chunked: bool = False) -> int:
    """The status that Python's own client hears, which sends all of a body before it listens."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
    body: Any = (bytes(65536) for _ in range(size // 65536)) if chunked else bytes(size)
    client.request("POST", path, body, encode_chunked=chunked)
    status = client.getresponse().status
    client.close()
    return status


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("size", [_MIB, 2 * _MIB, 11 * _MIB])
@pytest.mark.parametrize(("path", "status"), [("/", 413), ("/unknown", 404)])
def test_a_client_that_sends_all_hears_the_refusal(loop: Loop, size: int, path: str, status: int) -> None:
    """Six of six, whether the body says how long it is or comes in chunks."""

    async def ask(port: int) -> list[int]:
        return [
            await asyncio.to_thread(posted, port, path, size, chunked=bool(number % 2)) for number in range(6)
        ]

    assert on(loop, ask) == [status] * 6


@pytest.fixture(scope="module")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A client of Go's net/http: address, size, how often."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no Go here to build its client with")
    folder = tmp_path_factory.mktemp("go")
    (folder / "main.go").write_text(_GO)
    # All of net/http is compiled for it where it never was before, for half a minute of a processor: in two thirds of
    # that without what would make it fast, easy to debug, or speak what is not spoken here.
    quickly = ["-gcflags=all=-N -l -dwarf=false", "-ldflags=-s -w", "-tags=nethttpomithttp2"]
    subprocess.run(
        [go, "build", *quickly, "-o", "client", "main.go"],
        cwd=folder,
        env=os.environ | {"CGO_ENABLED": "0"},
        check=True,
        capture_output=True,
    )
    return folder / "client"


@pytest.mark.parametrize("size", [_MIB, 2 * _MIB, 11 * _MIB])
def test_a_client_of_go_hears_the_refusal(go_client: Path, size: int) -> None:
    """Twenty of twenty, with and without connections that stay."""

    async def ask(port: int) -> list[str]:
        process = await asyncio.create_subprocess_exec(
            str(go_client), f"http://127.0.0.1:{port}/", str(size), "20", stdout=subprocess.PIPE
        )
        out, _ = await process.communicate()
        return out.decode().split("\n")[:-1]

    assert on(asyncio.new_event_loop, ask) == ["413"] * 20


async def _told(port: int, *pieces: bytes, ends: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    if ends:
        writer.write_eof()
    try:
        async with asyncio.timeout(40):
            return await reader.read()
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("loop", LOOPS)
def test_what_is_no_request_is_answered_though_much_follows(loop: Loop) -> None:
    """A 400 is heard behind a megabyte that nobody reads as HTTP."""

    async def ask(port: int) -> bytes:
        return await _told(port, b"POST / HTTP/1.1\r\n\r\n", *[bytes(65536)] * 16)

    assert on(loop, ask).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_body_that_is_late_is_answered(loop: Loop) -> None:
    """With 408, and the sender may finish what it was saying."""

    async def ask(port: int) -> bytes:
        return await _told(port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", b"1")

    assert on(loop, ask).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("loop", LOOPS)
def test_whoever_breaks_off_and_listens_is_answered(loop: Loop) -> None:
    """The sender has closed its side in the midst of a body; it hears 400 on the other."""

    async def ask(port: int) -> bytes:
        return await _told(port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1234", ends=True)

    assert on(loop, ask).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("loop", LOOPS)
def test_what_is_read_after_a_refusal_is_bounded(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes, and in time for a sender that is silent: then the connection is gone."""
    monkeypatch.setattr(farewell, "MOST", 4 * _MIB)
    monkeypatch.setattr(farewell, "_SILENCE", 0.3)

    async def flood(port: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n")
        sent = 0
        with suppress(ConnectionError):
            while sent < 512:
                writer.write(bytes(_MIB))
                await writer.drain()
                sent += 1
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
            await reader.read()
        return sent

    async def silent(port: int) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")  # our side has ended, and theirs has not
        began = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - began < 60:
                await asyncio.sleep(1)
                writer.write(b"1")
                await writer.drain()
        writer.close()
        return time.monotonic() - began

    # Besides what the buffers of two sockets hold.
    assert on(loop, flood) < 64
    assert on(loop, silent) < 40
