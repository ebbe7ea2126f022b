"""Small projects that use the kit, each tested by a pytest of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

#: Seconds that one may take.
_PATIENCE = 60


ASYNCIO = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function")
ANYIO = ("-p", "anyio.pytest_plugin")


def checked(folder: Path, *options: str, code: int = 0, files: Mapping[str, str] = {}, **modules: str) -> str:
    """Write *files* and *modules* (``test_it`` is ``test_it.py``), run pytest there, and return what it printed.

    No plugin is loaded but ours and those among *options*: what else is installed here takes its time.
    """
    for name, text in {**files, **{f"{name}.py": text for name, text in modules.items()}}.items():
        (folder / name).write_text(text, encoding="utf-8")
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("RECEIVER_", "PYTEST_"))
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "receiver.testing.plugin",
            "-p",
            "no:cacheprovider",
            *options,
        ],
        cwd=folder,
        env=environ | {"PYTHONPATH": str(folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    assert done.returncode == code, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout
