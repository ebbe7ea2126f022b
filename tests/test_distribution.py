"""What is published: a wheel and an sdist that hold what they should. ``.ci/run`` installs both and runs the demo."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_is_whole(built: Path) -> None:
    """Whatever is in the package's folder is in the wheel: documents, codes, descriptions, migrations, pages, types."""
    (wheel,) = built.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("receiver/")}
    listed = subprocess.run(
        ["git", "ls-files", "receiver"], capture_output=True, text=True, cwd=ROOT, check=False
    ).stdout.split()
    here = {str(path.relative_to(ROOT)) for path in (ROOT / "receiver").rglob("*") if path.suffix != ".pyc"}
    assert held - here == set()
    assert set(listed) & here - held == set()
    assert {"receiver/py.typed", "receiver/docs/codes/job.toml", "receiver/docs/handlers.md"} <= held
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names if not name.startswith("receiver-")} == {"receiver"}


def test_the_sdist_can_be_tested(built: Path) -> None:
    """It holds what the tests and the documents refer to, and nothing of anybody's machine."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        *(
            "README.md",
            "LICENSE",
            "CHANGELOG.md",
            ".env.example",
            "pyproject.toml",
            ".ci/run",
            "deploy/README.md",
        ),
        *("tests/test_distribution.py", "receiver/docs/job.svg", "tests/bench/throughput.svg"),
    }
    assert wanted - held == set()
    assert {name.partition("/")[0] for name in held} <= {
        *(one.partition("/")[0] for one in wanted),
        *("receiver", ".gitignore", "PKG-INFO"),
    }


def test_the_metadata_is_what_an_index_takes(built: Path) -> None:
    """``twine check`` finds nothing, warnings included; the description is the README."""
    files = [str(one) for one in built.iterdir()]
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    (wheel,) = built.glob("*.whl")
    archive = zipfile.ZipFile(wheel)
    (name,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
    metadata = archive.read(name).decode()
    assert "License-Expression: MIT\n" in metadata
    assert metadata.endswith((ROOT / "README.md").read_text(encoding="utf-8"))
