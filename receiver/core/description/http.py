"""What HTTP can carry: names and values of headers, and the statuses that may be a job's own failure."""

import re
from collections.abc import Mapping
from typing import Final

#: The name of a header (https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2), but for ``*``, which stands for more.
HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'+.^_`|~-]+")
#: Statuses that may be a job's own failure, but for those that are about who asks, and how often.
_FAILURES: Final = range(400, 600)
_OURS: Final = frozenset({401, 408, 429})


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise ValueError where a name is no name of a header, or a value could not be sent as one."""
    for name, value in headers.items():
        if HEADER.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no name of a header")
        if not value.isprintable():
            raise ValueError(f"the header {name!r} has a character that cannot be printed")


def check_statuses(*, failed: tuple[int, ...]) -> None:
    """Raise ValueError where a status that is said to be a job's own failure never is."""
    for one in failed:
        if one not in _FAILURES or one in _OURS:
            raise ValueError(
                f"failed: {one} is no job's own failure: that is a status from 400 to 599, and none of "
                f"{', '.join(map(str, sorted(_OURS)))}, which are about who asks and how often"
            )
