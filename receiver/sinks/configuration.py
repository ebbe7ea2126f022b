"""Where sinks are configured: one variable for one line, or a TOML file for more; refused at start if wrong.

``RECEIVER_SINK_<NAME>=nats://host:4222/jobs.{provider}.{state}`` is the sink ``<name>`` in small letters, ``-`` for
``_``. ``RECEIVER_SINKS`` names a TOML file with a table ``[sinks.<name>]`` for each.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from receiver.core.errors import ConfigurationError
from receiver.core.handler import BLOCK
from receiver.core.model import Value
from receiver.handlers import CIRCUIT, STATES, check_order
from receiver.settings import Settings
from receiver.sinks.references import fill_in

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?")
_VARIABLE: Final = re.compile(r"RECEIVER_SINK_([A-Z0-9_]+?)(?:_FILE)?")
_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_METADATA: Final = re.compile(r"metadata\.[A-Za-z0-9_-]{1,100}")
#: What stands for one completion in an address, a subject or a file's name.
FIELDS: Final = ("provider", "state", "operation", "job", "date")
_KIB: Final = 1024


class SinkConfig(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One sink, as it is configured. Sizes are bytes, times are seconds."""

    name: str = ""
    #: Where events go; its scheme says what kind of sink it is.
    to: str
    #: Whose completions; every provider's if left out.
    provider: str | None = None
    #: How the job ended: succeeded, failed, canceled, expired, timed_out, or any. Or how far it has come.
    state: str = "any"
    #: Whether it is also told of alarms that are raised or cleared, and whether it is told of completions.
    alarms: bool = False
    completions: bool = True
    #: What the job's metadata must have, by key.
    metadata: dict[str, Any] = {}
    #: What its events are ordered by, one at a time, and whether a dead one holds up those behind it.
    ordered_by: str | None = None
    on_dead: str = BLOCK
    #: What it signs or signs in with, as ``env:NAME`` or ``file:PATH``.
    secret: str | None = None
    #: Bytes of a result that travels inside the event; a larger one is linked.
    largest: int = 256 * _KIB
    concurrency: int = 8
    timeout: float = 30.0
    attempts: int = 8
    first_wait: float = 5.0
    longest_wait: float = 600.0
    #: After how many failures in a row nothing is sent but one trial at a time; never if 0.
    circuit: int = CIRCUIT
    #: How many events a second, from all nodes together; as many as there are if 0.
    rate: float = 0.0
    #: Seconds after which an event is too old to be sent; never if 0.
    max_age: float = 0.0
    #: Where this stands, for error messages.
    origin: str = ""

    @property
    def scheme(self) -> str:
        """What kind of sink it is."""
        return self.to.partition(":")[0].lower()

    @property
    def handler(self) -> str:
        """The name under which it is registered."""
        return f"sink:{self.name}"

    @property
    def shown(self) -> str:
        """Where it sends to, as it may be shown: without a password."""
        head, mark, rest = self.to.partition("://")
        credentials, at, place = rest.rpartition("@")
        if not mark or not at:
            return self.to
        user, colon, _ = credentials.partition(":")
        return f"{head}://{user}{colon}{'***' if colon else ''}@{place}"

    def at(self, to: str) -> "SinkConfig":
        """The same sink, sending to another address."""
        return msgspec.structs.replace(self, to=to)

    def resolved(self, settings: Settings) -> "SinkConfig":
        """The same sink with the references in its address, ``{env:NAME}``, filled in.

        Raises:
            ConfigurationError: one is not set, or its value cannot stand where it does.
        """
        return self.at(
            fill_in(self.to, resolve=settings.resolve, wrong=lambda reason: self.wrong("to", reason))
        )

    def wrong(self, key: str, reason: str) -> ConfigurationError:
        """The error that says what is wrong with *key* of this sink, and where it stands."""
        return ConfigurationError(f"{self.origin}: {key}: {reason}", code="sink_invalid")


def load(settings: Settings) -> list[SinkConfig]:
    """Read every sink that is configured, in the order of their names.

    Raises:
        ConfigurationError: one is wrong; the sentence names the file or variable, the key and the reason.
    """
    found: dict[str, SinkConfig] = {}
    for one in (*_from_file(settings), *_from_variables(settings)):
        if one.name in found:
            raise ConfigurationError(
                f"{one.origin}: there is a sink {one.name!r} already, in {found[one.name].origin}; rename one.",
                code="sink_invalid",
            )
        found[one.name] = _checked(one)
    return sorted(found.values(), key=lambda one: one.name)


