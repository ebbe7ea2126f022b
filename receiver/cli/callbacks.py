"""``receiver callbacks``: what arrived, exactly."""

import base64
import sys
from typing import Final

import click

from receiver.api.filters import MOST, cut
from receiver.cli import options, output, session
from receiver.cli.acting import by_hand, who
from receiver.cli.command import Group, note
from receiver.cli.table import show_table
from receiver.cli.timeline import show_callback
from receiver.core.model import Verdict
from receiver.storage.queries import Page
from receiver.views.callback import callback_detail, callback_document

_VERDICTS: Final = click.Choice([verdict.value for verdict in Verdict])


@click.group(cls=Group)
def callbacks() -> None:
    """List and show what arrived."""


@callbacks.command("list")
@options.provider
@click.option("--verdict", type=_VERDICTS, help="Only with this verdict; 'rejected' is the quarantine.")
@click.option("--job", metavar="ID", help="Only of this job.")
@options.since
@options.paging(MOST)
@options.as_json
async def list_callbacks(
    *,
    provider: str | None,
    verdict: str | None,
    job: str | None,
    since: int | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List callbacks, the newest first."""
    async with session.opened() as running:
        page = Page(
            provider=provider,
            verdict=verdict,
            job_id=None if job is None else await session.job_id(running, job),
            since=None if since is None else running.clock() - since,
            before=None if cursor is None else await session.callback_id(running, cursor),
            limit=limit + 1,
        )
        found, following = cut(await running.store.callbacks(page), page, lambda callback: callback.id)
    if as_json:
        output.show_json({"callbacks": [callback_document(one) for one in found], "cursor": following})
        return
    show_table(
        ("id", "provider", "verdict", "code", "job", "received"),
        [(c.id, c.provider, c.verdict, c.code, c.job_id, output.moment(c.received_at)) for c in found],
        none="No callback fits." if cursor is None else "There are no more.",
    )
    if not found:
        session.say_unknown(running, provider)
    if following is not None:
        note(f"There are more: --cursor {following}")


@callbacks.command()
@click.argument("id_", metavar="ID")
@options.as_json
async def show(*, id_: str, as_json: bool) -> None:
    """Show a callback with its headers; what could be a secret is masked."""
    async with session.opened() as running:
        callback = await running.store.callback(await session.callback_id(running, id_))
        provider = running.catalog.get(callback.provider)
        if provider is None or provider.verify is None:
            detail = callback_detail(callback)
        else:
            diagnosis = await running.proving.diagnosis(callback, provider, providers=running.catalog)
            detail = callback_detail(callback, proofs=provider.verify.headers, diagnosis=diagnosis)
    if as_json:
        output.show_json(detail)
    else:
        show_callback(detail)


@callbacks.command()
@click.argument("id_", metavar="ID")
@options.as_json
async def body(*, id_: str, as_json: bool) -> None:
    """Write a callback's body, byte for byte; as JSON in base64."""
    async with session.opened() as running:
        callback = await running.store.callback(await session.callback_id(running, id_))
    if as_json:
        output.show_json({"id": callback.id, "body": base64.b64encode(callback.body).decode()})
        return
    sys.stdout.buffer.write(callback.body)
    sys.stdout.buffer.flush()


@callbacks.command()
@click.option("--provider", required=True, metavar="NAME", help="Whose callbacks.")
@options.since
@click.option("--dry-run", is_flag=True, help="Say what would happen; nothing is touched.")
@options.as_json
async def reverify(*, provider: str, since: int | None, dry_run: bool, as_json: bool) -> None:
    """Verify the quarantine again, with the keys now in force.

    For use after a wrong secret of ours was corrected: each callback is judged as of its own arrival, and what
    passes is admitted exactly as if it had just come. What is forged stays where it is.
    """
    async with session.opened() as running:
        after = None if since is None else running.clock() - since
        if dry_run:
            done = await running.replay.reverify(provider, since=after, dry_run=True)
        else:
            async with by_hand(running, "verify", provider=provider) as detail:
                done = await running.replay.reverify(provider, since=after, dry_run=False, by=who())
                detail["admitted"] = len(done.admitted)
    if as_json:
        output.show_json(done)
        return
    if done.admitted:
        show_table(
            ("id", "verdict", "job", "state of the job"),
            [(one.id, one.verdict, one.job_id, one.state) for one in done.admitted],
            none="",
        )
    for code, count in sorted(done.refused.items()):
        note(f"{count} stay rejected: {code}")
    note(f"{len(done.admitted)} {'would be admitted; nothing was touched' if dry_run else 'admitted'}.")
