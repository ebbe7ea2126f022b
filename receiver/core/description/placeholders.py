"""Placeholders in what a description says to ask: the names that a job has at its provider."""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from receiver.core.model import Job

_FIELD: Final = re.compile(r"\{([^{}]*)\}")


def check_filled(key: str, template: str, known: tuple[str, ...]) -> None:
    """Raise ValueError unless all of an address that stands in braces is filled in by somebody.

    Settings are, everywhere; of the rest, *known* says what, ``request:`` for any field of the caller's request.
    """
    for name in _FIELD.findall(template):
        kind, colon, rest = name.partition(":")
        if name not in known and not (rest and kind + colon in {"setting:", *known}):
            there = ", ".join(
                f"{{{one}NAME}}" if one.endswith(":") else f"{{{one}}}" for one in (*known, "setting:")
            )
            raise ValueError(f"{key}: nothing fills in {{{name}}}; there are {there}")
    if re.search(r"[{}]", _FIELD.sub("", template)):
        raise ValueError(f"{key}: a brace stands alone in {template!r}")


def fill_all(value: Any, job: Job, candidate_id: str | None) -> Any:  # noqa: ANN401
    """What a poll sends, with the job's names in it."""
    if isinstance(value, Mapping):
        return {name: fill_all(one, job, candidate_id) for name, one in value.items()}
    if isinstance(value, list):
        return [fill_all(one, job, candidate_id) for one in value]
    if isinstance(value, str):
        return value.replace("{id}", job.remote_id or candidate_id or "").replace(
            "{operation}", job.operation
        )
    return value


def fill(template: str, job: Job, candidate_id: str | None) -> str | None:
    """An address with what is known of *job* in it; ``None`` where some of it is not known."""
    known = {
        "{response_url}": job.response_url,
        "{cancel_url}": job.cancel_url,
        "{id}": quote(job.remote_id or candidate_id or "", safe="") or None,
        "{operation}": job.operation or None,
    }
    for placeholder, value in known.items():
        if placeholder in template:
            if value is None:
                return None
            template = template.replace(placeholder, value)
    return template
