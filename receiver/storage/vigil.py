"""Vigil: what a thread of its own reads and writes in the database, even while event loop and writer are busy."""

from collections.abc import Sequence

from receiver.core.circuit import Circuit
from receiver.core.errors import StoreUnavailableError
from receiver.core.handler import HandlerSpec
from receiver.storage import circuits, claims, clocks, nodes, pauses
from receiver.storage.claims import Beat
from receiver.storage.clocks import Followed, Reading
from receiver.storage.driver import ContendedError, Driver


class Vigil:
    """What one node's thread asks of the database; every method blocks.

    Raises (every method):
        StoreUnavailableError: the database cannot be used right now.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def time(self) -> int | None:
        """The database's clock, in milliseconds since the Unix epoch; ``None`` where it has only ours."""
        return self._driver.time()

    def give_sign(self, beat: Beat) -> None:
        """Extend the leases of what is still being worked on; see ``claims.heartbeat``."""
        try:
            with self._driver.write() as tx:
                claims.heartbeat(tx, [beat])
        except ContendedError as error:
            raise StoreUnavailableError(
                "Other transactions got in the way; the next sign of life tries again."
            ) from error

    def follow(self, reading: Reading) -> Followed:
        """Compare the clocks with what is known of them; see ``clocks.follow``."""
        try:
            with self._driver.write() as tx:
                return clocks.follow(tx, reading)
        except ContendedError as error:
            raise StoreUnavailableError("Others were in the way; the next look tries again.") from error

    def handlers(self) -> Sequence[HandlerSpec]:
        """The registered handlers."""
        with self._driver.read() as tx:
            return nodes.specs(tx)

    def around(
        self, *, now: int, within: int
    ) -> tuple[list[tuple[str, str]], list[tuple[str, int]], list[Circuit]]:
        """The nodes that gave a sign of life within the last milliseconds, with their roles; who is to be left alone.

        That is providers, each with until when, and handlers.
        """
        with self._driver.read() as tx:
            return nodes.lively(tx, now - within), pauses.pauses(tx, now), circuits.circuits(tx)
