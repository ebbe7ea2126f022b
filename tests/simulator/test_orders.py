"""What can be ordered to go wrong, for which submissions, and what cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from receiver.simulator import FAULTS, OFFERED, PROVIDERS, fault
from receiver.simulator.faults import Plan, Plans

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.simulator import Simulator

    from .clients import Client

    Clients = Callable[[str], Client]


async def test_faults_of_one_job(client: Clients, sim: Simulator) -> None:
    """A job that is there already can be given faults."""
    job_id = await client("yandex").done()
    sim.faults("yandex", "poll_5xx", job_id=job_id)
    assert (await client("yandex").status(job_id)).status_code == 503
    assert (await client("yandex").status(job_id)).status_code == 200


async def test_orders_are_served_in_turn(client: Clients, sim: Simulator) -> None:
    """Counted orders come first, then the standing one, until it is cleared."""
    sim.faults("yandex", "failed", count=None)
    sim.faults("yandex", "never", count=2)
    ids = [await client("yandex").submitted() for _ in range(4)]
    sim.clear_faults()
    ids.append(await client("yandex").submitted())
    await sim.idle(timeout=60)
    assert [sim.job(job_id).state for job_id in ids] == [
        "running",
        "running",
        "failed",
        "failed",
        "succeeded",
    ]


@pytest.mark.parametrize(
    ("provider", "order"),
    [
        ("netnut", "on fire"),
        ("yandex", "lost"),
        ("netnut", "stale"),
        ("perplexity-webhook", "stale"),
        ("netnut", {"name": "late", "times": 3}),
        ("netnut", {"name": "late", "seconds": -1}),
        ("netnut", {"name": "late", "seconds": "soon"}),
        ("netnut", {"name": "submit_5xx", "status": 200}),
        ("netnut", {"name": "submit_5xx", "times": True}),
        ("netnut", {}),
    ],
)
async def test_impossible_orders(sim: Simulator, provider: str, order: Any) -> None:  # noqa: ANN401  any order
    """What is no fault, what a provider cannot show, and parameters a fault does not take are refused."""
    with pytest.raises(ValueError, match=r"fault|cannot|takes|status"):
        sim.faults(provider, order)


def test_every_fault_is_offered_by_someone() -> None:
    """No fault is left without a provider, and no provider offers what does not exist."""
    assert set().union(*OFFERED.values()) == FAULTS.keys()
    assert set(OFFERED) == set(PROVIDERS)


def test_refusals_without_end() -> None:
    """Zero times means every time."""
    plans = Plans()
    plans.order((fault("submit_5xx", times=0),), count=None)
    assert all(plans.refusal() for _ in range(10))
    assert plans.take().get("submit_5xx") is not None
    assert Plan().over
