"""Every packaged description against a fake of its API over real sockets, made from its own words and samples.

All jobs of all providers run at once in one receiver, whose clock jumps to whatever is due next. So each way in which a
job may end is tried for each description, and is learnt within three questions.
"""

import asyncio
import base64
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode

import httpx

from receiver import Job, JobState, Receiver
from receiver.clock import read_clock
from receiver.core.assembly import at_path, put
from receiver.core.errors import ConfigurationError
from receiver.core.model import Delivery
from receiver.core.provider import Provider
from receiver.core.shape import MEANINGS, Shape
from receiver.core.signature import Key, load_key, sign
from receiver.testing.remote import Remote
from tests.providers.making import PROVIDERS, SECRET, SUBMITTING, key_of, scheme_of
from tests.testing.test_providers import REQUEST, RESULT, operation_of

from .described import Clock
from .stub import Asked, Reply, stub
from .world import World

MOST_LOOKS: Final = 3
REASON: Final = "no luck today"
WHSEC: Final = "whsec_" + base64.b64encode(bytes(range(24))).decode()
PLOTS: Final = {
    "succeeded": JobState.SUCCEEDED,
    "lost callback": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
    "failed without a reason": JobState.FAILED,
    "canceled": JobState.CANCELED,
    "expired": JobState.EXPIRED,
    "unlisted word": JobState.SUCCEEDED,
    "404, then the result": JobState.SUCCEEDED,
    "410": JobState.EXPIRED,
    "the result's address says why it failed": JobState.FAILED,
}


ENDS: Final = {
    "callback succeeded": JobState.SUCCEEDED,
    "callback failed": JobState.FAILED,
    "callback failed without a reason": JobState.FAILED,
}


class Scene:
    """One job at a provider, and how it goes there."""

    def __init__(self, provider: Provider, number: int, plot: str) -> None:
        self.plot = plot
        self.remote = Remote(provider, f"job-{number:04d}-x")
        self.looks = 0
        self.fetches = 0
        #: Whether the result was given.
        self.stored = False
        self.submission: Asked | None = None

    @property
    def end(self) -> JobState:
        """What the provider says in the end."""
        ends = (PLOTS | ENDS)[self.plot]
        return JobState.SUCCEEDED if self.plot in {"410", "the result's address says why it failed"} else ends

    def finish(self) -> None:
        """Let the job have ended."""
        reason = "" if self.plot.endswith("without a reason") else REASON
        self.remote.end(self.end, result=RESULT, reason=reason)

    def answer(self, asked: Asked) -> Reply:
        """Answer a question about it."""
        url = self.remote.result_url
        if url is not None and asked.path.partition("?")[0] == httpx.URL(url).path:
            return self._fetched()
        if asked.path.startswith("/bytes/"):
            return _reply(self.remote.stored())
        self.looks += 1
        if self.looks > 1 and not self.plot.startswith("callback"):
            self.finish()
        if self.plot == "unlisted word" and self.looks == 1:
            return self._unlisted()
        return _reply(self.remote.status())

    def _fetched(self) -> Reply:
        self.fetches += 1
        failed = self.remote.provider.fetch.failed
        if self.plot == "404, then the result" and self.fetches == 1:
            return Reply(status=404)
        if self.plot == "410":
            return Reply(status=410)
        if self.plot == "the result's address says why it failed":
            return Reply(status=failed[0], body=REASON.encode())
        return self._at_the_address()

    def _at_the_address(self) -> Reply:
        """The result, its only page, or where its bytes are."""
        provider = self.remote.provider
        shape = provider.shapes[provider.fetch.answer] if provider.fetch.answer is not None else None
        if shape is None:
            return _reply(self.remote.stored())
        holder: dict[str, Any] = {"body": {}}
        if shape.items is not None:
            items = [] if self.stored else [RESULT]
            self.stored = True
            holder["body"] = items if shape.items == "." else {}
            if shape.items != ".":
                put(holder, f"body.{shape.items}", items)
        else:
            put(
                holder,
                f"body.{shape.result_url}",
                f"{self.remote.provider.origins[0]}/bytes/{self.remote.id}",
            )
        return Reply(body=json.dumps(holder["body"]).encode(), headers={"content-type": "application/json"})

    def _unlisted(self) -> Reply:
        """The document of a job that runs, with a word for it that nobody listed."""
        provider = self.remote.provider
        assert provider.poll is not None
        shape = provider.shapes[provider.poll.answer]
        holder = {"body": json.loads(self.remote.status().content)}
        put(holder, f"body.{shape.statuses[0]}", "flummoxed")
        return Reply(body=json.dumps(holder["body"]).encode(), headers={"content-type": "application/json"})


