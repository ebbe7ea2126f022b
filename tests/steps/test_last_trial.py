"""A completion behind an open circuit is not tried for ever: what is its own fault ends as a dead letter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from receiver import Away, Receiver
from receiver.circuits import Circuits
from receiver.core.model import DAY, HOUR, SECOND, Dispatch, Job
from receiver.files.folder import Folder
from receiver.metrics import Metrics
from receiver.settings import Settings
from receiver.steps.dispatch import RunDispatch
from receiver.steps.lending import Lending
from receiver.storage.store import Store
from tests.core.making import JOB_ID, NOW, job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from receiver.storage.dispatches import DispatchSettled


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store."""
    opened = await Store.open(f"sqlite:///{tmp_path}/receiver.db")
    yield opened
    await opened.close()


async def tried(
    store: Store, error: Exception, *, waited: int, attempt: int, trial: int = 9
) -> DispatchSettled:
    """How a trial ends that raises *error*, of a completion that has waited and was attempted so often before."""
    receiver = Receiver(Settings(secret_key="a secret key of some length"))

    @receiver.on(name="h", attempts=3, first_wait=5, longest_wait=60)
    async def fails(_job: Job) -> None:
        raise error

    handler = receiver.handlers.get("h")
    assert handler is not None
    step = RunDispatch(
        store=store,
        lending=Lending(store, files=Folder(Path("nowhere"), floor=0)),
        clock=lambda: NOW,
        metrics=Metrics(),
        doubts=lambda: 0,
        confirm=None,
        circuits=Circuits(),
    )
    dispatch = Dispatch(
        job_id=JOB_ID,
        handler="h",
        attempt=attempt,
        created_at=NOW - waited,
        trial=trial,
        owner="node",
        run_at=NOW,
    )
    return await step.run(dispatch, job(), handler=handler, doubts=0, stopping=lambda: False)


@pytest.mark.parametrize(
    ("error", "waited", "attempt", "dead"),
    [
        (ValueError("poison"), DAY, 3, True),
        (ValueError("poison"), DAY, 2, False),
        (ValueError("poison"), DAY - 1, 500, False),
        (ValueError("poison"), HOUR, 3, False),
        (Away("the other side is gone"), 30 * DAY, 500, False),
    ],
    ids=["its own fault", "hardly tried", "not for a day", "not for long", "the other side"],
)
async def test_a_trial_is_the_last_once_a_day_and_all_attempts_have_passed(
    store: Store, error: Exception, waited: int, attempt: int, *, dead: bool
) -> None:
    """Not before, because it may be the other side's fault; and never where the other side was out of reach."""
    ended = await tried(store, error, waited=waited, attempt=attempt)
    assert (ended.retry_at is None) is dead
    assert ended.error is not None
    # The circuit hears of it either way, and stays open.
    assert ended.sign is not None
    assert ended.sign.word == "fails"


@pytest.mark.parametrize("trial", range(1, 8))
async def test_each_trial_that_fails_is_waited_after_longer(store: Store, trial: int) -> None:
    """Twice as long each time, from the handler's first wait up to its longest; what is away is waited for alike."""
    for error in (ValueError("no"), Away("gone")):
        sign = (await tried(store, error, waited=0, attempt=1, trial=trial)).sign
        assert sign is not None
        full = min(2**trial * 5 * SECOND, 60 * SECOND)
        assert full / 2 < sign.wait <= full


async def test_outside_a_circuit_attempts_alone_decide(store: Store) -> None:
    """Age is none of a common attempt's business."""
    ended = await tried(store, ValueError("poison"), waited=30 * DAY, attempt=1, trial=0)
    assert ended.retry_at is not None
