"""The bytes of simulated files: made as they are asked for, from any place on, and different at every place."""

from __future__ import annotations

import functools
import hashlib
import random
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK: Final = 65_536
_NUMBER: Final = 8
#: The first box of an MP4 file, so that the rest is taken for video by whoever looks at the beginning.
_FTYP: Final = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"mp42", 0, b"mp42", b"isom")
_SIDE: Final = 64
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_TYPES: Final = {"png": "image/png", "mp4": "video/mp4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file holds.

    Attributes:
        name: Its name; the ending decides what it is.
        seed: A different seed makes a different file.
        size: Its bytes; an image without a size is a whole PNG file.
    """

    name: str
    seed: str
    size: int

    @property
    def content_type(self) -> str:
        """Its media type."""
        return _TYPES.get(self.name.rpartition(".")[2], "application/octet-stream")

    @property
    def etag(self) -> str:
        """A strong validator: no other content has it."""
        return '"' + hashlib.sha256(f"{self.seed}\0{self.name}\0{self.size}".encode()).hexdigest()[:32] + '"'

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield its bytes from *start* up to *stop*, at most 64 KiB at a time."""
        beginning = picture(self.seed) if self.name.endswith(".png") else _FTYP
        noise = _noise(self.seed)
        while start < stop:
            number, within = divmod(start, _BLOCK)
            block = number.to_bytes(_NUMBER, "big") + noise
            if number == 0:
                block = (beginning + block[len(beginning) :])[:_BLOCK]
            piece = block[within : within + stop - start]
            yield piece
            start += len(piece)

    def digests(self) -> tuple[bytes, bytes]:
        """Return its MD5 and its SHA-256."""
        return _digests(self)


def image(name: str, seed: str) -> Content:
    """Return a small picture: a whole PNG file."""
    return Content(name=name, seed=seed, size=len(picture(seed)))


@functools.lru_cache(maxsize=256)
def picture(seed: str) -> bytes:
    """Return a PNG file of 64 × 64 grey pixels."""
    pixels = random.Random(seed).randbytes(_SIDE * _SIDE)
    rows = b"".join(b"\0" + pixels[row * _SIDE : (row + 1) * _SIDE] for row in range(_SIDE))
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 0, 0, 0, 0)
    return _PNG + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@functools.lru_cache(maxsize=64)
def _noise(seed: str) -> bytes:
    return random.Random(seed).randbytes(_BLOCK - _NUMBER)


@functools.lru_cache(maxsize=256)
def _digests(content: Content) -> tuple[bytes, bytes]:
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    for piece in content.pieces(0, content.size):
        md5.update(piece)
        sha256.update(piece)
    return md5.digest(), sha256.digest()
