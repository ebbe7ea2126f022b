"""Signed timestamps: as text in a header or body, as milliseconds since the Unix epoch here."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from receiver.core.description.scheme import Scheme
from receiver.core.errors import TimestampFutureError, TimestampMalformedError, TimestampStaleError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_NUMBER: Final = 16
_ISO: Final = re.compile(
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_HTTP: Final = re.compile(
    rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4})"
    rb" ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def parse_timestamp(text: bytes, form: str) -> int:
    """Read *text*, which must be in *form* and nothing else, as milliseconds.

    Raises:
        TimestampMalformedError: it is not; the digits are ASCII, unsigned and at most 16.
    """
    try:
        match form:
            case "unix" | "unix-ms" | "unix-us":
                # bytes.isdigit knows ASCII only; int() alone takes ' +17 ', '1_7' and other scripts.
                if text.isdigit() and len(text) <= _LONGEST_NUMBER:
                    return (
                        int(text) // 1000
                        if form == "unix-us"
                        else int(text) * (1000 if form == "unix" else 1)
                    )
            case "iso8601" if _ISO.fullmatch(text):
                return _milliseconds(datetime.fromisoformat(text.decode()))
            case "http-date" if found := _HTTP.fullmatch(text):
                month = _MONTHS.index(found[3].decode()) + 1
                day, year, hour, minute, second = (int(found[group]) for group in (2, 4, 5, 6, 7))
                return _milliseconds(datetime(year, month, day, hour, minute, second, tzinfo=UTC))
    except (ValueError, OverflowError):
        pass
    raise TimestampMalformedError(f"The signed timestamp is not in the form {form!r}.")


def write_timestamp(now: int, form: str) -> bytes:
    """Write *now* (milliseconds) in *form*."""
    moment = _EPOCH + timedelta(milliseconds=now)
    match form:
        case "unix":
            return b"%d" % (now // 1000)
        case "unix-us":
            return b"%d" % (now * 1000)
        case "iso8601":
            return moment.replace(tzinfo=None).isoformat(timespec="milliseconds").encode() + b"Z"
        case "http-date":
            # strftime's names of days and months follow the locale.
            day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
            return f"{day}, {moment:%d} {month} {moment:%Y %H:%M:%S} GMT".encode()
    return b"%d" % now


def check_age(signed_at: int, *, scheme: Scheme, now: int) -> None:
    """Hold a proved timestamp against the scheme's tolerance; both times in milliseconds.

    Raises:
        TimestampStaleError: it is older than ``tolerance``.
        TimestampFutureError: it is further ahead than ``future_tolerance``.
    """
    age = now - signed_at
    if age > scheme.tolerance * 1000:
        raise TimestampStaleError(
            f"Signed {span(age)} before it arrived; the scheme tolerates {span(scheme.tolerance * 1000)}."
        )
    if -age > scheme.future_tolerance * 1000:
        raise TimestampFutureError(
            f"Signed {span(-age)} ahead of our clock; "
            f"the scheme tolerates {span(scheme.future_tolerance * 1000)}."
        )


def span(milliseconds: int) -> str:
    """Write a time span for a person: ``42 s``, ``7 min``, ``3 h``, ``12 d``."""
    for size, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min")):
        if milliseconds >= 2 * size:
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds // 1000} s"


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
