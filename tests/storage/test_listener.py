"""What one node announces the others hear: once for a commit, after a broken connection too, never after the end."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import takewhile

import psycopg
import pytest

from receiver.core.errors import ReceiverError
from receiver.core.model import MINUTE
from receiver.storage.postgres import listener
from receiver.storage.postgres.driver import Postgres
from receiver.storage.store import Store
from tests.core.making import NOW
from tests.storage.making import DONE, LEASE, Desk, leases

LISTENING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'"


@pytest.fixture
def url(migrated_url: str) -> str:
    """The address of a database with nothing in it."""
    return migrated_url


@pytest.fixture
def driver(url: str) -> Iterator[Postgres]:
    """Another node."""
    opened = Postgres(url)
    yield opened
    opened.close()


def listening(url: str) -> list[int]:
    """The connections that listen."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        return [row[0] for row in connection.execute(LISTENING)]


def soon(condition: Callable[[], bool], *, patience: float = 30.0) -> None:
    """Wait until *condition* holds."""
    until = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_what_is_committed_is_heard_and_what_is_undone_is_not(
    driver: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is announced, from another thread; and once when listening begins, for what was missed before."""
    monkeypatch.setattr(listener, "_TURN", 60.0)
    heard: list[str] = []
    driver.listen(lambda: heard.append(threading.current_thread().name))
    soon(lambda: bool(heard))
    del heard[:]

    def fail(other: Postgres) -> None:
        with other.write() as tx:
            tx.announce()
            raise RuntimeError

    with closing(Postgres(url)) as other:
        with pytest.raises(RuntimeError):
            fail(other)
        time.sleep(0.1)
        assert heard == []
        with other.write() as tx:
            tx.announce()
            tx.announce()
    soon(lambda: bool(heard))
    assert heard == ["receiver-listener"]


def test_a_broken_connection_is_made_anew(driver: Postgres, url: str) -> None:
    """And whatever was announced meanwhile counts as heard."""
    heard = threading.Event()
    driver.listen(heard.set)
    assert heard.wait(30)
    (pid,) = listening(url)
    heard.clear()
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    assert heard.wait(30)
    assert len(listening(url)) == 1


def test_the_end_is_prompt_and_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread, and no connection, of a driver that is closed; one that never listened has neither.

    It is told, and does not look now and then whether it should end.
    """
    monkeypatch.setattr(listener, "_TURN", 60.0)
    driver = Postgres(url)
    heard = threading.Event()
    driver.listen(heard.set)
    driver.listen(heard.set)
    assert heard.wait(30)
    assert len(listening(url)) == 1
    began = time.monotonic()
    driver.close()
    assert time.monotonic() - began < 30
    soon(lambda: listening(url) == [])
    assert "receiver-listener" not in {thread.name for thread in threading.enumerate()}


def test_whoever_listens_in_vain_says_so_and_ends_when_told(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a server it tries again and again, and still ends at once."""
    monkeypatch.setattr(listener, "_PAUSE", 60.0)
    with closing(Postgres(url)) as driver:
        tried = threading.Event()

        def refuse() -> psycopg.Connection:
            tried.set()
            raise ReceiverError("no")

        monkeypatch.setattr(driver, "_connect", refuse)
        driver.listen(lambda: None)
        assert tried.wait(30)
        began = time.monotonic()
    assert time.monotonic() - began < 30


async def test_what_is_announced(store: Store, url: str) -> None:
    """Work that is there at once for any node, once for each commit; nothing for what brings no work."""
    desk = Desk(store)
    listening = psycopg.connect(url, autocommit=True)

    def announced() -> int:
        # They come in the order of their commits, and ours is the last.
        listening.execute("NOTIFY receiver_work, 'ours'")
        heard = takewhile(lambda one: one.payload != "ours", listening.notifies(timeout=30))
        return len(list(heard))

    with closing(listening):
        listening.execute("LISTEN receiver_work")
        await desk.register("h", "k", only=False)
        one, two = [await desk.submitted(remote_id=f"r{n}", created_at=NOW) for n in range(2)]
        announced()
        await desk.call(one, {"status": "working"})
        await desk.beat(at=NOW, handlers=["h"])
        assert announced() == 0
        await desk.call(one, DONE)
        assert announced() == 1
        works = [pair for name in ("h", "k") for pair in await desk.work(name, at=NOW)]
        await desk.finish(works[0][0], at=NOW)
        assert announced() == 0
        await store.release(leases(works[1]), lease_ms=LEASE, now=NOW)
        assert announced() == 1
        await store.cancel(two.id, now=NOW)
        assert announced() == 1
        await desk.claim(at=NOW + MINUTE)
        await store.replay(one.id, handler=None, replay_id="rpl_1", now=NOW)
        assert announced() == 1
