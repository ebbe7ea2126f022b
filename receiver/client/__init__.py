"""The client of ``/v1`` for other processes and machines: ``Client``, and ``AsyncClient`` for asyncio."""

from receiver.client.calls import ApiError, NoAnswerFromReceiverError, StillRunningError
from receiver.client.clients import AsyncClient, Client
from receiver.views.completion import CompletionDocument
from receiver.views.file import FileDocument
from receiver.views.job import JobDocument

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "CompletionDocument",
    "FileDocument",
    "JobDocument",
    "NoAnswerFromReceiverError",
    "StillRunningError",
]
