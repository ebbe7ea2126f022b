"""Files: how fast one comes into the folder where files are kept, and what twenty that come at once take of memory."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from receiver.core.description.provider import Provider, describe
from receiver.core.file import Download
from receiver.files.folder import Folder
from receiver.outbound.downloads import Downloads
from receiver.steps.arriving import Arriving

from .bench import Bench
from .figure import Figure, UnmeasuredError, in_turn
from .load import WrongError

_MIB: Final = 1 << 20
#: Bytes of the file of a round, and of each of those that come at once: RECEIVER_BENCH_FILE_MIB makes them larger.
_SIZE: Final = 256 * _MIB
_EACH: Final = int(os.environ.get("RECEIVER_BENCH_FILE_MIB", "64")) * _MIB
_AT_ONCE: Final = 20


def speed(bench: Bench) -> Figure:
    """Megabytes a second of ours, vetted, digested, synced and named, over those of ``curl -o`` of the same file."""
    if shutil.which("curl") is None:
        raise UnmeasuredError("there is no curl here")
    with bench.room() as folder, _served(folder, _SIZE) as url:

        def ours() -> float:
            return _SIZE / asyncio.run(_fetch(folder, [url])) / _MIB

        def curl() -> float:
            begun = time.perf_counter()
            subprocess.run(["curl", "-sf", "-o", folder / "by-curl", url], check=True)
            return _SIZE / (time.perf_counter() - begun) / _MIB

        runs = in_turn(ours, curl, rounds=bench.rounds)
        seen = {"MB/s": ours(), "curl MB/s": curl()}
    return Figure(name="download/curl", target=0.5, at_most=False, runs=runs, seen=seen)


def memory(bench: Bench) -> Figure:
    """The most that a process grows by, in MiB, while twenty files come at once."""
    found = []
    for _ in range(1 if bench.short else 3):
        with bench.room() as folder, _served(folder, _EACH) as url:
            ran = subprocess.run(
                [sys.executable, "-m", "tests.bench.downloads", str(folder), url],
                check=True,
                capture_output=True,
                text=True,
            )
            found.append(float(ran.stdout))
    return Figure(name="download-20-memory", target=80, at_most=True, runs=found)


async def _fetch(folder: Path, urls: list[str]) -> float:
    """Fetch files at once; the seconds that all of them took."""
    provider = _provider(urls[0])

    async def login(*_: Any) -> dict[str, str]:  # noqa: ANN401  (nobody asks for it)
        return {}

    source = Downloads(login=login, providers=[provider])
    kept = Folder(folder / "kept", floor=0)
    begun = time.perf_counter()
    try:
        digests = await asyncio.gather(*(_one(kept, source, provider, url, n) for n, url in enumerate(urls)))
    finally:
        await source.close()
        await kept.close()
    took = time.perf_counter() - begun
    if len(set(digests)) != 1:
        raise WrongError("the same file came with several digests")
    shutil.rmtree(folder / "kept")
    return took


async def _one(kept: Folder, source: Downloads, provider: Provider, url: str, number: int) -> str:
    writing = await kept.begin()

    async def secure() -> None:
        await writing.secure()

    arriving = Arriving(
        writing,
        source=source,
        largest=1 << 40,
        validator=None,
        secure=secure,
        every=10.0,
        clock=lambda: 0,
    )
    download = Download(
        job_id="job",
        number=number,
        provider=provider.name,
        url=url,
        origin="",
        largest=1 << 40,
        run_at=0,
        expires_at=0,
    )
    await arriving.take(provider, download)
    return await writing.finish()


def _provider(url: str) -> Provider:
    base = url.rpartition("/")[0]
    document = {
        "name": "shelf",
        "title": "Shelf",
        "sources": [{"url": "https://shelf.example/docs", "read": "2026-11-20"}],
        "origins": ["https://shelf.example"],
    }
    return describe(document).at(base)


@contextmanager
def _served(folder: Path, size: int) -> Iterator[str]:
    """One file at an address of loopback, sent by the kernel."""
    path = folder / "file"
    with path.open("wb") as file:
        for _ in range(size // _MIB):
            file.write(os.urandom(_MIB))
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        threading.Thread(target=_serve, args=(listening, path, size), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/file"


def _serve(listening: socket.socket, path: Path, size: int) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection, path, size), daemon=True).start()


def _answer(connection: socket.socket, path: Path, size: int) -> None:
    with connection, path.open("rb") as file:
        while b"\r\n\r\n" not in connection.recv(65536):
            continue
        connection.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % size)
        connection.sendfile(file)


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def _grown(folder: Path, url: str) -> float:
    """By how much this process grows while it fetches so many at once."""
    # What every process has that has fetched something: libraries, trusted certificates, threads.
    idle, most, ended = _resident(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.01):
            most = max(most, _resident())

    watching = threading.Thread(target=watch)
    watching.start()
    asyncio.run(_fetch(folder, [url] * _AT_ONCE))
    ended.set()
    watching.join()
    return most - idle


if __name__ == "__main__":
    sys.stdout.write(str(_grown(Path(sys.argv[1]), sys.argv[2])))
