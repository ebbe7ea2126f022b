"""Secrets in what is shown: a request's, an answer's and a header's values that nobody should read by accident."""

import json
import re
from collections.abc import Collection
from typing import Any, Final

from receiver.views.masking import MASK, masked

#: Names of values that are secrets; the end of the name counts, so ``maxTokens`` is none.
_SECRET: Final = re.compile(
    r"(^|[^a-z])(token|secret|password|passwd|passphrase|authorization|api[_-]?key|apikey|private[_-]?key|"
    r"signing[_-]?key|access[_-]?key|credentials?|cookie|bearer|signature)$",
    re.IGNORECASE,
)
_CAMEL: Final = re.compile(r"([a-z])([A-Z])")
#: User and password in an address.
_USERINFO: Final = re.compile(r"(https?://)[^/\s\"@]{1,200}@")
_DEEPEST: Final = 60


def hidden(document: Any, *, names: Collection[str] = (), depth: int = 0) -> Any:  # noqa: ANN401  (any JSON)
    """A JSON document with its secrets masked, and those values whose name is among *names*."""
    if depth > _DEEPEST:
        return "…"
    match document:
        case str():
            return hidden_text(document)
        case dict():
            return {
                key: MASK
                if isinstance(value, str | int | float) and (key in names or _is_secret(key))
                else hidden(value, names=names, depth=depth + 1)
                for key, value in document.items()
            }
        case list():
            return [hidden(value, names=names, depth=depth + 1) for value in document]
    return document


def hidden_text(text: str) -> str:
    """A text without callback tokens, and without user and password in an address."""
    return _USERINFO.sub(rf"\1{MASK}@", masked(text))


def hidden_json(body: bytes, *, names: Collection[str] = ()) -> str:
    """A JSON body for reading, its secrets masked; as text where it is none."""
    try:
        document = json.loads(body)
        return json.dumps(hidden(document, names=names), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return hidden_text(body.decode("utf-8", "replace"))


def _is_secret(name: str) -> bool:
    return _SECRET.search(_CAMEL.sub(r"\1_\2", name)) is not None
