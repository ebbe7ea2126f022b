"""``receiver jobs files``: the files that a job's result links to, and saving them."""

import asyncio
import os
import secrets
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from receiver.cli import options, output, session
from receiver.cli.command import FAILED, Command, note
from receiver.cli.table import show_table
from receiver.core.errors import ConflictError
from receiver.core.file import File, FileState
from receiver.core.files.naming import safe_name
from receiver.running import Running
from receiver.storage import files as stored
from receiver.views.file import file_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress, TaskID


@click.command(cls=Command)
@click.argument("id_", metavar="ID")
@click.option(
    "--save",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the stored files into this folder.",
)
@click.option("--force", is_flag=True, help="Write over files that are there.")
@options.as_json
async def files(*, id_: str, save: Path | None, force: bool, as_json: bool) -> None:
    """List the files that a job's result links to, or save them.

    Names come from the provider; on the disk they have no separators, no leading dots and no names of devices. Exits 1
    if some file could not be saved because it is lost, or still waits.
    """
    async with session.opened() as running:
        job_id = await session.job_id(running, id_)
        job = await running.store.job(job_id)
        found = await running.store.read(stored.of_job, job_id)
        names = _names(found)
        if save is not None:
            await _save(running, found, names, save, force=force)
    if as_json:
        output.show_json({"files": [file_document(one) for one in found]})
    elif save is None:
        show_table(
            ("number", "state", "size", "type", "name", "code"),
            [
                (
                    one.number,
                    one.state.value,
                    None if one.size is None else output.size(one.size),
                    one.content_type,
                    one.name,
                    one.code,
                )
                for one in found
            ],
            none="The result links to no files."
            if job.held
            else f"{job_id} is {job.state}; no file is known yet.",
        )
    missing = [one for one in found if one.state is not FileState.STORED]
    if save is not None and missing:
        note(f"{len(missing)} of {len(found)} files are not stored: receiver jobs files {job_id}")
        raise click.exceptions.Exit(FAILED)


def _names(found: list[File]) -> dict[int, str]:
    """A name for each file, none of them twice, also where letter case counts for nothing."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for one in found:
        name = safe_name(one.name, number=one.number, content_type=one.content_type)
        if name.casefold() in taken:
            name = f"{one.number}-{name}"
        taken.add(name.casefold())
        names[one.number] = name
    return names


async def _save(
    running: Running, found: list[File], names: dict[int, str], folder: Path, *, force: bool
) -> None:
    ready = [one for one in found if one.state is FileState.STORED and one.sha256 is not None]
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    there = await asyncio.to_thread(_there, folder, [names[one.number] for one in ready])
    if there and not force:
        raise ConflictError(
            f"{folder} has a file {there[0]!r} already; save elsewhere, or write over it with --force.",
            code="file_exists",
        )
    with _progress(sum(one.size or 0 for one in ready)) as bar:
        for one in ready:
            await _write(running, one, folder / names[one.number], bar)
            note(f"saved {folder / names[one.number]}")


def _there(folder: Path, names: list[str]) -> list[str]:
    """The *names* that are taken, even if only by a link that leads nowhere."""
    return [name for name in names if os.path.lexists(folder / name)]


async def _write(running: Running, file: File, path: Path, bar: "tuple[Progress, TaskID] | None") -> None:
    # Aside first, so that nobody finds half a file, and a link that lies there is replaced and not followed.
    aside = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with aside.open("xb") as target:
            async for piece in running.files.read(file.sha256 or "", start=0, length=file.size or 0):
                await asyncio.to_thread(target.write, piece)
                if bar is not None:
                    bar[0].advance(bar[1], len(piece))
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def _progress(total: int) -> "Iterator[tuple[Progress, TaskID] | None]":
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415  (only people at a terminal pay for it)
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn  # noqa: PLC0415

    with Progress(
        BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=Console(stderr=True)
    ) as shown:
        yield shown, shown.add_task("files", total=total)
