"""Logs: facts with ids, one line each; JSON unless a person reads along."""

import logging
import sys

import structlog


def configure(level: str = "info") -> None:
    """Set up structlog on stderr. Libraries that would log whole URLs (tokens are paths) are kept quiet."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    readable = sys.stderr.isatty()
    described: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*described, *_rendering(readable=readable)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
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


def _rendering(*, readable: bool) -> list[structlog.typing.Processor]:
    # Local variables hold tokens, headers and bodies: a traceback shows the lines, never the values.
    if readable:
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        structlog.processors.ExceptionRenderer(frames),
        structlog.processors.JSONRenderer(sort_keys=True),
    ]
