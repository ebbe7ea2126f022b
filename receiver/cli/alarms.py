"""``receiver alarms``: what somebody must see to."""

import click

from receiver.cli import options, output, session
from receiver.cli.command import Group, note
from receiver.core.alarms.alarm import Alarm
from receiver.core.model import MINUTE
from receiver.storage import alarms as stored
from receiver.views.alarm import alarm_document
from receiver.views.document import moment


@click.group(cls=Group)
def alarms() -> None:
    """List alarms: conditions that somebody must see to.

    The processes that serve the database look for them, one of them every 15 seconds.
    """


@alarms.command("list")
@click.option("--all", "everything", is_flag=True, help="Those of the last 30 days too that were cleared.")
@options.as_json
async def list_alarms(*, everything: bool, as_json: bool) -> None:
    """List the alarms that are raised, with their cause and what to do."""
    async with session.opened() as running:
        found = await running.store.read(stored.everything)
        looked_at = await running.store.read(stored.looked_at)
        untold = await running.store.read(stored.untold)
        now = running.clock()
    if not everything:
        found = [one for one in found if one.cleared_at is None]
    if as_json:
        output.show_json(
            {"alarms": [alarm_document(one) for one in found], "looked_at": moment(looked_at or None)}
        )
        return
    for one in found:
        for line in _shown(one, now):
            click.echo(output.folded(line, indent=4))
    if not found:
        click.echo("No alarm is raised." if not everything else "No alarm was raised in the last 30 days.")
    if not looked_at or now - looked_at > MINUTE:
        when = f"since {output.moment(looked_at)}" if looked_at else "yet"
        note(f"Nobody has looked {when}: 'receiver serve' and 'receiver worker' do.")
    else:
        ago = output.span(max(now - looked_at, 0))
        note(f"As of {ago} ago: what has been done since is seen within 15 seconds.")
    if untold:
        note(f"{untold} notices wait for sinks that did not take them; the log says why.")


def _shown(alarm: Alarm, now: int) -> list[str]:
    about = " ".join(filter(None, (alarm.name, alarm.provider, alarm.subject)))
    if alarm.cleared_at is None:
        state = f"{output.paint(alarm.severity)}, raised "
        state += f"{output.lately(max(now - alarm.raised_at, 0))} ago"
    else:
        state = f"{output.paint('cleared')} {output.lately(max(now - alarm.cleared_at, 0))} ago, after "
        state += output.span(alarm.cleared_at - alarm.raised_at)
    lines = [f"{output.clean(about)} ({state})", f"  {output.clean(alarm.cause)}"]
    if alarm.cleared_at is None:
        lines.append(f"  → {output.clean(alarm.advice)}")
    return lines
