"""The console in a real browser: stories from beginning to end."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from playwright.async_api import expect

from receiver.simulator import Simulator, SimulatorSettings
from tests.web.conftest import TOKEN, WHSEC, Site, serve

from .conftest import FOREIGN, IN_A_BROWSER

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser

    from .conftest import Opened

pytestmark = IN_A_BROWSER


async def test_a_job_is_watched_live_from_submission_to_handler(opened: Opened, site: Site) -> None:
    """Its page and the live page go on by themselves; nobody reloads."""
    job = await site.submit("netnut", metadata={"topic": "watched"})
    async with opened("/live") as live, opened(f"/jobs/{job['id']}") as page:
        await expect(page.locator(".pill").first).to_have_text("submitted")
        await expect(live.locator("#live-state")).to_have_text("Connected")
        site.sim.release(job["remote_id"])
        await expect(page.locator(".head .pill")).to_have_text("succeeded")
        await expect(page.locator(".way li.done")).to_have_count(4)
        await expect(page.locator(".line")).to_contain_text("keep")
        await expect(live.locator(f'#feed a[href$="{job["id"]}"]', has_text="keep")).to_be_visible()


async def test_live_is_paused_filtered_and_goes_on(opened: Opened, site: Site) -> None:
    """While it is paused nothing moves and what came is counted; a filter holds for what is and for what comes."""
    async with opened("/live?kind=handlers&provider=netnut") as page:
        await expect(page.locator("#live-state")).to_have_text("Connected")
        await page.get_by_role("button", name="Pause").click()
        job = await site.ended("netnut")
        await site.ended("perplexity-webhook")
        await expect(page.get_by_role("button", name="Go on (1 new)")).to_be_visible()
        line = page.locator(f'#feed a[href$="{job["id"]}"]')
        await expect(line).to_have_count(0)
        await page.get_by_role("button", name="Go on").click()
        await expect(line).to_have_count(1)
        said = await page.eval_on_selector_all("#feed .what", "all => all.map(one => one.textContent.trim())")
        assert all(re.match(r"netnut\s+keep", one) for one in said)


async def test_what_arrives_is_followed_by_a_check_box(opened: Opened, site: Site) -> None:
    """The list goes on by itself once somebody asks for it, and not before."""
    async with opened("/callbacks?provider=netnut") as page:
        rows = page.locator("[data-row]")
        before = await rows.count()
        await page.get_by_label("Follow what arrives").check()
        await expect(page).to_have_url(re.compile("follow=1"))
        await site.ended("netnut")
        await expect(rows).to_have_count(before + 1)


async def test_a_rejected_callback_is_understood_and_all_are_admitted(
    opened: Opened, site: Site, secret: Path
) -> None:
    """From the overview to the reason; the key is mended; the dry run says so, and all pass."""
    await asyncio.to_thread(secret.write_text, FOREIGN)
    jobs = [await site.submit("pulse") for _ in range(2)]
    for job in jobs:
        site.sim.release(job["remote_id"])
    await site.until(
        "/v1/callbacks?verdict=rejected&provider=pulse", lambda page: len(page["callbacks"]) >= 2
    )
    async with opened() as page:
        # Other tests' callbacks may be rejected for reasons of their own.
        why = page.get_by_role("link", name=re.compile("^Why"))
        await why.and_(page.locator('[href*="provider=pulse"]')).click()
        await expect(page.locator(".steps")).to_contain_text("does not match")
        await expect(page.locator(".attention").first).to_contain_text("copy it from the provider again")
        await asyncio.to_thread(secret.write_text, WHSEC)
        await page.get_by_role("link", name="Verify all with this code again…").click()
        await expect(page.locator("main")).to_contain_text("would be accepted")
        await page.get_by_role("button", name=re.compile("^Admit")).click()
        await expect(page.locator(".said")).to_contain_text("accepted")
    for job in jobs:
        await site.until(f"/v1/jobs/{job['id']}", lambda found: found["state"] == "succeeded")


async def test_a_job_is_replayed_to_one_handler(opened: Opened, site: Site) -> None:
    """Found by its metadata; the dry run names the handler; the story says who replayed."""
    before = len(site.handled)
    async with opened("/jobs") as page:
        await page.fill("#search", "voice AI")
        await page.press("#search", "Enter")
        await page.locator("[data-row]").first.click()
        await page.get_by_role("link", name="Replay to keep").click()
        await expect(page.locator("main")).to_contain_text("1 handler would run again")
        await page.get_by_role("button", name="Replay to 1 handler").click()
        await expect(page.locator(".said")).to_have_text("Replayed: keep.")
        await expect(page.locator(".line")).to_contain_text("Replayed by API token")
    async with asyncio.timeout(40):
        while len(site.handled) == before:  # noqa: ASYNC110  (it tells nobody)
            await asyncio.sleep(0.02)


async def test_dead_letters_are_cleared(opened: Opened, site: Site) -> None:
    """The traceback, then one is retried and dies again; then all are discarded."""
    async with opened("/dead") as page:
        await page.locator("summary", has_text="Traceback").first.click()
        await expect(page.locator("pre").first).to_contain_text("RuntimeError: on purpose")
        await page.locator('input[name="id"]').first.check()
        await expect(page.locator("[data-chosen]")).to_have_text("1 chosen")
        await page.get_by_role("button", name="Discard…").click()
        await expect(page.locator("h1")).to_have_text("Discard 1 dead letter?")
        await page.get_by_role("button", name="Discard 1 dead letter").click()
        await expect(page.locator(".said")).to_have_text("1 dead letter discarded.")
        await expect(page.locator(".well")).to_contain_text("No dead letters")
    assert (await site.get("/v1/dispatches", state="dead")).json()["dispatches"] == []
    await site.ended("perplexity-webhook", metadata={"handler": "fails"})
    await site.until("/v1/dispatches?state=dead", lambda found: found["dispatches"])


async def test_whoever_takes_one_away_no_longer_means_all(opened: Opened, site: Site) -> None:
    """Of all that match, and not only of this page, one cannot be left out: so all are no longer chosen."""
    await site.ended("netnut")
    await site.ended("netnut")
    async with opened("/jobs?provider=netnut") as page:
        beyond = page.get_by_label("All that match the filters, not only this page")
        await beyond.check()
        await expect(page.locator("[data-chosen]")).to_have_text("All chosen")
        boxes = page.locator("input[name=id]")
        await boxes.first.uncheck()
        await expect(beyond).not_to_be_checked()
        count = await boxes.count()
        await expect(page.locator("[data-chosen]")).to_have_text(f"{count - 1} chosen")


async def test_signing_in_being_locked_out_and_signing_out(
    browser: Browser, tmp_path: Path, opened: Opened
) -> None:
    """A wrong token is told; after some tries nobody from there gets in; whoever is in stays in and can leave."""
    settings = SimulatorSettings(run_seconds=None)
    async with Simulator(settings=settings) as sim, serve(sim, tmp_path, {}) as site:
        context = await browser.new_context(base_url=site.url)
        page = await context.new_page()
        await page.goto("/console/jobs?state=open")
        await page.get_by_label("API token").fill(TOKEN)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page).to_have_url(re.compile(r"/console/jobs\?state=open$"))
        other = await browser.new_context(base_url=site.url)
        stranger = await other.new_page()
        await stranger.goto("/console")
        await stranger.get_by_label("API token").fill("wrong")
        await stranger.get_by_role("button", name="Sign in").click()
        await expect(stranger.get_by_role("alert")).to_contain_text("That is not right")
        wrong = (other.request.post("/console/sign-in", form={"secret": "wrong"}) for _ in range(7))
        await asyncio.gather(*wrong)
        await stranger.get_by_label("API token").fill(TOKEN)
        await stranger.get_by_role("button", name="Sign in").click()
        await expect(stranger.get_by_role("alert")).to_contain_text("Too many wrong tries")
        await page.reload()
        await expect(page.locator("h1")).to_have_text("Jobs")
        await page.locator(".who summary").click()
        await page.get_by_role("button", name="Sign out").click()
        await page.goto("/console/jobs")
        await expect(page.locator("h1")).to_have_text("Sign in")
        await context.close()
        await other.close()
