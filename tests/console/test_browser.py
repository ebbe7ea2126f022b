"""The console in a real browser: stories from beginning to end, and what must hold on every page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright, expect

from receiver.simulator import Simulator, SimulatorSettings
from tests.console.chromium import CHROMIUM, OPTIONS, SKIPPED
from tests.web.conftest import TOKEN, WHSEC, Site, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from playwright.async_api import Browser, BrowserContext, Page

    Opened = Callable[..., contextlib.AbstractAsyncContextManager[Page]]

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason=SKIPPED),
]
FOREIGN = "whsec_Zm9yZWlnbiBmb3JlaWduIGZvcmVpZ24="
#: Only colours differ between the schemes.
RULES = {
    "light": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    "dark": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
}
#: What of some elements a phone does not show, for it stands right of its screen.
OUTSIDE = (
    "all => all.filter(one => one.getBoundingClientRect().right > 391).map(one => one.textContent.trim())"
)
#: Milliseconds that a page may take to be as it should.
PATIENCE = 10_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Start chromium once."""
    expect.set_options(timeout=PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that Pulse's key is read from."""
    file = tmp_path_factory.mktemp("secret") / "pulse"
    file.write_text(WHSEC)
    return file


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory, secret: Path) -> AsyncIterator[Site]:
    """A receiver with something of everything in it: ended, failed and open jobs, rejections, dead letters."""
    settings = SimulatorSettings(run_seconds=None, callback_backoff=0.01)
    environ = {"PULSE_WEBHOOK_SECRET_FILE": str(secret)}
    async with (
        Simulator(settings=settings) as sim,
        serve(sim, tmp_path_factory.mktemp("browser"), environ) as opened,
    ):
        await opened.ended("netnut", metadata={"topic": "voice AI", "long": "x" * 500})
        await opened.ended("perplexity-webhook", metadata={"handler": "fails", "topic": "dead letter"})
        await opened.submit("netnut", metadata={"topic": "open"})
        await opened.until("/v1/dispatches?state=dead", lambda page: page["dispatches"])
        yield opened


@pytest.fixture
def opened(browser: Browser, site: Site) -> Opened:
    """Open a page of somebody who is signed in; it must not complain, nor ask anybody else for anything."""

    @contextlib.asynccontextmanager
    async def open_page(path: str = "", *, signed_in: bool = True, **options: Any) -> AsyncIterator[Page]:  # noqa: ANN401
        context = await browser.new_context(base_url=site.url, **options)
        try:
            page = await context.new_page()
            page.set_default_timeout(PATIENCE)
            said = listened(page)
            elsewhere = asked_elsewhere(context, site)
            if signed_in:
                ticket = (await site.http.post("/console/tickets")).text
                await page.goto(f"/console/enter/{ticket}")
            await page.goto(f"/console{path}")
            yield page
            assert elsewhere == []
            assert said == []
        finally:
            await context.close()

    return open_page


def listened(page: Page) -> list[str]:
    """What a page complains of; that an answer was a refusal is no complaint."""
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "console",
        lambda message: (
            said.append(message.text)
            if message.type in {"error", "warning"} and "Failed to load resource" not in message.text
            else None
        ),
    )
    return said


def asked_elsewhere(context: BrowserContext, site: Site) -> list[str]:
    """The addresses of others that are asked."""
    found: list[str] = []
    ours = urlsplit(site.url).netloc
    context.on(
        "request",
        lambda request: (
            found.append(request.url)
            if urlsplit(request.url).netloc != ours and not request.url.startswith("data:")
            else None
        ),
    )
    return found


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


async def test_a_lost_connection_leaves_no_gap(opened: Opened, site: Site) -> None:
    """What happened while the browser was away is shown once it is back, each thing once."""
    async with opened("/live") as page:
        await expect(page.locator("#live-state")).to_have_text("Connected")
        await page.context.set_offline(True)
        job = await site.ended("netnut")
        await asyncio.sleep(1.2)
        await page.context.set_offline(False)
        await expect(page.locator(f'#feed a[href$="{job["id"]}"]', has_text="keep")).to_have_count(1)
        keys = await page.eval_on_selector_all("#feed li[data-key]", "all => all.map(one => one.dataset.key)")
        assert len(keys) == len(set(keys))


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
    await site.until("/v1/callbacks?verdict=rejected", lambda page: len(page["callbacks"]) >= 2)
    async with opened() as page:
        await page.get_by_role("link", name=re.compile("^Why")).first.click()
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
    async with asyncio.timeout(5):
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


@pytest.mark.parametrize("third", range(3))
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_keeps_anybody_out(opened: Opened, site: Site, scheme: str, third: int) -> None:
    """axe-core finds no violation of level A or AA on any page; on a phone nothing is wider than the screen."""
    import axe_playwright_python  # type: ignore[import-untyped]  # noqa: PLC0415

    axe = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    job = (await site.get("/v1/jobs", state="succeeded")).json()["jobs"][0]["id"]
    callback = (await site.get("/v1/callbacks")).json()["callbacks"][0]["id"]
    paths = [
        *(
            "",
            "/jobs",
            "/jobs?q=nothing&since=then",
            f"/jobs/{job}",
            f"/jobs/{job}/replay",
            "/jobs/job_x",
            "/dead",
            "/handlers",
        ),
        *(
            "/callbacks",
            f"/callbacks/{callback}",
            f"/callbacks/{callback}/again",
            f"/callbacks/{callback}/send",
        ),
        *("/callbacks/again?provider=pulse", "/providers", "/providers/pulse", "/live", "/audit", "/sign-in"),
    ]
    said: list[tuple[str, str, list[str]]] = []
    # The page may run what is ours only, so axe is put in where no policy holds.
    async with opened(color_scheme=scheme, bypass_csp=True) as page:
        for path in paths[third::3]:
            await page.set_viewport_size({"width": 390, "height": 844})
            await page.goto(f"/console{path}")
            width = await page.evaluate("document.documentElement.scrollWidth")
            assert width <= 390, (path, width)
            cut = await page.eval_on_selector_all(".cards td, .cards .pill", OUTSIDE)
            assert (cut, await page.evaluate("scrollY")) == ([], 0), path
            await page.set_viewport_size({"width": 1280, "height": 860})
            await page.evaluate(axe)
            found = await page.evaluate(f"axe.run(document, {{runOnly: {json.dumps(RULES[scheme])}}})")
            said += [
                (path, one["id"], [node["html"][:200] for node in one["nodes"][:3]])
                for one in found["violations"]
            ]
        assert said == []
