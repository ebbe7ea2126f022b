"""A provider of a test's own: its description, written as a user would, and its side of the conversation."""

import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from receiver import Receiver
from receiver.clock import read_clock

from .stub import Asked, Reply, Stub
from .world import World

SECRET: Final = "a webhook secret of thirty-two bytes"
_WORDS: Final = {
    "queued": "submitted",
    "running": "running",
    "done": "succeeded",
    "broken": "failed",
    "stopped": "canceled",
}
_STATES: Final = "states = { " + ", ".join(f"{word} = '{state}'" for word, state in _WORDS.items()) + " }"
_CALLBACK: Final = """
[callback]
{where}
delivers = "{delivers}"
{delivers} = "event"
expected = "{expected}"
[verify]
{verify}
[shapes.event]
id = ["id"]
{event}
"""
_SIGNED: Final = (
    'scheme = "hmac"\nheader = "X-Signature"\nsigned = "{body}"\n[key]\nsecret = "env:MADE_UP_SECRET"'
)


def describe(
    world: World,
    provider: Stub,
    *,
    name: str = "made-up",
    where: str | None = None,
    delivers: str = "notification",
    signed: bool = True,
    every: str = "1s",
    expected: str = "10m",
    deadline: str = "1h",
    keeps: tuple[str, str] | None = None,
    idempotent: bool = False,
    cancels: bool = False,
    **tables: str,
) -> None:
    """Write the description of *provider*; *tables* (``shape_job``, ``event``, ``fetch`` …) add lines of their own."""
    text = f"""
name = "{name}"
title = "Made up"
origins = ["https://{name}.example"]
deadline = "{deadline}"
sources = [{{ url = "https://{name}.example/docs", read = "2026-11-20" }}]
[submit]
url = "https://{name}.example/jobs"
answer = "job"
{'idempotency = { where = "header", name = "Idempotency-Key" }' if idempotent else ""}
{tables.get("submit", "")}
[poll]
url = ["https://{name}.example/jobs/{{id}}"]
answer = "job"
every = "{every}"
longest = "{every}"
{tables.get("poll", "")}
[fetch]
{tables.get("fetch", "")}
[limits]
rate = 1000
[shapes.job]
id = ["id"]
status = "state"
{_STATES}
result = "{tables.get("shape_result", "result")}"
{tables.get("shape_result_url", 'result_url = "result_url"')}
error = ["reason"]
{tables.get("shape_job", "")}
"""
    if keeps is not None:
        text += f'[retention]\nkeeps = "{keeps[0]}"\ncounted_from = "{keeps[1]}"\n'
    text += tables.get("files", "")
    if cancels:
        text += f'[cancel]\nurl = "https://{name}.example/jobs/{{id}}/cancel"\n'
    if where is not None:
        event = f'status = "state"\n{_STATES}\nresult = "result"\nerror = ["reason"]' if signed else ""
        text += _CALLBACK.format(
            where='where = "registered"' if where == "registered" else f'where = "{where}"\npath = "hook"',
            delivers=delivers,
            expected=expected,
            verify=_SIGNED if signed else 'scheme = "url_token"',
            event=tables.get("event", event),
        )
    folder = Path(world.environ["RECEIVER_PROVIDERS_DIR"])
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    world.environ[f"RECEIVER_{name.upper().replace('-', '_')}_BASE_URL"] = provider.url
    world.environ["MADE_UP_SECRET"] = SECRET


def signature(body: bytes) -> dict[str, str]:
    """The headers of a genuine callback."""
    return {"x-signature": hmac.new(SECRET.encode(), body, "sha256").hexdigest()}


def replies(document: dict[str, Any], *, status: int = 200) -> Reply:
    """An answer in JSON."""
    return Reply(
        status=status, body=json.dumps(document).encode(), headers={"content-type": "application/json"}
    )


def hook(asked: list[Asked]) -> str:
    """The callback URL that the first submission carried."""
    url: str = json.loads(asked[0].body)["hook"]
    return url


class Clock:
    """A clock that can be put forward: nothing else of a receiver notices."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        """Tell the time, in milliseconds since the Unix epoch."""
        return read_clock() + self.ahead

    def wind(self, receiver: Receiver) -> None:
        """Have *receiver* go by it."""
        receiver._clock = self

    def preparing(self, more: Callable[[Receiver], object]) -> Callable[[Receiver], object]:
        """Wind a receiver, and do *more* with it."""

        def prepare(receiver: Receiver) -> None:
            self.wind(receiver)
            more(receiver)

        return prepare
