"""Names for files that somebody else has named, as they may be used on a disk of ours."""

import re
import unicodedata
from typing import Final

#: What separates folders or is refused by one system or another, and what cannot be seen or turns text around.
_UNFIT: Final = re.compile(
    '[\0-\x1f\x7f-\x9f/\\\\:*?"<>|\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffd\ud800-\udfff]'
)
#: Names of devices on Windows, whatever ending they have
#: (https://learn.microsoft.com/windows/win32/fileio/naming-a-file, not read here).
_DEVICES: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)
#: Bytes that a name may have: file systems take 255, and room is left for what is added to it.
_LONGEST: Final = 180
_ENDINGS: Final = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/avif": ".avif",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/ogg": ".ogg",
    "audio/flac": ".flac",
    "application/json": ".json",
    "application/pdf": ".pdf",
    "application/zip": ".zip",
    "text/plain": ".txt",
    "text/csv": ".csv",
}


def safe_name(name: str, *, number: int, content_type: str | None = None) -> str:
    """*name* as one that a file may have in a folder of ours: no separator, no leading dot, no device, not too long."""
    text = _UNFIT.sub("_", unicodedata.normalize("NFC", name)).strip(" .")
    stem, dot, ending = text.rpartition(".")
    if not dot or len(ending) > 10 or not ending.isalnum():  # noqa: PLR2004  (an ending is short)
        stem, ending = text, ""
    if not ending:
        media_type = (content_type or "").partition(";")[0].strip().lower()
        ending = _ENDINGS.get(media_type, "").removeprefix(".")
    tail = f".{ending}" if ending else ""
    stem = (
        stem.encode()[: _LONGEST - len(tail.encode())].decode(errors="ignore").strip(" .") or f"file-{number}"
    )
    whole = stem + tail
    return f"_{whole}" if _DEVICES.fullmatch(whole) else whole
