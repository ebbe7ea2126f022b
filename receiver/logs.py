"""Logs: one line for each event, with the ids it is about; as JSON, except on a terminal."""

import asyncio
import atexit
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TextIO

import msgspec
import structlog
from structlog import BoundLoggerBase
from structlog.typing import EventDict, Processor, WrappedLogger

from receiver.core import causes

#: What else is said of a line: the trace that it belongs to; whoever keeps traces says so.
place: Callable[[Mapping[str, Any]], Mapping[str, str]] | None = None


class Lines:
    """The logger below structlog: writes lines, those of one turn of the event loop all at once.

    A system call for each line is a tenth of what a callback costs. A process that is killed takes the lines of its
    last turn with it; what must not be lost is in the record, not in the log.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: deque[str] = deque()
        self._writing = threading.Lock()
        #: The loop that will call us once this turn of it is over.
        self._turn: asyncio.AbstractEventLoop | None = None
        atexit.register(self.flush)

    def __call__(self, *_args: Any) -> "Lines":  # noqa: ANN401  (structlog asks a factory for each logger)
        """Be the logger of whoever asks."""
        return self

    def msg(self, line: str) -> None:
        """Write *line* soon; at once where no event loop runs."""
        self._waiting.append(line)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        if loop is not self._turn:
            self._turn = loop
            loop.call_soon(self.flush)

    debug = info = warning = error = critical = msg

    def flush(self) -> None:
        """Write what waits."""
        with self._writing:
            self._turn = None
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if lines and not self._stream.closed:
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Set up structlog on *stream* or stderr. Libraries that log whole URLs are kept quiet: paths hold tokens."""
    stream = sys.stderr if stream is None else stream
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    render: Processor = _as_json
    if stream.isatty():
        render = structlog.dev.ConsoleRenderer(exception_formatter=_plain)
    structlog.configure(
        processors=[_describe, render],
        wrapper_class=type(
            "Logger", (structlog.make_filtering_bound_logger(number),), {"_proxy_to_logger": _pass_on}
        ),
        logger_factory=Lines(stream),
        # A logger that was bound once would outlive whatever it is set up anew for, its closed file included.
        cache_logger_on_first_use=False,
    )
    # The log of uvicorn and asyncio is written in the same form as ours.
    foreign = logging.StreamHandler(stream)
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_describe],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(handlers=[foreign], level=logging.WARNING)
    for name in ("httpx", "httpcore", "uvicorn.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


def be_discreet() -> None:
    """Have tracebacks without local variables where nobody has set structlog up.

    Its own default shows the locals of every frame, and ours hold tokens, headers and results. An application that sets
    structlog up decides for itself.
    """
    if not structlog.is_configured():
        *others, _ = structlog.get_config()["processors"]
        plain = structlog.dev.ConsoleRenderer(exception_formatter=_plain)
        structlog.configure(processors=[*others, plain])


def _pass_on(self: BoundLoggerBase, method: str, event: str | None = None, /, **facts: Any) -> None:  # noqa: ANN401
    """Do what structlog does, in half the steps: every event becomes one line, and all lines go to one place."""
    line: Any = {**self._context, **facts, "event": event}
    try:
        for process in self._processors:
            line = process(self._logger, method, line)
    except structlog.DropEvent:
        return
    getattr(self._logger, method)(line)


def _describe(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Add the level, and the time in UTC."""
    second, rest = divmod(time.time_ns(), 1_000_000_000)
    if place is not None:
        event.update(place(event))
    event["level"] = method
    event["timestamp"] = f"{_second(second)}.{rest // 1000:06d}Z"
    return event


@lru_cache(4)
def _second(number: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(number))


def _raised(exc_info: Any) -> BaseException | None:  # noqa: ANN401  (whatever logging takes)
    """The exception that a line is to show."""
    match exc_info:
        case BaseException():
            return exc_info
        case (_, BaseException() as raised, _):
            return raised
        case None | False | (None, None, None):
            return None
        case _:
            return sys.exc_info()[1]


def _plain(sio: TextIO, exc_info: Any) -> None:  # noqa: ANN401  (as above)
    """Write a traceback for people."""
    raised = _raised(exc_info)
    if raised is None:
        structlog.dev.plain_traceback(sio, exc_info)
        return
    with causes.cut(raised) as shown:
        if shown.cut:
            sio.write(f"\n{causes.LEFT_OUT}")
        if not shown.uncuttable:
            structlog.dev.plain_traceback(sio, exc_info)


_encoder = msgspec.json.Encoder(order="sorted", enc_hook=repr)
# Local variables hold tokens, headers and bodies: a traceback shows the lines, never the values.
_render_exception = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def _as_json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    if "exc_info" in event:
        event = _with_exception(logger, method, event)
    return _encoder.encode(event).decode()


def _with_exception(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    raised = _raised(event["exc_info"])
    if raised is None:
        return _render_exception(logger, method, event)
    with causes.cut(raised) as shown:
        if shown.cut:
            event["causes"] = causes.LEFT_OUT
        if shown.uncuttable:
            event["exception"] = f"{type(raised).__name__}: {raised}"
            del event["exc_info"]
            return event
        return _render_exception(logger, method, event)
