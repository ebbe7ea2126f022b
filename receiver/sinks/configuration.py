"""Where sinks are configured: one variable for one line, or a TOML file for more; refused at start if wrong.

``RECEIVER_SINK_<NAME>=nats://host:4222/jobs.{provider}.{state}`` is the sink ``<name>`` in small letters, ``-`` for
``_``. ``RECEIVER_SINKS`` names a TOML file with a table ``[sinks.<name>]`` for each.
"""

import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from receiver.core.description.provider import is_reference
from receiver.core.errors import ConfigurationError
from receiver.core.handler import BLOCK
from receiver.core.model import Value
from receiver.handlers import CIRCUIT, STATES, check_order
from receiver.settings import Settings
from receiver.sinks.references import fill_in
from receiver.views.masking import MASK, masked_query

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?")
#: A variable that makes a sink.
VARIABLE: Final = re.compile(r"RECEIVER_SINK_([A-Z0-9_]+?)(?:_FILE)?")
#: A field in an address.
FIELD: Final = re.compile(r"\{([^{}]*)\}")
#: A line of the file that begins a sink's table, and one that gives a key.
_TABLE: Final = re.compile(
    r"""\s*\[\s*sinks\s*\.\s*(?:"([^"]*)"|'([^']*)'|([\w-]+))\s*(?:\.\s*([\w-]+)\s*)?\]"""
)
_KEY: Final = re.compile(r"\s*([\w-]+)\s*[.=]")
#: What kinds of sinks have addresses without two slashes.
_PLAIN: Final = frozenset({"command", "file", "stdout", "taskiq"})
_WORD: Final = re.compile(r"[a-z_.]{1,30}")
_METADATA: Final = re.compile(r"metadata\.[A-Za-z0-9_-]{1,100}")
#: What stands for one completion in an address, a subject or a file's name.
FIELDS: Final = ("provider", "state", "operation", "job", "date")
#: The numbers that a sink has, and whether 0 is none.
_LEAST: Final = {
    "attempts": True,
    "concurrency": True,
    "timeout": True,
    "first_wait": True,
    "longest_wait": True,
    "circuit": False,
    "rate": False,
    "max_age": False,
}
_KIB: Final = 1024
#: SNS takes 256 KiB in all, and a result that is no JSON is a third longer there.
_LARGEST_FOR_SNS: Final = 128 * _KIB


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
    #: Where this stands, for error messages: the file and the table, or the variable; and the lines of its keys, that
    #: of the table by an empty one.
    origin: str = ""
    lines: dict[str, int] = {}

    @property
    def scheme(self) -> str:
        """What kind of sink it is."""
        return self.to.partition(":")[0].lower()

    @property
    def handler(self) -> str:
        """The name under which it is registered."""
        return f"sink:{self.name}"

    @property
    def variables(self) -> list[str]:
        """The variables that its secret and its address refer to."""
        found = [self.secret or "", *FIELD.findall(self.to)]
        return [one.removeprefix("env:") for one in found if one.startswith("env:")]

    @property
    def shown(self) -> str:
        """Where it sends to, as it may be shown: without a password, and without an option that may be one."""
        if "://" not in self.to and self.scheme not in _PLAIN:
            return MASK  # no address at all: it may be a secret
        before, mark, query = self.to.partition("?")
        head, slashes, rest = before.partition("://")
        credentials, at, place = rest.rpartition("@")
        if slashes and at:
            user, colon, _ = credentials.partition(":")
            hidden = colon or _is_nats(self.to)
            before = f"{head}://{user if colon or not hidden else ''}{colon}{MASK if hidden else ''}@{place}"
        # An option of ours is no secret; those of somebody else's address may be.
        shown = masked_query(query, secret=()) if self.scheme in {"http", "https"} else query
        return f"{before}{mark}{shown}"

    def value(self, reference: str, resolve: Callable[[str], str | None]) -> str:
        """What a reference in its address stands for; raises ConfigurationError where it is not set."""
        found = resolve(reference)
        if not found:
            raise self.wrong("to", f"{reference.removeprefix('env:')} is not set.")
        return found

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

    def unreadable(self, error: Exception) -> ConfigurationError:
        """The error that says that its address is none; what may be a password in it is not repeated."""
        if "@" in self.to:
            reason = (
                "it is no address: a character of the user's name or password is not percent-encoded (%40 for @, %2F "
                "for /, %3A for :), or the port is no number."
            )
        elif "query" in str(error):
            reason = "it is no address: options are written name=value, with & between them."
        else:
            reason = f"it is no address: {error}."
        return self.wrong("to", reason)

    def wrong(self, key: str, reason: str) -> ConfigurationError:
        """The error that says what is wrong with *key* of this sink, and where it stands."""
        line = self.lines.get(key) or self.lines.get("")
        where = f", line {line}" if line else ""
        return ConfigurationError(f"{self.origin}{where}: {key}: {reason}", code="sink_invalid")


#: The keys of a table.
_KEYS: Final = [name for name in SinkConfig.__struct_fields__ if name not in {"name", "origin", "lines"}]


