"""The console while the connection, or the database, is lost."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.async_api import expect

from .conftest import IN_A_BROWSER, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.async_api import Locator

    from tests.web.conftest import Site

    from .conftest import Opened

pytestmark = IN_A_BROWSER


async def test_a_lost_connection_leaves_no_gap(opened: Opened, site: Site) -> None:
    """What happened while the browser was away is shown once it is back, each thing once."""
    async with opened("/live") as page:
        await expect(page.locator("#live-state")).to_have_text("Connected")
        await page.context.set_offline(True)
        site.hang_up()
        await expect(page.locator("#live-state")).to_contain_text("connecting again")
        job = await site.ended("netnut")
        await page.context.set_offline(False)
        await expect(page.locator("#live-state")).to_have_text("Connected")
        await expect(page.locator(f'#feed a[href$="{job["id"]}"]', has_text="keep")).to_have_count(1)
        keys = await page.eval_on_selector_all("#feed li[data-key]", "all => all.map(one => one.dataset.key)")
        assert len(keys) == len(set(keys))


@contextlib.contextmanager
def lost(site: Site) -> Iterator[None]:
    """Have the database's file elsewhere meanwhile."""
    file = Path(site.receiver.running.settings.database_url.removeprefix("sqlite:///"))
    away = file.parent.with_name("away")
    file.parent.rename(away)
    file.parent.mkdir()
    try:
        yield
    finally:
        file.parent.rmdir()
        away.rename(file.parent)


async def test_a_lost_database_is_said_and_the_page_comes_back_by_itself(opened: Opened, site: Site) -> None:
    """While its file is elsewhere the page says so; once it is back nobody has to do anything."""
    async with opened("/jobs?state=succeeded") as page:
        with lost(site):
            answer = await page.reload()
            assert answer is not None
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            await expect(page.locator("h1")).to_have_text("The database cannot be reached")
        await expect(page.locator("h1")).to_have_text("Jobs", timeout=PATIENCE)
        assert page.url.endswith("/jobs?state=succeeded")


async def test_an_action_that_meets_a_lost_database_leads_back_to_where_it_was_asked_for(
    opened: Opened, site: Site
) -> None:
    """It is told that it may not have been done, it is not done again by itself, and the page above comes back."""

    def replays() -> Locator:
        return page.get_by_role("cell", name="replayed")

    async with opened("/audit") as page:
        # Other tests may have had jobs replayed.
        before = await replays().count()
        await page.goto("/console/jobs?state=succeeded")
        await page.locator("input[name=id]").first.check()
        await page.get_by_role("button", name="Replay…").click()
        with lost(site):
            await page.get_by_role("button", name="Replay 1 job").click()
            await expect(page.locator("h1")).to_have_text("The database cannot be reached")
            await expect(page.locator("main")).to_contain_text("may not have been done")
        await expect(page.locator("h1")).to_have_text("Jobs", timeout=PATIENCE)
        await page.goto("/console/audit")
        await expect(replays()).to_have_count(before)


async def test_a_page_that_goes_on_by_itself_says_when_nobody_answers_it(opened: Opened, site: Site) -> None:
    """What stands there may be old then, and the page does not look as if it were not."""
    job = await site.submit("netnut")
    async with opened("/live") as live, opened(f"/jobs/{job['id']}") as page:
        await expect(live.locator("#live-state")).to_have_text("Connected")
        with lost(site):
            await expect(page.locator("#unanswered")).to_contain_text("may be old")
            await expect(live.locator("#live-state")).to_contain_text("database cannot be reached")
        await expect(page.locator("#unanswered")).to_have_count(0)
        await expect(live.locator("#live-state")).to_have_text("Connected")


async def test_live_goes_on_after_it_was_refused_as_proxies_do_meanwhile(opened: Opened, site: Site) -> None:
    """A browser gives up for good where it is answered 502; the page asks again, and there is no gap."""
    async with opened() as page:
        await page.route("**/live/events*", lambda route: route.fulfill(status=502))
        await page.goto("/console/live")
        await expect(page.locator("#live-state")).to_contain_text("connecting again")
        job = await site.ended("netnut")
        await page.unroute("**/live/events*")
        await expect(page.locator("#live-state")).to_have_text("Connected")
        await expect(page.locator(f'#feed a[href$="{job["id"]}"]', has_text="keep")).to_have_count(1)
