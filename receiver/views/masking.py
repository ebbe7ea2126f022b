"""What hides secrets in what is shown: tokens in addresses, and headers and fields whose names tell."""

import re
from collections.abc import Collection
from typing import Final

#: What stands in the place of a secret.
MASK: Final = "***"
#: As it stands in a URL, in JSON that escapes its slashes, and in a URL inside a URL.
_TOKEN_IN_URL: Final = re.compile(
    r"(callbacks(?:\\?/|%2F)[a-z0-9-]+(?:\\?/|%2F))[A-Za-z0-9_\-]+", re.IGNORECASE
)
_TELLING: Final = re.compile(
    r"sign|\bsig\b|hmac|digest|token|auth|secret|cookie|key|passw|credential|session|jwt", re.IGNORECASE
)
_FIELD: Final = re.compile(r"(^|&)([^=&]*)=([^&]*)")


def masked(text: str) -> str:
    """Mask the token of every callback URL in *text*: a provider or a proxy may repeat it."""
    return _TOKEN_IN_URL.sub(rf"\g<1>{MASK}", text)


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


def masked_detail(value: object) -> object:
    """Mask every text in a JSON value."""
    match value:
        case str():
            return masked(value)
        case dict():
            return {key: masked_detail(one) for key, one in value.items()}
        case list():
            return [masked_detail(one) for one in value]
    return value
