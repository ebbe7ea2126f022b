"""Amazon SQS and SNS: one message an event, the CloudEvent as one JSON document; the message id confirms.

Credentials come from where Amazon's own clients look for them. A queue or topic whose name ends in ``.fifo`` keeps
the order of a job's events, and drops one that it has had within five minutes.
"""

import hashlib
from contextlib import AsyncExitStack
from typing import Any

from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
from botocore.exceptions import ConnectionError as NoConnectionError

from receiver.sinks.configuration import SinkConfig
from receiver.sinks.event import STRUCTURED, Event
from receiver.sinks.sink import Place, SinkAwayError, SinkFailedError, SinkRefusedError

#: Error codes after which the same event would be answered alike.
_NEVER = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "InvalidMessageContents",
        "InvalidParameterValue",
        "InvalidParameter",
        "UnsupportedOperation",
        "MessageTooLong",
        # What stands there where an endpoint answers in another form than its client reads: the status.
        "403",
    }
)
_LONGEST_ID = 128
#: Bytes of one message (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html,
#: 1 MiB for SQS); SNS takes 256 KiB, and says so itself.
_LARGEST = 1024 * 1024


class AmazonSink:
    """Sends to ``sqs://region/account/queue`` or ``sns://region/account/topic``."""

    def __init__(self, config: SinkConfig) -> None:
        self._place = Place(config, optional=("endpoint",))
        self._service = config.scheme
        self._name = self._place.parts.path.strip("/")
        if not self._place.parts.hostname or self._name.count("/") != 1:
            raise config.wrong("to", f"it is {config.scheme}://region/account/name.")
        endpoint = self._place.options.get("endpoint", "http:")
        if not endpoint.startswith(("http:", "https:")):
            raise config.wrong("to", "endpoint is an address of its own: http://… or https://…")
        self._timeout = config.timeout
        self._open = AsyncExitStack()
        self._client: Any = None
        self._urls: dict[str, str] = {}

    async def send(self, event: Event) -> str:
        """Send *event*; raises as ``Sink.send`` says."""
        account, _, name = self._place.path(event.fields).partition("/")
        attributes = {"content-type": {"DataType": "String", "StringValue": STRUCTURED}}
        asked: dict[str, Any] = {"MessageAttributes": attributes}
        if name.endswith(".fifo"):
            # At most 128 characters of a narrower alphabet than an id's; a digest fits for certain.
            asked["MessageDeduplicationId"] = hashlib.sha256(event.id.encode()).hexdigest()
            asked["MessageGroupId"] = event.subject[:_LONGEST_ID]
        document = event.structured().decode()
        if len(document.encode()) > _LARGEST:
            raise SinkRefusedError("The event is larger than Amazon takes; set largest lower.")
        try:
            client = await self._connected()
            if self._service == "sqs":
                answer = await client.send_message(
                    QueueUrl=await self._queue(client, account, name), MessageBody=document, **asked
                )
            else:
                topic = f"arn:aws:sns:{self._place.parts.hostname}:{account}:{name}"
                answer = await client.publish(TopicArn=topic, Message=document, **asked)
        except ClientError as error:
            code, words = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
            if code.rpartition(".")[2] in _NEVER:
                raise SinkRefusedError(f"Amazon answered {code}: {words}") from error
            raise SinkFailedError(f"Amazon answered {code}: {words}") from error
        except NoCredentialsError as error:
            raise SinkFailedError("Amazon's client finds no credentials.") from error
        except (HTTPClientError, NoConnectionError, OSError) as error:
            raise SinkAwayError(f"Amazon is out of reach: {type(error).__name__}.") from error
        except BotoCoreError as error:
            raise SinkFailedError(f"It was not sent: {error}") from error
        return f"message {answer['MessageId']}"

    async def close(self) -> None:
        """Close the connections."""
        self._client = None
        await self._open.aclose()

    async def _connected(self) -> Any:  # noqa: ANN401  (botocore's clients have no types)
        if self._client is None:
            made = get_session().create_client(
                self._service,
                region_name=self._place.parts.hostname,
                endpoint_url=self._place.options.get("endpoint"),
            )
            self._client = await self._open.enter_async_context(made)
        return self._client

    async def _queue(self, client: Any, account: str, name: str) -> str:  # noqa: ANN401
        if name not in self._urls:
            found = await client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
            self._urls[name] = found["QueueUrl"]
        return self._urls[name]
