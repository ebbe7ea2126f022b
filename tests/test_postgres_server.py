"""The PostgreSQL of the tests does what the tests that need one rely on."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from .postgres import EXISTING, PATIENCE, PostgresServer, _children

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Starts a server, tells its number and where its files are, and waits to be killed.
KILLED = """
import sys, time
from pathlib import Path
from tests.postgres import PostgresServer

server = PostgresServer(Path(sys.argv[1]))
server.start()
print(server._server.pid, server._home, flush=True)
time.sleep(60)
"""
TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the server's user can reach; if we are root, it cannot reach those of pytest's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def one(url: str, query: str) -> object:
    """The one value that a query gives."""
    with psycopg.connect(url, connect_timeout=2) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def run(url: str, statement: str) -> None:
    """Run a statement that gives nothing."""
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def exists(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_was_committed_outlives_an_immediate_stop_at_the_same_port(folder: Path) -> None:
    """What a durable server has committed is there after an immediate stop and a start, at the same URL."""
    with PostgresServer(folder, durable=True) as server:
        url = server.create()
        run(url, "CREATE TABLE kept AS SELECT 1 AS one")
        server.stop("immediate")
        with pytest.raises(psycopg.OperationalError):
            one(url, "SELECT 1")
        server.start()
        assert one(url, "SELECT one FROM kept") == 1


def test_frozen_it_does_not_answer_and_thawed_it_does(folder: Path) -> None:
    """A frozen server does not answer, and a thawed one does."""
    with PostgresServer(folder) as server:
        server.freeze()
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            one(server.url(), "SELECT 1")
        server.thaw()
        assert one(server.url(), "SELECT 1") == 1


@pytest.mark.parametrize("frozen", [False, True])
def test_closed_it_leaves_no_process_and_no_file(folder: Path, *, frozen: bool) -> None:
    """A closed server leaves no process and no file, even if it was frozen."""
    with PostgresServer(folder) as server:
        assert server._server is not None
        pids = [server._server.pid, server._janitor.pid, *_children(server._server.pid)]
        assert all(map(exists, pids))
        assert server._data.exists()
        if frozen:
            server.freeze()
    assert not any(map(exists, pids))
    assert not server._home.exists()


def test_it_leaves_nothing_when_the_tests_are_killed(folder: Path) -> None:
    """The server and its files go when the process that started it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, folder], stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent
    ) as tests:
        assert tests.stdout is not None
        pid, home = tests.stdout.readline().decode().split()
        assert exists(int(pid))
        assert Path(home).exists()
        tests.kill()
    until = time.monotonic() + PATIENCE
    while exists(int(pid)) or Path(home).exists():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_failed_start_shows_the_end_of_the_log_and_leaves_nothing(folder: Path) -> None:
    """A start that fails tells why in the server's own words, and leaves no file."""
    with PostgresServer(folder) as server:
        second = PostgresServer(folder, port=server.port)
        with pytest.raises(RuntimeError, match="Address already in use"):
            second.__enter__()
        assert not second._home.exists()


def test_a_database_is_empty_or_a_copy(postgres_server: PostgresServer) -> None:
    """A database is made empty or as a copy of another; a dropped one is gone, though it was in use."""
    first, empty = postgres_server.create(), postgres_server.create()
    run(first, "CREATE TABLE kept AS SELECT 1 AS one")
    copy = postgres_server.create(template=first)
    assert [one(url, TABLES) for url in (first, empty, copy)] == [1, 0, 1]
    with psycopg.connect(first):
        for url in (first, empty, copy):
            postgres_server.drop(url)
            with pytest.raises(psycopg.OperationalError, match="does not exist"):
                one(url, "SELECT 1")


def test_every_test_has_an_empty_database(postgres_url: str) -> None:
    """The fixture's database answers, and has no table."""
    assert one(postgres_url, TABLES) == 0


def test_a_server_that_exists_is_used_instead(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The fixture makes its database on the server that the environment names."""
    monkeypatch.setenv(EXISTING, postgres_server.url().replace("127.0.0.1", "localhost"))
    url = request.getfixturevalue("postgres_url")
    assert "@localhost:" in url
    assert one(url, TABLES) == 0
