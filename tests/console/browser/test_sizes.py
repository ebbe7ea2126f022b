"""What a page shows on a phone and on a desk: nothing is cut off, nothing fills the screen, nothing stands alone."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.async_api import expect

from .conftest import CROWDED, IN_A_BROWSER

if TYPE_CHECKING:
    from playwright.async_api import ViewportSize

    from tests.web.conftest import Site

    from .conftest import Opened

pytestmark = IN_A_BROWSER
PHONE: ViewportSize = {"width": 390, "height": 844}
#: Left, right, top and bottom of some elements.
BOXES = "all => all.map(one => one.getBoundingClientRect()).map(box => [box.left, box.right, box.top, box.bottom])"


@pytest.mark.parametrize("width", [390, 640, 900, 1000, 1099, 1100, 1280])
async def test_every_page_of_the_navigation_is_in_sight(opened: Opened, width: int) -> None:
    """However wide the window is, each stands in it whole; nobody has to guess that a row goes on."""
    async with opened("/jobs", viewport={"width": width, "height": 844}) as page:
        # Whoever is signed in may have a long name, and the number of dead letters three signs.
        await page.eval_on_selector(".who summary", "one => { one.textContent = 'x'.repeat(60) }")
        await page.eval_on_selector(".top nav .count", "one => { one.textContent = '99+' }")
        names = await page.eval_on_selector_all(".top nav a", "all => all.map(one => one.textContent)")
        assert [re.sub(r"\d|\+", "", name).strip() for name in names] == [
            "Overview",
            "Jobs",
            "Callbacks",
            "Dead letters",
            "Handlers",
            "Providers",
            "Live",
        ]
        within = await page.eval_on_selector(
            ".top nav", "one => [one.scrollWidth <= one.clientWidth, one.clientWidth]"
        )
        assert within[0], within
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        for left, right, _, _ in await page.eval_on_selector_all(".top nav a", BOXES):
            assert 0 <= left < right <= width
        # Each is still a row that a finger hits, and the pages come before the content.
        await page.get_by_role("link", name="Handlers", exact=True).click()
        await expect(page.locator("h1")).to_have_text("Handlers and sinks")
        await expect(page.locator(".top nav [aria-current]")).to_have_text("Handlers")


async def test_the_way_of_a_job_goes_down_on_a_phone(opened: Opened, site: Site) -> None:
    """One place below the other, each as far left as the others; on a desk all stand in one row."""
    job = await site.ended("netnut")
    async with opened(f"/jobs/{job['id']}", viewport=PHONE) as page:
        boxes = await page.eval_on_selector_all(".way li", BOXES)
        assert len({left for left, *_ in boxes}) == 1
        assert all(one[3] <= next_[2] for one, next_ in itertools.pairwise(boxes))
        await page.set_viewport_size({"width": 1280, "height": 860})
        boxes = await page.eval_on_selector_all(".way li", BOXES)
        assert len({top for _, _, top, _ in boxes}) == 1


@pytest.mark.parametrize("path", ["/jobs", "/callbacks"])
async def test_filters_are_folded_on_a_phone_until_one_is_set(opened: Opened, path: str) -> None:
    """The first screen is the list's; who has set a filter sees it; on a desk they always stand there."""
    async with opened(path, viewport=PHONE) as page:
        provider = page.locator(".filters").get_by_label("Provider")
        await expect(provider).to_be_hidden()
        # Of callbacks the causes of rejections come first, then the list.
        first = await page.locator("#list, .split").first.bounding_box()
        assert first is not None
        assert first["y"] < 300
        await page.locator("summary", has_text="Filters").click()
        await expect(provider).to_be_visible()
        await page.goto(f"/console{path}?provider=netnut")
        await expect(provider).to_be_visible()
        await page.set_viewport_size({"width": 1280, "height": 860})
        await page.goto(f"/console{path}")
        await expect(provider).to_be_visible()
        await expect(page.locator("summary", has_text="Filters")).to_be_hidden()


async def test_filters_are_reached_without_script(opened: Opened) -> None:
    """What is folded opens without JavaScript, too."""
    async with opened("/jobs", viewport=PHONE, java_script_enabled=False) as page:
        await page.locator("summary", has_text="Filters").click()
        await expect(page.locator(".filters").get_by_label("Provider")).to_be_visible()


async def test_both_sides_of_a_job_are_filled(opened: Opened, site: Site) -> None:
    """On a desk a short story has handlers and terms below it; no side ends more than a screen above the other."""
    job = await site.ended("perplexity-webhook", metadata={f"name{number}": "x" for number in range(10)})
    async with opened(f"/jobs/{job['id']}", viewport={"width": 1280, "height": 860}) as page:
        (story,) = await page.eval_on_selector_all(".happened", BOXES)
        (terms,) = await page.eval_on_selector_all(".terms", BOXES)
        (brought,) = await page.eval_on_selector_all(".brought", BOXES)
        assert (terms[0], story[3] <= terms[2]) == (story[0], True)
        assert brought[2] == story[2]
        last = await page.eval_on_selector_all(".brought > :last-child, .terms > :last-child", BOXES)
        assert abs(last[0][3] - last[1][3]) < 860
        await page.set_viewport_size(PHONE)
        tops = [
            (await page.eval_on_selector_all(one, BOXES))[0][2] for one in (".happened", ".brought", ".terms")
        ]
        assert tops == sorted(tops)


async def test_rejected_callbacks_are_told_apart(opened: Opened, site: Site) -> None:
    """Each row has its id, what it is about and its sender; the group says how many, and when the newest came."""
    async with httpx.AsyncClient(base_url=site.url, trust_env=False, timeout=60) as http:
        for _ in range(3):
            await http.post(f"/webhooks/{CROWDED}", content=b"{}")
    async with opened(f"/callbacks?provider={CROWDED}") as page:
        rows = await page.eval_on_selector_all(
            "[data-row]", "all => all.map(one => [one.textContent.replace(/\\s+/g, ' '), one.dataset.key])"
        )
        assert len({text for text, _ in rows}) == len(rows) >= 3
        for text, id_ in rows:
            assert f"{id_[:12]}…{id_[-5:]}" in text
            assert "from 127.0.0.1" in text
            assert "its job is not known" in text
        group = page.locator(".attention", has_text=CROWDED).first
        await expect(group).to_contain_text("newest")
        await expect(group).to_contain_text("oldest")


async def test_live_names_the_job_of_each_line(opened: Opened, site: Site) -> None:
    """What happened to a job says to which, as the page comes and as it goes on, and leads there."""
    async with opened("/live?provider=netnut") as page:
        await expect(page.locator("#live-state")).to_have_text("Connected")
        job = await site.ended("netnut")
        short = f"{job['id'][:12]}…{job['id'][-5:]}"
        for again in (False, True):
            if again:
                await page.reload()
            for words in ("submit", "keep"):
                link = page.locator(f'#feed a[href$="/jobs/{job["id"]}"]', has_text=words)
                await expect(link).to_contain_text(short)
            line = page.locator("#feed li", has_text="callback").first
            await expect(line.locator(f'a[href$="/jobs/{job["id"]}"]')).to_have_text(short)
