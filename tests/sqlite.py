"""A new SQLite database with the receiver's tables, copied from one that was migrated once in this process."""

import os
import tempfile
from functools import cache
from pathlib import Path

from receiver.storage.schema import migrate
from receiver.storage.sqlite.driver import SQLite


def migrated(file: Path) -> str:
    """Make *file*, if it is not there, what the receiver's migrations make of nothing; its URL."""
    if not file.exists():
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(_template())
    return f"sqlite:///{file}"


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "receiver.db"
        driver = SQLite(file)
        migrate(driver)
        driver.close()
        return file.read_bytes()
