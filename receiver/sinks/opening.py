"""Which kind of sink an address asks for; a kind's client is imported only where one is configured."""

import re
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from receiver.settings import Settings
from receiver.sinks.configuration import FIELD, SinkConfig

if TYPE_CHECKING:
    from receiver.sinks.sink import Sink


class Kind(NamedTuple):
    """One kind of sink."""

    #: The module in this package, and its class.
    module: str
    name: str
    #: What the class is given beside the configuration.
    wants: tuple[str, ...] = ()
    #: The extra that brings its client, and the package to look for; empty where nothing more is needed.
    extra: str = ""
    package: str = ""
    #: What stands behind a plus sign, where something must: what the queue's own broker is.
    behind: tuple[str, ...] = ()
    #: Where the fields of an event are filled in: "all", "path", "words" behind a program, or options by their names.
    fills: tuple[str, ...] = ()


_REDIS_OR_RABBIT: Final = ("redis", "rediss", "amqp", "amqps")
_REDIS: Final = Kind("redis", "RedisSink", ("secret",), "redis", "redis", fills=("stream",))
_RABBIT: Final = Kind(
    "rabbitmq", "RabbitSink", ("secret",), "rabbitmq", "aio_pika", fills=("exchange", "routing_key")
)
_NATS: Final = Kind("nats", "NatsSink", ("secret",), "nats", "nats", fills=("path",))
_HTTP: Final = Kind("http", "HttpSink", ("secret", "clock"), fills=("all",))
_LINES: Final = Kind("lines", "LinesSink", fills=("all",))
_NOTIFY: Final = Kind("postgres", "NotifySink", ("database_url",), "postgres", "psycopg")
_AMAZON: Final = Kind("amazon", "AmazonSink", (), "amazon", "aiobotocore", fills=("path",))

#: By the scheme of the address.
KINDS: Final = {
    "http": _HTTP,
    "https": _HTTP,
    "nats": _NATS,
    "tls": _NATS,
    "kafka": Kind("kafka", "KafkaSink", ("secret",), "kafka", "aiokafka", fills=("path",)),
    "amqp": _RABBIT,
    "amqps": _RABBIT,
    "redis": _REDIS,
    "rediss": _REDIS,
    "sqs": _AMAZON,
    "sns": _AMAZON,
    "notify": _NOTIFY,
    "postgresql": _NOTIFY,
    "command": Kind("command", "CommandSink", ("resolve",), fills=("words",)),
    "file": _LINES,
    "stdout": _LINES,
    "celery": Kind("celery", "CelerySink", (), "celery", "celery", _REDIS_OR_RABBIT),
    "dramatiq": Kind("dramatiq", "DramatiqSink", (), "dramatiq", "dramatiq", _REDIS_OR_RABBIT),
    "arq": Kind("arq", "ArqSink", (), "arq", "arq", _REDIS_OR_RABBIT[:2]),
    "taskiq": Kind("taskiq", "TaskiqSink", (), "taskiq", "taskiq"),
    "procrastinate": Kind(
        "procrastinate", "ProcrastinateSink", (), "procrastinate", "procrastinate", ("postgresql",)
    ),
}
#: What an address begins with.
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:")


def _check_fields(config: SinkConfig, kind: Kind) -> None:
    """Raise ConfigurationError where a field of an event stands that nothing fills in: it would be sent as it is."""
    if "all" in kind.fills or "words" in kind.fills:
        return
    before, _, query = config.to.partition("?")
    _, _, rest = before.partition("://")
    server, _, path = rest.partition("/")
    places = [server, *([] if "path" in kind.fills else [path])]
    places += [one for one in query.split("&") if one.partition("=")[0] not in kind.fills]
    found = next((field for place in places for field in FIELD.findall(place)), None)
    if found is not None:
        where = " and ".join("the path" if one == "path" else f"the option {one}" for one in kind.fills)
        only = f"they are filled in in {where}" if where else "this kind of sink has no place for fields"
        raise config.wrong("to", f"nothing fills in {{{found}}} where it stands: {only}.")


def open_sink(config: SinkConfig, settings: Settings, *, clock: Callable[[], int]) -> "Sink":
    """Make the sink that *config* describes; nobody is asked yet.

    Raises:
        ConfigurationError: there is no such kind, its client is not installed, or the address does not fit.
    """
    head, _, behind = config.scheme.partition("+")
    kind = KINDS.get(head)
    if kind is not None and behind not in (kind.behind or ("",)):
        known = ", ".join(f"{head}+{one}://" for one in kind.behind) or f"{head} without a plus sign"
        raise config.wrong("to", f"there is no kind of sink {config.scheme!r}; there is {known}.")
    if kind is None:
        # Without a colon it is no address at all: it may be a secret.
        odd = f" {config.scheme!r}" if _SCHEME.match(config.to) else " such as that"
        raise config.wrong("to", f"there is no kind of sink{odd}; there are {', '.join(KINDS)}.")
    if kind.package and find_spec(kind.package) is None:
        raise config.wrong(
            "to",
            f"{config.scheme} needs its client: in the folder of receiver, pip install '.[{kind.extra}]'.",
        )
    config = config.resolved(settings)
    given: dict[str, Any] = {
        "clock": clock,
        "resolve": settings.resolve,
        "database_url": settings.database_url,
        "secret": None if config.secret is None else settings.resolve(config.secret),
    }
    if config.secret is not None and not given["secret"]:
        raise config.wrong("secret", f"{config.secret} is not set.")
    _check_fields(config, kind)
    if config.secret is not None and "secret" not in kind.wants:
        raise config.wrong("secret", f"{config.scheme} has no use for one.")
    made = getattr(import_module(f"receiver.sinks.{kind.module}"), kind.name)
    sink: Sink = made(config, **{name: given[name] for name in kind.wants})
    return sink
