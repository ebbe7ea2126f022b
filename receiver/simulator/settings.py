"""How the simulated providers behave when nothing goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from receiver.simulator.signing import Encoding

#: The simulated providers; each is also the first segment of its paths.
PROVIDERS: Final = ("netnut", "pulse", "yandex", "perplexity", "perplexity-webhook", "runway", "firecrawl")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """Settings of one simulator.

    Attributes:
        run_seconds: How long a job runs. None: until it is released.
        run_seconds_of: The same for single providers, by name.
        credentials: The one secret a provider accepts, by name (`user:password` for netnut, else the key or
            token alone). A provider that is not named accepts any that is not empty.
        perplexity_signature: How `perplexity-webhook` writes its signature.
        firecrawl_secret: What `firecrawl` signs its callbacks with.
        video_seconds: How long the video of a `runway` task takes to be sent.
        brief_seconds: When one of its files is deleted, counted from the task's end.
        link_seconds: How long the links to the others are good for.
        callback_attempts: How often a callback is sent before it is given up.
        callback_backoff: Seconds before the second attempt; doubled before each further one.
        callback_timeout: Seconds an answer to a callback may take.
        keep: How many jobs, requests and callbacks each are remembered.
    """

    run_seconds: float | None = 0.3
    run_seconds_of: Mapping[str, float | None] = field(default_factory=dict)
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    perplexity_signature: Encoding = "hex"
    firecrawl_secret: str = field(default="a simulated account", repr=False)
    video_seconds: float = 2.0
    brief_seconds: float = 2.0
    link_seconds: int = 86_400
    callback_attempts: int = 4
    callback_backoff: float = 0.1
    callback_timeout: float = 10.0
    keep: int = 10_000

    def __post_init__(self) -> None:
        """Refuse names that are no provider's.

        Raises:
            ValueError: `run_seconds_of` or `credentials` names an unknown provider.
        """
        unknown = (self.run_seconds_of.keys() | self.credentials.keys()) - set(PROVIDERS)
        if unknown:
            raise ValueError(f"no such provider: {', '.join(sorted(unknown))}")

    def seconds_for(self, provider: str) -> float | None:
        """Return how long a job of *provider* runs, None if until it is released."""
        return self.run_seconds_of.get(provider, self.run_seconds)
