"""The instrument itself: a speed counts only where every answer was right and everything acknowledged is stored."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from . import installed
from .callbacks import Stock
from .figure import Figure, UnmeasuredError
from .generator import Order
from .load import WrongError, attempt, check_stored, drive
from .runs import ACCEPTED
from .servers import Server, script, serving

JOBS = 200


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    """A few jobs that wait for their callbacks."""
    return Stock(tmp_path_factory.mktemp("bench") / "stock", jobs=JOBS)


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Server]:
    """The bare rival, serving."""
    with script("bare.py", folder=tmp_path) as server:
        yield server


def test_every_request_is_sent_once_and_its_answer_counted(stock: Stock, bare: Server) -> None:
    """Over more connections than one, to the last request, with a rate and waits that can be true."""
    tally = drive(Order(port=bare.port, file=str(stock.genuine), connections=16, expect=200))
    assert (tally.sent, tally.right, tally.wrong, tally.broken) == (JOBS, JOBS, {}, 0)
    assert tally.rate > 0
    assert 0 < tally.p50_ms <= tally.p99_ms


def test_a_rate_is_kept(stock: Stock, bare: Server) -> None:
    """Requests are sent when they are due, not as soon as they can be."""
    order = Order(port=bare.port, file=str(stock.genuine), connections=4, expect=200, count=100, rate=400)
    # Never faster; and of ten tries one is not slower, which a machine that is busy with others may make them be.
    for _ in range(10):
        rate = drive(order).rate
        assert rate <= 400 * 1.2
        if rate >= 400 * 0.8:
            return
    pytest.fail(f"{rate:.0f} a second in the last of ten tries")


def test_an_answer_with_another_status_is_wrong(stock: Stock, bare: Server) -> None:
    """It is counted apart, and no speed comes of it."""
    order = Order(port=bare.port, file=str(stock.genuine), connections=4, expect=201)
    tally = attempt(order)
    assert (tally.right, tally.wrong, tally.rate) == (0, {"200": JOBS}, 0)
    assert "200 OK" in tally.sample
    with pytest.raises(WrongError, match="200"):
        drive(order)


def test_a_server_that_ends_is_no_speed(stock: Stock, tmp_path: Path) -> None:
    """A request whose connection broke is neither right nor forgotten."""
    with script("bare.py", folder=tmp_path) as server:
        port = server.port
    with pytest.raises(WrongError, match="generator failed"):
        drive(Order(port=port, file=str(stock.genuine), connections=1, expect=200))


def test_what_is_acknowledged_must_be_stored(stock: Stock, tmp_path: Path) -> None:
    """One callback that is missing from the store, or one too many, and there is no figure."""
    database = tmp_path / "receiver.db"
    with serving(tmp_path, stock.copy(tmp_path)) as server:
        acked = drive(Order(port=server.port, file=str(stock.genuine), connections=8, expect=200)).right
        assert acked == JOBS
        check_stored(database, ACCEPTED, acked=acked)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DELETE FROM callback WHERE id = (SELECT min(id) FROM callback)")
        connection.commit()
    with pytest.raises(WrongError, match=f"{JOBS} were acknowledged"):
        check_stored(database, ACCEPTED, acked=acked)


@pytest.mark.parametrize(("requests", "status"), [("forged_tokens", 404), ("forged_signatures", 401)])
def test_forged_callbacks_are_refused(stock: Stock, tmp_path: Path, requests: str, status: int) -> None:
    """What is measured as forged is forged: none of it is accepted."""
    with serving(tmp_path, stock.copy(tmp_path)) as server:
        drive(Order(port=server.port, file=str(getattr(stock, requests)), connections=8, expect=status))
        check_stored(tmp_path / "receiver.db", ACCEPTED, acked=0)


@pytest.mark.parametrize(
    ("at_most", "runs", "reached", "nearly"),
    [
        (False, [0.9, 1.1, 1.0], True, True),
        (False, [0.6, 0.9, 0.7], False, True),
        (False, [0.4, 0.3, 0.9], False, False),
        (True, [1.0, 0.9, 1.1], True, True),
        (True, [1.8, 1.2, 1.9], False, True),
        (True, [2.1, 2.2, 1.0], False, False),
    ],
)
def test_the_median_is_held_against_the_target(
    *, at_most: bool, runs: list[float], reached: bool, nearly: bool
) -> None:
    """A short run forgives a factor of two, in the direction that the target has."""
    figure = Figure(name="a/b", target=1.0, at_most=at_most, runs=runs)
    assert (figure.reached, figure.within(2.0)) == (reached, nearly)


def test_a_rival_that_cannot_be_built_is_skipped_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no Go, or no Node, the run goes on without that figure and says why."""
    monkeypatch.setenv("PATH", "")
    for build, missing in ((installed.go.__wrapped__, "Go"), (installed.node.__wrapped__, "Node")):
        with pytest.raises(UnmeasuredError, match=f"^{missing}.* is not installed"):
            build()


def test_what_cannot_be_measured_is_no_failure_and_what_broke_is() -> None:
    """A rival that cannot be installed must not fail the run; a server that loses callbacks must."""
    for broken in (False, True):
        figure = Figure(name="a/b", target=1.0, at_most=False, runs=[], unmeasured="why", broken=broken)
        assert figure.within(1.0) is not broken
