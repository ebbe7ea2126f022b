"""``/v1/alarms``: what somebody must see to."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from receiver.api.filters import alarm_readers, read_query
from receiver.api.resource import Operation, answer
from receiver.storage import alarms
from receiver.storage.store import Store
from receiver.views.alarm import AlarmDocument, alarm_document
from receiver.views.document import Moment, moment


class AlarmList(msgspec.Struct, frozen=True, kw_only=True):
    """The alarms, the latest first."""

    alarms: list[AlarmDocument]
    #: When a node last looked for all of them, so as of when they are told; null if none ever did.
    looked_at: Moment | None


class Alarms:
    """The operation on alarms."""

    def __init__(self, *, store: Store) -> None:
        self._store = store
        self._readers = alarm_readers()

    @property
    def operations(self) -> list[Operation]:
        """What can be asked for."""
        return [
            Operation(
                method="GET",
                path="/v1/alarms",
                summary="List the alarms that are raised; state=any lists those of the last 30 days.",
                endpoint=self.list,
                query=tuple(self._readers),
                answers={200: AlarmList},
            )
        ]

    async def list(self, request: Request) -> Response:
        """List alarms."""
        asked = read_query(request, self._readers)
        found = await self._store.read(alarms.everything)
        if asked.get("state") != "any":
            found = [one for one in found if one.cleared_at is None]
        looked_at = await self._store.read(alarms.looked_at)
        return answer(
            AlarmList(alarms=[alarm_document(one) for one in found], looked_at=moment(looked_at or None))
        )
