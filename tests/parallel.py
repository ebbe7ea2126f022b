"""Tests at several processes: gathered once, and then forked.

Where each process gathers for itself, as those of pytest-xdist do, nine thousand tests take each of them ten seconds of
a processor before the first one runs. A forked process has them, and all that they have imported, at once.

A process asks for a group of tests when it has none, so nobody waits for another while there is anything to do. What
its tests share for the whole run is made in each process that needs it, as with pytest-xdist. A process that ends in
the middle of a test fails that test, and another goes on with the group.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import traceback
import warnings
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest

from .order import rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: What happened in a process, as the hooks of pytest that are to hear of it: each a name, and what it is called with.
_Heard = list[tuple[str, dict[str, Any]]]
#: What a process says that has no group; any other text says how it broke.
_MORE: Final = "more"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the number of processes."""
    # The short letters are pytest's own, and this is what everybody types.
    parser.getgroup("parallel")._addoption(
        "-n",
        "--processes",
        type=int,
        default=0,
        help="run the tests at this many processes, forked when all are gathered; 0: in this one",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the tests at several processes, unless one is to do it: then pytest does it as ever."""
    option = session.config.option
    alone = option.processes < 1 or option.collectonly or option.usepdb or option.trace
    if alone or (session.testsfailed and not option.continue_on_collection_errors):
        return None
    _Crew(session).run(option.processes)
    return True


class _Crew:
    """The processes, and what is left to be done."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._places = {item: place for place, item in enumerate(session.items)}
        self._rows = [
            deque([self._places[item] for item in group] for group in row) for row in rows(session.items)
        ]
        self._members: dict[Connection, _Member] = {}
        #: The run's folder, in which each process has one.
        self._folder: Path = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        # It would begin a line for each module that it hears of, and they are heard of by turns.
        reporter: Any = session.config.pluginmanager.getplugin("terminalreporter")
        reporter.showfspath = False

    def run(self, processes: int) -> None:
        """Run all tests at so many."""
        try:
            for number in range(min(processes, sum(map(len, self._rows)))):
                self._start(number)
            while self._members:
                for connection in wait(list(self._members)):
                    assert isinstance(connection, Connection)
                    self._hear(self._members[connection])
                    if self._session.shouldfail:
                        raise self._session.Failed(self._session.shouldfail)
                    if self._session.shouldstop:
                        raise self._session.Interrupted(self._session.shouldstop)
        finally:
            # Whoever runs a test ends it, finds nobody to tell, and leaves.
            for member in self._members.values():
                member.connection.close()
            for member in self._members.values():
                os.waitpid(member.pid, 0)

    def _start(self, number: int) -> None:
        ours, theirs = Pipe()
        pid = os.fork()
        if pid == 0:
            for one in (ours, *self._members):
                one.close()
            _be_one(self._session, theirs, self._folder / f"process-{os.getpid()}")
        theirs.close()
        self._members[ours] = _Member(number, pid, ours)

    def _hear(self, member: _Member) -> None:
        heard = None
        with contextlib.suppress(EOFError, ConnectionResetError):
            heard = member.connection.recv()
        if heard is None:
            self._ended(member)
        elif heard == _MORE:
            row = self._rows[member.number % 2] or self._rows[1 - member.number % 2]
            member.group, member.done = row.popleft() if row else [], 0
            member.connection.send(member.group)
        elif isinstance(heard, str):
            raise RuntimeError(heard)
        else:
            for name, more in heard:
                self._tell(name, more, member)

    def _tell(self, name: str, more: dict[str, Any], member: _Member) -> None:
        hook = self._session.config.hook
        if name == "pytest_runtest_logreport":
            report = hook.pytest_report_from_serializable(config=self._session.config, data=more["report"])
            hook.pytest_runtest_logreport(report=report)
        elif name == "pytest_warning_recorded":
            hook.pytest_warning_recorded.call_historic(kwargs=more)
        else:
            hook.pytest_runtest_logfinish(**more)
            member.done += 1

    def _ended(self, member: _Member) -> None:
        """See off a process that closed its end; if a group was not done, fail a test and have the rest done."""
        del self._members[member.connection]
        member.connection.close()
        code = os.waitstatus_to_exitcode(os.waitpid(member.pid, 0)[1])
        left = member.group[member.done :]
        if not left:
            if code:
                raise RuntimeError(f"a process of the tests ended with {code} after its last test")
            return
        item = self._session.items[left[0]]
        report = pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords={},
            outcome="failed",
            longrepr=f"{item.nodeid}: the process that ran it ended with {code}",
            when="call",
        )
        item.config.hook.pytest_runtest_logreport(report=report)
        self._rows[member.number % 2].appendleft(left[1:])
        self._start(member.number)


