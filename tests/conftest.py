"""What every folder of tests may ask for."""

from .chaos.report import pytest_terminal_summary
from .postgres import migrated_url, postgres_server, postgres_template, postgres_url

__all__ = [
    "migrated_url",
    "postgres_server",
    "postgres_template",
    "postgres_url",
    "pytest_terminal_summary",
]
