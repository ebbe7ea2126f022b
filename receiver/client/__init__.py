"""The client of ``/v1`` for other processes and machines: ``Client``, and ``AsyncClient`` for asyncio."""

from receiver.client.calls import ApiError, NoAnswerFromReceiverError, StillRunningError
from receiver.client.clients import AsyncClient, Client

__all__ = ["ApiError", "AsyncClient", "Client", "NoAnswerFromReceiverError", "StillRunningError"]
