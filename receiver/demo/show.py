"""What the demo shows: live progress, a timeline for each job, a summary, and the verdict."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from receiver.demo.run import Played

_STYLES: Final = {
    "succeeded": "green",
    "failed": "red",
    "expired": "red",
    "timed_out": "red",
    "accepted": "green",
    "duplicate": "yellow",
    "rejected": "red",
}


#: How wide the columns of the live table are, at least.
_WIDTHS: Final = {"job": 18, "state": 10, "by": 8, "callbacks": 12, "result": 14, "runs": 4}


class Screen:
    """The terminal; a quiet one shows nothing."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(quiet=quiet, highlight=False)
        self._live: Live | None = None

    @contextmanager
    def watching(self, played: Sequence["Played"]) -> Iterator[None]:
        """Show progress while the block runs; on anything but a terminal only its end."""
        self._console.print(f"{len(played)} jobs submitted; watching them by the API.\n")
        if not self._console.is_terminal:
            yield
            return
        with Live(progress(played), console=self._console, transient=True) as self._live:
            yield
        self._live = None

    def update(self, played: Sequence["Played"]) -> None:
        """Show how the jobs stand."""
        if self._live is not None:
            self._live.update(progress(played))

    def replayed(self, played: "Played", answer: dict[str, Any]) -> None:
        """Show what a replay did."""
        handlers = ", ".join(answer["handlers"])
        self._console.print(f"replay of {played.scene.name}: {handlers} ran again (not counted below)")

    def summary(self, played: Sequence["Played"], *, ok: bool) -> None:
        """Show each job's timeline, then all of them, then the verdict."""
        for one in played:
            self._console.print()
            self._console.print(Text(f"{one.scene.name}", style="bold") + Text(f" — {one.scene.story}"))
            for line in _timeline(one):
                self._console.print(line)
        table = Table(
            title="\nWhat became of them",
            title_justify="left",
            title_style="bold",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),  # or it would not fit in 80 columns
        )
        for column in ("job", "state", "by", "callbacks", "result", "runs", "ok"):
            table.add_column(column, no_wrap=column != "ok")
        for one in played:
            verdicts = "\n".join(f"{count} {verdict}" for verdict, count in sorted(one.verdicts.items()))
            right = Text("yes", style="green")
            wrong = Text("; ".join(one.problems), style="red")
            table.add_row(
                one.scene.name,
                _styled(one.record["state"]),
                str(one.record["settled_by"] or "–"),
                verdicts or "none",
                _gathered(one).replace(", ", "\n"),
                str(one.runs),
                wrong if one.problems else right,
            )
        self._console.print(table)
        if ok:
            self._console.print(Text("Every outcome was the right one.", style="bold green"))
        else:
            self._console.print(Text("Not every outcome was the right one.", style="bold red"))


def progress(played: Sequence["Played"]) -> Table:
    """How the jobs stand, as the table that is shown while they run."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    # As wide from the beginning as they become, or all of it would move whenever something happens.
    for column, width in _WIDTHS.items():
        table.add_column(column, min_width=width, no_wrap=True)
    for one in played:
        callbacks = "\n".join(f"{count} {verdict}" for verdict, count in sorted(one.verdicts.items()))
        table.add_row(
            one.scene.name,
            _styled(one.record["state"]),
            str(one.record["settled_by"] or "…"),
            callbacks or "…",
            _gathered(one).replace(", ", "\n"),
            str(one.runs or "…"),
        )
    return table


def _gathered(played: "Played") -> str:
    """How much of a result is here: its pages, its files, or all that there is."""
    result, files = played.record["result"], played.files
    parts = [f"{len(played.pages)} pages"] if played.pages else []
    if files:
        stored = [one for one in files if one["state"] == "stored"]
        size = sum(one["size"] or 0 for one in stored)
        parts.append(f"{len(stored)} of {len(files)} files, {decimal(size)}")
    elif result and not parts:
        parts.append("stored")
    return ", ".join(parts) or "…"


def _timeline(played: "Played") -> Iterator[Text]:
    begin = _moment(played.record["created_at"])
    for entry in played.timeline:
        # What took a time stands where it ended.
        after = (_moment(entry["at"]) - begin).total_seconds() + entry.get("duration_ms", 0) / 1_000
        arrow, words = _words(entry)
        yield Text(f"  {after:7.3f} s  {arrow} ", style="dim") + words


def _words(entry: dict[str, Any]) -> tuple[str, Text]:
    match entry["kind"]:
        case "submission":
            return " ", Text("recorded")
        case "callback":
            callback = entry["callback"]
            code = f" ({callback['code']})" if callback["code"] else ""
            return "←", Text("callback ") + _styled(callback["verdict"]) + Text(code)
        case "attempt":
            arrow = "⇒" if entry["step"] == "dispatch" else "→"
            who = f"{entry['step']} {entry['handler'] or ''}".strip()
            which = entry["detail"].get("page") or entry["detail"].get("file")
            who += f" {which}" if which else ""
            code = f" ({entry['code']})" if entry["code"] else ""
            return arrow, Text(f"{who} ") + _styled(entry["outcome"]) + Text(code)
        case kind:
            return " ", Text(f"{kind} waits")


def _styled(word: str) -> Text:
    return Text(word, style=_STYLES.get(word, ""))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
