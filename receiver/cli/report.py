"""What became of many things, told while it goes on: as lines, or as one object of two lists."""

import tempfile
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

import click

from receiver.cli import output
from receiver.cli.command import FAILED, note

#: Bytes of what was gone already that are kept in memory until its list has its turn.
_IN_MEMORY: Final = 64 * 1024


class Report:
    """Tells what was done, and what was gone already, without keeping any of it.

    Args:
        word: What was done.
        as_json: Whether it is told as JSON.
    """

    def __init__(self, word: str, *, as_json: bool) -> None:
        self._word = word
        self._as_json = as_json
        self._done = self._missed = 0
        # As JSON they stand behind everything that was done.
        self._gone = tempfile.SpooledTemporaryFile(  # noqa: SIM115  (closed at the exit)
            _IN_MEMORY, mode="w+", encoding="utf-8"
        )
        self._begun = False

    def __enter__(self) -> Self:
        return self

    def _begin(self) -> None:
        if self._as_json and not self._begun:
            click.echo(f'{{\n  "{self._word}": [', nl=False)
        self._begun = True

    def tell(self, outcomes: Iterable[tuple[str, bool]]) -> None:
        """Tell what became of some: the id of each, and whether it was done."""
        self._begin()
        for name, done in outcomes:
            if not self._as_json:
                click.echo(output.clean(f"{self._word if done else 'gone already'} {name}"))
            elif done:
                click.echo(_member(name, first=not self._done), nl=False)
            else:
                self._gone.write(_member(name, first=not self._missed))
            self._done += done
            self._missed += not done

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._gone as gone:
            if error is not None and not self._begun:
                return  # it says itself why nothing was done
            self._begin()
            if not self._as_json:
                note(f"{self._done} {self._word}.")
                return
            click.echo(_end(self._done) + ',\n  "gone": [', nl=False)
            gone.seek(0)
            while text := gone.read(_IN_MEMORY):
                click.echo(text, nl=False)
            click.echo(_end(self._missed) + "\n}")

    def leave(self) -> None:
        """Raise click's Exit where something was gone already."""
        if self._missed:
            raise click.exceptions.Exit(FAILED)


def _member(name: str, *, first: bool) -> str:
    return f"{'' if first else ','}\n    {output.compact(name)}"


def _end(members: int) -> str:
    return "\n  ]" if members else "]"