def load(settings: Settings) -> list[SinkConfig]:
    """Read every sink that is configured, in the order of their names.

    Raises:
        ConfigurationError: one is wrong; the sentence names the file or variable, the key and the reason.
    """
    found: dict[str, SinkConfig] = {}
    for one in (*_from_file(settings), *_from_variables(settings)):
        if one.name in found:
            other = found[one.name].origin
            raise one.wrong("name", f"there is a sink {one.name!r} already, in {other}; rename one.")
        found[one.name] = _checked(one)
    return sorted(found.values(), key=lambda one: one.name)


def filled(template: str, values: Mapping[str, str]) -> str:
    """*template* with its fields filled in; ``{metadata.x}`` that a job does not have is ``none``."""
    return FIELD.sub(lambda found: values.get(found[1], "none"), template)


def _from_variables(settings: Settings) -> Iterator[SinkConfig]:
    for variable in sorted(settings.environ):
        found = VARIABLE.fullmatch(variable)
        if found is None:
            if variable.upper().startswith("RECEIVER_SINK_"):
                # If it were passed over, nobody would notice until its events were missing.
                reason = "write the name of the sink in capitals, digits and '_', as in RECEIVER_SINK_JOBS."
                raise SinkConfig(name="", to="", origin=variable).wrong("name", reason)
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
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
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
    places = _places(text)
    for name, table in tables.items():
        place = SinkConfig(name=name, to="", origin=f"{path}: sinks.{name}", lines=places.get(name, {}))
        yield _read(place, table)


def _places(text: str) -> dict[str, dict[str, int]]:
    """The line of each key of each sink in a file, and that of its table by an empty key."""
    found: dict[str, dict[str, int]] = {}
    within: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if (table := _TABLE.match(line)) is not None:
            within = found.setdefault(table[1] or table[2] or table[3], {})
            within.setdefault(table[4] or "", number)
        elif line.lstrip().startswith("["):
            within = {}
        elif (key := _KEY.match(line)) is not None:
            within.setdefault(key[1], number)
    return found


def _read(place: SinkConfig, table: Any) -> SinkConfig:  # noqa: ANN401  (whatever stands in the file)
    try:
        read = msgspec.convert(table, SinkConfig)
    except msgspec.ValidationError as error:
        reason, _, at = str(error).partition(" - at ")
        odd = next((key for key in place.lines if f"`{key}`" in reason), "the table")
        if "unknown field" in reason:
            reason = f"there is no such key; there are {', '.join(_KEYS)}"
        elif "missing required field" in reason:
            odd, reason = "to", "the table does not say where to send"
        raise place.wrong(at.strip("`").removeprefix("$").lstrip(".") or odd, f"{reason}.") from error
    if read.name or read.origin or read.lines:
        raise place.wrong("name", "the table's own name is the sink's.")
    if _has_password(read.to):
        raise place.wrong("to", "a password stands in the file; write {env:NAME} in its place.")
    return msgspec.structs.replace(read, name=place.name, origin=place.origin, lines=place.lines)


def _checked(one: SinkConfig) -> SinkConfig:
    if _NAME.fullmatch(one.name) is None:
        raise one.wrong("name", "it has small letters, digits and '-', at most 50 of them.")
    if not one.completions and not one.alarms:
        raise one.wrong("completions", "without alarms = true it would be told of nothing.")
    if one.state not in STATES:
        raise one.wrong("state", f"it is one of {', '.join(sorted(STATES))}.")
    for key, least in _LEAST.items():
        value = getattr(one, key)
        # What is no number at all, ``nan``, is neither above nor below.
        if not (math.isfinite(value) and value >= 0) or (least and value == 0):
            raise one.wrong(
                key, "it is a positive number." if least else "it is a positive number, or 0 for none."
            )
    if one.largest < 0:
        raise one.wrong("largest", "it is a number of bytes.")
    if one.secret is not None and not is_reference(one.secret):
        raise one.wrong("secret", "it is a reference, env:NAME or file:PATH, never the secret itself.")
    try:
        check_order(one.ordered_by, one.on_dead)
    except ConfigurationError as error:
        raise one.wrong("ordered_by", str(error)) from error
    _check_address(one)
    if one.scheme == "sns" and "largest" not in one.lines:
        return msgspec.structs.replace(one, largest=_LARGEST_FOR_SNS)
    return one


def _check_address(one: SinkConfig) -> None:
    if not one.to.isprintable():
        raise one.wrong("to", "it has a character that cannot be printed.")
    for field in FIELD.findall(one.to):
        if field not in FIELDS and not is_reference(field) and _METADATA.fullmatch(field) is None:
            # Part of a password may stand in braces.
            shown = f"{{{field}}}" if _WORD.fullmatch(field) and "@" not in one.to else "such as it has"
            raise one.wrong(
                "to",
                f"there is no field {shown}; there are {', '.join(FIELDS)}, metadata.<key> and env:NAME.",
            )
    if re.search(r"[{}]", FIELD.sub("", one.to)):
        raise one.wrong(
            "to", "a brace stands alone; a field is {provider}, and there is no other use for braces."
        )


def _has_password(to: str) -> bool:
    credentials, at, _ = to.partition("://")[2].partition("/")[0].rpartition("@")
    user, _, password = credentials.partition(":")
    secret = password or (user if _is_nats(to) else "")
    return bool(at and secret) and not secret.startswith("{env:")


def _is_nats(to: str) -> bool:
    """Whether *to* is an address of NATS, where who signs in without a password has a token for a name."""
    return to.lower().startswith(("nats:", "tls:"))
