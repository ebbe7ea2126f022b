"""One run of the benchmarks: its folder, its patience, and the callbacks that all of it shares."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from .callbacks import Stock
from .generator import Order, Tally
from .load import drive
from .servers import Server

CONNECTIONS = 64


class Bench:
    """What measurements share. *short*: fewer rounds, less load."""

    def __init__(self, folder: Path, *, short: bool) -> None:
        self.folder = folder
        self.short = short
        self.rounds = 3 if short else 5
        self.warm_up = 0.3 if short else 0.5
        self.seconds = 1.2 if short else 2.5
        self._used = 0

    @cached_property
    def stock(self) -> Stock:
        """The callbacks, and the database that waits for them."""
        return Stock(self.folder / "stock", jobs=16_000 if self.short else 45_000)

    @contextmanager
    def room(self) -> Iterator[Path]:
        """A folder for one server, which is gone afterwards."""
        self._used += 1
        folder = self.folder / f"room{self._used}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    def load(
        self, server: Server, requests: Path, *, connections: int = CONNECTIONS, expect: int = 200
    ) -> Tally:
        """Send *requests*, as fast as they are answered, for as long as a round lasts."""
        return drive(
            Order(
                port=server.port,
                file=str(requests),
                connections=connections,
                expect=expect,
                warm_up=self.warm_up,
                seconds=self.seconds,
            )
        )


def rates(name: str, server: Server, tally: Tally, *, begun: float = 0) -> dict[str, float]:
    """The rate of a run, and its server's processor time for each answer, less the *begun* seconds before the run."""
    return {name: tally.rate, f"{name} us": (server.cpu_seconds() - begun) / tally.right * 1e6}
