"""Which rounds are played.

``MODEL_ROUNDS=N`` in the environment plays N rounds on each database instead of the few of the ordinary suite, with
seeds from ``MODEL_FIRST`` (1) on; ``MODEL_SEED=S`` plays the round of that seed alone, as it was in a short
run.
"""

import os


def seeds(few: int) -> list[int]:
    """The seeds of the rounds to be played, *few* by default."""
    if (only := os.environ.get("MODEL_SEED")) is not None:
        return [int(only)]
    first = int(os.environ.get("MODEL_FIRST", "1"))
    return list(range(first, first + int(os.environ.get("MODEL_ROUNDS", few))))


def at_length() -> bool:
    """Whether many rounds were asked for, rather than a few along with the ordinary suite."""
    return "MODEL_ROUNDS" in os.environ


def again(seed: int) -> str:
    """What has the round of *seed* played again, as it was."""
    return f"MODEL_FIRST={seed} MODEL_ROUNDS=1" if at_length() else f"MODEL_SEED={seed}"
