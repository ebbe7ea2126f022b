"""``receiver serve`` and ``receiver worker``: the processes that stay."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Coroutine, Iterator
from types import FrameType
from typing import Any, Final

import click
import structlog
import uvicorn

from receiver import forks, logs
from receiver.app import Receiver
from receiver.asgi import Application
from receiver.cli import streams
from receiver.cli.command import Command
from receiver.cli.session import load_receiver
from receiver.cli.spelling import unknown_settings
from receiver.core.errors import ConfigurationError, ReceiverError
from receiver.settings import from_environment
from receiver.wire.server import calm_collector, server

log = structlog.get_logger(__name__)

_BACKLOG: Final = 2048
#: Milliseconds that what was sent may wait for a peer that does not take it.
_LONGEST_SILENCE: Final = 60_000
#: Seconds after which a process that was told to stop is gone, whatever still runs in it.
_LONGEST_FAREWELL: Final = 9.5


class ServingCanceledError(ReceiverError):
    """A handler cancelled every task of the event loop, the server's own too, so it has ended: start it again."""

    code = "serving_canceled"


@click.command(cls=Command)
@click.option("--host", help="The address to listen at; RECEIVER_HOST if left out.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The port; 0 takes a free one. RECEIVER_PORT if left out."
)
@click.option(
    "--no-worker",
    is_flag=True,
    help="Take callbacks and serve the API only; another node, on PostgreSQL, does what is due.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Report a failure to start as JSON; the log is JSON anyway."
)
def serve(*, host: str | None, port: int | None, no_worker: bool, as_json: bool) -> None:  # noqa: ARG001
    """Take callbacks, serve the API and do what is due.

    RECEIVER_HANDLERS=module:object names the Receiver that holds your handlers; the module is looked for in
    the current folder too. SIGTERM ends it within 10 seconds: requests in flight are answered, leases given
    back. The log line receiver_listening says where it listens.
    """
    receiver = _configured()
    settings = receiver.settings
    if no_worker and settings.database_url.startswith("sqlite:"):
        raise ConfigurationError(
            "One process serves an SQLite file, so without its worker nothing would ever be done; leave "
            "--no-worker out, or set RECEIVER_DATABASE_URL to PostgreSQL.",
            code="worker_needed",
        )
    port = settings.port if port is None else port
    _run(receiver, receiver.asgi, host or settings.host, port, worker=not no_worker)


@click.command(cls=Command)
@click.option("--host", help="The address to listen at, with --port; RECEIVER_HOST if left out.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Serve /livez, /readyz and /metrics at this port; 0 takes a free one.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Report a failure to start as JSON; the log is JSON anyway."
)
def worker(*, host: str | None, port: int | None, as_json: bool) -> None:  # noqa: ARG001  (Command reads it)
    """Do what is due, without taking callbacks.

    Polls, fetches and runs handlers, beside nodes that take callbacks (serve, serve --no-worker) on
    PostgreSQL. SQLite has one serving process, so a worker beside a serve is refused there. With --port it can be
    probed and its metrics scraped; else it serves no HTTP. SIGTERM ends it within 10 seconds.
    """
    if port is None and host is not None:
        raise click.UsageError("--host goes with --port.")
    receiver = _configured()
    if port is None:
        with asyncio.Runner() as runner:
            _see_through(runner, _work(receiver))
    else:
        health = Application(receiver, only_health=True)
        _run(receiver, health, host or receiver.settings.host, port, callbacks=False)


def _run(
    receiver: Receiver, app: Application, host: str, port: int, *, worker: bool = True, callbacks: bool = True
) -> None:
    """Serve *app* until the process is told to stop."""
    with _listening(host, port) as listener:
        http = server(
            app,
            host=host,
            port=listener.getsockname()[1],
            receive_timeout=receiver.settings.receive_timeout,
            backlog=_BACKLOG,
            refused=app.malformed,
        )
        with asyncio.Runner(loop_factory=http.config.get_loop_factory()) as runner:
            _see_through(runner, _serve(receiver, http, listener, worker=worker, callbacks=callbacks))


