"""Kafka: produced idempotently and acknowledged by all in-sync replicas, keyed by job.

CloudEvents' binary mode puts the attributes into headers
(https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/kafka-protocol-binding.md).
"""

import asyncio
import re
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    GroupAuthorizationFailedError,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)

from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import Event
from receiver.sinks.sink import Place, SinkAwayError, SinkFailedError, SinkRefusedError, trust, why

_SERVER: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
#: The words that an option may be; the first one is meant where it is left out.
_CHOICES: Final = {"mechanism": ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"), "tls": ("1", "0")}
#: How servers say that they do not want who signs in.
_UNWANTED: Final = (AuthenticationFailedError, SaslAuthenticationFailed, UnsupportedSaslMechanismError)


class KafkaSink:
    """Produces to ``kafka://host:9092,other:9092/topic``; ``secret`` is ``user:password`` for SASL over TLS."""

    def __init__(self, config: SinkConfig, *, secret: str | None) -> None:
        # Several servers are no address of a URL, so they are taken off before it is read as one.
        servers, slash, topic = config.to.partition("://")[2].partition("/")
        if not servers or not slash or not topic.strip("/"):
            raise config.wrong("to", "it names servers and a topic: kafka://host:9092/jobs.{provider}")
        if odd := [one for one in servers.split(",") if _SERVER.fullmatch(one) is None]:
            said = f"{odd[0]!r} is no server" if "@" not in config.to else "user and password stand in secret"
            raise config.wrong("to", f"{said}; write host:9092, several with commas.")
        self._place = Place(config.at(f"kafka://brokers/{topic}"), optional=("mechanism", "tls"))
        self._servers = servers
        self._secret = secret
        self._timeout = config.timeout
        if secret is not None and ":" not in secret:
            raise config.wrong("secret", "it is user:password.")
        for name, known in _CHOICES.items():
            # A word that is none of them would be taken for "no", and the password would travel in the clear.
            if self._place.options.get(name, known[0]) not in known:
                raise config.wrong("to", f"{name} is one of {', '.join(known)}.")
        if "mechanism" in self._place.options and secret is None:
            raise config.wrong("to", "mechanism says how we sign in, and there is no secret to sign in with.")
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
            raise SinkAwayError(f"The servers are out of reach: {why(error)}.") from error
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
                ssl_context=trust() if tls else None,
                **secure,
            )
            try:
                async with asyncio.timeout(self._timeout):
                    await producer.start()
            except (KafkaError, OSError, TimeoutError) as error:
                await producer.stop()
                cause = await self._cause(protocol, secure) or error
                if isinstance(cause, _UNWANTED):
                    raise SinkFailedError("The servers refuse our name or password.") from cause
                raise SinkAwayError(f"The servers are out of reach: {why(cause)}.") from cause
            self._producer = producer
            return producer

    async def _cause(self, protocol: str, secure: dict[str, object]) -> Exception | None:
        """Why nobody could be connected to: a producer writes that into its log, and raises something else."""
        host, port, _ = collect_hosts(self._servers, randomize=False)[0]
        try:
            connection = await create_conn(
                host,
                port,
                request_timeout_ms=int(self._timeout * 1000),
                security_protocol=protocol,
                ssl_context=trust() if protocol.endswith("SSL") else None,
                **secure,
            )
        except (KafkaError, OSError, TimeoutError) as error:
            return error
        connection.close()
        return None
