"""What every folder of tests may ask for."""

from .chaos.report import pytest_terminal_summary
from .postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url", "pytest_terminal_summary"]
