"""Logs: facts with ids, one line each; JSON unless a person reads along."""

import logging
import sys

import structlog


def configure(level: str = "info") -> None:
    """Set up structlog on stderr. Libraries that would log whole URLs (tokens are paths) are kept quiet."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    readable = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks
            if not readable
            else structlog.processors.StackInfoRenderer(),
            structlog.dev.ConsoleRenderer()
            if readable
            else structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    for name in ("httpx", "httpcore", "uvicorn.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