def _reply(response: httpx.Response) -> Reply:
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    return Reply(status=response.status_code, body=response.content, headers=headers)


class Stage:
    """The fakes of all providers at one socket, each below a path of its own."""

    def __init__(self) -> None:
        self.scenes: list[Scene] = []
        self.waiting: dict[str, list[str]] = {}
        self.url = ""

    async def __call__(self, asked: Asked) -> Reply:
        """Answer as the provider does that is asked."""
        said = f"{asked.path} {asked.body.decode(errors='replace')}"
        known = re.search(r"job-([0-9]{4})-x", said)
        if known is not None:
            return self.scenes[int(known[1])].answer(asked)
        name = asked.path.split("/")[1].partition("?")[0]
        scene = Scene(described(name, self.url), len(self.scenes), self.waiting[name].pop(0))
        scene.submission = asked
        self.scenes.append(scene)
        written = scene.remote.accepted(key=SECRET.decode())
        assert written is not None, name
        return Reply(body=written.body, headers={"content-type": written.content_type, **written.headers})


def described(name: str, url: str) -> Provider:
    """A description as the receiver has it, pointed at the stage."""
    return PROVIDERS[name].at(f"{url}/{name}").completed(dict.fromkeys(PROVIDERS[name].settings, "x"))


def plots_of(provider: Provider) -> list[str]:
    """What of a plot a description can tell at all, polled."""
    if provider.poll is None:
        return []
    shape = provider.shapes[provider.poll.answer]
    told = {MEANINGS[one] for one in shape.states.values()} | {MEANINGS[one.state] for one in shape.rules}
    found = ["succeeded"]
    if provider.callback is not None and provider.callback.where != "registered":
        found.append("lost callback")
    if JobState.FAILED in told:
        found += ["failed without a reason"] + (["failed"] if shape.error else [])
    found += [one.value for one in (JobState.CANCELED, JobState.EXPIRED) if one in told]
    if shape.statuses and shape.content == "json" and "header" not in shape.statuses[0]:
        found.append("unlisted word")
    if shape.result_url is not None and shape.result is None:
        found += ["404, then the result", "410"]
        found += ["the result's address says why it failed"] if provider.fetch.failed else []
    return found


@asynccontextmanager
async def staged(world: World) -> AsyncIterator[tuple[Stage, Receiver, Clock]]:
    """A receiver that knows every provider, all of them pointed at one stage; its clock is the test's."""
    stage, clock = Stage(), Clock()
    del world.environ["RECEIVER_PROVIDERS_DIR"]
    async with stub(stage) as serving:
        stage.url = serving.url
        for name, provider in PROVIDERS.items():
            world.environ[f"RECEIVER_{name.upper().replace('-', '_')}_BASE_URL"] = f"{serving.url}/{name}"
            for one in provider.credentials:
                for reference in filter(None, (one.secret, *(one.basic or ()))):
                    world.environ[reference.removeprefix("env:")] = "x"
            world.environ |= dict.fromkeys(provider.settings, "x")
            if provider.key is not None and provider.key.secret is not None and provider.verify is not None:
                secret = WHSEC if provider.verify.key_encoding == "whsec" else SECRET.decode()
                world.environ[provider.key.secret.removeprefix("env:")] = secret
        async with world.receiver(clock.wind) as receiver:
            yield stage, receiver, clock


