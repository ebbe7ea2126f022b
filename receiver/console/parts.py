"""What the console works with: the parts of a started receiver, handed over by whoever wires it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from receiver.catalog import Catalog
from receiver.files.store import FileStore
from receiver.keys import Keys
from receiver.settings import Settings
from receiver.steps.cancel import Cancel
from receiver.steps.proving import Proving
from receiver.steps.replay import Replay
from receiver.steps.submit import Submit
from receiver.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a started receiver that the console needs."""

    store: Store
    files: FileStore
    catalog: Catalog
    keys: Keys
    proving: Proving
    settings: Settings
    submit: Submit
    cancel: Cancel
    replay: Replay
    clock: Callable[[], int]
    notify: Callable[[], None]
    #: Whether this process is about to end, so that nobody is to be kept waiting.
    ending: Callable[[], bool]
    #: Adds what was counted just now to the record.
    tally: Callable[[], Awaitable[None]]
