"""Every packaged description against a fake of its API over real sockets, made from its own words and samples.

All jobs of all providers run at once in one receiver, whose clock jumps to whatever is due next. So each way in which a
job may end is tried for each description, and is learnt within three questions.
"""

import asyncio
import re
from collections import Counter
from typing import Final

from receiver import Job, JobState
from receiver.catalog import packaged
from tests.providers.making import PROVIDERS, SUBMITTING

from .described import Clock
from .stage import (
    ENDS,
    PLOTS,
    REASON,
    STATUS_SAYS,
    UNLISTED,
    WHY_FAILED,
    Scene,
    ends_of,
    played,
    plots_of,
    staged,
    submitted,
)
from .vouching import TOKEN, call_back, callback_url, secret_of
from .world import World

MOST_LOOKS: Final = 3


async def test_every_listed_end_is_learnt_by_asking(world: World) -> None:
    """Polled, or because the callback was lost: in the right state, with result or reason, within three questions."""
    async with staged(world) as (stage, receiver, clock):
        wanted = [(name, plot) for name in SUBMITTING for plot in plots_of(PROVIDERS[name])]
        jobs = await asyncio.gather(*(submitted(stage, receiver, *one) for one in wanted))
        ended = {one.remote_id: one for one in (await played(receiver, clock, jobs)).values()}
        wrong = [
            f"{one.provider}: {one.state} {one.error}" for one in ended.values() if one.remote_id is None
        ]
        for scene in stage.scenes:
            found = ended[scene.remote.id]
            problem = judged(scene, found)
            if problem:
                wrong.append(f"{found.provider}, {scene.plot}: {problem}")
        assert wrong == []
        polled = {name for name in SUBMITTING if PROVIDERS[name].poll is not None}
        assert {one.provider for one in jobs} == polled
        assert set(Counter(one.plot for one in stage.scenes)) == set(PLOTS)


def judged(scene: Scene, found: Job) -> str:
    """What is wrong with how a job ended; empty if nothing is."""
    wanted = scene.wanted
    if found.state is not wanted:
        return (
            f"{found.state} ({found.error}), not {wanted}, after {scene.looks} looks, {scene.fetches} fetches"
        )
    if wanted is JobState.SUCCEEDED and found.held is None:
        return "it has no result"
    if any(one.mint and one.mint.token_url for one in scene.remote.provider.credentials) and (
        scene.submission is None or scene.submission.header("authorization") != f"Bearer {TOKEN}"
    ):
        return "its credential was not minted"
    poll = scene.remote.provider.poll
    # The kit cannot write a reason inside of a member of a list, nor where the word for the state is the reason.
    shape = scene.remote.provider.shapes[poll.answer] if poll is not None else None
    plain = shape is not None and not any("[" in one or one in shape.statuses for one in shape.error[:1])
    said = scene.plot in {WHY_FAILED, STATUS_SAYS} or (scene.plot == "failed" and plain)
    if said and (found.error is None or REASON not in found.error.text):
        return f"it does not say why: {found.error}"
    if scene.plot.endswith("unlisted word") and (found.attention, found.word) != ("word_unlisted", UNLISTED):
        return f"the word is not seen: {found.attention} {found.word}"
    return f"{scene.looks} looks" if scene.looks > MOST_LOOKS else ""


async def told(scene: Scene, job: Job, world: World, clock: Clock) -> bool:
    """Tell the end of a job as its provider does; whether the provider can tell such an end."""
    provider = scene.remote.provider
    assert scene.submission is not None
    url = callback_url(provider, scene.submission, world)
    key = secret_of(provider, scene.submission)
    assert url is not None, provider.name
    assert key is not None or not provider.signed, provider.name
    written = scene.told(job)
    if written is None:
        return False
    await call_back(provider, written, key=key, url=url, named=job.id, now=clock())
    return True


async def test_every_end_is_learnt_by_callback(world: World) -> None:
    """Every end that callbacks tell, also without a reason, in a word of nobody, and before there is a result.

    Signed with keys of the account, of the job (sent in JSON, in a form, in the address), from published key sets, and
    with a key whose certificate the message names.
    """
    async with staged(world) as (stage, receiver, clock):
        names = [name for name in SUBMITTING if PROVIDERS[name].callback is not None]
        wanted = [(name, plot) for name in names for plot in ends_of(PROVIDERS[name])]
        made = await asyncio.gather(*(submitted(stage, receiver, *one) for one in wanted))
        jobs = {one.remote_id: one for one in made}
        playing = []
        for scene in list(stage.scenes):
            job = jobs[scene.remote.id]
            if await told(scene, job, world, clock):
                playing.append((scene, job))
            else:
                await receiver.running.store.abandon(job.id, now=clock())
        ended = await played(receiver, clock, [job for _, job in playing])
        judgements = ((scene, judged(scene, ended[job.id])) for scene, job in playing)
        assert [
            f"{one.remote.provider.name}, {one.plot}: {wrong}" for one, wrong in judgements if wrong
        ] == []
        assert {job.provider for _, job in playing} == set(names)
        assert {scene.plot for scene, _ in playing} == set(ENDS)


#: What of a job's ends some descriptions cannot tell, and why.
UNTOLD: Final = {
    # They have nothing to ask, and call back.
    "succeeded": {"deepgram", "netnut-serp"},
    # Nor do these know a failure: each line of a batch has its own, or it is a status of HTTP.
    "failed without a reason": {
        "anthropic-batch",
        "brightdata-serp",
        "deepgram",
        "elevenlabs",
        "exa",
        "netnut-serp",
    },
    # Beside those, their answers have no place for a reason.
    "failed": {
        "anthropic-batch",
        "brightdata-serp",
        "deepgram",
        "elevenlabs",
        "exa",
        "github-actions",
        "leonardo",
        "netnut-serp",
        "oxylabs",
        "unstructured",
    },
    # Their state is no word of JSON: it is a number of HTTP, a flag, or what is there.
    "unlisted word": {
        "brightdata-serp",
        "datalab",
        "deepgram",
        "elevenlabs",
        "github-actions",
        "google-documentai",
        "google-speech",
        "netnut",
        "netnut-serp",
        "yandex",
    },
    "callback succeeded": set(),
    "callback failed": set(),
    "callback failed without a reason": set(),
}


def untold_by_the_text() -> dict[str, set[str]]:
    """What of the other ends descriptions cannot tell, as their own text has it."""
    texts = {file.name.removesuffix(".toml"): file.read_bytes().decode() for file in packaged()}
    polled = {name: "\n[poll]\n" in texts[name] for name in SUBMITTING}
    heard = {name: "\n[callback]\n" in texts[name] for name in SUBMITTING}
    asked = {name: _tables(texts[name], r"\[poll\]") for name in SUBMITTING}

    def lacks(state: str, name: str) -> bool:
        shape = re.search(r'(?m)^answer = "(\w+)"', asked[name])
        told = _tables(texts[name], rf"\[shapes\.{shape[1] if shape else 'answer'}\]")
        return f'= "{state}"' not in told

    return {
        "lost callback": {name for name in SUBMITTING if not (polled[name] and heard[name])},
        **{
            state: {name for name in SUBMITTING if not polled[name] or lacks(state, name)}
            for state in ("canceled", "expired")
        },
        STATUS_SAYS: {name for name in SUBMITTING if not polled[name] or lacks("failed", name)},
        "404 at the status, then the result, or at the result": {
            name for name in SUBMITTING if not polled[name]
        },
    }


def _tables(text: str, heads: str) -> str:
    """The tables of a description whose headings are *heads*."""
    return "".join(re.findall(rf"(?m)^{heads}\n((?:(?!\[[a-z\[]).*\n?)*)", text))


def test_nothing_is_left_out_in_silence() -> None:
    """Each end is played for every description but those named here; a new one is played, or says why not."""
    for plot, untold in untold_by_the_text().items():
        # A result with an address of its own is missed there once, and one that comes with the answer at the status.
        either = {"404, then the result", "404 at the status, then the result"} if " or " in plot else {plot}
        missing = {name for name in SUBMITTING if not either & set(plots_of(PROVIDERS[name]))}
        assert missing == untold, plot
    for plot, untold in UNTOLD.items():
        told_by = ends_of if plot in ENDS else plots_of
        asked = [
            PROVIDERS[name] for name in SUBMITTING if plot in PLOTS or PROVIDERS[name].callback is not None
        ]
        missing = {one.name for one in asked if not {plot, f"{plot} that is a failure"} & set(told_by(one))}
        assert missing == untold, plot
