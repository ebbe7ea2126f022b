"""What all commands share: how they are found, run and how they fail. Imports nothing heavy."""

import gc
import importlib
import inspect
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import click

from receiver import interruption
from receiver.cli import streams
from receiver.core.errors import (
    ConfigurationError,
    ConflictError,
    NotFoundError,
    ReceiverError,
    RejectionError,
    RequestError,
)

FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
REJECTED: Final = 4
TIMED_OUT: Final = 124
#: More characters than any sentence has.
_WHOLE: Final = 1_000

CODES: Final = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not found, 4 signature rejected, "
    "124 timed out."
)

#: The first that fits counts.
_EXITS: Final = (
    (NotFoundError, NOT_FOUND),
    (RejectionError, REJECTED),
    (ConflictError, FAILED),
    (RequestError, USAGE),
    (ConfigurationError, USAGE),
)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for.

    Args:
        lazy: Name → (module in ``receiver.cli``, short help). The module's attribute is the name.
        settings: Everything else, for ``click.Group``.
    """

    def __init__(self, *, lazy: Mapping[str, tuple[str, str]], **settings: Any) -> None:  # noqa: ANN401  (what click.Group takes)
        super().__init__(**settings)
        self._lazy = lazy

    def main(self, *given: Any, **settings: Any) -> Any:  # noqa: ANN401  (click's signature)
        """Run the command line; what could not be printed is a failure, said on standard error."""
        nowhere = streams.open_closed()
        try:
            return super().main(*given, **settings)
        except SystemExit as leaving:
            raise SystemExit(streams.settled(leaving.code, nowhere)) from None
        except OSError as error:
            if not streams.is_broken(error):
                raise
            streams.say_lost(error)
            raise SystemExit(FAILED) from None

    def make_context(self, *given: Any, **settings: Any) -> click.Context:  # noqa: ANN401  (click's signature)
        """Read the arguments."""
        with _in_small_letters():
            return super().make_context(*given, **settings)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  (click's signature)
        """Run the command that was named."""
        with _in_small_letters():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        """The names, in the order of the table."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command called *cmd_name*."""
        if cmd_name not in self._lazy:
            return None
        with _lightly():
            module = importlib.import_module(f"receiver.cli.{self._lazy[cmd_name][0]}")
        interruption.is_for_the_command()
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._lazy.items()])


@contextmanager
def _lightly() -> Iterator[None]:
    """Import without rich, and without looking for garbage.

    structlog loads rich wherever it is installed, for faces of its own that no command has (structlog 26.1); those
    commands of ours that show tables import it when they do. And what is imported stays: the garbage collector would
    look through all of it again and again, an eighth of the time that ``receiver serve`` takes to start.
    """
    if "rich" in sys.modules:
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # as import says that there is none
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        del sys.modules["rich"]


@contextmanager
def _in_small_letters() -> Iterator[None]:
    """Have click say ``error:`` as we do: who looks for errors in what was printed looks for one word."""
    try:
        yield
    except click.ClickException as error:
        show = error.show

        def shown(file: Any = None) -> None:  # noqa: ANN401  (click's signature)
            written = io.StringIO()
            show(file=written)
            text = re.sub(r"^Error: ", "error: ", written.getvalue(), flags=re.MULTILINE)
            click.echo(text, file=file, err=file is None, nl=False)

        error.show = shown  # type: ignore[method-assign]
        raise


class Command(click.Command):
    """A command that may be a coroutine function, and whose errors become one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  (click's signature)
        """Run the command; raises click's Exit where it failed on purpose."""
        try:
            answer = super().invoke(ctx)
            if inspect.iscoroutine(answer):
                import asyncio  # noqa: PLC0415  (not needed for --help)

                answer = asyncio.run(answer)
        except ReceiverError as error:
            report(error, as_json=bool(ctx.params.get("as_json")))
            ctx.exit(exit_code(error))
        return answer


class Group(click.Group):
    """A group of commands."""

    command_class = Command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with its whole first sentence: click would cut it at the end of a line."""
        names = self.list_commands(ctx)
        listed = [(name, command) for name in names if (command := self.get_command(ctx, name)) is not None]
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(limit=_WHOLE)) for name, one in listed])


def exit_code(error: ReceiverError) -> int:
    """The exit code with which *error* leaves."""
    return next((code for kind, code in _EXITS if isinstance(error, kind)), FAILED)


def report(error: ReceiverError, *, as_json: bool) -> None:
    """Say on standard error what went wrong."""
    if not as_json:
        click.echo(f"error: {str(error).removesuffix('.')} ({error.code})", err=True)
        return
    click.echo(json.dumps(problem(error)), err=True)


def problem(error: ReceiverError) -> dict[str, Any]:
    """*error* as RFC 9457 problem details, as ``/v1`` shows it."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": type(error).__name__.removesuffix("Error"),
        "status": error.status,
        "code": error.code,
        "detail": str(error),
    }
    document |= error.details
    field = getattr(error, "field", None)
    return document if field is None else document | {"field": field}


def note(text: str) -> None:
    """Tell the person at the terminal something that is not data."""
    click.echo(text, err=True)
    sys.stderr.flush()
