"""Logs: facts with ids, one line each; JSON unless a person reads along."""

import logging
import sys
import time
from functools import lru_cache
from typing import Any

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


def configure(level: str = "info") -> None:
    """Set up structlog on stderr. Libraries that would log whole URLs (tokens are paths) are kept quiet."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    readable = sys.stderr.isatty()
    described: list[Processor] = [structlog.processors.add_log_level, _stamp]
    structlog.configure(
        processors=[*described, *_rendering(readable=readable)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        # A logger that was bound once would outlive whatever it is set up anew for, its closed file included.
        cache_logger_on_first_use=False,
    )
    # What uvicorn and asyncio have to say leaves in the same form as our own lines.
    foreign = logging.StreamHandler(sys.stderr)
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=described,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(readable=readable),
            ],
        )
    )
    logging.basicConfig(handlers=[foreign], level=logging.WARNING)
    for name in ("httpx", "httpcore", "uvicorn.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _stamp(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Say when, in UTC."""
    now = time.time_ns()
    event["timestamp"] = f"{_second(now // 1_000_000_000)}.{now // 1000 % 1_000_000:06d}Z"
    return event


@lru_cache(4)
def _second(number: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(number))


def _as_json(event: EventDict, **_options: Any) -> str:  # noqa: ANN401  (what json.dumps takes)
    return _encoder.encode(event).decode()


_encoder = msgspec.json.Encoder(order="sorted", enc_hook=repr)


def _rendering(*, readable: bool) -> list[Processor]:
    # Local variables hold tokens, headers and bodies: a traceback shows the lines, never the values.
    if readable:
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        structlog.processors.ExceptionRenderer(frames),
        structlog.processors.JSONRenderer(serializer=_as_json),
    ]
