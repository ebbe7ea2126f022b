"""Names of those who read the feed, as the receiver remembers them."""

import re
from typing import Final

from receiver.core.errors import RequestError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def reader_name(name: str) -> str:
    """*name*, where a reader of the feed can be called so; raises RequestError where not."""
    if _NAME.fullmatch(name) is None:
        raise RequestError(
            "A reader's name begins with a letter or digit and has up to 100 letters, digits, '.', '_' and '-'.",
            code="query_invalid",
            field="name",
        )
    return name
