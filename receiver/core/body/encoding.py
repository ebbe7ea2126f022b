"""Content codings undone: gzip, deflate, br and zstd, within bounds of size and of ratio.

RFC 9110, 8.4 (https://www.rfc-editor.org/rfc/rfc9110#section-8.4). What arrives does not always keep
to it: object stores send gzip that nobody asked for, proxies unpack a body and leave its label, senders put a charset
there. So a label is a hint: bytes that are not what it says are left as they arrived, and whoever reads them decides.
"""

import importlib
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final, Protocol

#: Bytes that one step yields at most, so that nobody waits for a whole document to unfold.
STEP: Final = 256 * 1024
#: Deflate itself unfolds a byte into at most 1,032 (https://zlib.net/zlib_tech.html, "Maximum Compression Factor"), so
#: no genuine gzip is refused for its ratio. Several layers of it, br and zstd have no such bound.
_RATIO: Final = 1100
#: Within so many bytes the ratio does not matter.
_FREE: Final = 1024 * 1024
#: Nobody packs more often than this.
_MOST_LAYERS: Final = 3
_IDENTITY: Final = {b"", b"identity"}
_NAMES: Final = {b"x-gzip": b"gzip", b"x-deflate": b"deflate", b"zstandard": b"zstd"}
#: Codings that we know of, whether or not they can be undone here.
_PACKED: Final = {b"gzip", b"deflate", b"br", b"zstd", b"compress", b"x-compress", b"dcb", b"dcz"}
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
#: RFC 9659: a window beyond 8 MiB need not be supported.
_ZSTD_WINDOW_LOG: Final = 23
_TWO: Final = 2


class EncodingError(Exception):
    """A coding that was not undone; ``code`` says why, ``packed`` whether the bytes look packed all the same."""

    def __init__(self, code: str, *, packed: bool) -> None:
        super().__init__(code)
        self.code = code
        self.packed = packed


class Stage(Protocol):
    """One coding, undone piece by piece."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what *data* unfolds to, in pieces of at most 256 KiB; raises EncodingError where it is not so coded."""
        ...

    def end(self) -> None:
        """Say that nothing follows; raises EncodingError where something should."""
        ...


class Inflation:
    """The codings of one body, undone as it arrives."""

    def __init__(self, codings: Sequence[bytes], *, largest: int) -> None:
        """Prepare for the list of *codings* as applied; raises EncodingError where one cannot be undone here."""
        if len(codings) > _MOST_LAYERS:
            raise EncodingError("body_encoding_unknown", packed=True)
        self._stages = [_stage(name) for name in reversed(codings)]
        self._largest = largest
        self._received = 0
        self._yielded = [0] * len(self._stages)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what *data* unfolds to; raises EncodingError where it is not what it should be, or too much."""
        self._received += len(data)
        return self._through(data, 0)

    def end(self) -> None:
        """Say that nothing follows; raises EncodingError where the body was cut off."""
        for stage in self._stages:
            stage.end()

    def _through(self, data: bytes, number: int) -> Iterator[bytes]:
        if number == len(self._stages):
            yield data
            return
        for piece in self._stages[number].feed(data):
            self._yielded[number] += len(piece)
            if self._yielded[number] > min(self._largest, max(_FREE, _RATIO * self._received)):
                raise EncodingError("body_inflates_too_far", packed=True)
            yield from self._through(piece, number + 1)


def codings_of(headers: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """The codings that Content-Encoding names, in the order in which they were applied; words of no coding left out.

    A charset, ``none`` or ``aws-chunked`` says nothing about how the bytes are packed.
    """
    if b"content-encoding" not in dict(headers):
        return []  # as for most, and found out three times as fast
    fields = [value for name, value in headers if name == b"content-encoding"]
    named = (_NAMES.get(token, token) for token in _tokens(fields))
    return [name for name in named if name not in _IDENTITY and name in _PACKED]


def is_known(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether Content-Encoding names nothing but codings that we know of."""
    fields = [value for name, value in headers if name == b"content-encoding"]
    return {*_tokens(fields)} <= _IDENTITY | _PACKED | _NAMES.keys()


def _tokens(fields: Sequence[bytes]) -> Iterator[bytes]:
    # A parameter (``gzip;q=1.0``) belongs to Accept-Encoding, and changes nothing about the coding.
    for token in b",".join(fields).split(b","):
        yield token.partition(b";")[0].strip(b" \t\"'").lower()


def undone(body: bytes, headers: Sequence[tuple[bytes, bytes]], *, largest: int) -> bytes:
    """*body* without its codings, at most *largest* bytes; raises EncodingError where they cannot be undone."""
    codings = codings_of(headers)
    if not codings:
        return body
    inflation = Inflation(codings, largest=largest)
    plain = b"".join(inflation.feed(body))
    inflation.end()
    return plain


def looks_packed(body: bytes) -> bool:
    """Whether the first bytes are those of gzip or zstd, with which neither JSON nor any other text begins."""
    return _shown(body) is not None


def unpacked(body: bytes, *, largest: int) -> bytes | None:
    """*body* without the codings that it shows by its own first bytes, whatever was said of it, or was not.

    For bytes that cannot be read as they are: a file may well be packed on purpose. ``None`` where it shows none, or
    is not whole, or unfolds too far.
    """
    plain: bytes | None = None
    for _ in range(_MOST_LAYERS):
        name = _shown(body if plain is None else plain)
        if name is None:
            break
        try:
            inflation = Inflation([name], largest=largest)
            plain = b"".join(inflation.feed(body if plain is None else plain))
            inflation.end()
        except EncodingError:
            return None
    return plain


