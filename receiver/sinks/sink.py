"""What every kind of sink does, and how it says that it could not."""

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from receiver.raising import Away, Dead, Retry
from receiver.sinks.configuration import SinkConfig, filled
from receiver.sinks.event import Event

_WORD: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")


class Sink(Protocol):
    """Sends events to one place. Made without asking anybody; the first ``send`` connects."""

    async def send(self, event: Event) -> str:
        """Send *event*; what the other side said when it confirmed, in a few words.

        Returns only once the other side has taken the event over: its acknowledgement, a 2xx, exit code 0, a
        file that is synced. Whoever calls it ends it when its time is up.

        Raises:
            SinkAwayError: the other side is out of reach.
            SinkRefusedError: it will never take this event.
            SinkFailedError: it did not take it now.
        """
        ...

    async def close(self) -> None:
        """Give connections back; harmless if there are none."""
        ...


class SinkAwayError(Away):
    """The other side of a sink is out of reach: nothing is wrong with the event."""

    code = "sink_away"


class SinkRefusedError(Dead):
    """The other side will never take this event: it is too large, has nowhere to go, or may not be sent."""

    code = "sink_refused"


class SinkGoneError(Away):
    """The other side wants no more events: the sink is paused until a person resumes it."""

    code = "sink_gone"
    pauses = True


class SinkFailedError(Retry):
    """The other side did not take the event now."""

    code = "sink_failed"
    fails = True

    def __init__(
        self,
        message: str = "The other side did not take the event now.",
        *,
        after: float | timedelta | None = None,
    ) -> None:
        super().__init__(message, after=after)


def trust() -> ssl.SSLContext:
    """What every sink trusts: the certificates of this machine, or those that ``SSL_CERT_FILE`` names."""
    return ssl.create_default_context()


def why(error: BaseException) -> str:
    """Why the other side is out of reach, in words of ours: what a client says may hold a password."""
    for one in _chain(error):
        match one:
            case ssl.SSLCertVerificationError():
                return f"its certificate does not hold ({one.verify_message.rstrip('.')})"
            case ssl.SSLError():
                return f"no TLS came about ({one.reason or type(one).__name__})"
            case socket.gaierror():
                return "its name is not known"
            case ConnectionRefusedError():
                return "nobody listens there"
    return type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """*error*, and what it came from; some clients hand that on among their arguments."""
    seen, left = set[int](), [error]
    while left:
        one = left.pop(0)
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            held = (one.__cause__, one.__context__, *one.args)
            left += [each for each in held if isinstance(each, BaseException)]


class Place:
    """Where a sink sends to, taken apart once: server, path, and the options behind the question mark.

    Args:
        config: The sink; references in its address are resolved already.
        required: Options that it must have.
        optional: Options that it may have.
    """

    def __init__(
        self, config: SinkConfig, *, required: tuple[str, ...] = (), optional: tuple[str, ...] = ()
    ) -> None:
        try:
            parts = urlsplit(config.to)
            _ = parts.port
            options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError as error:
            raise config.unreadable(error) from error
        for name in options:
            if name not in {*required, *optional}:
                known = ", ".join((*required, *optional)) or "none"
                # What follows a question mark in a password looks like an option.
                odd = f"option {name!r}" if _WORD.fullmatch(name) else "such option"
                raise config.wrong("to", f"{config.scheme} has no {odd}; it has: {known}.")
        for name in required:
            if not options.get(name):
                raise config.wrong("to", f"{config.scheme} needs the option {name}, as in ?{name}=…")
        self.parts = parts
        self.options = options

    def check_database(self, config: SinkConfig) -> None:
        """Raise ConfigurationError unless the path is a number of Redis': its clients take 0 for any other word."""
        number = self.parts.path.strip("/")
        if number and not (number.isascii() and number.isdigit()):
            said = f"{number!r} is no database" if _WORD.fullmatch(number) else "its path is no database"
            raise config.wrong(
                "to", f"{said}; Redis has them by number, as in redis://host/0. A / in a password is %2F."
            )

    @property
    def server(self) -> str:
        """The address of the server alone, credentials included."""
        return f"{self.parts.scheme}://{self.parts.netloc}"

    def option(self, name: str, values: Mapping[str, str], *, default: str = "") -> str:
        """An option with the fields of an event filled in."""
        return filled(self.options.get(name, default), values)

    def path(self, values: Mapping[str, str]) -> str:
        """What follows the server, without its slash, with the fields of an event filled in, and decoded."""
        # Decoded last: what was encoded is never taken for a field.
        path = filled(self.parts.path.removeprefix("/"), values)
        return unquote(path) if "%" in path else path
