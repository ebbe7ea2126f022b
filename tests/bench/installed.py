"""The rivals' packages, installed once, on demand, into a folder outside the tree."""

import hashlib
import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

from .figure import UnmeasuredError
from .servers import RIVALS

#: What the rivals of pip need; the web stack is the one that the receiver runs on here.
_PACKAGES: Final = (
    "aiosqlite==0.22.1",
    "dbos==3.4.0",
    "fastapi==0.165.0",
    "procrastinate==3.10.0",
    "psycopg[binary]==3.3.9",
    "sqlalchemy==2.1.9",
)
_OURS: Final = ("httptools", "starlette", "uvicorn", "uvloop")


def _cache_folder() -> Path:
    usual = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(usual) / "receiver-bench"


@cache
def python() -> str:
    """The interpreter that has the rivals' packages; raises UnmeasuredError where pip cannot install them."""
    wanted = [*_PACKAGES, *(f"{name}=={version(name)}" for name in _OURS)]
    digest = hashlib.sha256(" ".join([sys.version, *wanted]).encode()).hexdigest()[:12]
    folder = _cache_folder() / f"python-{digest}"
    interpreter = folder / "bin" / "python"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted])
        (folder / "complete").touch()
    return str(interpreter)


@cache
def node() -> list[str]:
    """The command that runs the Node rival; raises UnmeasuredError where Node or npm is missing."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        raise UnmeasuredError("Node or npm is not installed")
    source = RIVALS / "node"
    digest = hashlib.sha256((source / "package.json").read_bytes()).hexdigest()[:12]
    folder = _cache_folder() / f"node-{digest}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copy(source / "package.json", folder)
        _run([npm, "install", "--no-audit", "--no-fund", "--loglevel=error", f"--prefix={folder}"])
        (folder / "complete").touch()
    shutil.copy(source / "server.js", folder)
    return [program, str(folder / "server.js"), "{port}"]


@cache
def go() -> list[str]:
    """The command that runs the Go rival; raises UnmeasuredError where it cannot be built.

    Its SQLite is compiled with it, by a compiler for C, which takes a minute or more; once for each Go and source.
    """
    program, compiler = shutil.which("go"), shutil.which("gcc") or shutil.which("cc")
    if program is None or compiler is None:
        raise UnmeasuredError("Go, or a compiler for C, is not installed")
    source = RIVALS / "go"
    told = subprocess.run([program, "version"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    parts = [told.stdout, *(one.read_bytes() for one in sorted(source.iterdir()))]
    folder = _cache_folder() / f"go-{hashlib.sha256(b''.join(parts)).hexdigest()[:12]}"
    if not (folder / "rival").exists():
        _run([program, f"-C={source}", "build", "-o", str(folder / "rival"), "."], CGO_ENABLED="1")
    return [str(folder / "rival"), "{port}"]


def _run(command: list[str], **environ: str) -> None:
    done = subprocess.run(
        command,
        env=os.environ | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise UnmeasuredError(
            f"{' '.join(command[:4])} failed: {(done.stderr or done.stdout).strip()[-300:]}"
        )
