"""What a handler wants, as the store knows it: so that a node without the handler can make its dispatches."""

import hashlib
from typing import Any, Final

import msgspec

from receiver.core.model import Job, JobState, Value

#: What becomes of those behind a dead one.
BLOCK: Final = "block"
GO_ON: Final = "continue"
#: Characters of a key; a longer one is told from others by its digest.
_LONGEST_LINE: Final = 200


class Notice(Value, frozen=True, kw_only=True):
    """How the sessions that listen to our own PostgreSQL are told of a completion, in its very commit."""

    channel: str
    #: Bytes of a result above which the event says where it is.
    largest: int
    #: Where that is, if it is known.
    public_url: str | None = None


class HandlerSpec(Value, frozen=True, kw_only=True):
    """Which completions a handler wants; kept in the store, so that a node without it can fan out."""

    name: str
    provider: str | None = None
    state: str = JobState.SUCCEEDED.value
    #: What a job's metadata must have, by key.
    metadata: dict[str, Any] = {}
    #: The names that it had before.
    aliases: tuple[str, ...] = ()
    #: What of a job its completions are ordered by, one at a time: provider, operation, job or metadata.<key>.
    ordered_by: str | None = None
    #: Whether those behind one that is dead go on, or wait until it is retried or discarded.
    on_dead: str = BLOCK
    #: For a sink that is told of a completion in the very commit that stores it, where that is possible.
    notice: Notice | None = None

    def wants(self, provider: str, state: JobState) -> bool:
        """Say whether a completion of *provider* in *state* may go to this handler, whatever its metadata."""
        return self.provider in {None, provider} and self.state in {"any", state}

    def hears(self, provider: str, state: JobState) -> bool:
        """Say whether the first sight of *state*, on the way to an end, may go to this handler."""
        return self.provider in {None, provider} and self.state == state

    def accepts(self, metadata: dict[str, Any]) -> bool:
        """Say whether a job with this *metadata* goes to this handler."""
        return all(key in metadata and _same(metadata[key], value) for key, value in self.metadata.items())

    def line(self, job: Job, metadata: dict[str, Any]) -> str | None:
        """The line that a job's completion stands in; ``None`` if it has no key, and so no order."""
        name, _, key = (self.ordered_by or "").partition(".")
        match name:
            case "provider":
                value: object = job.provider
            case "operation":
                value = job.operation
            case "job":
                value = job.id
            case _:
                value = metadata.get(key)
        if value is None:
            return None
        text = msgspec.json.encode(value, order="sorted").decode()
        return text if len(text) <= _LONGEST_LINE else hashlib.sha256(text.encode()).hexdigest()


def _same(one: object, other: object) -> bool:
    """Whether two values are the same in JSON, where true and 1 differ."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
