"""Bodies as senders pack them: the content codings that the installed libraries can make."""

import gzip
import importlib
import zlib
from collections.abc import Callable
from typing import Any, Final


def gzipped(data: bytes) -> bytes:
    """Gzip without the time: the same bytes in every process of one run."""
    return gzip.compress(data, mtime=0)


def raw_deflated(data: bytes) -> bytes:
    """Deflate without a frame, as many senders understand the word."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def _members(data: bytes) -> bytes:
    half = len(data) // 2
    return gzipped(data[:half]) + gzipped(data[half:])


def library(name: str) -> Any:  # noqa: ANN401  (it comes without types)
    """An optional library, or ``None``: the extra ``encodings`` brings them."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


#: A label, and what packs a body so that the label is true.
PACKERS: Final[list[tuple[str, Callable[[bytes], bytes]]]] = [
    ("gzip", gzipped),
    ("x-gzip", _members),
    ("GZIP", gzipped),
    ("deflate", zlib.compress),
    ("deflate", raw_deflated),
    ("gzip, deflate", lambda data: zlib.compress(gzipped(data))),
    ("utf-8, gzip", gzipped),
]
if (_brotli := library("brotli")) is not None:
    PACKERS.append(("br", _brotli.compress))
if (_zstd := library("compression.zstd") or library("backports.zstd")) is not None:
    PACKERS.append(("zstd", _zstd.compress))
