"""When a signed link runs out, as its own parameters tell."""

import re
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from receiver.core.model import SECOND

#: No clock of ours shows a time after this; a number beyond it is no time.
_LAST: Final = 253_402_300_799 * SECOND
_DIGITS: Final = re.compile(r"[0-9]{1,11}")
_MOST_FIELDS: Final = 200
#: A length of time, and from when on it counts: Amazon's signature version 4, and Google's, which is made like it
#: (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html, not read here).
_SPANS: Final = (("x-amz-expires", "x-amz-date"), ("x-goog-expires", "x-goog-date"))
#: Seconds since the Unix epoch (Amazon's version 2 and CloudFront, and many others), or a time in ISO 8601 (Azure).
_MOMENTS: Final = ("expires", "se", "exp", "expiry")
_EXPIRED: Final = re.compile(
    rb"<Code>\s*(?:ExpiredToken|AuthenticationFailed)\s*</Code>|Request has expired", re.IGNORECASE
)


def expiry(url: str) -> int | None:
    """When *url* runs out, in milliseconds since the Unix epoch; ``None`` where it does not say."""
    try:
        query = urlsplit(url).query
        fields = {
            name.lower(): value
            for name, value in parse_qsl(query, max_num_fields=_MOST_FIELDS, errors="replace")
        }
    except ValueError:
        return None
    found = [_span(fields.get(length), fields.get(start)) for length, start in _SPANS]
    found += [_moment(fields.get(name)) for name in _MOMENTS]
    return min((at for at in found if at is not None and 0 < at <= _LAST), default=None)


def _span(length: str | None, start: str | None) -> int | None:
    if length is None or start is None or _DIGITS.fullmatch(length) is None:
        return None
    try:
        begun = datetime.strptime(start, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(begun.timestamp()) * SECOND + int(length) * SECOND


def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    if _DIGITS.fullmatch(text) is not None:
        return int(text) * SECOND
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * SECOND)
    except (OverflowError, ValueError):
        return None


def says_expired(body: bytes) -> bool:
    """Whether an object store says in the body of an error that a link has run out.

    S3 answers 400 with the code ExpiredToken for a link that was signed with credentials that have run out
    (https://mail-archive.com/common-issues@hadoop.apache.org/msg256411.html, read 2026-11-29), Google's store has the
    same code (https://docs.extendtech.net/extendfiles/understanding-google-cloud-storage-signed-urls, read
    2026-11-29). AuthenticationFailed is Azure's, "Request has expired" S3's for a link past its own time; their pages
    were not read.
    """
    return _EXPIRED.search(body) is not None