def _shown(body: bytes) -> bytes | None:
    return b"gzip" if body.startswith(_GZIP) else b"zstd" if body.startswith(_ZSTD) else None


def _stage(name: bytes) -> Stage:
    if name in {b"gzip", b"deflate"}:
        return _Zlib(raw=name == b"deflate")
    if name == b"br" and (brotli := _library("brotli")) is not None:
        return _Brotli(brotli)
    if name == b"zstd" and (zstd := _library("compression.zstd") or _library("backports.zstd")) is not None:
        return _Zstd(zstd)
    raise EncodingError("body_encoding_unknown", packed=True)


@cache
def _library(name: str) -> Any:  # noqa: ANN401  (an optional library; None where it is not installed)
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


class _Zlib:
    """gzip (of any number of members, RFC 1952) and deflate, which is zlib or, as many send it, raw."""

    def __init__(self, *, raw: bool) -> None:
        self._raw = raw
        self._head = b""
        self._kind: int | None = None
        self._inflater = zlib.decompressobj()

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._kind is None:
            data = self._head = self._head + data
            if len(data) < _TWO:
                return
            self._kind = self._kind_of(data)
            self._inflater = zlib.decompressobj(self._kind)
        whole = False
        while data or whole:
            if self._inflater.eof:
                data = self._next_member(data)
                if not data:
                    return
            try:
                piece = self._inflater.decompress(data, STEP)
            except zlib.error as error:
                raise EncodingError("body_encoding_broken", packed=self._packed) from error
            # zlib may have taken all that there is and hold back what was too much for one step.
            whole = len(piece) == STEP and not self._inflater.eof
            data = self._inflater.unconsumed_tail or self._inflater.unused_data
            if piece:
                yield piece

    def end(self) -> None:
        if not self._inflater.eof:
            raise EncodingError("body_encoding_broken", packed=self._packed)

    @property
    def _packed(self) -> bool:
        # A raw stream has no mark to be known by; much text begins like one.
        return self._kind is not None and self._kind > 0

    def _kind_of(self, head: bytes) -> int:
        if head.startswith(_GZIP):
            return 16 + zlib.MAX_WBITS
        if head[0] & 0x0F == zlib.DEFLATED and int.from_bytes(head[:_TWO]) % 31 == 0:
            return zlib.MAX_WBITS
        if self._raw and head[0] & 0x06 != 0x06:  # noqa: PLR2004  (RFC 1951, 3.2.3: there is no block of type 3)
            return -zlib.MAX_WBITS
        raise EncodingError("body_encoding_broken", packed=False)

    def _next_member(self, data: bytes) -> bytes:
        if self._kind != 16 + zlib.MAX_WBITS:
            raise EncodingError("body_encoding_broken", packed=True)
        # Padding behind a member is what tapes and some writers leave.
        data = data.lstrip(b"\0")
        if data:
            self._inflater = zlib.decompressobj(self._kind)
        return data


class _Brotli:
    """br (RFC 7932)."""

    def __init__(self, library: Any) -> None:  # noqa: ANN401  (it comes without types)
        self._error = library.error
        self._inflater = library.Decompressor()
        self._any = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            try:
                if self._inflater.is_finished():
                    if data:
                        raise EncodingError("body_encoding_broken", packed=True)
                    return
                piece = self._inflater.process(data, output_buffer_limit=STEP)
            except self._error as error:
                raise EncodingError("body_encoding_broken", packed=self._any) from error
            data = b""
            if not piece and self._inflater.can_accept_more_data():
                return
            self._any = True
            # The library may overstep its limit by its own buffer.
            yield from (piece[start : start + STEP] for start in range(0, len(piece), STEP))

    def end(self) -> None:
        if not self._inflater.is_finished():
            raise EncodingError("body_encoding_broken", packed=self._any)


class _Zstd:
    """zstd (RFC 8878), of any number of frames."""

    def __init__(self, library: Any) -> None:  # noqa: ANN401  (of two names)
        self._library = library
        self._inflater = self._frame()
        self._head = b""
        self._began = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not self._began:
            data = self._head = self._head + data
            if len(data) < len(_ZSTD):
                return
            # A skippable frame (0x184D2A5?) may come first.
            if not data.startswith(_ZSTD) and data[1:4] != b"\x2a\x4d\x18":
                raise EncodingError("body_encoding_broken", packed=False)
            self._began = True
        while data or not (self._inflater.needs_input or self._inflater.eof):
            if self._inflater.eof:
                self._inflater = self._frame()
            try:
                piece = self._inflater.decompress(data, STEP)
            except self._library.ZstdError as error:
                raise EncodingError("body_encoding_broken", packed=True) from error
            data = self._inflater.unused_data if self._inflater.eof else b""
            if piece:
                yield piece

    def end(self) -> None:
        if not self._inflater.eof:
            raise EncodingError("body_encoding_broken", packed=self._began)

    def _frame(self) -> Any:  # noqa: ANN401
        parameter = self._library.DecompressionParameter.window_log_max
        return self._library.ZstdDecompressor(options={parameter: _ZSTD_WINDOW_LOG})
