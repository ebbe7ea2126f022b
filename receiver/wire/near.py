"""Near misses: addresses that are nobody's, and almost one of ours.

Who mistypes an address, or has a proxy that changes it, hears the same empty 404 as whoever guesses. What it was is
told to the operator alone: counted, and named by ``receiver doctor``.
"""

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Final

from receiver.core.model import Value
from receiver.core.signature.token import TOKEN_SIZE
from receiver.steps.proving import Way

_MARKERS: Final = ("callbacks", "webhooks")
#: Characters of a path, and parts of it, that are looked at.
_LONGEST: Final = 2048
_MOST_PARTS: Final = 16
#: A token and what may stick to it: quotes and full stops of the text it was copied from, parameters, padding.
_TOKEN: Final = re.compile(r"[^A-Za-z0-9_-]*([A-Za-z0-9_-]+)")

#: How many characters a token may have too many or too few and still be taken for one.
_MOST_ODD: Final = 4
#: How much alike a part of a path and the right word are, from 0 to 1.
_ALIKE: Final = 0.75

Ways = Callable[[str, str | None], Way | None]


class Near(Value, frozen=True, kw_only=True):
    """What is wrong with an address, and whose it nearly is."""

    kind: str
    provider: str
    #: Where it was to lead; ``None`` where no token of ours is in it.
    way: Way | None = None


def near(path: str, *, ways: Ways, names: Iterable[str]) -> Near | None:
    """The address that *path* nearly is, or ``None``; *names* are those of the providers that call back."""
    parts = [part for part in path.split("/") if part not in {"", "."}] if len(path) <= _LONGEST else []
    if not 1 < len(parts) <= _MOST_PARTS:
        return None
    known = set(names)
    places = [place for place, part in enumerate(parts) if part.lower() in _MARKERS]
    if not places:
        return _misspelled(parts, ways, known)
    tail = parts[places[-1] + 1 :]
    if not tail:
        return None
    way, provider = _callback(tail, ways, known), tail[0].lower()
    if parts[places[-1]].lower() == "webhooks":
        if way is not None:
            return Near(kind="wrong_route", provider=way.provider.name, way=way)
        return _shared(provider, ways, known, kind=_kind(path, parts, places, wanted=1))
    if way is None:
        return _without_job(tail, ways, known) if provider in known else None
    if way.provider.name != provider:
        return Near(kind="wrong_provider", provider=way.provider.name, way=way)
    return Near(kind=_kind(path, parts, places, wanted=2), provider=provider, way=way)


def _misspelled(parts: list[str], ways: Ways, known: set[str]) -> Near | None:
    """What is wrong where no part says what kind of address it is: its beginning is cut off, or misspelled."""
    for length, marker in ((3, "callbacks"), (2, "webhooks")):
        if len(parts) < length or not get_close_matches(parts[-length].lower(), [marker], cutoff=_ALIKE):
            continue
        if marker == "webhooks":
            return _shared(parts[-1].lower(), ways, known, kind="path_misspelled")
        way = _callback(parts[-2:], ways, known)
        return None if way is None else Near(kind="path_misspelled", provider=way.provider.name, way=way)
    way = _callback(parts[-2:], ways, known)
    return None if way is None else Near(kind="path_cut", provider=way.provider.name, way=way)


def _without_job(tail: list[str], ways: Ways, known: set[str]) -> Near | None:
    """What is wrong where no token of ours follows the name of a provider: there is none, or one of another length."""
    provider = tail[0].lower()
    if len(tail) == 1:
        return Near(kind="token_missing", provider=provider)
    clean = _TOKEN.match(tail[1])
    size = 0 if clean is None else len(clean[1]) - TOKEN_SIZE
    if not 0 < abs(size) <= _MOST_ODD:
        return None
    # What was cut off cannot be told; what was added may be.
    way = _callback([provider, tail[1][: len(tail[1]) - size]], ways, known) if size > 0 else None
    return Near(kind="token_longer" if size > 0 else "token_shorter", provider=provider, way=way)


def _shared(provider: str, ways: Ways, known: set[str], *, kind: str) -> Near | None:
    """What is wrong with an address of a whole account, of which *kind* is told by its form."""
    if provider not in known:
        return None
    return Near(kind="no_shared_address" if ways(provider, None) is None else kind, provider=provider)


def _callback(tail: list[str], ways: Ways, known: set[str]) -> Way | None:
    """Where a provider's name and a token lead, whichever provider the token is good for."""
    if len(tail) < 2:  # noqa: PLR2004  (the two)
        return None
    clean = _TOKEN.match(tail[1])
    if clean is None:
        return None
    provider, token = tail[0].lower(), clean[1]
    found = ways(provider, token)
    if found is None:
        # A token is bound to its provider; a wrong one costs a digest each.
        found = next((way for name in sorted(known) if (way := ways(name, token)) is not None), None)
    return found


def _kind(path: str, parts: list[str], places: list[int], *, wanted: int) -> str:
    """How *path* differs from the address that its parts name."""
    place = places[-1]
    if len(places) > 1:
        return "path_doubled"
    if place > 0:
        return "path_prefixed"
    if len(parts) > 1 + wanted:
        return "path_longer"
    if parts[0] not in _MARKERS or parts[1] != parts[1].lower():
        return "wrong_case"
    if "//" in path:
        return "slash_doubled"
    return "trailing_slash" if path.endswith("/") else "stray_character"
