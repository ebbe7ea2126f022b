"""``python -m tests.vendors``: the packages of npm that descriptions are compared with, one on a line."""

import sys

from .test_sdks import COMPARED

if __name__ == "__main__":
    wanted = {f"{sdk.package}@{sdk.version}" for _, sdk in COMPARED if sdk.registry == "npm"}
    sys.stdout.write("".join(f"{one}\n" for one in sorted(wanted)))
