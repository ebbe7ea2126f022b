"""Beside one of each kind: every listed word that is an end, every operation, and whatever only calls back.

By the same fakes over real sockets as in ``test_every_provider``.
"""

import asyncio
from typing import Final

from receiver import Job, JobState
from receiver.core.description.shape import MEANINGS
from receiver.core.model import Delivery
from receiver.storage.queries import Page
from receiver.testing.remote import Remote
from receiver.testing.signing import signed_paths
from tests.providers.making import PROVIDERS, SUBMITTING, key_of, scheme_of
from tests.testing.test_providers import RESULT

from .stage import REASON, played, staged, submitted, words_of
from .test_every_provider import judged
from .vouching import call_back
from .world import World, until

#: What only calls back: its callbacks make jobs of their own.
CALLING: Final = sorted(set(PROVIDERS) - set(SUBMITTING))
#: They know no failure: whatever is genuine has the result.
UNFAILING: Final = {
    "anthropic",
    "checkr",
    "cloudinary",
    "github",
    "slack",
    "standard-webhooks",
    "stripe",
    "svix",
}
#: How a job is told of whose state is no word of JSON: a number of HTTP, a flag, or what is there.
UNWORDED: Final = {
    "brightdata-serp",
    "datalab",
    "elevenlabs",
    "github-actions",
    "google-documentai",
    "google-speech",
    "netnut",
    "yandex",
}


async def test_every_listed_word_that_is_an_end_is_one(world: World) -> None:
    """Also the second and third word for the same: in the right state, with its result, within three questions."""
    async with staged(world) as (stage, receiver, clock):
        wanted = [(name, plot) for name in SUBMITTING for plot in words_of(PROVIDERS[name])]
        jobs = await asyncio.gather(*(submitted(stage, receiver, *one) for one in wanted))
        ended = {one.remote_id: one for one in (await played(receiver, clock, jobs)).values()}
        judgements = ((scene, judged(scene, ended[scene.remote.id])) for scene in stage.scenes)
        assert [
            f"{one.remote.provider.name}, {one.plot}: {wrong}" for one, wrong in judgements if wrong
        ] == []
        assert len(stage.scenes) == len(wanted)
    asked = {name for name in SUBMITTING if PROVIDERS[name].poll is not None}
    assert asked - {name for name, _ in wanted} == UNWORDED


async def test_jobs_of_every_operation_are_started_and_end(world: World) -> None:
    """Each operation of a description has an address and a body of its own, and is asked about as the first one is."""
    async with staged(world) as (stage, receiver, clock):
        wanted = [
            (name, "succeeded", operation)
            for name in SUBMITTING
            if PROVIDERS[name].poll is not None
            for operation in list(PROVIDERS[name].operations)[1:]
        ]
        jobs = await asyncio.gather(*(submitted(stage, receiver, *one) for one in wanted))
        ended = {one.remote_id: one for one in (await played(receiver, clock, jobs)).values()}
        judgements = ((scene, judged(scene, ended[scene.remote.id])) for scene in stage.scenes)
        assert [f"{one.remote.provider.name}: {wrong}" for one, wrong in judgements if wrong] == []
        assert {(one.provider, one.operation) for one in ended.values()} == {
            (name, operation) for name, _, operation in wanted
        }


async def test_every_end_that_only_calls_back_is_a_job_of_its_own(world: World) -> None:
    """Signed as the provider signs: the state, the reason and the result are those of the callback."""
    told: dict[str, set[JobState]] = {}
    async with staged(world) as (_, receiver, clock):
        expected = {}
        ends = [(name, state) for name in CALLING for state in _ends(name)]
        for number, (name, state) in enumerate(ends):
            remote = Remote(PROVIDERS[name], f"callback-{number:04d}")
            remote.end(state, result=RESULT, reason=REASON)
            terms = PROVIDERS[name].callback
            assert terms is not None
            also = signed_paths(scheme_of(name), now=clock())
            written = remote.told(terms.result, delivery=Delivery.RESULT, also=also)
            assert written is not None, (name, state)
            expected[name, written.seen.remote_id or remote.id] = state
            url = f"{world.url}/webhooks/{name}"
            await call_back(PROVIDERS[name], written, key=key_of(name), url=url, now=clock(), named=remote.id)
            told.setdefault(name, set()).add(state)
        found: dict[tuple[str, str | None], Job] = {}

        async def fetched() -> bool:
            jobs = await receiver.running.store.jobs(Page(limit=500))
            found.update({(one.provider, one.remote_id): one for one in jobs})
            return all(one.state is not JobState.FETCHING for one in jobs)

        # A result may link to files, which are not there at once.
        await until(fetched)
        assert {key: found[key].state for key in expected} == expected
        assert all(found[key].held is not None for key, state in expected.items() if state == "succeeded")
    assert set(told) == set(CALLING)
    assert {name for name, states in told.items() if JobState.FAILED not in states} == UNFAILING


def _ends(name: str) -> list[JobState]:
    """The ends that its callbacks tell."""
    terms = PROVIDERS[name].callback
    assert terms is not None
    shape = PROVIDERS[name].shapes[terms.result]
    said = {*shape.states.values(), *(one.state for one in shape.rules)}
    return sorted({MEANINGS[one] for one in said if MEANINGS[one].ended} | {JobState.SUCCEEDED})
