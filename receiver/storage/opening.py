"""Opens the database that an address names: SQLite or PostgreSQL."""

from pathlib import Path

from receiver.core.errors import ConfigurationError
from receiver.storage.driver import Driver
from receiver.storage.sqlite.driver import SQLite


def open_driver(url: str) -> Driver:
    """Choose the database for *url*: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``postgresql://…``."""
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        # Absolute from now on: a handler may change the folder of the process.
        return SQLite(Path(rest[1:]).absolute())
    if scheme in {"postgresql", "postgres"}:
        try:
            # Only where it is used: SQLite needs neither the package nor the time that it takes to import.
            from receiver.storage.postgres.driver import Postgres
        except ImportError as error:
            raise ConfigurationError(
                f"PostgreSQL needs the extra package ({error}); in the folder of receiver: pip install '.[postgres]'.",
                code="postgres_missing",
            ) from error
        return Postgres(url)
    # What was given may hold a password, so it is not repeated.
    raise ConfigurationError(
        "RECEIVER_DATABASE_URL is neither sqlite:///file.db nor postgresql://user:password@host:5432/database.",
        code="database_url_invalid",
    )
