"""The project in testing.md, as it stands there, passes its tests."""

from pathlib import Path

from tests.documentation.blocks import blocks

from .projects import ASYNCIO, checked


def test_the_documented_project_passes_its_tests(tmp_path: Path) -> None:
    """Whoever copies the three files of the document has a project whose tests pass, in any order."""
    files: dict[str, str] = {}
    for block in blocks("receiver/docs/testing.md"):
        first = block.text.partition("\n")[0]
        name = first.removeprefix("# ") if first.startswith("# ") else "pytest.ini"
        files[name] = block.text
    assert sorted(files) == ["hooks.py", "pytest.ini", "test_hooks.py"]
    assert "5 passed" in checked(tmp_path, "-W", "error", *ASYNCIO, files=files)
