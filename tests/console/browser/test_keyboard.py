"""The console by keys alone."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import httpx
from playwright.async_api import expect

from tests.web.conftest import TOKEN, WHSEC, Site

from .conftest import CROWDED, FOREIGN, IN_A_BROWSER

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Page

    from .conftest import Opened

pytestmark = IN_A_BROWSER


async def test_all_of_it_with_the_keyboard(opened: Opened, site: Site) -> None:
    """Signing in, finding, moving through a list, acting, copying an id, and leaving: no mouse."""
    job = await site.ended("netnut", metadata={"topic": "keyboard"})
    async with opened(signed_in=False) as page:
        keys = page.keyboard
        await expect(page.get_by_label("API token")).to_be_focused()
        await keys.type(TOKEN)
        await keys.press("Enter")
        await expect(page.locator("h1")).to_have_text("Overview")
        await keys.press("/")
        await keys.type("topic=keyboard")
        await keys.press("Enter")
        await expect(page.locator("[data-row]")).to_have_count(1)
        await keys.press("ArrowDown")
        await keys.press("Enter")
        await expect(page).to_have_url(re.compile(job["id"]))
        await page.get_by_role("link", name="Replay…", exact=True).focus()
        await keys.press("Enter")
        await page.get_by_role("button", name=re.compile("^Replay to")).focus()
        await keys.press("Enter")
        await expect(page.locator(".said")).to_be_visible()
        await keys.press("g")
        await keys.press("c")
        await expect(page.locator("h1")).to_have_text("Callbacks")
        await keys.press("ArrowDown")
        await keys.press("Enter")
        await expect(page.locator('.rail [aria-current="true"]')).to_have_count(1)
        first = page.url
        await keys.press("ArrowDown")
        await page.wait_for_url(lambda url: url != first)
        await page.locator(".who summary").focus()
        await keys.press("Enter")
        await page.get_by_role("button", name="Sign out").focus()
        await keys.press("Enter")
        await expect(page.locator("h1")).to_have_text("Sign in")


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until what has that name is focused, as somebody without a mouse does."""
    for _ in range(120):
        await page.keyboard.press("Tab")
        focused = await page.evaluate(
            "(document.activeElement.ariaLabel || document.activeElement.innerText || '').trim()"
        )
        if focused == name:
            return
    raise AssertionError(f"{name} is not reached")


async def test_trouble_is_seen_to_with_the_keyboard(opened: Opened, site: Site, secret: Path) -> None:
    """Why a callback was rejected, all of its kind verified again, a dead letter discarded: by keys alone."""
    await asyncio.to_thread(secret.write_text, FOREIGN)
    job = await site.submit("pulse")
    site.sim.release(job["remote_id"])
    await site.until("/v1/callbacks?verdict=rejected&provider=pulse", lambda page: page["callbacks"])
    async with opened("/callbacks?provider=pulse&verdict=rejected") as page:
        keys = page.keyboard
        await keys.press("ArrowDown")
        await keys.press("Enter")
        await expect(page.locator(".steps")).to_contain_text("does not match")
        await asyncio.to_thread(secret.write_text, WHSEC)
        await tab_to(page, "Verify all with this code again…")
        await keys.press("Enter")
        await expect(page.locator("main")).to_contain_text("would be accepted")
        await page.keyboard.press("Tab")
        label = await page.get_by_role("button", name=re.compile("^Admit")).inner_text()
        await page.reload()
        await tab_to(page, label)
        await keys.press("Enter")
        await expect(page.locator(".said")).to_contain_text("accepted")
        await keys.press("g")
        await keys.press("d")
        await expect(page.locator("h1")).to_have_text("Dead letters")
        await tab_to(page, "Choose all on this page")
        await keys.press("Space")
        await expect(page.locator("[data-chosen]")).to_contain_text("chosen")
        await tab_to(page, "Discard…")
        await keys.press("Enter")
        await expect(page.locator("h1")).to_contain_text("Discard")
        await tab_to(page, await page.locator("form button.danger").inner_text())
        await keys.press("Enter")
        await expect(page.locator(".said")).to_contain_text("discarded")
    await site.until(f"/v1/jobs/{job['id']}", lambda found: found["state"] == "succeeded")
    await site.ended("perplexity-webhook", metadata={"handler": "fails"})
    await site.until("/v1/dispatches?state=dead", lambda found: found["dispatches"])


async def test_the_detail_stays_in_sight_while_keys_move_through_the_list(opened: Opened, site: Site) -> None:
    """Far down the list too: the chosen row and the head of what is shown of it are both on the screen."""
    async with httpx.AsyncClient(base_url=site.url, trust_env=False, timeout=60) as http:
        for _ in range(25):
            await http.post(f"/webhooks/{CROWDED}", content=b"{}")
    async with opened(f"/callbacks?provider={CROWDED}") as page:
        await page.set_viewport_size({"width": 1280, "height": 700})
        row = await page.locator("[data-row]").nth(20).get_attribute("href")
        await page.goto(str(row))
        for _ in range(2):
            below = page.locator('.rail li:has([aria-current="true"]) + li a')
            address = await below.get_attribute("href")
            await page.keyboard.press("ArrowDown")
            await page.wait_for_url(f"**{address}")
            await expect(page.locator('.rail [aria-current="true"]')).to_be_in_viewport(ratio=1)
            await expect(page.locator("h1")).to_be_in_viewport(ratio=1)
