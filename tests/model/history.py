"""What happened in one round, line by line, to be read when a promise was broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.rounds import again

if TYPE_CHECKING:
    from tests.model.loop import ModelLoop


class BrokenPromiseError(AssertionError):
    """Something happened that must never happen."""


class History:
    """The lines of one round, and the promises that were broken in it."""

    def __init__(self, seed: int, database: str, loop: ModelLoop) -> None:
        self._seed = seed
        self._database = database
        self._loop = loop
        self._lines: list[str] = []
        self.broken: list[tuple[str, str]] = []

    def tell(self, what: str, **facts: object) -> None:
        """Note what happened."""
        told = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
        self._lines.append(f"{_clock(self._loop.now)}  {what:<22} {told}")

    def breaks(self, promise: str, detail: str) -> None:
        """Note that a promise was broken; the round goes on to its end."""
        if (promise, detail) not in self.broken:
            self.broken.append((promise, detail))
            self.tell("BROKEN", promise=promise, detail=detail)

    def check(self) -> None:
        """Raise BrokenPromiseError, with everything that one needs to see why, if a promise was broken."""
        if not self.broken:
            return
        promises = "\n".join(f"  {promise}: {detail}" for promise, detail in self.broken)
        lines = "\n".join(self._lines)
        raise BrokenPromiseError(
            f"seed {self._seed} on {self._database} breaks\n{promises}\n\nreplay: {again(self._seed)} "
            f"pytest -n 0 tests/model/test_model.py -k {self._database}\n\n{lines}\n"
        )

    def text(self) -> str:
        """All lines."""
        return "\n".join(self._lines)


def _clock(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:3d}:{minutes:02d}:{seconds:02d}.{rest:03d}"
