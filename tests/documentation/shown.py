"""The tests that documents name as what shows a sentence."""

import ast
from functools import cache

from .generated import ROOT


def is_there(shown: str) -> bool:
    """Whether the test that *shown* names (``tests/….py::test_…``) is there."""
    path, _, name = shown.partition("::")
    return name in _tests_of(path)


@cache
def _tests_of(path: str) -> frozenset[str]:
    module = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(
        one.name for one in module.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    )
