"""Screenshots of every page of the console, from the demo's data: ``python -m tests.console.shots FOLDER [PAGE …]``.

Light and dark, on a desk and on a phone. Needs chromium (``apt-get install chromium``).
"""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.console.chromium import CHROMIUM, OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page, ViewportSize

SIZES: Final[dict[str, ViewportSize]] = {
    "desk": {"width": 1280, "height": 860},
    "phone": {"width": 390, "height": 844},
}
#: The pages that the documents show, not whole but in a size that is read beside text.
_DOCUMENTED: Final = {"job-light-desk", "callback-light-desk"}
#: So that neither is larger than 150 kB.
_SMALL: Final[ViewportSize] = {"width": 1100, "height": 600}
_PATIENCE: Final = 60.0


def main() -> int:
    """Write the pictures; the exit code."""
    if len(sys.argv) < 2 or CHROMIUM is None:
        sys.stderr.write(
            "usage: python -m tests.console.shots FOLDER [PAGE …] (chromium has to be installed)\n"
        )
        return 2
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with demo() as address:
        shoot(address, folder, set(sys.argv[2:]))
    return 0


@contextlib.contextmanager
def demo() -> Iterator[str]:
    """Run ``receiver demo --keep``; the address that signs in once."""
    process = subprocess.Popen(
        [sys.executable, "-m", "receiver", "demo", "--keep", "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        until = time.monotonic() + _PATIENCE
        for line in process.stderr:
            if found := re.search(r"http://\S+/console/enter/\S+", line):
                yield found[0]
                return
            assert time.monotonic() < until
        raise AssertionError("the demo did not come up")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        if process.stderr is not None:
            process.stderr.close()


def shoot(address: str, folder: Path, names: set[str]) -> None:
    """Write a picture of every page, or of those with *names*, in both schemes and sizes."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    root = address.partition("/enter/")[0]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        # Polls have come, dead letters are there.
        time.sleep(6)
        state = context.storage_state()
        paths = {name: path for name, path in addresses(page, root).items() if name in (names or {name})}
        for scheme in ("light", "dark"):
            for size, viewport in SIZES.items():
                shown = browser.new_context(
                    storage_state=state, viewport=viewport, color_scheme=scheme, reduced_motion="reduce"
                )
                page = shown.new_page()
                for name, path in paths.items():
                    documented = f"{name}-{scheme}-{size}" in _DOCUMENTED
                    page.set_viewport_size(_SMALL if documented else viewport)
                    page.goto(root + path)
                    page.wait_for_timeout(300)
                    picture = folder / f"{name}-{scheme}-{size}.png"
                    page.screenshot(path=picture, full_page=not documented)
                    sys.stdout.write(f"{picture} {Path(picture).stat().st_size}\n")
                shown.close()
        browser.close()


def addresses(page: Page, root: str) -> dict[str, str]:
    """The pages by name: those that have an address, and one of each kind that has an id."""
    jobs = {scene: _job(page, root, scene) for scene in ("perplexity-webhook", "runway", "firecrawl")}
    page.goto(f"{root}/callbacks?provider=pulse&verdict=rejected")
    callback = page.locator("[data-row]").first.get_attribute("href")
    page.goto(f"{root}/dead")
    below = "/console"
    assert callback is not None
    one, two = jobs["perplexity-webhook"], callback.partition(below)[2]
    return {
        "overview": "",
        "jobs": "/jobs",
        "jobs-none": "/jobs?q=nothing+like+this",
        "job": one,
        "job-files": jobs["runway"],
        "job-pages": jobs["firecrawl"],
        "replay": f"{one}/replay",
        "callbacks": "/callbacks",
        "callback": two,
        "callback-again": f"{two.partition('?')[0]}/again",
        "callbacks-again": "/callbacks/again?provider=pulse&verdict=rejected",
        "send": f"{two.partition('?')[0]}/send",
        "dead": "/dead",
        "handlers": "/handlers",
        "jobs-filter": "/jobs?since=then&provider=nobody",
        "providers": "/providers",
        "provider": "/providers/pulse",
        "live": "/live",
        "audit": "/audit",
        "unknown": "/jobs/job_x",
        "sign-in": "/sign-in",
    }


def _job(page: Page, root: str, scene: str) -> str:
    """Where the page of the demo's job of that scene is, below the console."""
    page.goto(f"{root}/jobs?q=scene%3D{scene}")
    found = page.locator("[data-row]").last.get_attribute("href")
    assert found is not None
    return found.partition("/console")[2]


if __name__ == "__main__":
    sys.exit(main())
