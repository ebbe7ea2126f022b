"""The real program as a process, with settings of its own, for tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tests.warm import Process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Nothing may ever take longer, in seconds.
PATIENCE = 60.0
SECRETS = {
    "RECEIVER_SECRET_KEY": "canary-master-key-5d1e9c07b2",
    "RECEIVER_API_TOKEN": "canary-api-token-77aa",
    "PERPLEXITY_API_KEY": "canary-pplx-key-31f0",
    "FIRECRAWL_API_KEY": "canary-firecrawl-key-2c4d",
    "FIRECRAWL_WEBHOOK_SECRET": "canary-firecrawl-secret-8e1f",
    "PULSE_API_KEY": "canary-pulse-key-90bb",
    "PULSE_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "YANDEX_API_KEY": "canary-yandex-key-cc18",
    "NETNUT_USERNAME": "canary-netnut-user-4e",
    "NETNUT_PASSWORD": "canary-netnut-password-8a",
}
#: Stands in the URLs of databases; a server that trusts whoever comes takes any.
DATABASE_PASSWORD = "canary-database-password-6f"
HANDLERS = """
from receiver import Job, Receiver

receiver = Receiver()


@receiver.on("perplexity-webhook")
async def save(job: Job) -> None:
    job.result.json()


@receiver.on("netnut", state="any", attempts=1)
def broken(job: Job) -> None:
    raise RuntimeError("the handler's own \\x1b[31mwords")
"""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A process that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401
        """What was printed, as JSON."""
        return json.loads(self.out)

    @property
    def problem(self) -> Any:  # noqa: ANN401
        """The problem that was reported, as JSON."""
        return json.loads(self.err)


@dataclass(kw_only=True)
class Started:
    """A process that runs, with what it has printed so far."""

    process: Process
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)

    def wait_for(self, words: str, *, where: str = "err") -> str:
        """Return the first line that holds *words*, once it is there."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for one in list(getattr(self, where)):
                if words in one:
                    return str(one)
            ended = self.process.poll()
            if ended is not None and not any(words in one for one in getattr(self, where)):
                raise AssertionError(f"ended with {ended} before {words!r}: {self.err}")
            time.sleep(0.02)
        raise AssertionError(f"{words!r} was never printed: {self.out} {self.err}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@dataclass(frozen=True, kw_only=True)
class Program:
    """``python -m receiver`` in a folder of its own; whatever it prints is searched for secrets."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, folder: Path, **settings: str) -> Program:
        """One that has handlers and every credential."""
        (folder / "hooks.py").write_text(HANDLERS, encoding="utf-8")
        own = {
            "RECEIVER_DATABASE_URL": f"sqlite:///{folder}/receiver.db",
            "RECEIVER_HANDLERS": "hooks:receiver",
        }
        return cls(folder=folder, settings=SECRETS | own | settings)

    def but(self, **settings: str) -> Program:
        """The same with other settings."""
        return replace(self, settings=self.settings | settings)

    @property
    def environ(self) -> dict[str, str]:
        """The environment: nothing of the developer's own."""
        kept = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ
        }
        return kept | {"PYTHONIOENCODING": "utf-8"} | self.settings

    def run(self, *arguments: str, given: str = "") -> Finished:
        """Run a command to its end."""
        with (
            tempfile.TemporaryFile() as read,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            read.write(given.encode())
            read.seek(0)
            process = self._process(arguments, {0: read.fileno(), 1: out.fileno(), 2: err.fileno()})
            try:
                code = process.wait(PATIENCE)
            finally:
                process.kill()
            out.seek(0)
            err.seek(0)
            finished = Finished(code=code, out=out.read().decode(), err=err.read().decode())
        assert_no_secret(finished.out + finished.err)
        assert "Traceback" not in finished.err, finished.err
        return finished

    def _process(self, arguments: tuple[str, ...], files: dict[int, int]) -> Process:
        return Process(arguments, environ=self.environ, folder=self.folder, files=files)

    def json(self, *arguments: str, given: str = "") -> Any:  # noqa: ANN401
        """Run a command that succeeds, and return its JSON."""
        finished = self.run(*arguments, "--json", given=given)
        assert finished.code == 0, finished.err
        return finished.json

    def wait_for_dead_letter(self, job_id: str) -> None:
        """Return once a dispatch of the job is dead."""
        until = time.monotonic() + PATIENCE
        while job_id not in [one["job_id"] for one in self.json("dead", "list")["dispatches"]]:
            assert time.monotonic() < until, f"{job_id} has no dead letter"

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[Started]:
        """Start a command that stays; it is gone when the block ends."""
        (out, theirs_out), (err, theirs_err) = os.pipe(), os.pipe()
        process = self._process(arguments, {1: theirs_out, 2: theirs_err})
        os.close(theirs_out)
        os.close(theirs_err)
        started = Started(process=process)
        readers = [_reading(out, started.out), _reading(err, started.err)]
        try:
            yield started
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            for reader in readers:
                reader.join()
            assert_no_secret("".join(started.out + started.err))


def _reading(descriptor: int, lines: list[str]) -> threading.Thread:
    def read() -> None:
        with open(descriptor, encoding="utf-8") as stream:
            for line in stream:
                lines.append(line)  # noqa: PERF402  (each is there as soon as it is read)

    thread = threading.Thread(target=read)
    thread.start()
    return thread


def assert_no_secret(text: str) -> None:
    """No configured secret is in *text*."""
    for name, secret in {**SECRETS, "the database's password": DATABASE_PASSWORD}.items():
        assert secret not in text, f"{name} was printed"
