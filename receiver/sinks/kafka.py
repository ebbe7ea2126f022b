"""Kafka: produced idempotently and acknowledged by all in-sync replicas, keyed by job.

CloudEvents' binary mode puts the attributes into headers
(https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/kafka-protocol-binding.md).
"""

import asyncio

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.sink import Place, SinkAwayError, SinkFailedError, SinkRefusedError


class KafkaSink:
    """Produces to ``kafka://host:9092,other:9092/topic``; ``secret`` is ``user:password`` for SASL over TLS."""

    def __init__(self, config: SinkConfig, *, secret: str | None) -> None:
        # Several servers are no address of a URL, so they are taken off before it is read as one.
        servers, slash, topic = config.to.partition("://")[2].partition("/")
        if not servers or not slash or not topic.strip("/"):
            raise config.wrong("to", "it names servers and a topic: kafka://host:9092/jobs.{provider}")
        self._place = Place(config.at(f"kafka://brokers/{topic}"), optional=("mechanism", "tls"))
        self._servers = servers
        self._secret = secret
        self._timeout = config.timeout
        if secret is not None and ":" not in secret:
            raise config.wrong("secret", "it is user:password.")
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def send(self, event: Event) -> str:
        """Produce *event*; raises as ``Sink.send`` says."""
        producer = await self._started()
        topic = self._place.path(event.fields)
        headers = [(name, value.encode()) for name, value in event.headers("ce_").items()]
        try:
            where = await producer.send_and_wait(
                topic, event.data, key=event.subject.encode(), headers=headers, timestamp_ms=event.at
            )
        except MessageSizeTooLargeError as error:
            raise SinkRefusedError("The event is larger than the topic takes; set largest lower.") from error
        except (InvalidTopicError, TopicAuthorizationFailedError, GroupAuthorizationFailedError) as error:
            raise SinkRefusedError(f"The topic {topic} does not take it: {error}") from error
        except UnknownTopicOrPartitionError as error:
            raise SinkFailedError(f"There is no topic {topic}.") from error
        except (KafkaConnectionError, KafkaTimeoutError, OSError) as error:
            raise SinkAwayError(f"The servers are out of reach: {type(error).__name__}.") from error
        except KafkaError as error:
            raise SinkFailedError(f"It was not acknowledged: {error}") from error
        return f"{where.topic}, partition {where.partition}, offset {where.offset}"

    async def close(self) -> None:
        """Send what is under way, and close the connections."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is not None:
                return self._producer
            secure: dict[str, object] = {}
            if self._secret is not None:
                user, _, password = self._secret.partition(":")
                secure = {
                    "sasl_mechanism": self._place.options.get("mechanism", "PLAIN"),
                    "sasl_plain_username": user,
                    "sasl_plain_password": password,
                }
            tls = self._place.options.get("tls", "1" if self._secret is not None else "0") == "1"
            protocol = ("SASL_" if self._secret is not None else "") + ("SSL" if tls else "PLAINTEXT")
            producer = AIOKafkaProducer(
                bootstrap_servers=self._servers,
                acks="all",
                enable_idempotence=True,
                request_timeout_ms=int(self._timeout * 1000),
                max_request_size=16 * 1024 * 1024,
                security_protocol=protocol,
                **secure,
            )
            try:
                async with asyncio.timeout(self._timeout):
                    await producer.start()
            except (KafkaError, OSError, TimeoutError) as error:
                await producer.stop()
                raise SinkAwayError(f"The servers are out of reach: {type(error).__name__}.") from error
            self._producer = producer
            return producer
