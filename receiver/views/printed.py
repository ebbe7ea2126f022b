"""JSON for reading: on lines of its own, up to a bound.

A short document can be long when it is written on lines: each level of nesting adds to every line within it. So what
is too much is never made, rather than made and cut off.
"""

import json
from typing import Any, Final

#: Bytes of a document that are parsed for reading.
LARGEST_READ: Final = 256 * 1024
#: Characters of what is made of it.
LONGEST: Final = 64 * 1024
_ENCODER: Final = json.JSONEncoder(indent=2, ensure_ascii=False)


def printed(document: Any, most: int = LONGEST) -> str:  # noqa: ANN401  (any JSON)
    """A JSON document on lines, its beginning where it is longer than *most* characters.

    Raises:
        RecursionError: it is nested too deeply to be written.
    """
    pieces, length = [], 0
    for piece in _ENCODER.iterencode(document):
        pieces.append(piece)
        length += len(piece)
        if length > most:
            break
    # One character more than the bound tells that there was more.
    return "".join(pieces)[: most + 1]