async def submitted(stage: Stage, receiver: Receiver, name: str, plot: str) -> Job | None:
    """A job that is going to go so; ``None`` where its provider wants credentials of a kind of its own."""
    stage.waiting.setdefault(name, []).append(plot)
    callback = plot == "lost callback" or plot.startswith("callback")
    try:
        return await receiver.submit(name, REQUEST, operation=operation_of(name), callback=callback)
    except ConfigurationError:
        stage.waiting[name].remove(plot)
        return None


def _due(tx: Any) -> tuple[int | None, int, int]:  # noqa: ANN401
    """When something is due next, how much is being done, and how many jobs are open."""
    ((when,),) = tx.run("SELECT min(run_at) FROM due WHERE owner IS NULL")
    ((owned,),) = tx.run("SELECT count(*) FROM due WHERE owner IS NOT NULL")
    ((still,),) = tx.run("SELECT count(*) FROM job WHERE ended_at IS NULL")
    return when, owned, still


async def played(receiver: Receiver, clock: Clock, jobs: list[Job]) -> dict[str, Job]:
    """Go from one due thing to the next until every job has ended: how they are then."""
    store = receiver.running.store
    async with asyncio.timeout(60):
        while True:
            when, owned, still = await store.read(_due)
            if not still:
                return {one.id: await store.job(one.id) for one in jobs}
            if when is not None and not owned:
                clock.ahead = max(clock.ahead, when - read_clock() + 1)
            receiver.running.notify()
            await asyncio.sleep(0.02)


async def test_every_listed_end_is_learnt_by_asking(world: World) -> None:
    """Polled, or because the callback was lost: in the right state, with result or reason, within three questions."""
    async with staged(world) as (stage, receiver, clock):
        wanted = [(name, plot) for name in SUBMITTING for plot in plots_of(PROVIDERS[name])]
        made = await asyncio.gather(*(submitted(stage, receiver, *one) for one in wanted))
        jobs = [one for one in made if one is not None]
        ended = await played(receiver, clock, jobs)
        wrong = []
        seen: Counter[str] = Counter()
        for scene in stage.scenes:
            found = next(one for one in ended.values() if one.remote_id == scene.remote.id)
            problem = judged(scene, found)
            seen[scene.plot] += 1
            if problem:
                wrong.append(f"{found.provider}, {scene.plot}: {problem}")
        assert wrong == []
        assert len({one.provider for one in jobs}) >= 30
        assert set(seen) == set(PLOTS)


def shape_of(scene: Scene) -> Shape:
    """How the answers about a job read. The kit cannot write a reason inside of a member of a list."""
    provider = scene.remote.provider
    assert provider.poll is not None
    return provider.shapes[provider.poll.answer]


def judged(scene: Scene, found: Job) -> str:
    """What is wrong with how a job ended; empty if nothing is."""
    wanted = PLOTS[scene.plot]
    if found.state is not wanted:
        return (
            f"{found.state} ({found.error}), not {wanted}, after {scene.looks} looks, {scene.fetches} fetches"
        )
    if wanted is JobState.SUCCEEDED and found.held is None:
        return "it has no result"
    said = scene.plot == "the result's address says why it failed" or (
        scene.plot == "failed" and not any("[" in one for one in shape_of(scene).error)
    )
    if said and (found.error is None or REASON not in found.error.text):
        return f"it does not say why: {found.error}"
    if scene.plot == "unlisted word" and (found.attention, found.word) != ("word_unlisted", "flummoxed"):
        return f"the word is not seen: {found.attention} {found.word}"
    return f"{scene.looks} looks" if scene.looks > MOST_LOOKS else ""


