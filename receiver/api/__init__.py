"""``/v1``: jobs, callbacks and dead letters as JSON; health and metrics beside it."""

from receiver.api.health import Health
from receiver.api.routes import Api

__all__ = ["Api", "Health"]