def filled(template: str, values: Mapping[str, str]) -> str:
    """*template* with its fields filled in; ``{metadata.x}`` that a job does not have is ``none``."""
    return _FIELD.sub(lambda found: values.get(found[1], "none"), template)


def _from_variables(settings: Settings) -> Iterator[SinkConfig]:
    for variable in sorted(settings.environ):
        found = _VARIABLE.fullmatch(variable)
        if found is None:
            continue
        name = f"RECEIVER_SINK_{found[1]}"
        to = settings.resolve(f"env:{name}")
        if to:
            yield SinkConfig(name=found[1].lower().replace("_", "-"), to=to, origin=name)


def _from_file(settings: Settings) -> Iterator[SinkConfig]:
    if not settings.sinks:
        return
    path = Path(settings.sinks)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(
            f"RECEIVER_SINKS: {path} is not readable as TOML: {error}.", code="sink_invalid"
        ) from error
    tables = document.pop("sinks", {})
    if document or not isinstance(tables, dict):
        odd = next(iter(document), "sinks")
        raise ConfigurationError(
            f"{path}: {odd}: the file holds tables [sinks.<name>] and nothing else.", code="sink_invalid"
        )
    for name, table in tables.items():
        yield _read(f"{path}: sinks.{name}", name, table)


def _read(origin: str, name: str, table: Any) -> SinkConfig:  # noqa: ANN401  (whatever stands in the file)
    try:
        read = msgspec.convert(table, SinkConfig)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        key = place.strip("`").removeprefix("$").lstrip(".") or "the table"
        raise ConfigurationError(f"{origin}: {key}: {reason}.", code="sink_invalid") from error
    if read.name or read.origin:
        raise ConfigurationError(f"{origin}: the table's own name is the sink's.", code="sink_invalid")
    if _has_password(read.to):
        raise ConfigurationError(
            f"{origin}: to: a password stands in the file; write {{env:NAME}} in its place.",
            code="sink_invalid",
        )
    return msgspec.structs.replace(read, name=name, origin=origin)


def _checked(one: SinkConfig) -> SinkConfig:
    if _NAME.fullmatch(one.name) is None:
        raise one.wrong("name", "it has small letters, digits and '-', at most 50 of them.")
    if not one.completions and not one.alarms:
        raise one.wrong("completions", "without alarms = true it would be told of nothing.")
    if one.state not in STATES:
        raise one.wrong("state", f"it is one of {', '.join(sorted(STATES))}.")
    if min(one.attempts, one.concurrency) < 1 or min(one.timeout, one.first_wait, one.longest_wait) <= 0:
        raise one.wrong("limits", "attempts, concurrency, timeout and waits are positive.")
    if negative := [key for key in ("circuit", "rate", "max_age") if getattr(one, key) < 0]:
        raise one.wrong(negative[0], "it is a positive number, or 0 for none.")
    if one.largest < 0:
        raise one.wrong("largest", "it is a number of bytes.")
    if one.secret is not None and not one.secret.startswith(("env:", "file:")):
        raise one.wrong("secret", "it is a reference, env:NAME or file:PATH, never the secret itself.")
    try:
        check_order(one.ordered_by, one.on_dead)
    except ConfigurationError as error:
        raise one.wrong("ordered_by", str(error)) from error
    _check_address(one)
    return one


def _check_address(one: SinkConfig) -> None:
    if not one.to.isprintable():
        raise one.wrong("to", "it has a character that cannot be printed.")
    for field in _FIELD.findall(one.to):
        if field not in FIELDS and not field.startswith("env:") and _METADATA.fullmatch(field) is None:
            raise one.wrong(
                "to", f"there is no field {{{field}}}; there are {', '.join(FIELDS)}, metadata.<key>."
            )


def _has_password(to: str) -> bool:
    credentials, at, _ = to.partition("://")[2].partition("/")[0].rpartition("@")
    password = credentials.partition(":")[2]
    return bool(at and password) and not password.startswith("{env:")
