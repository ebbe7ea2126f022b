"""Traces: the place in a distributed trace that a job belongs to, as a W3C ``traceparent``.

Its form is that which opentelemetry-api 1.45.2 reads (``trace/propagation/tracecontext.py``): version, trace id, id
of the parent and flags, in small hexadecimal digits; neither id is all zeros, and version ``ff`` is not valid.
"""

import re
from contextvars import ContextVar
from typing import Final

_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?")
_LONGEST: Final = 200
#: What is passed on to the other side of a sink by whoever sends to it; nothing where no traces are kept.
passed_on: ContextVar[str | None] = ContextVar("receiver_traceparent", default=None)


def parse_traceparent(text: str) -> str | None:
    """*text* without blanks around it, if it is a ``traceparent``; ``None`` if it is none."""
    text = text.strip(" \t")
    found = _FORM.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        return None
    version, trace_id, parent_id, _, more = found.groups()
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not parent_id.strip("0"):
        return None
    return text
