"""Events and configurations to test with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from receiver.core.model import Held, JobState, Result
from receiver.settings import Settings
from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event, event_of
from receiver.sinks.opening import open_sink
from tests.core.making import JOB_ID, NOW, job

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.sinks.sink import Sink

LARGEST = 256 * 1024
PUBLIC = "https://hooks.example"


def event(
    content: bytes = b'{"answer": 42}',
    *,
    number: int = 0,
    replay_id: str = "",
    largest: int = LARGEST,
    customer: str = "a.b/c",
    content_type: str = "",
) -> Event:
    """A completion whose result is *content*; *number* makes another job of it."""
    kind = content_type or ("application/json" if content.startswith((b"{", b"[")) else "image/png")
    done = job(
        id=f"{JOB_ID[:-6]}{number:06x}",
        state=JobState.SUCCEEDED,
        ended_at=NOW,
        remote_id="r-1",
        metadata={"customer": customer},
        held=Held(size=len(content), sha256="00" * 32, content_type=kind),
        result=Result(content=content, content_type=kind, size=len(content), sha256="00" * 32),
    )
    return event_of(done, replay_id=replay_id, largest=largest, public_url=PUBLIC, now=NOW)


def opened(
    to: str,
    *,
    environ: dict[str, str] | None = None,
    secret: str | None = None,
    clock: Callable[[], int] = lambda: NOW,
    database_url: str = "sqlite:///receiver.db",
    timeout: float = 5.0,
) -> Sink:
    """The sink that sends to *to*."""
    config = SinkConfig(name="test", to=to, origin="a test", secret=secret, timeout=timeout)
    settings = Settings(environ=environ or {}, database_url=database_url)
    return open_sink(config, settings, clock=clock)
