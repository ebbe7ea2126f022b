"""An alarm as JSON."""

from receiver.core.alarms.alarm import Alarm
from receiver.views.document import Document, Moment, fields, moment, timestamp


class AlarmDocument(Document, frozen=True, kw_only=True):
    """A condition that somebody must see to."""

    id: str
    #: Stable; receiver explain NAME says what it means.
    name: str
    #: critical or warning.
    severity: str
    #: Which provider it is about, and what else: a handler, a key, a node.
    provider: str | None
    subject: str | None
    raised_at: Moment
    #: Null while it is raised.
    cleared_at: Moment | None
    #: What was found last.
    cause: str
    #: What to do.
    advice: str


def alarm_document(alarm: Alarm) -> AlarmDocument:
    """Describe an alarm."""
    return AlarmDocument(
        **fields(
            AlarmDocument,
            alarm,
            provider=alarm.provider or None,
            subject=alarm.subject or None,
            raised_at=timestamp(alarm.raised_at),
            cleared_at=moment(alarm.cleared_at),
        )
    )
