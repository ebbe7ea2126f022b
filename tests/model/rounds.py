"""Which rounds are played.

``MODEL_ROUNDS=N`` in the environment plays N rounds on each database instead of the few of the ordinary suite, with
seeds from ``MODEL_FIRST`` (1) on; ``MODEL_SEED=S`` plays the round of that seed alone, as it was.
"""

import os


def seeds(few: int) -> list[int]:
    """The seeds of the rounds to be played, *few* by default."""
    if (only := os.environ.get("MODEL_SEED")) is not None:
        return [int(only)]
    first = int(os.environ.get("MODEL_FIRST", "1"))
    return list(range(first, first + int(os.environ.get("MODEL_ROUNDS", few))))
