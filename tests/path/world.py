"""A receiver and the providers' simulator on real sockets, in this process or the receiver in one of its own."""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx

from receiver import Job, Receiver, Settings
from receiver.simulator import PROVIDERS, Simulator
from receiver.storage.queries import Record
from receiver.wire.server import server
from tests import sqlite, warm
from tests.pauses import pauses
from tests.ports import free_port
from tests.serving import served

REQUESTS: dict[str, dict[str, Any]] = {
    "netnut": {"engine": "perplexity", "prompt": "What are the latest trends in the coffee industry?"},
    "pulse": {"file_url": "https://example.com/invoice.pdf"},
    "yandex": {"modelUri": "gpt://folder/yandexgpt", "messages": [{"role": "user", "text": "Hello"}]},
    "perplexity": {"model": "sonar-deep-research", "messages": [{"role": "user", "content": "Hello"}]},
    "perplexity-webhook": {
        "model": "sonar-deep-research",
        "messages": [{"role": "user", "content": "Hello"}],
    },
    "runway": {"model": "gen4_turbo", "promptImage": "https://example.com/cat.png", "ratio": "1280:720"},
    "firecrawl": {"url": "https://example.com", "limit": 6},
}
PULSE_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
FIRECRAWL_SECRET = "the account's secret at Firecrawl"
MASTER_KEY = "a master key for tests that is long enough"
API_TOKEN = "the API token of the tests"
#: Seconds until something that is waited for will not come any more; a busy machine needs many.
PATIENCE = 40.0


def write_descriptions(folder: Path, *, every: str, expected: str) -> None:
    """The packaged descriptions with other cadences: they are data."""
    folder.mkdir(exist_ok=True)
    for name, text in _descriptions(every, expected).items():
        (folder / name).write_text(text, encoding="utf-8")


@cache
def _descriptions(every: str, expected: str) -> dict[str, str]:
    """Their texts, by the names of the files."""
    made = {}
    for file in files("receiver.providers").iterdir():
        if file.name.removesuffix(".toml") in PROVIDERS:
            text = re.sub(r'(?m)^every = ".*"$', f'every = "{every}"', file.read_text(encoding="utf-8"))
            text = re.sub(r'(?m)^longest = ".*"$', f'longest = "{every}"', text)
            made[file.name] = re.sub(r'(?m)^expected = ".*"$', f'expected = "{expected}"', text)
    return made


class World:
    """One simulator, one database, and receivers that come and go."""

    def __init__(self, folder: Path, simulator: Simulator) -> None:
        self.folder = folder
        self.simulator = simulator
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.runs = folder / "runs"
        self.environ = {
            "RECEIVER_DATABASE_URL": sqlite.migrated(folder / "receiver.db"),
            "RECEIVER_SECRET_KEY": MASTER_KEY,
            "RECEIVER_API_TOKEN": API_TOKEN,
            "RECEIVER_PUBLIC_URL": self.url,
            "RECEIVER_PORT": str(self.port),
            "RECEIVER_PROVIDERS_DIR": str(folder / "providers"),
            "NETNUT_USERNAME": "user",
            "NETNUT_PASSWORD": "password",
            "PULSE_API_KEY": "pulse key",
            "PULSE_WEBHOOK_SECRET": PULSE_SECRET,
            "YANDEX_API_KEY": "yandex key",
            "YANDEX_FOLDER_ID": "folder",
            "PERPLEXITY_API_KEY": "perplexity key",
            "RUNWAYML_API_SECRET": "runway key",
            "FIRECRAWL_API_KEY": "firecrawl key",
            "FIRECRAWL_WEBHOOK_SECRET": FIRECRAWL_SECRET,
        }
        for name in PROVIDERS:
            variable = f"RECEIVER_{name.upper().replace('-', '_')}_BASE_URL"
            self.environ[variable] = simulator.base_url(name)
        self.cadence()
        simulator.pulse_webhook(f"{self.url}/webhooks/pulse", PULSE_SECRET)

    def cadence(self, *, every: str = "1s", expected: str = "1h") -> None:
        """Set how often providers are polled, and when a callback is overdue."""
        write_descriptions(self.folder / "providers", every=every, expected=expected)

    @asynccontextmanager
    async def receiver(self, prepare: Callable[[Receiver], object] | None = None) -> AsyncIterator[Receiver]:
        """A receiver in this process, serving on its socket; *prepare* registers handlers."""
        receiver = Receiver(Settings.load(self.environ))
        if prepare is not None:
            prepare(receiver)
        serving = server(
            receiver.asgi,
            host="127.0.0.1",
            port=self.port,
            receive_timeout=receiver.settings.receive_timeout,
            refused=receiver.asgi.malformed,
        )
        try:
            async with served(serving):
                yield receiver
        except SystemExit as refusal:
            raise AssertionError("the receiver did not start; the log says why") from refusal

    @asynccontextmanager
    async def process(self, handlers: str) -> AsyncIterator["Process"]:
        """A receiver in a process of its own, with the handlers of the module text *handlers*."""
        (self.folder / "my_handlers.py").write_text(handlers, encoding="utf-8")
        process = Process(self)
        try:
            await process.start()
            yield process
        finally:
            process.kill()

    async def record(self, receiver: Receiver, job: Job) -> Record:
        """Everything about a job."""
        return await receiver.running.store.record(job.id)

    def callback_url(self, provider: str) -> str:
        """The callback URL that the provider was given last."""
        url = self.simulator.jobs(provider)[-1].submission.callback_url
        assert url is not None
        return url


class Process:
    """``receiver serve`` as a process."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.running: warm.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")},
            **self.world.environ,
            "RECEIVER_HANDLERS": "my_handlers:receiver",
            "RUNS": str(self.world.runs),
        }
        with (self.world.folder / "serve.log").open("ab") as output:
            files = dict.fromkeys((1, 2), output.fileno())
            self.running = warm.Process(["serve"], environ=environ, folder=self.world.folder, files=files)
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:

            async def ready() -> bool:
                assert self.running is not None
                assert self.running.poll() is None, (self.world.folder / "serve.log").read_text()[-2000:]
                try:
                    return (await client.get(f"{self.world.url}/livez")).is_success
                except httpx.HTTPError:
                    return False

            await until(ready)

    def kill(self) -> None:
        """End it without a chance to do anything."""
        if self.running is not None and self.running.poll() is None:
            self.running.kill()
            self.running.wait()

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401  (httpx's options)
        """One request to its API."""
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
            headers = {"authorization": f"Bearer {API_TOKEN}"}
            return await client.request(method, self.world.url + path, headers=headers, **options)


async def until(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]],
    *,
    patience: float = PATIENCE,
    pause: float = 0.02,
) -> None:
    """Wait until *condition* holds, looking first after *pause* seconds; fail after *patience* seconds."""
    end = time.monotonic() + patience
    waits = pauses(pause)
    while time.monotonic() < end:
        outcome = condition()
        if outcome if isinstance(outcome, bool) else await outcome:
            return
        await asyncio.sleep(next(waits))
    raise AssertionError(f"{condition} did not come true within {patience} s")


async def ended(receiver: Receiver, job: Job, *, patience: float = PATIENCE) -> Job:
    """Wait until the job has ended and none of its dispatches is left."""

    async def over() -> bool:
        record = await receiver.running.store.record(job.id)
        return record.job.state.ended and not [one for one in record.dispatches if one.state == "ready"]

    await until(over, patience=patience)
    return await receiver.job(job.id)
