"""Unpacking: a file that was handed over in a content coding, as what it is without.

Object stores send gzip that they were given, whatever was asked for (RFC 9110, 8.4: the coding is none of the file's
own). A file that cannot be unpacked, or unfolds too far, stays as it arrived.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from typing import Final
from urllib.parse import urlsplit

from receiver.core.body.encoding import EncodingError, Inflation
from receiver.files.store import FileStore, Writing
from receiver.threads import off_loop

#: Steps of unfolding, of 256 KiB each, after which others have a turn.
_STEPS: Final = 8
#: Files that are packed themselves: there the label says once more what the file is, and is of no coding.
_TYPES: Final = {
    "application/gzip",
    "application/x-gzip",
    "application/zstd",
    "application/x-gtar-compressed",
}
_ENDINGS: Final = (".gz", ".tgz", ".zst")


def is_packed(codings: Sequence[bytes], *, content_type: str, url: str) -> bool:
    """Whether the file at *url* came in codings that are none of its own."""
    kind = content_type.partition(";")[0].strip().lower()
    return bool(codings) and kind not in _TYPES and not urlsplit(url).path.lower().endswith(_ENDINGS)


async def unpacked(
    kept: FileStore,
    sha256: str,
    size: int,
    codings: Sequence[bytes],
    *,
    largest: int,
    go_on: Callable[[], Awaitable[None]],
) -> Writing | None:
    """What the stored file *sha256* unfolds to, to be finished; ``None`` where it does not unfold to *largest* bytes.

    *go_on* is called for each piece of it.
    """
    writing = await kept.begin()
    try:
        inflation = Inflation(codings, largest=largest)
        async for piece in kept.read(sha256, start=0, length=size):
            unfolding = inflation.feed(piece)
            while plain := await off_loop(_some, unfolding):
                await writing.write(plain)
                await go_on()
        inflation.end()
    except EncodingError:
        await writing.discard()
        return None
    except BaseException:
        await writing.discard()
        raise
    return writing


def _some(unfolding: Iterator[bytes]) -> list[bytes]:
    return list(islice(unfolding, _STEPS))
