"""Forms, multipart or urlencoded, as names and values in bytes.

``multipart/form-data`` (RFC 7578) is taken apart by python-multipart, in memory; parts that are files are left aside.
"""

from typing import Any, Final

from python_multipart.multipart import MultipartParser, parse_options_header

from receiver.core.body.fields import MOST_FIELDS, split_fields

_MULTIPART: Final = b"multipart/form-data"


def is_multipart(content_type: bytes | None) -> bool:
    """Whether a body of that ``Content-Type`` is a form in parts."""
    return content_type is not None and content_type.partition(b";")[0].strip().lower() == _MULTIPART


def form_fields(body: bytes, content_type: bytes | None) -> list[tuple[bytes, bytes]]:
    """The fields of *body*, a form; raises ValueError where it is none, or has more fields than are read."""
    if not is_multipart(content_type):
        return split_fields(body)
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise ValueError("no boundary")
    parts = _Parts()
    callbacks: Any = {
        "on_part_begin": parts.begin,
        "on_header_field": parts.name,
        "on_header_value": parts.value,
        "on_header_end": parts.header,
        "on_part_data": parts.data,
        "on_part_end": parts.end,
        "on_end": parts.whole,
    }
    parser = MultipartParser(boundary, callbacks)
    parser.write(body)
    parser.finalize()
    if not parts.is_whole:
        raise ValueError("the form is cut short")
    return parts.fields


class _Parts:
    """Collects the parts of one form."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.is_whole = False
        self._disposition = b""
        self._header = [b"", b""]
        self._data: list[bytes] = []

    def begin(self) -> None:
        self._disposition, self._data = b"", []

    def name(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = value
        self._header = [b"", b""]

    def data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def end(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name")
        if name is None or b"filename" in options:
            return
        if len(self.fields) >= MOST_FIELDS:
            raise ValueError("more fields than are read")
        self.fields.append((name, b"".join(self._data)))

    def whole(self) -> None:
        self.is_whole = True