def callback_url(scene: Scene, world: World) -> str | None:
    """Where the end of a job is told, as its submission says."""
    name = scene.remote.provider.name
    terms = scene.remote.provider.callback
    assert terms is not None
    if terms.where == "registered":
        return f"{world.url}/webhooks/{name}"
    assert scene.submission is not None
    said = unquote(scene.submission.path) + scene.submission.body.decode(errors="replace")
    for packed in re.findall(r"[A-Za-z0-9+/]{100,}={0,2}", said):
        said += base64.b64decode(packed + "==").decode(errors="replace")
    found = re.search(rf"{re.escape(world.url)}/callbacks/{name}/[A-Za-z0-9_-]+", said)
    return found[0] if found is not None else None


def secret_of(scene: Scene) -> Key | None:
    """What a callback of a job is signed with; ``None`` where nothing of the test's own can."""
    provider = scene.remote.provider
    key = provider.key
    if key is None or key.source == "jwks":
        return None
    if key.source == "settings":
        return key_of(provider.name)
    text = SECRET.decode()
    if key.source == "per-job":
        assert scene.submission is not None
        assert provider.callback is not None
        place = provider.callback.secret_path or ""
        fields = dict(parse_qsl(scene.submission.path.partition("?")[2]))
        sent = fields.get(place) if provider.callback.where == "query" else None
        if sent is None and scene.submission.body[:1] in {b"{", b"["}:
            sent = at_path(json.loads(scene.submission.body), place)
        if sent is None:
            return None
        text = str(sent).removeprefix(provider.callback.secret_prefix)
    return load_key("k", text, scheme=scheme_of(provider.name))


async def called_back(scene: Scene, job: Job, world: World, clock: Clock) -> bool:
    """Tell the end of a job as its provider does; whether the test can."""
    provider = scene.remote.provider
    assert provider.callback is not None
    url = callback_url(scene, world)
    key = secret_of(scene)
    if url is None or (provider.signed and key is None):
        return False
    scene.finish()
    notification = job.delivery is Delivery.NOTIFICATION
    name = provider.callback.notification if notification else provider.callback.result
    written = scene.remote.told(name, delivery=job.delivery)
    if written is None or (provider.poll is not None and scene.remote.status().is_server_error):
        return False  # it knows no such end
    if written.query:
        url += "?" + urlencode(written.query)
    headers = [(name.encode(), value.encode()) for name, value in written.headers.items()]
    if key is not None:
        headers += sign(
            written.body, scheme=scheme_of(provider.name), key=key, now=clock(), url=url, delivery_id=job.id
        )
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.request(
            provider.callback.methods[0], url, content=written.body, headers=headers
        )
    assert answer.is_success, (provider.name, scene.plot, answer.status_code)
    return True


async def test_every_end_is_learnt_by_callback(world: World) -> None:
    """Success, failure with a reason, and failure without one that is asked for: within three questions."""
    async with staged(world) as (stage, receiver, clock):
        names = [name for name in SUBMITTING if PROVIDERS[name].callback is not None]
        wanted = [(name, plot) for name in names for plot in ENDS]
        made = await asyncio.gather(*(submitted(stage, receiver, *one) for one in wanted))
        jobs = {one.remote_id: one for one in made if one is not None}
        told = []
        for scene in list(stage.scenes):
            job = jobs.get(scene.remote.id)
            if job is not None and await called_back(scene, job, world, clock):
                told.append((scene, job))
            elif job is not None:
                await receiver.running.store.abandon(job.id, now=clock())
        ended = await played(receiver, clock, [job for _, job in told])
        wrong = []
        for scene, job in told:
            found = ended[job.id]
            wanted_state = ENDS[scene.plot]
            if found.state is not wanted_state or (wanted_state is JobState.SUCCEEDED and found.held is None):
                wrong.append(f"{job.provider}, {scene.plot}: {found.state} {found.error} {scene.looks}")
            elif scene.looks > MOST_LOOKS:
                wrong.append(f"{job.provider}, {scene.plot}: {scene.looks} looks")
        assert wrong == []
        assert len({job.provider for _, job in told}) >= 20
