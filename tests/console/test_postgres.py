"""The console over PostgreSQL: every page shows what is there, and so does the record of who did what."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from receiver.core.alarms.alarm import CALLBACKS_SILENT, SEVERITIES, Finding
from receiver.storage import alarms
from receiver.storage.alarms import Looked
from tests.console.conftest import Person, visitor
from tests.path.world import until

if TYPE_CHECKING:
    from tests.web.conftest import OpenSite


async def test_every_page_is_shown_on_postgresql(open_site: OpenSite, migrated_url: str) -> None:
    """With a job, a rejected callback, a dead letter, an alarm and deeds in it; and an action does what it says."""
    async with open_site(RECEIVER_DATABASE_URL=migrated_url) as site, visitor(site) as client:
        person = Person(http=client)
        await person.sign_in()
        done = await site.ended("perplexity-webhook")
        failed = await site.ended("perplexity-webhook", metadata={"handler": "fails"})
        await site.until(f"/v1/dispatches?state=dead&job={failed['id']}", lambda found: found["dispatches"])
        forged = await site.http.post(
            "/webhooks/pulse", content=b"{}", headers={"svix-signature": "v1,nonsense"}
        )
        assert forged.status_code in {400, 401}
        running = site.receiver.running
        silent = Finding(
            name=CALLBACKS_SILENT, provider="pulse", cause="pulse is <silent>.", advice="Look & see."
        )
        await running.store.write(
            alarms.settle, Looked(names=frozenset(SEVERITIES), findings=(silent,), now=running.clock())
        )
        assert (await site.http.post(f"/v1/jobs/{done['id']}/replay", json={})).status_code == 202

        overview = await person.see("")
        assert "Callbacks stopped" in overview
        assert "pulse is &lt;silent&gt;. Look &amp; see." in overview
        assert "1 dead letter" in overview
        assert "of pulse were rejected since" in overview
        assert done["id"] in await person.see("/jobs")
        assert done["id"] in await person.see(f"/jobs?q={done['id'][:20]}&state=succeeded")
        job = await person.see(f"/jobs/{done['id']}")
        assert "perplexity-webhook" in job
        callbacks = await person.see("/callbacks?verdict=rejected")
        (callback,) = set(re.findall(r"/console/callbacks/(cb_[0-9a-f]{32})", callbacks))
        assert "pulse" in await person.see(f"/callbacks/{callback}")
        assert "keep" in await person.see("/dead")
        for path in ("/providers", "/providers/perplexity-webhook", "/handlers", "/live"):
            assert "<h1" in await person.see(path)
        await person.do(f"/jobs/{done['id']}/poll")

        async def noted() -> bool:
            trail = await person.see("/audit")
            return "replayed" in trail and '<td class="main">api<small>operator</small></td>' in trail

        await until(noted)
