"""What a vendor's own package says of its API, and where in it: the ``[[sdk]]`` tables of a description.

They are compared with the package by ``receiver/watch.py``; nothing else reads them, and no code of the package is run.
"""

import re
from typing import Final, Literal

from receiver.core.description.parts import Part

#: A file of the package and a name in it: a class with a member (``*``: every class), an alias, or an enumeration; or
#: one of Amazon's service models and a shape in it. Typings and scripts of npm are read as Python files are.
_PLACE: Final = re.compile(r"[\w./-]+\.((py|ts|js):(\w+|\*\.\w+|\w+\.\w+)|json\.gz:\w+)", re.ASCII)


class Words(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the package lists the words that a shape must know."""

    shape: str
    #: ``anthropic/types/messages/message_batch.py:MessageBatch.processing_status``.
    at: str
    #: Words that the shape leaves out on purpose: kinds of events that concern no job. ``*`` at the end stands for any.
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if _PLACE.fullmatch(self.at) is None:
            raise ValueError(f"at: {self.at!r} is not FILE.py:NAME or FILE.py:CLASS.MEMBER (or .ts, .js)")


class Sdk(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One package of the vendor's, as its registry calls it, and the version that was compared with."""

    package: str
    version: str
    registry: Literal["pypi", "npm"] = "pypi"
    words: tuple[Words, ...] = ()
    #: Files of the package whose texts hold the paths of the API.
    paths: tuple[str, ...] = ()
    #: Addresses of this description that the package does not have.
    ignore: tuple[str, ...] = ()