def _see_through(runner: asyncio.Runner, serving: Coroutine[Any, Any, None]) -> None:
    """Run *serving* to its end.

    A task that a handler began may ask the process to exit. The event loop stops for that, but it is the outcome of
    that one task, which the handler hears of: whatever else runs goes on. So it does where a handler stops the loop.
    """
    loop = runner.get_loop()
    task = loop.create_task(serving)
    while True:
        try:
            loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt) as raised:
            of_ours = task.done() or signal.getsignal(signal.SIGINT) is signal.default_int_handler
            if of_ours:
                raise
            log.exception("exit_refused", kind=type(raised).__name__)
        except RuntimeError:
            if task.done() or loop.is_closed():
                raise
            log.exception("exit_refused", kind="stop")
        except asyncio.CancelledError as error:
            raise ServingCanceledError from error
        else:
            return


async def _serve(
    receiver: Receiver, http: uvicorn.Server, listener: socket.socket, *, worker: bool, callbacks: bool
) -> None:
    told = _StopSignal()
    told.listen()
    # Read now: a server that is told to stop while it starts closes its socket.
    address, port = listener.getsockname()[:2]
    try:
        # Before the server, so that what is wrong is told in one sentence and not as a failed lifespan.
        await receiver.start(worker=worker, http=callbacks)
        calm_collector()
        if not callbacks:
            log.info("worker_started")
        if told.event.is_set():
            return
        serving = asyncio.ensure_future(http.serve(sockets=[listener]))
        while not http.started and not serving.done():  # noqa: ASYNC110  (uvicorn has no event for it)
            await asyncio.sleep(0.01)
        # Instead of uvicorn's own handling of signals, which waits as long as a handler blocks the event loop.
        told.listen()
        if http.should_exit:
            told.event.set()
        elif http.started:
            where = {"public_url": receiver.settings.public_url} if callbacks else {}
            log.info("receiver_listening", host=address, port=port, **where)
        stopping = asyncio.ensure_future(told.event.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        http.should_exit = True
        receiver.begin_stop()
        stopping.cancel()
        await serving
    finally:
        await receiver.stop()


async def _work(receiver: Receiver) -> None:
    told = _StopSignal()
    told.listen()
    try:
        await receiver.start(http=False)
        calm_collector()
        log.info("worker_started")
        await told.event.wait()
    finally:
        await receiver.stop()


class _StopSignal:
    """A signal to end: sets ``event``, and ends the process in time even if that has no effect."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._watchdog: threading.Timer | None = None

    def listen(self) -> None:
        """Take the signals from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            # A terminal that is closed is no crash; nohup has it ignored.
            signal.signal(signal.SIGHUP, self._told)

    def _told(self, _number: int, _frame: FrameType | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.event.set)
        if self._watchdog is None:
            # Whatever still runs then comes back with its lease.
            self._watchdog = threading.Timer(_LONGEST_FAREWELL, os._exit, (0,))
            self._watchdog.daemon = True
            self._watchdog.start()


def _configured() -> Receiver:
    settings = from_environment()
    logs.configure(settings.log_level, streams.outlive())
    for one in unknown_settings(settings.environ):
        log.warning("setting_unknown", name=one.name, nearest=one.nearest)
    return load_receiver(settings)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Where callbacks come, for no process that a handler forks off."""
    with contextlib.closing(_listen(host, port)) as listener:
        number = forks.keep(listener.fileno())
        try:
            yield listener
        finally:
            forks.let_go(number)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without it each answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            # Whoever sends and never reads would keep the connection, and its answers, for ever.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _LONGEST_SILENCE)
        listener.bind((host, port))
        listener.setblocking(False)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = "there are none beyond 65535"
        if isinstance(error, OSError):
            in_use = error.errno == errno.EADDRINUSE
            reason = "it is in use" if in_use else error.strerror or type(error).__name__
        raise ConfigurationError(
            f"{host} port {port} cannot be listened at: {reason}; choose another with --host and --port.",
            code="address_unusable",
        ) from error
    return listener
