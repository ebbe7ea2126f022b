"""The browser that the console is tried in: Debian's chromium, driven by playwright."""

import shutil
from typing import Final

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
#: As root it takes no sandbox of its own; what it opens is ours.
OPTIONS: Final = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
SKIPPED: Final = "no chromium on this machine: apt-get install chromium"
