"""The ``[[files]]`` of a provider description: where in its results links to files stand, and what is known of them."""

import re
from typing import Final, Literal

from receiver.core.description.parts import Duration, Part, Size

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
#: How deep ``**`` goes: no document of a provider is deeper on purpose.
DEEPEST: Final = 32


class Linked(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One place in the results of an API where links to files stand, or the address of a file that the answer names.

    The path is one into the result, as it is stored. ``*`` stands for every member of an object or list, ``**`` for
    every depth, none included; ``.`` is the result itself. Text that is no link, and what is no text, is passed by.
    """

    path: str | None = None
    #: Instead of ``path``: an address with paths of the answer that told how the job ended (``{error_file_id}``). There
    #: is no such file where one of them is empty there.
    url: str | None = None
    #: How long the provider keeps the file; as ``[retention]`` says where this is left out.
    keeps: Duration | None = None
    counted_from: Literal["completion", "submission"] = "completion"
    #: Whether the link, where its origin is one of ``origins``, wants our credentials.
    authenticated: bool = False
    #: The largest file that may come from here; RECEIVER_MAX_FILE bounds it in any case.
    largest: Size | None = None
    #: What the file is called: text with ``{number}``, with paths of the result (``{id}``), and with paths that begin
    #: at the object or list that the link stands in (``{.file_name}``). The end of the link where it is left out.
    name: str | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.url is None):
            raise ValueError(
                "a file is at a path in the result or at a url that the answer completes: give one"
            )
        if self.url is not None and not (self.parts and all(map(_PLAIN.fullmatch, self.parts))):
            raise ValueError(
                f"url {self.url!r}: it needs plain paths of the answer, such as {{error_file_id}}"
            )
        if not all(self.keys):
            raise ValueError(f"path {self.path!r}: there is nothing between two dots")
        if any("*" in key and key not in {"*", "**"} for key in self.keys):
            raise ValueError(f"path {self.path!r}: * stands for a whole member, ** for every depth")
        if self.name is not None and not all(self.placeholders):
            raise ValueError(f"name {self.name!r}: {{}} names nothing")

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys on the way to the links."""
        return () if self.path in {None, "."} else tuple(str(self.path).split("."))

    @property
    def parts(self) -> tuple[str, ...]:
        """The paths of the answer that complete the address."""
        found = _PLACEHOLDER.findall(self.url or "")
        return tuple(one for one in found if not one.startswith("setting:"))

    @property
    def placeholders(self) -> tuple[str, ...]:
        """What the name is put together from, besides its text."""
        return tuple(_PLACEHOLDER.findall(self.name or ""))
