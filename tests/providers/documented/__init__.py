"""What the API of each submitting description documents of a submission."""

from typing import Any, Final

from .marks import CALLBACK, TEXT
from .media import MEDIA
from .models import MODELS

__all__ = ["CALLBACK", "EXPECTED", "TEXT"]

#: provider: (the caller's request, the address, the body, the header that authenticates).
EXPECTED: Final[dict[str, tuple[dict[str, Any], str, Any, str]]] = MODELS | MEDIA
