"""The sinks of this process, as handlers: attempts, dead letters, replay and the timeline are a handler's."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from receiver.core.alarms.alarm import Alarm
from receiver.core.handler import HandlerSpec, Notice
from receiver.core.model import SECOND, Job
from receiver.core.retry import Backoff
from receiver.handlers import Handler, Handlers, as_metadata, idempotency_key
from receiver.settings import Settings
from receiver.sinks.configuration import SinkConfig, load

if TYPE_CHECKING:
    from receiver.sinks.sink import Sink


class Sinks:
    """Every configured sink, opened.

    Raises:
        ConfigurationError: one is wrong; the sentence names where it stands, the key and the reason.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._public_url = settings.public_url
        self._sinks: dict[str, Sink] = {}
        self.configs = load(settings)
        if self.configs:
            from receiver.sinks.opening import open_sink  # noqa: PLC0415  (who has no sinks pays nothing)

            self._sinks = {one.name: open_sink(one, settings, clock=clock) for one in self.configs}

    def join(self, handlers: Handlers) -> None:
        """Register each as a handler that wants completions."""
        for one in self.configs:
            if one.completions:
                handlers.put(self._handler(one))

    @property
    def of_alarms(self) -> tuple[str, ...]:
        """The names of the sinks that want to be told of alarms."""
        return tuple(one.name for one in self.configs if one.alarms)

    async def tell(self, name: str, alarm: Alarm, *, word: str, at: int) -> None:
        """Tell the sink called *name* that *alarm* was raised or cleared, as *word* says; raises as ``Sink.send`` does.

        Raises:
            TimeoutError: the other side did not confirm in time.
        """
        from receiver.sinks.event import event_of_alarm  # noqa: PLC0415  (who has no sinks pays nothing)

        config = self._named(name)
        async with asyncio.timeout(config.timeout + 5):
            await self._sinks[name].send(event_of_alarm(alarm, word=word, at=at))

    def backoff(self, name: str) -> Backoff:
        """How long the sink called *name* is left alone after failures."""
        config = self._named(name)
        return Backoff(first=int(config.first_wait * SECOND), longest=int(config.longest_wait * SECOND))

    def _named(self, name: str) -> SinkConfig:
        return next(one for one in self.configs if one.name == name)

    def _handler(self, one: SinkConfig) -> Handler:
        return Handler(
            spec=HandlerSpec(
                name=one.handler,
                provider=one.provider,
                state=one.state,
                metadata=as_metadata(one.metadata),
                ordered_by=one.ordered_by,
                on_dead=one.on_dead,
                notice=self._notice(one),
            ),
            function=self._function(one),
            plain=False,
            concurrency=one.concurrency,
            # The sink's own limit comes first, because it knows more to say.
            timeout=one.timeout + 5,
            backoff=Backoff(
                first=int(one.first_wait * SECOND),
                longest=int(one.longest_wait * SECOND),
                attempts=one.attempts,
            ),
            circuit=one.circuit,
            rate=one.rate,
            max_age=one.max_age,
        )

    def _notice(self, one: SinkConfig) -> Notice | None:
        """How it is told of completions in their own commit; ``None`` where it is not, or where something must wait."""
        channel: str | None = getattr(self._sinks[one.name], "own_channel", None)
        if channel is None or one.ordered_by is not None or one.rate:
            return None
        return Notice(channel=channel, largest=one.largest, public_url=self._public_url)

    async def close(self) -> None:
        """Give every connection back."""
        for sink in self._sinks.values():
            await sink.close()

    def _function(self, config: SinkConfig) -> Callable[[Job], object]:
        sink = self._sinks[config.name]

        async def send(job: Job) -> None:
            from receiver.sinks.event import event_of  # noqa: PLC0415  (as above)

            replay_id = idempotency_key.get().removeprefix(f"{job.id}:{config.handler}").removeprefix(":")
            event = event_of(
                job,
                replay_id=replay_id,
                largest=config.largest,
                public_url=self._public_url,
                now=self._clock(),
            )
            await sink.send(event)

        return send
