"""Origins: where an address leads, and addresses that a setting of the account completes."""

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote

_WEB_ADDRESS: Final = re.compile(
    r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?(?=[/?#]|\Z)", re.ASCII | re.IGNORECASE
)
_USUAL_PORTS: Final = {"http": 80, "https": 443}
#: A label of a name, of which ``*`` stands for all or a part.
_PATTERN: Final = r"(?:[a-z0-9-]*\*[a-z0-9-]*|[a-z0-9-]+)"
_ORIGIN: Final = re.compile(rf"https://{_PATTERN}(?:\.{_PATTERN})*(:[0-9]{{1,5}})?")
_SETTING: Final = re.compile(r"\{setting:([A-Z][A-Z0-9_]*)(?:=([^{}]*))?\}")
#: What of an address says where it leads.
_FRONT: Final = re.compile(r"\{setting:[^{}]*\}(?=/|\Z)|https?://[^/?#]+")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def origin_of(url: str) -> str:
    """The origin of *url*, its host in lower case and without a usual port; empty for what is no plain http address.

    Whoever compares origins asks here: an address that two parsers might understand differently has none.
    """
    found = _WEB_ADDRESS.match(url)
    if found is None:
        return ""
    scheme, host, port = found[1].lower(), found[2].lower(), found[3]
    usual = port is None or int(port) == _USUAL_PORTS[scheme]
    return f"{scheme}://{host}" if usual else f"{scheme}://{host}:{int(port)}"


def is_origin(text: str) -> bool:
    """Whether *text* is ``https://host[:port]``, in which ``*`` may stand for a label that a setting fills in."""
    return _ORIGIN.fullmatch(text) is not None and not text.startswith("https://*:") and text != "https://*"


def settings_in(urls: Iterable[str]) -> dict[str, str | None]:
    """The settings that addresses need, each with what it is if it is not set; ``None`` where it must be."""
    found: dict[str, str | None] = {}
    for url in urls:
        for name, default in _SETTING.findall(url):
            found[name] = default or found.get(name)
    return found


def lies_in(url: str, origins: Iterable[str]) -> bool:
    """Whether an address of a description leads to one of *origins*, whatever its settings may be.

    One that is a setting from its beginning needs a pattern among them, which the setting is held against.
    """
    front = _FRONT.match(url)
    if front is None:
        return False
    if _SETTING.fullmatch(front[0]):
        return any("*" in origin for origin in origins)
    return _SETTING.sub("*", front[0]) in origins and url.startswith(front[0] + "/")


def has_setting_in_front(url: str) -> bool:
    """Whether a setting says where an address leads, and not only what is asked there."""
    front = _FRONT.match(url)
    return front is not None and _SETTING.search(front[0]) is not None


def below(base: str, url: str) -> str:
    """What an address asks for, asked for at *base* instead."""
    front = _FRONT.match(url)
    return base + (url[front.end() :] if front is not None else "/")


def moved_to(base: str, url: str, origins: Iterable[str]) -> str:
    """The same address below *base*, if it is one of a description's own."""
    front = _FRONT.match(url)
    if front is None or not lies_in(url, origins):
        return url
    return base + url[front.end() :]


def completed(url: str, values: Mapping[str, str], origins: Iterable[str]) -> str:
    """*url* with its settings filled in.

    Raises:
        ValueError: it would lead elsewhere than to one of *origins*; the sentence names the setting.
    """
    front = _FRONT.match(url)
    if front is None or _SETTING.search(url) is None:
        return url
    names = ", ".join(name for name, _ in _SETTING.findall(front[0]))
    if _SETTING.fullmatch(front[0]):
        place = _SETTING.sub(lambda found: values[found[1]], front[0]).rstrip("/")
    else:

        def label(found: re.Match[str]) -> str:
            if _LABEL.fullmatch(values[found[1]]) is None:
                raise ValueError(f"{found[1]} is part of a host name: lower-case letters, digits and '-'.")
            return values[found[1]]

        place = _SETTING.sub(label, front[0])
    if names and not any(_fits(place, origin) for origin in origins):
        raise ValueError(f"{names} must lead to {' or '.join(origins)}.")

    def fill(found: re.Match[str]) -> str:
        return quote(values[found[1]], safe="")

    return place + _SETTING.sub(fill, url[front.end() :])


def _fits(place: str, origin: str) -> bool:
    return re.fullmatch(re.escape(origin).replace(r"\*", "[a-z0-9-]+"), place) is not None
