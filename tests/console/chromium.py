"""The browser that the console is tried in: Debian's chromium, driven by playwright."""

import shutil
from typing import Final

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
#: What a window of it has for people, made anew with every context, in processes of its own.
_FOR_PEOPLE: Final = (
    "PreloadTopChromeWebUI",
    "SpareRendererForSitePerProcess",
    "Translate",
    "WebUIOmniboxPopup",
)
#: As root it takes no sandbox of its own; what it opens is ours.
OPTIONS: Final = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    f"--disable-features={','.join(_FOR_PEOPLE)}",
    "--disable-gpu",
]
SKIPPED: Final = "no chromium on this machine: apt-get install chromium"
