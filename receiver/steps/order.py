"""Order: what a caller wants done. Whatever is wrong with it is found before anything is recorded."""

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec

from receiver.core.asking.assembly import Extras
from receiver.core.asking.wanted import delivery_for, keeps_for
from receiver.core.description.provider import Provider
from receiver.core.errors import RequestError
from receiver.core.file import When
from receiver.core.identity import JOB, new_id
from receiver.core.model import Delivery, Job, Value
from receiver.core.trace import parse_traceparent
from receiver.storage.records import NewJob

_LONGEST_KEY: Final = 255
_FILES: Final[dict[str, When]] = {"before": "before", "beside": "beside", "never": "never"}
#: Seconds; nobody waits longer for a job.
_LONGEST_DEADLINE: Final = 365 * 86_400


class Order(Value, frozen=True, kw_only=True):
    """What a caller wants done."""

    provider: str
    request: dict[str, Any]
    operation: str = ""
    idempotency_key: str | None = None
    metadata: dict[str, Any] = {}
    #: The place in a distributed trace that the job belongs to (W3C ``traceparent``).
    traceparent: str | None = None
    #: Seconds after which the job is given up; the provider's description sets it otherwise.
    deadline: float | None = None
    #: Whether a callback is to be asked for, where the provider makes any; else the job is polled.
    callback: bool = True
    #: Further headers and fields of the address, as far as the description lets a job set them.
    headers: dict[str, str] = {}
    query: dict[str, Any] = {}
    #: Whether handlers wait for the files that the result links to (``before``), are called meanwhile (``beside``), or
    #: whether they are not fetched at all (``never``).
    files: str = "before"
    #: Whether ``file`` in the request may name a file of this machine: never for a remote caller.
    local_files: bool = False

    @property
    def extras(self) -> Extras:
        """What its submission carries beside the request."""
        return Extras(headers=self.headers, query=self.query)


class Submitted(Value, frozen=True, kw_only=True):
    """What became of an order."""

    job: Job
    #: Whether this order made the job, rather than its idempotency key naming one that was there.
    new: bool
    #: The address that was minted for it: a capability, so it is told once.
    callback_url: str | None


def record_of(
    order: Order, provider: Provider, *, key_id: str, reachable: bool, owner: str, lease_ms: int, now: int
) -> NewJob:
    """The job to be recorded for *order*, leased to *owner*; *reachable*: whether we have a public URL.

    Raises:
        RequestError: the order cannot be carried out as it stands.
    """
    operation = order.operation or next(iter(provider.operations), "")
    if operation and operation not in provider.operations:
        known = ", ".join(provider.operations) or "none"
        raise RequestError(
            f"{provider.name} has no operation {operation!r}; it has: {known}.",
            code="operation_unknown",
            field="operation",
        )
    if order.deadline is not None and not 0 < order.deadline <= _LONGEST_DEADLINE:
        raise RequestError("deadline is a number of seconds, at most a year.", field="deadline")
    if order.idempotency_key is not None and not _is_key(order.idempotency_key):
        raise RequestError(
            f"idempotency_key is 1 to {_LONGEST_KEY} printable characters.", field="idempotency_key"
        )
    if order.files not in _FILES:
        raise RequestError("files is before, beside or never.", field="files")
    if order.traceparent is not None and parse_traceparent(order.traceparent) is None:
        raise RequestError(
            "traceparent is four parts in hexadecimal digits: 00-<trace id>-<parent id>-<flags>.",
            field="traceparent",
        )
    delivery = _delivery(order, provider, reachable=reachable)
    try:
        request = msgspec.json.encode(_located(order, provider, operation))
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError("The request is not JSON.", field="request") from error
    try:
        metadata = msgspec.json.encode(order.metadata)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError("The metadata is not JSON.", field="metadata") from error
    retention = provider.retention
    job = Job(
        id=new_id(JOB, now),
        provider=provider.name,
        operation=operation,
        delivery=delivery,
        key_id=key_id,
        created_at=now,
        deadline_at=now + (int(order.deadline * 1000) if order.deadline is not None else provider.deadline),
        keep_ms=keeps_for(provider, order.request),
        keep_from="completion" if retention is None else retention.counted_from,
        files_when=_FILES[order.files] if provider.files else "never",
        metadata=order.metadata,
        traceparent=order.traceparent,
    )
    wanted = [provider.name, operation, order.request]
    options = None
    if order.headers or order.query:
        options = msgspec.json.encode(order.extras)
        wanted.append(msgspec.to_builtins(order.extras))
    if not order.callback:
        wanted.append("no callback")
    canonical = msgspec.json.encode(wanted, order="deterministic")
    return NewJob(
        job=job,
        request=request,
        request_sha256=hashlib.sha256(canonical).hexdigest(),
        metadata=metadata,
        options=options,
        idempotency_key=order.idempotency_key,
        owner=owner,
        lease_ms=lease_ms,
    )


def _delivery(order: Order, provider: Provider, *, reachable: bool) -> Delivery:
    """How the end of the job will be told; raises RequestError where nobody could learn of it."""
    delivery = Delivery.NONE
    if order.callback:
        delivery = delivery_for(provider, order.request, reachable=reachable)
    if delivery is Delivery.NONE and provider.poll is None and reachable:
        raise RequestError(
            f"{provider.name} answers only to a callback URL and cannot be asked, so its jobs cannot do without one.",
            code="callback_needed",
            field="callback",
        )
    if delivery is Delivery.NONE and provider.poll is None:
        raise RequestError(
            f"{provider.name} answers only to a callback URL; set RECEIVER_PUBLIC_URL.",
            code="public_url_missing",
        )
    return delivery


def _located(order: Order, provider: Provider, operation: str) -> dict[str, Any]:
    """The request as it is recorded: whoever sends it again may be in another folder than who named a file."""
    file = order.request.get("file")
    if not order.local_files or not isinstance(file, str) or not takes_files(provider, operation):
        return order.request
    return {**order.request, "file": str(Path(file).absolute())}


def takes_files(provider: Provider, operation: str) -> bool:
    """Whether requests for *operation* may bring or name files, which are read when they are sent."""
    terms = provider.operations.get(operation)
    content = terms.content if terms is not None else None
    if provider.submit is not None and provider.submit.upload is not None:
        return True
    return (content or (provider.submit.content if provider.submit else None)) == "multipart"


def _is_key(key: str) -> bool:
    return 0 < len(key) <= _LONGEST_KEY and key.isprintable()
