"""A browser, and a receiver with something of everything in it, which the tests of this folder share."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright, expect

from receiver.simulator import Simulator, SimulatorSettings
from tests.console.chromium import CHROMIUM, OPTIONS, SKIPPED
from tests.web.conftest import WHSEC, Site, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from playwright.async_api import Browser, BrowserContext, Page

    Opened = Callable[..., contextlib.AbstractAsyncContextManager[Page]]

#: What marks every module of this folder.
IN_A_BROWSER = [
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.skipif(CHROMIUM is None, reason=SKIPPED),
]
#: Milliseconds that a page may take to be as it should.
PATIENCE = 40_000
#: A provider whose callbacks no test counts, for those that need many.
CROWDED = "heygen"
#: A key that is not Pulse's.
FOREIGN = "whsec_Zm9yZWlnbiBmb3JlaWduIGZvcmVpZ24="


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    """Start chromium once."""
    expect.set_options(timeout=PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that Pulse's key is read from."""
    file = tmp_path_factory.mktemp("secret") / "pulse"
    file.write_text(WHSEC)
    return file


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def site(tmp_path_factory: pytest.TempPathFactory, secret: Path) -> AsyncIterator[Site]:
    """A receiver with something of everything in it: ended, failed and open jobs, rejections, dead letters."""
    settings = SimulatorSettings(run_seconds=None, callback_backoff=0.01)
    environ = {"PULSE_WEBHOOK_SECRET_FILE": str(secret), "HEYGEN_WEBHOOK_SECRET": "nobody-signs-with-it"}
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
