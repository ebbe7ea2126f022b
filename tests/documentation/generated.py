"""The parts of the documents that the code knows: settings, routes, commands, codes, providers."""

from __future__ import annotations

import asyncio
import re
import tempfile
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from receiver import Receiver, Settings
from receiver.asgi import Application
from receiver.catalog import Catalog
from receiver.cli.spelling import referenced
from receiver.docs.codes import groups
from receiver.simulator import PROVIDERS

from .commands import commands
from .providers import table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parents[2]
DOCS = "receiver/docs"
_PART = re.compile(r"(?s)(<!-- generated: (\w+) -->\n).*?(<!-- end -->)")
_MIB = 1 << 20
_WIDTH = 108
_PLACES = {
    "alarm": "alarms",
    "callback": "callbacks",
    "diagnosis": "diagnoses",
    "job": "jobs",
    "log": "logs",
    "request": "requests",
    "setup": "setting up",
}
#: Where providers call; wire/front.py takes these before any router looks.
_FRONT = (
    (
        "POST",
        "/callbacks/{provider}/{token}",
        "Take a callback for one job (other methods where it is so described).",
    ),
    ("POST", "/webhooks/{provider}", "Take a callback at the webhook endpoint of an account."),
)
#: What can be set for each provider, and what of it is in the example.
_OF_PROVIDERS = {
    "BASE_URL": "Points a provider elsewhere (the simulator, a proxy) and replaces its allowed origins. The provider's "
    "name is in capitals, with `_` for `-`.",
    "EGRESS_PROXY": "The proxy for this provider alone, as `RECEIVER_EGRESS_PROXY`; `direct` asks it without one.",
    "ALLOW_PRIVATE": "Private networks, comma-separated (`10.0.0.0/8`), in which the provider's listed origins may be: "
    "one that you host yourself. Its base URL may then be plain http, and leads nowhere but there.",
}
_OF_SINKS = "A sink, called by what follows in small letters: where completions are sent, such as "
_OF_SINKS += "`nats://host:4222/jobs.{provider}.{state}` (`receiver docs sinks`)."


def documents() -> dict[str, str]:
    """Every document that has a generated part, by path, as it should be."""
    parts = {name: write() for name, write in _WRITERS.items()}
    found = {".env.example": example()}
    for file in sorted((ROOT / DOCS).glob("*.md")):
        text = file.read_text(encoding="utf-8")
        if _PART.search(text):
            made = _PART.sub(lambda part: f"{part[1]}{parts[part[2]].strip()}\n{part[3]}", text)
            found[f"{DOCS}/{file.name}"] = made
    return found


def rows(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |"
        for line in (columns, ["---"] * len(columns), *lines)
    )


def settings() -> str:
    """A line for each setting: its name, its default, what it is."""
    lines = [
        (f"`{one.metadata['env']}`", shown(one.name, one.default), one.metadata["says"])
        for one in fields(Settings)
        if "env" in one.metadata
    ]
    return rows(
        ("variable", "default", "is"),
        [
            *lines,
            *((f"`RECEIVER_<PROVIDER>_{name}`", "–", says) for name, says in _OF_PROVIDERS.items()),
            ("`RECEIVER_SINK_<NAME>`", "–", _OF_SINKS),
        ],
    )


def shown(name: str, default: object) -> str:
    """A default, for reading."""
    if default in {None, ""}:
        return "–"
    if isinstance(default, bool):
        return f"`{int(default)}`"
    if isinstance(default, int) and name.startswith("max_") and default % _MIB == 0:
        return f"{default // _MIB} MiB"
    return f"`{default}`"


def credentials() -> str:
    """The variables that each description refers to."""
    lines = [
        (f"`{name}`", ", ".join(f"`{one}`" for one in dict.fromkeys(referenced([provider]))))
        for name, provider in Catalog.load(Settings()).items()
    ]
    return rows(("provider", "variables"), [line for line in lines if line[1]])


def routes() -> str:
    """Every route: where providers call, the operations of /v1, and what machines watch."""
    return rows(("route", "does"), [(f"`{method} {path}`", says) for method, path, says in served()])


def served() -> list[tuple[str, str, str]]:
    """Method, path and purpose of everything that is served."""
    with tempfile.TemporaryDirectory() as folder:
        faces = asyncio.run(_faces(folder))
    found = [*_FRONT]
    for one in faces.api.operations:
        query = f" Filters: {', '.join(f'`{name}`' for name in one.query)}." if one.query else ""
        found.append((one.method, one.path, one.summary + query))
    found.extend(
        ("GET", route.path, route.endpoint.__doc__.partition("\n")[0]) for route in faces.health.routes
    )
    return found


async def _faces(folder: str) -> Any:  # noqa: ANN401  (private to receiver/asgi.py)
    environ = {
        "RECEIVER_DATABASE_URL": f"sqlite:///{folder}/receiver.db",
        "RECEIVER_SECRET_KEY": "a key that is long enough",
    }
    receiver = Receiver(Settings.load(environ))
    await receiver.start(worker=False)
    try:
        return Application._build(receiver.running)
    finally:
        await receiver.stop()


def codes() -> str:
    """Every code, by the place where it is met."""
    text = []
    for group in groups():
        text.append(f"## {group.title}\n\n{group.intro}\n")
        for code in group.codes:
            facts = [f"HTTP {code.status}"] if code.status is not None else []
            facts += [f"exit code {code.exit}"] if code.exit is not None else []
            facts += [f"also met at {_PLACES[place]}" for place in code.places[1:]]
            text.append(f"### `{code.name}`\n")
            text.append(f"{code.means} {code.why} {code.next} For example: `{code.example}`\n")
            text += [f"({'; '.join(facts)})\n"] if facts else []
    return "\n".join(text)


def example() -> str:
    """``.env.example``: every setting with its default, and every credential."""
    lines = [
        "# Every setting of the receiver, as python -m tests.documentation --write makes it.",
        "# Each one may also come from a file: NAME_FILE=/path.",
    ]
    for one in fields(Settings):
        if "env" in one.metadata:
            value = int(one.default) if isinstance(one.default, bool) else one.default
            name = one.metadata["env"]
            lines += ["", *commented(one.metadata["says"]), f"{name}={'' if value is None else value}"]
    lines += ["", "# The providers' own names for their credentials."]
    for name, provider in Catalog.load(Settings()).items():
        names = dict.fromkeys(referenced([provider]))
        lines += ["", f"# {provider.title} ({name})", *(f"{one}=" for one in names)] if names else []
    for name, says in _OF_PROVIDERS.items():
        lines += ["", f"# RECEIVER_<PROVIDER>_{name}:", *commented(says), f"RECEIVER_NETNUT_{name}="]
    lines += ["", "# RECEIVER_SINK_<NAME>:", *commented(_OF_SINKS), "RECEIVER_SINK_ORDERS="]
    return "\n".join(lines) + "\n"


def commented(text: str) -> list[str]:
    """*text* as comment lines."""
    return [f"# {line}" for line in textwrap.wrap(text.replace("`", ""), _WIDTH)]


_WRITERS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "credentials": credentials,
    "routes": routes,
    "commands": commands,
    "codes": codes,
    "simulated": lambda: table(PROVIDERS),
    "described": lambda: table(sorted(set(Catalog.load(Settings())) - set(PROVIDERS))),
}
