"""``receiver submit``."""

import asyncio
import json
import os
import secrets
from typing import Any, BinaryIO, Final, get_args

import click

from receiver.cli import options, session
from receiver.cli.command import FAILED, Command, note
from receiver.cli.jobs import show_job, wait_for
from receiver.cli.saving import place_for, save_result
from receiver.core.body.jsontext import parse_json
from receiver.core.charset import in_utf8
from receiver.core.errors import NothingSentError, RequestError, UnreadableError
from receiver.core.file import When
from receiver.core.model import JobState
from receiver.core.trace import parse_traceparent
from receiver.running import Running
from receiver.steps.order import Order, Submitted

#: Seconds between attempts while the database cannot be written.
_WAITS: Final = (1, 2, 4)


@click.command(cls=Command)
@click.argument("provider")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--operation",
    default="",
    metavar="NAME",
    help="Which of the provider's operations; its first if left out.",
)
@click.option(
    "--metadata", metavar="JSON", help="A JSON object of yours, kept with the job and given to the handlers."
)
@click.option("--idempotency-key", metavar="KEY", help="The same key with the same request is the same job.")
@click.option(
    "--deadline",
    callback=options.read_seconds,
    metavar="SPAN",
    help="Give the job up after this long: 90s, 15m, 1h, 30d, or a number of seconds.",
)
@click.option(
    "--files",
    type=click.Choice(get_args(When)),
    default="before",
    show_default=True,
    help="Fetch the files that the result links to before handlers are called, beside that, or never.",
)
@click.option("--no-callback", is_flag=True, help="Ask for no callback: the job is polled.")
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    callback=options.read_headers,
    metavar="'NAME: VALUE'",
    help="A header that the provider's description lets a job set; repeat it.",
)
@click.option(
    "--query",
    multiple=True,
    metavar="NAME=VALUE",
    help="A field of the submission's address that the description lets a job set; repeat it.",
)
@click.option("--wait", is_flag=True, help="Wait until the job has ended; exits 1 unless it succeeded.")
@click.option(
    "--save",
    type=click.Path(),
    metavar="PATH",
    help="With --wait: write the result there; in a folder, under the job's name. What ends in / is a folder, which "
    "is made if it is not there.",
)
@options.as_json
async def submit(
    *,
    provider: str,
    file: BinaryIO,
    operation: str,
    metadata: str | None,
    idempotency_key: str | None,
    deadline: float | None,
    files: When,
    no_callback: bool,
    headers: tuple[tuple[bytes, bytes], ...],
    query: tuple[str, ...],
    wait: bool,
    save: str | None,
    as_json: bool,
) -> None:
    """Submit a job.

    FILE holds the request as a JSON object, without callback URL and secret; '-' reads standard input. Where the
    provider wants a file, "file" in it is a path, or {"name": …, "content": base64}. The request is
    sent by this process; callback, polls and handlers are the serving process's business. Exits 1 if the
    provider refused it. A W3C trace that TRACEPARENT in the environment names is kept with the job.
    """
    if save is not None and not wait:
        raise click.UsageError("--save needs --wait: there is no result before the end.")
    place = None if save is None else place_for(save)
    order = Order(
        provider=provider,
        request=_read(file.read(), "FILE" if file.name in {"-", "<stdin>"} else file.name, "request"),
        operation=operation,
        # Its own retries are one job, and whoever calls twice means two.
        idempotency_key=idempotency_key or f"cli-{secrets.token_hex(16)}",
        metadata=_read(metadata.encode("utf-8", "surrogateescape"), "--metadata", "metadata")
        if metadata
        else {},
        deadline=deadline,
        files=files,
        callback=not no_callback,
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in headers},
        query=_fields(query),
        traceparent=parse_traceparent(os.environ.get("TRACEPARENT", "")),
        local_files=True,
    )
    async with session.opened(make=True, level="error") as running:
        submitted = await _submit(running, order)
        job, callback_url = submitted.job, submitted.callback_url
        if wait and not job.state.ended:
            note(f"{job.id} is {job.state}.")
            await wait_for(running, job.id, timeout=None, as_json=as_json)
            job = await running.store.job(job.id)
        else:
            show_job(job, as_json=as_json, callback_url=callback_url)
        if job.state.ended and job.state is not JobState.SUCCEEDED:
            raise click.exceptions.Exit(FAILED)
        if place is not None:
            await save_result(running, job, place)
        elif wait and job.held is not None:
            note(f"Its result: receiver jobs show {job.id} --result")


async def _submit(running: Running, order: Order) -> Submitted:
    """Submit; where nothing was sent, try again under the same key."""
    for wait in _WAITS:
        try:
            return await running.submit(order)
        except NothingSentError as error:
            note(f"{error} Trying again in {wait} s.")
            await asyncio.sleep(wait)
    return await running.submit(order)


def _fields(given: tuple[str, ...]) -> dict[str, Any]:
    """Fields of an address; a name that is given twice has a list of values."""
    found: dict[str, list[str]] = {}
    for one in given:
        name, separator, value = one.partition("=")
        if not name or not separator:
            raise click.UsageError(f"--query {one!r} is not NAME=VALUE.")
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _read(text: bytes, source: str, field: str) -> dict[str, Any]:
    # PowerShell writes UTF-16, and Notepad a mark in front of UTF-8.
    text = in_utf8(text, "")
    try:
        found = parse_json(text)
    except UnreadableError as error:
        why = _place(text) or str(error)
        raise RequestError(f"{source} is not JSON: {why}", code="body_not_json", field=field) from error
    if not isinstance(found, dict):
        raise RequestError(f"{source} holds no JSON object.", field=field)
    return found


def _place(text: bytes) -> str:
    """Where *text* stops being JSON, and what should stand there."""
    try:
        json.loads(text.decode())
    except json.JSONDecodeError as error:
        return f"line {error.lineno}, column {error.colno}: {error.msg}."
    except (ValueError, RecursionError):
        pass  # what is wrong is at no one place
    return ""
