"""Page: what every page of the console stands on. ``face.py`` lists them all; their templates are in ``templates/``."""

from abc import ABC, abstractmethod

from receiver.console.ask import Route
from receiver.console.parts import Parts


class Page(ABC):
    """One page, or some that belong together."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store

    @property
    @abstractmethod
    def routes(self) -> list[Route]:
        """What can be asked for."""
