"""A receiver and its providers, put together for one test."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from receiver.app import Receiver
from receiver.catalog import Catalog
from receiver.settings import Settings
from receiver.testing.clock import Clock
from receiver.testing.provider import Provider
from receiver.testing.signing import settings_for
from receiver.testing.wire import Wire

PUBLIC_URL: Final = "https://receiver.test"
#: Tests that go through ``/v1`` need this token.
API_TOKEN: Final = "the API token of a test"  # noqa: S105  (it opens nothing but a test)
_MASTER_KEY: Final = "the master key of a test is no secret"


class Kit:
    """One receiver, its clock, and all providers, for one test.

    Entered within a test, it sees to it that nothing is left running when the test has ended.
    """

    def __init__(self, receiver: Receiver, *, clock: Clock, settings: Settings, transport: Wire) -> None:
        self.receiver = receiver
        self.clock = clock
        self.settings = settings
        self.provider = Provider(
            receiver=receiver,
            wire=transport,
            clock=clock,
            described=lambda: transport.providers,
            public_url=PUBLIC_URL,
            api_token=API_TOKEN,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.receiver.stop()


@contextmanager
def staged(receiver: Receiver, *, clock: Clock, folder: Path, environ: Mapping[str, str]) -> Iterator[Kit]:
    """Have *receiver* play with simulated providers, its database in *folder*.

    Raises:
        ConfigurationError: a setting in *environ* is wrong, or a description.
        ReceiverError: the receiver runs already, or still does at the end.
    """
    wire = Wire(PUBLIC_URL)
    given = {
        "RECEIVER_DATABASE_URL": f"sqlite:///{folder}/receiver.db",
        "RECEIVER_PUBLIC_URL": PUBLIC_URL,
        "RECEIVER_SECRET_KEY": _MASTER_KEY,
        "RECEIVER_API_TOKEN": API_TOKEN,
        # No test depends on how full a disk is.
        "RECEIVER_DISK_FLOOR": "0",
        **environ,
    }
    described = Catalog.load(Settings.load(given))
    needed: dict[str, str] = {}
    for one in described.values():
        needed |= settings_for(one)
    settings = Settings.load(needed | given)
    # Once more, because an audience may be a setting; it takes no time now.
    wire.providers = Catalog.load(settings)
    kit = Kit(receiver, clock=clock, settings=settings, transport=wire)
    wire.overtaken = kit.provider.overtake
    with receiver.staged(settings, clock=clock, transport=wire):
        yield kit
