"""What hides secrets in what is shown: tokens and passwords in addresses, and values whose names tell."""

import json
import re
from collections.abc import Collection
from typing import Any, Final

from receiver.views.printed import LARGEST_READ, LONGEST, printed

#: What stands in the place of a secret.
MASK: Final = "***"
#: As it stands in a URL, in JSON that escapes its slashes, and in a URL inside a URL.
_TOKEN_IN_URL: Final = re.compile(
    r"(callbacks(?:\\?/|%2F)[a-z0-9-]+(?:\\?/|%2F))[A-Za-z0-9_\-]+", re.IGNORECASE
)
#: User and password in an address.
_USERINFO: Final = re.compile(r"(https?:\\?/\\?/)[^/\s\"@]{1,200}@", re.IGNORECASE)
#: Names of headers and of parts of a query: one that may be a signature counts.
_TELLING: Final = re.compile(
    r"sign|\bsig\b|hmac|digest|token|auth|secret|cookie|key|passw|credential|session|jwt", re.IGNORECASE
)
#: Names of members of a document; the end of the name counts, so ``maxTokens`` is none.
_SECRET: Final = re.compile(
    r"(^|[^a-z])(token|secret|password|passwd|passphrase|authorization|api[_-]?key|apikey|private[_-]?key|"
    r"signing[_-]?key|access[_-]?key|credentials?|cookie|bearer|signature)$",
    re.IGNORECASE,
)
_CAMEL: Final = re.compile(r"([a-z])([A-Z])")
_FIELD: Final = re.compile(r"(^|&)([^=&]*)=([^&]*)")
#: A member whose value is a text, also where the document breaks off within it.
_MEMBER: Final = re.compile(r'("([^"\\]{1,80})"\s*:\s*")((?:[^"\\]|\\.)*+)("?)', re.DOTALL)
_DEEPEST: Final = 60
_LONGEST_CONTENT: Final = 256
#: Values of a document that are looked at for reading; more do not fit into what is shown.
_MOST_VALUES: Final = 20_000


def masked(text: str) -> str:
    """Mask the token of every callback URL, and user and password of every address, in *text*."""
    return _USERINFO.sub(rf"\g<1>{MASK}@", _TOKEN_IN_URL.sub(rf"\g<1>{MASK}", text))


def masked_in_place(text: str) -> str:
    """Mask the tokens in *text* and leave every other character where it is."""
    return _TOKEN_IN_URL.sub(lambda found: found[1] + "*" * (len(found[0]) - len(found[1])), text)


def masked_header(name: str, value: str, *, secret: Collection[str]) -> str:
    """The value of a header as it is shown; *secret* are names, in lower case, that a signature is in."""
    return MASK if name.lower() in secret or _TELLING.search(name) else masked(value)


def masked_query(query: str, *, secret: Collection[str]) -> str:
    """A query string as it is shown; *secret* as for a header."""

    def mask(found: re.Match[str]) -> str:
        start, name, value = found.groups()
        hidden = name.lower() in secret or _TELLING.search(name)
        return f"{start}{name}={MASK if hidden else value}"

    return masked(_FIELD.sub(mask, query))


def masked_value(value: Any, *, names: Collection[str] = ()) -> Any:  # noqa: ANN401  (any JSON)
    """A JSON value whose secrets are masked: members whose name tells or is among *names*, and what texts hold."""
    return _Masking(names).value(value, 0)


def masked_json(body: bytes, *, names: Collection[str] = ()) -> str:
    """The beginning of a JSON body for reading, its secrets masked as by ``masked_value``; as text where it is none."""
    if len(body) <= LARGEST_READ:
        try:
            return printed(_Masking(names, most=_MOST_VALUES).value(json.loads(body), 0))
        except (ValueError, RecursionError):
            pass

    def mask(found: re.Match[str]) -> str:
        begin, name, value, end = found.groups()
        return f"{begin}{MASK if name in names or _is_secret(name) else value}{end}"

    # A token or a name that the cut goes through would be told in part.
    text = body[: 2 * LONGEST].decode("utf-8", "replace")
    return masked(_MEMBER.sub(mask, text))[: LONGEST + 1]


class _Masking:
    """Masks one document, up to a number of values."""

    def __init__(self, names: Collection[str], *, most: int | None = None) -> None:
        self._names = names
        self._left = most

    def value(self, value: Any, depth: int) -> Any:  # noqa: ANN401  (any JSON)
        """One value of it."""
        if self._left is not None:
            self._left -= 1
        if depth > _DEEPEST:
            return "…"
        match value:
            case str():
                return masked(value)
            case {"name": str() as name, "content": str() as content, **others} if (
                not others and len(content) > _LONGEST_CONTENT
            ):
                # A file that a request brought: base64 tells a person nothing.
                return {"name": name, "content": f"… ({len(content)} characters)"}
            case dict():
                return {key: self._member(key, one, depth) for key, one in value.items() if not self._over}
            case list():
                return [self.value(one, depth + 1) for one in value if not self._over]
        return value

    def _member(self, name: str, value: Any, depth: int) -> Any:  # noqa: ANN401  (any JSON)
        if isinstance(value, str | int | float) and (name in self._names or _is_secret(name)):
            return MASK
        return self.value(value, depth + 1)

    @property
    def _over(self) -> bool:
        return self._left is not None and self._left <= 0


def _is_secret(name: str) -> bool:
    return _SECRET.search(_CAMEL.sub(r"\1_\2", name)) is not None
