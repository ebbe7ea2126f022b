"""How long the damage goes on.

``CHAOS_ROUNDS=N`` in the environment makes every damage happen N times as often as in CI: with 10 a node is killed
80 times, the database stopped 20 times and a callback sent a hundredfold 50 times.
"""

import os
from typing import Final

_FACTOR: Final = int(os.environ.get("CHAOS_ROUNDS", "1"))


def rounds(few: int) -> int:
    """How often something happens that happens *few* times in CI."""
    return few * _FACTOR
