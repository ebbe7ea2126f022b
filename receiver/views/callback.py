"""A callback as JSON: in lists, and with everything but its body."""

import hashlib
from collections.abc import Collection
from typing import Any

from receiver.core.model import Callback, Verdict
from receiver.core.signature.diagnosis import Diagnosis
from receiver.views.document import Document, Moment, fields, timestamp
from receiver.views.masking import masked_header, masked_query


class CallbackDocument(Document, frozen=True, kw_only=True):
    """One request that arrived."""

    id: str
    provider: str
    #: callbacks (an address for one job) or webhooks (one for the account).
    route: str
    job_id: str | None
    remote_id: str | None
    received_at: Moment
    method: str
    verdict: Verdict
    #: Why it was rejected, unreadable or without effect.
    code: str | None
    key_id: str | None
    delivery_id: str | None
    #: The IP address that it came from; null for callbacks from before senders were stored.
    sender: str | None


class DiagnosisDocument(Document, frozen=True, kw_only=True):
    """The cause of a rejection, and what to do next."""

    code: str
    sentence: str


class CallbackDetail(CallbackDocument, frozen=True, kw_only=True):
    """One request that arrived, with everything but its body; what could be a secret is masked."""

    query: str
    headers: list[tuple[str, str]]
    size: int
    sha256: str
    #: Why it was rejected, found by trying; null where it was not.
    diagnosis: DiagnosisDocument | None


def callback_document(callback: Callback) -> CallbackDocument:
    """Describe a callback."""
    return CallbackDocument(**_callback(callback))


def callback_detail(
    callback: Callback, *, proofs: Collection[str] = (), diagnosis: Diagnosis | None = None
) -> CallbackDetail:
    """Describe a callback with its headers; *proofs* names those that its provider's signature is in."""
    secret = {name.lower() for name in proofs}
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in callback.headers]
    return CallbackDetail(
        **_callback(callback),
        query=masked_query(callback.query.decode("latin-1"), secret=secret),
        headers=[(name, masked_header(name, value, secret=secret)) for name, value in headers],
        size=len(callback.body),
        sha256=hashlib.sha256(callback.body).hexdigest(),
        diagnosis=None
        if diagnosis is None
        else DiagnosisDocument(code=diagnosis.code, sentence=diagnosis.sentence),
    )


def _callback(callback: Callback) -> dict[str, Any]:
    return fields(CallbackDocument, callback, received_at=timestamp(callback.received_at))


def heard(callbacks: int, rejected: int, *, more: bool = False) -> str:
    """How many callbacks came for a job, those that could not be proved apart: ``2``, ``4 rejected``."""
    if not rejected:
        return f"{callbacks:,}"
    refused = f"{rejected:,}{'+' if more else ''} rejected"
    return f"{callbacks:,} and {refused}" if callbacks else refused
