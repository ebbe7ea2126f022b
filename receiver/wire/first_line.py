"""First lines of requests that the parser does not take, although their meaning is plain.

Any token is a method (RFC 9110, 9.1), in any case, and the parser has a list. Some senders put accents into an address
as they are, and the parser wants them written with ``%``. Whether a method or an address is wanted is not for the
parser to say, so such a request is read again in words that it knows.
"""

import re
from bisect import bisect_left
from contextlib import suppress
from typing import Final, NamedTuple

import httptools

#: What such a request is read as: its body is as long as its head says.
_KNOWN: Final = b"POST "
#: Characters of a method; nobody has one of so many.
_LONGEST: Final = 100
_METHOD: Final = re.compile(rb"([-!#$%%&'*+.^_`|~0-9A-Za-z]{1,%d})( ?)" % _LONGEST)
_TARGET: Final = re.compile(rb"[\x21-\x7e\x80-\xff]*")
_HIGH: Final = re.compile(rb"[\x80-\xff]")


class Rewritten(NamedTuple):
    """A request whose first line the parser does not take."""

    method: bytes
    #: All of it that has come, in words that the parser knows; ``None`` where its method and address are not here yet.
    request: bytes | None


def parser_of(told: object) -> httptools.HttpRequestParser:
    """A parser that tells *told* what it reads."""
    parser = httptools.HttpRequestParser(told)
    # What comes behind a request that is to be the last one is no reason not to answer that one.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def rewritten(read: bytes) -> Rewritten | None:
    """The last request in *read*, which begins where a request does; ``None`` where the last one has no method."""
    found = _METHOD.match(read, last_begin(read))
    if found is None or not (found[2] or found.end() == len(read)):
        return None
    target = _TARGET.match(read, found.end())
    if target is None or target.end() == len(read):
        return Rewritten(found[1], None)
    written = _HIGH.sub(lambda one: b"%%%02X" % one[0][0], target[0])
    return Rewritten(found[1], _KNOWN + written + read[target.end() :])


def last_begin(read: bytes) -> int:
    """Where the last request in *read* begins."""
    # The parser does not say where it stands, but how many requests began in so many bytes.
    wanted = _begun(read)
    return max(0, bisect_left(range(len(read)), wanted, key=lambda size: _begun(read[:size])) - 1)


class _Begins:
    """Counts the requests that begin."""

    count = 0

    def on_message_begin(self) -> None:
        """One begins."""
        self.count += 1


def _begun(read: bytes) -> int:
    begins = _Begins()
    with suppress(httptools.HttpParserError):
        parser_of(begins).feed_data(read)
    return begins.count
