"""What must hold on every page, for everybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from .conftest import CROWDED, IN_A_BROWSER

if TYPE_CHECKING:
    from tests.web.conftest import Site

    from .conftest import Opened

pytestmark = IN_A_BROWSER
#: Only colours differ between the schemes.
RULES = {
    "light": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    "dark": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
}
#: What of some elements a phone does not show, for it stands right of its screen.
OUTSIDE = (
    "all => all.filter(one => one.getBoundingClientRect().right > 391).map(one => one.textContent.trim())"
)


@pytest.mark.parametrize("third", range(3))
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_keeps_anybody_out(opened: Opened, site: Site, scheme: str, third: int) -> None:
    """axe-core finds no violation of level A or AA on any page; on a phone nothing is wider than the screen."""
    import axe_playwright_python  # type: ignore[import-untyped]  # noqa: PLC0415

    axe = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    job = (await site.get("/v1/jobs", state="succeeded")).json()["jobs"][0]["id"]
    async with httpx.AsyncClient(base_url=site.url, trust_env=False, timeout=60) as http:
        for _ in range(15):  # more than a list shows at once, each an attempt of the same
            await http.post(f"/webhooks/{CROWDED}", content=b"{}")
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
    # What passed is not looked for in full, and stays in the page: it is a megabyte.
    look = {"runOnly": RULES[scheme], "resultTypes": ["violations"]}
    run = f"axe.run(document, {json.dumps(look)}).then(found => found.violations)"
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
            said += [
                (path, one["id"], [node["html"][:200] for node in one["nodes"][:3]])
                for one in await page.evaluate(run)
            ]
        assert said == []