@dataclass
class _Member:
    """One process, and the group that it has: the places of its tests, and how many of them are done."""

    number: int
    pid: int
    connection: Connection
    group: list[int] = field(default_factory=list)
    done: int = 0


class _Teller:
    """Tells what happens in this process to the one that it was forked from, a test at a time."""

    def __init__(self, config: pytest.Config, tell: Callable[[_Heard], None]) -> None:
        self._config = config
        self._tell = tell
        self._heard: _Heard = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._heard.append(("pytest_runtest_logreport", {"report": data}))

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: object
    ) -> None:
        plain = warnings.WarningMessage(
            UserWarning(f"{warning_message.category.__name__}: {warning_message.message}"),
            UserWarning,
            warning_message.filename,
            warning_message.lineno,
        )
        more = {"warning_message": plain, "when": when, "nodeid": nodeid, "location": location}
        self._heard.append(("pytest_warning_recorded", more))

    def pytest_runtest_logfinish(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self._heard.append(("pytest_runtest_logfinish", {"nodeid": nodeid, "location": location}))
        self.flush()

    def flush(self) -> None:
        """Tell what was not told yet."""
        heard, self._heard = self._heard, []
        if heard:
            self._tell(heard)


class _Between(pytest.Item):
    """What follows the last test of a group: all that is not shared by the whole run is taken down."""

    def runtest(self) -> None:
        """Never called."""


def _be_one(session: pytest.Session, connection: Connection, folder: Path) -> NoReturn:
    """Run groups of tests until there are none, in a process that was forked for it."""
    code = 1
    try:
        # Ctrl-C is for the process that it was forked from; whose end this one sees.
        os.setpgid(0, 0)
        _alone(session.config, folder)
        teller = _Teller(session.config, connection.send)
        session.config.pluginmanager.register(teller)
        last = _run_groups(session, connection)
        if last is not None:
            _take_down(session, last)
        teller.flush()
        code = 0
    except (BrokenPipeError, ConnectionResetError, EOFError):
        # Whoever gave out the tests has gone: nothing is to stay behind.
        session._setupstate.teardown_exact(None)
    except BaseException:  # noqa: BLE001  (there is nobody above)
        connection.send(traceback.format_exc())
    finally:
        # What the interpreter does at its end, but for taking a million objects apart.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _alone(config: pytest.Config, folder: Path) -> None:
    """Share nothing with the other processes that only one can have."""
    config.pluginmanager.unregister(name="terminalreporter")
    # What is captured is in files that were opened before the fork.
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    folder.mkdir(mode=0o700)
    config._tmp_path_factory._basetemp = folder  # type: ignore[attr-defined]


def _run_groups(session: pytest.Session, connection: Connection) -> pytest.Item | None:
    """Run all that is given out; the last test."""
    between = _Between.from_parent(session, name="between")
    item = None
    while True:
        connection.send(_MORE)
        group = [session.items[place] for place in connection.recv()]
        if not group:
            return item
        for item, following in zip(group, [*group[1:], between], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


def _take_down(session: pytest.Session, last: pytest.Item) -> None:
    """Take down what the tests of the whole run shared; what fails at that is told of the last of them."""
    call = pytest.CallInfo.from_call(lambda: session._setupstate.teardown_exact(None), when="teardown")
    if call.excinfo is not None:
        report = pytest.TestReport.from_item_and_call(last, call)
        session.config.hook.pytest_runtest_logreport(report=report)
