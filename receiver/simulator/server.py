"""The providers on one port, in the running event loop or as a program."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from starlette.applications import Starlette
from starlette.routing import Mount

from receiver.simulator.callbacks import Callback, Sender
from receiver.simulator.control import Control
from receiver.simulator.embedded import address, listen, serving
from receiver.simulator.faults import Order, Plan, read_orders
from receiver.simulator.firecrawl import Firecrawl
from receiver.simulator.front import Front, ReceivedRequest, Requests
from receiver.simulator.netnut import NetNut
from receiver.simulator.perplexity import Perplexity, PerplexityWebhook
from receiver.simulator.pulse import EVENTS, Endpoint, Pulse
from receiver.simulator.runway import Runway
from receiver.simulator.settings import PROVIDERS, SimulatorSettings
from receiver.simulator.tasks import Tasks
from receiver.simulator.yandex import Yandex

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from receiver.simulator.jobs import Job, JobState
    from receiver.simulator.system import System


class Simulator:
    """Seven job APIs on one port, with what they received and sent on record.

    Use it as an asynchronous context manager: on leaving, every task is cancelled and every socket closed.

    Args:
        host: The address to listen at.
        port: The port; 0 takes a free one, which `url` then names.
        settings: How the providers behave.
    """

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, settings: SimulatorSettings | None = None
    ) -> None:
        self._settings = settings or SimulatorSettings()
        self._address = (host, port)
        self._tasks = Tasks()
        self._received = Requests(keep=self._settings.keep)
        self._url = ""
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Listen and serve.

        Raises:
            OSError: The address is taken or not ours.
        """
        async with AsyncExitStack() as stack:
            listener = listen(*self._address)
            stack.callback(listener.close)
            self._url = address(listener)
            self._sender = await stack.enter_async_context(Sender(settings=self._settings))
            self._pulse = Pulse(settings=self._settings, sender=self._sender, tasks=self._tasks)
            others = (
                kind(settings=self._settings, sender=self._sender, tasks=self._tasks)
                for kind in (NetNut, Yandex, Perplexity, PerplexityWebhook, Runway, Firecrawl)
            )
            self._systems: dict[str, System] = {s.name: s for s in (self._pulse, *others)}
            stack.push_async_callback(self._tasks.cancel)
            front = self._front()
            await stack.enter_async_context(serving(front, listener))
            stack.callback(front.shut)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cut every connection and leave nothing running."""
        await self._exit.aclose()

    def _front(self) -> Front:
        mounts = [Mount(f"/{name}", app=self._systems[name].app()) for name in PROVIDERS]
        app = Starlette(routes=[*mounts, Mount("/_control", app=Control(self).app())])
        return Front(app, requests=self._received, providers=frozenset(PROVIDERS))

    # Where it is

    @property
    def url(self) -> str:
        """The address of the whole, without a slash at its end."""
        return self._url

    def base_url(self, provider: str) -> str:
        """Return the address to use in place of *provider*'s own."""
        return f"{self._url}/{self._system(provider).name}"

    def _system(self, provider: str) -> System:
        if provider not in self._systems:
            raise LookupError(f"no such provider: {provider}; there are {', '.join(PROVIDERS)}")
        return self._systems[provider]

    def _chosen(self, provider: str | None) -> list[System]:
        return list(self._systems.values()) if provider is None else [self._system(provider)]

    # What goes wrong

    def faults(self, provider: str, *orders: Order, count: int | None = 1, job_id: str | None = None) -> None:
        """Order faults for the next *count* submissions (None: for all), or for the one job *job_id*.

        Several orders are served one after the other; the standing one (None) when no other is left.

        Raises:
            ValueError: An order is no fault, or none that *provider* can show.
            LookupError: There is no such provider or job.
        """
        system = self._system(provider)
        faults = read_orders(provider, orders)
        if job_id is not None:
            self.job(job_id).plan.add(faults)
        else:
            system.plans.order(faults, count=count)

    def clear_faults(self, provider: str | None = None) -> None:
        """Forget what was ordered for submissions to come, of *provider* or of all."""
        for system in self._chosen(provider):
            system.plans.clear()

    def planned(self) -> dict[str, list[list[dict[str, Any]]]]:
        """Return, for each provider, the faults of each submission that has some ordered."""
        return {
            name: [[{"name": f.name, **f.parameters()} for f in faults] for faults in system.plans.pending()]
            for name, system in self._systems.items()
        }

    # What happened

    def jobs(self, provider: str | None = None) -> list[Job]:
        """Return the accepted, hence billed, submissions of *provider* or of all, oldest first."""
        jobs = [job for system in self._chosen(provider) for job in system.jobs.all()]
        return sorted(jobs, key=lambda job: job.created_at)

    def job(self, job_id: str) -> Job:
        """Return one job.

        Raises:
            LookupError: There is none called *job_id*.
        """
        for system in self._systems.values():
            if (job := system.jobs.get(job_id)) is not None:
                return job
        raise LookupError(f"no such job: {job_id}")

    def callbacks(self, provider: str | None = None, *, job_id: str | None = None) -> list[Callback]:
        """Return the attempts to call back that have ended, oldest first."""
        return [
            callback
            for callback in self._sender.sent()
            if provider in {None, callback.message.provider} and job_id in {None, callback.message.job_id}
        ]

    def requests(self, provider: str | None = None) -> list[ReceivedRequest]:
        """Return the requests that arrived at *provider* or at all, oldest first."""
        return [request for request in self._received.all() if provider in {None, request.provider}]

    # What it is told to do

    def release(self, job_id: str, *, state: JobState | None = None) -> bool:
        """End a job now, in *state* or as planned, and call back; False if it had ended before.

        Raises:
            LookupError: There is none called *job_id*.
        """
        job = self.job(job_id)
        return self._system(job.provider).jobs.finish(job, state)

    async def send_callback(self, provider: str, job_id: str, *orders: Order) -> list[Callback]:
        """Send the callback for a job's present state (again), with *orders* but not the job's own faults.

        Returns the last attempt of each copy and endpoint; nothing where the provider has nothing to say.

        Raises:
            ValueError: An order is no fault, or none that *provider* can show.
            LookupError: There is no such provider or job.
        """
        plan = Plan(read_orders(self._system(provider).name, orders))
        return await self._system(provider).call_back(self.job(job_id), plan)

    def pulse_webhook(self, url: str, secret: str, *, events: tuple[str, ...] = EVENTS) -> None:
        """Add an endpoint to the Pulse account, as its owner would in the portal.

        Raises:
            ValueError: *secret* is not base64 after an optional `whsec_`, or there is no such event.
        """
        self._pulse.add_endpoint(Endpoint(url=url, secret=secret, events=events))

    def clear_pulse_webhook(self, url: str | None = None) -> None:
        """Take the endpoint at *url*, or every one, from the Pulse account."""
        self._pulse.clear_endpoint(url)

    async def idle(self, *, timeout: float = 10.0) -> None:  # noqa: ASYNC109  a test wants a bound, not a scope
        """Return once no job is about to end and no callback is to be sent.

        A job that ends only when it is released, or never, is not waited for.

        Raises:
            TimeoutError: That took longer than *timeout* seconds.
        """
        async with asyncio.timeout(timeout):
            await self._tasks.idle()


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8400,
    settings: SimulatorSettings | None = None,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Simulate until SIGTERM or SIGINT.

    Once it is open, the address goes to standard error in one line, and to *announce*.

    Raises:
        OSError: The address is taken or not ours.
    """
    asyncio.run(_serve(Simulator(host=host, port=port, settings=settings), announce))


async def _serve(simulator: Simulator, announce: Callable[[str], None] | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with simulator:
        sys.stderr.write(f"{pointers(simulator)}\n")
        sys.stderr.flush()
        if announce is not None:
            announce(simulator.url)
        await stop.wait()


def pointers(simulator: Simulator) -> str:
    """Return one line: the address, and the settings that point a receiver at it."""
    settings = " ".join(
        f"RECEIVER_{name.upper().replace('-', '_')}_BASE_URL={simulator.base_url(name)}" for name in PROVIDERS
    )
    return f"Simulating at {simulator.url}; point a receiver at it with: export {settings}"
