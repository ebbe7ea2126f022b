"""What an exception came from, cut where it is too much to be written: a handler may raise one of thousands of causes.

To write all of them takes seconds, in which nothing else is done.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

#: So many exceptions that hang together are written, those that are nearest to the one that was raised.
MOST: Final = 50
#: What is said where there were more.
LEFT_OUT: Final = f"More than {MOST} exceptions hang together here; those that are further away are left out."
#: What hangs exceptions together; the cause first, because whoever sets it sets the last as well.
_LINKS: Final = ("__cause__", "__context__", "__suppress_context__")


class Shown:
    """What is to be said of an exception beside what is written."""

    def __init__(self) -> None:
        #: Whether something is left out.
        self.cut = False
        #: Whether that could not be done, because a group holds its members for good: then it must not be written.
        self.uncuttable = False


@contextmanager
def cut(raised: BaseException) -> Iterator[Shown]:
    """Have at most so many exceptions hang together with *raised* while the block runs; afterwards all do again."""
    shown, parted = Shown(), list[tuple[BaseException, list[Any]]]()
    seen, left = {id(raised)}, deque([raised])
    while left:
        one = left.popleft()
        links = [_of(one, name) for name in _LINKS]
        members = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        near = [each for each in (*links, *members) if isinstance(each, BaseException)]
        new = {id(each): each for each in near if id(each) not in seen}
        if len(seen) + len(new) <= MOST:
            seen |= new.keys()
            left.extend(new.values())
            continue
        shown.cut = True
        shown.uncuttable = shown.uncuttable or any(id(each) in new for each in members)
        parted.append((one, links))
    try:
        for one, _ in parted:
            _link(one, [None, None, True])
        yield shown
    finally:
        for one, links in parted:
            _link(one, links)


# By the methods of the class that all exceptions share: one of a handler's may have its own, or be frozen.
def _of(one: BaseException, name: str) -> Any:  # noqa: ANN401  (an exception, none, or a switch)
    return BaseException.__dict__[name].__get__(one)


def _link(one: BaseException, links: Sequence[Any]) -> None:
    for name, value in zip(_LINKS, links, strict=True):
        BaseException.__dict__[name].__set__(one, value)
