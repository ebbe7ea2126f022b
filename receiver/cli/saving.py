"""A job's result as a file."""

import contextlib
import mimetypes
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import click

from receiver.cli.command import FAILED, note
from receiver.core.model import Job
from receiver.running import Running

_SEPARATORS: Final = tuple(filter(None, (os.sep, os.altsep)))


def place_for(name: str) -> Path:
    """The place that --save names; a folder that is not there is made where the name ends as a folder's does.

    Refused before anything is paid for: raises click's UsageError where no result could be saved.
    """
    path = Path(name)
    if name.endswith(_SEPARATORS):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.UsageError(f"--save: the folder {path} cannot be made: {error.strerror}.") from error
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir():
        raise click.UsageError(f"--save: there is no folder {folder}.")
    if not os.access(folder, os.W_OK):
        raise click.UsageError(f"--save: nothing can be written in {folder}.")
    return path


async def save_result(running: Running, job: Job, path: Path) -> None:
    """Write the result of *job* to *path*, or in the folder *path* under the job's name; the whole of it, or nothing.

    Raises:
        Exit: it could not be written; the job keeps its result.
    """
    if job.held is None:
        note(f"{job.id} has no result to save.")
        return
    target = _target(path, job)
    try:
        with _put_aside(target) as file:
            async for piece in running.store.result_chunks(job.id, job.held):
                file.write(piece)
    except OSError as error:
        note(f"The result could not be saved: {error}. It is kept: receiver jobs show {job.id} --result")
        raise click.exceptions.Exit(FAILED) from error
    note(f"Saved: {target}")


def _target(path: Path, job: Job) -> Path:
    content_type = "" if job.held is None else job.held.content_type
    kind = mimetypes.guess_extension(content_type.partition(";")[0].strip()) or ""
    return path / f"{job.id}{kind}" if path.is_dir() else path


@contextlib.contextmanager
def _put_aside(target: Path) -> Iterator[IO[bytes]]:
    """A file that is *target* once it is whole."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        # As a file that is made anew, which a temporary one is not.
        Path(name).chmod(0o666 & ~_mask())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
