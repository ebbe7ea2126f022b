"""Jobs at a fake of every packaged description's API, made from its own words and samples, each as a plot says."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec.structs import replace

from receiver import Job, JobState, Receiver
from receiver.catalog import packaged
from receiver.clock import read_clock
from receiver.core.asking.assembly import put
from receiver.core.description.provider import Provider
from receiver.core.description.shape import MEANINGS, Shape
from receiver.core.model import Delivery
from receiver.testing.remote import Remote
from receiver.testing.writing import Written
from tests.providers.making import ACCOUNT, PROVIDERS, SECRET, TOPIC
from tests.testing.test_providers import REQUEST, RESULT, operation_of

from .described import Clock
from .stub import Asked, Reply, stub
from .vouching import TOKEN, WHSEC, amazons_certificate, key_set
from .world import PATIENCE, World

REASON: Final = "no luck today"
#: The words of nobody.
UNLISTED: Final = "flummoxed"
#: A status of a status address that means the job's own failure, where the test says so.
POLL_FAILED: Final = 422
#: Before a listed word, which is how the job ends.
WORD: Final = "the word "
WHY_FAILED: Final = "the result's address says why it failed"
STATUS_SAYS: Final = "the status says why it failed"
#: How a job goes that is asked about, and how it must end.
PLOTS: Final = {
    "succeeded": JobState.SUCCEEDED,
    "lost callback": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
    "failed without a reason": JobState.FAILED,
    "canceled": JobState.CANCELED,
    "expired": JobState.EXPIRED,
    "unlisted word": JobState.SUCCEEDED,
    "unlisted word that is a failure": JobState.FAILED,
    "404, then the result": JobState.SUCCEEDED,
    "410": JobState.EXPIRED,
    WHY_FAILED: JobState.FAILED,
    "404 at the status, then the result": JobState.SUCCEEDED,
    STATUS_SAYS: JobState.FAILED,
}
#: The same of one whose provider calls back.
ENDS: Final = {
    "callback succeeded": JobState.SUCCEEDED,
    "callback failed": JobState.FAILED,
    "callback failed without a reason": JobState.FAILED,
    "callback canceled": JobState.CANCELED,
    "callback expired": JobState.EXPIRED,
    "callback with an unlisted word": JobState.SUCCEEDED,
    "callback, 404 at the status, then the result": JobState.SUCCEEDED,
    "callback, 410 at the status": JobState.EXPIRED,
}
#: After what the question is answered so that is put first.
_FIRST: Final = {
    "404 at the status, then the result": 404,
    "callback, 404 at the status, then the result": 404,
    "callback, 410 at the status": 410,
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
    def wanted(self) -> JobState:
        """How the job must end."""
        if self.plot.startswith(WORD):
            poll = self.remote.provider.poll
            assert poll is not None
            states = self.remote.provider.shapes[poll.answer].states
            return MEANINGS[states[self.plot.removeprefix(WORD)]]
        return (PLOTS | ENDS)[self.plot]

    @property
    def end(self) -> JobState:
        """What the provider says in the end."""
        gone = "410" in self.plot
        return JobState.SUCCEEDED if gone or self.plot == WHY_FAILED else self.wanted

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
        if self.looks == 1 and self.plot in _FIRST:
            return Reply(status=_FIRST[self.plot])
        if self.plot == STATUS_SAYS:
            return Reply(status=POLL_FAILED, body=REASON.encode())
        if self.plot == "callback with an unlisted word" or (
            self.looks > 1 and not self.plot.startswith("callback")
        ):
            self.finish()
        if self.plot.startswith("unlisted word") and self.looks == 1:
            return self._worded(UNLISTED)
        if self.plot.startswith(WORD) and self.looks > 1:
            return self._worded(_word(self.plot.removeprefix(WORD)))
        return _reply(self.remote.status())

    def _fetched(self) -> Reply:
        self.fetches += 1
        failed = self.remote.provider.fetch.failed
        if self.plot == "404, then the result" and self.fetches == 1:
            return Reply(status=404)
        if self.plot == "410":
            return Reply(status=410)
        if self.plot == WHY_FAILED:
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

    def _worded(self, word: str | int) -> Reply:
        """The document of the job, with *word* for its state."""
        provider = self.remote.provider
        assert provider.poll is not None
        shape = provider.shapes[provider.poll.answer]
        body = with_word(json.loads(self.remote.status().content), shape, word)
        return Reply(body=body, headers={"content-type": "application/json"})

    def told(self, job: Job) -> Written | None:
        """What its provider calls back with; ``None`` where it knows no such end."""
        provider = self.remote.provider
        assert provider.callback is not None
        notification = job.delivery is Delivery.NOTIFICATION
        name = provider.callback.notification if notification else provider.callback.result
        if self.plot != "callback with an unlisted word":
            self.finish()
        written = self.remote.told(name, delivery=job.delivery)
        if written is None or (provider.poll is not None and self.remote.status().is_server_error):
            return None
        if self.plot != "callback with an unlisted word":
            return written
        return replace(written, body=with_word(json.loads(written.body), provider.shapes[name]))


def with_word(document: Any, shape: Shape, word: str | int = UNLISTED) -> bytes:  # noqa: ANN401  (JSON)
    """*document* with another word for the state, if not one that nobody listed."""
    holder = {"body": document}
    put(holder, f"body.{shape.statuses[0]}", word)
    return json.dumps(holder["body"]).encode()


def _word(word: str) -> str | int:
    """A word as it stands in JSON; of a range of numbers the last one."""
    last = word.rpartition("..")[2]
    return int(last) if last.isdecimal() else word


def _reply(response: httpx.Response) -> Reply:
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    return Reply(status=response.status_code, body=response.content, headers=headers)


class Stage:
    """The fakes of all providers at one socket, each below a path of its own."""

    def __init__(self) -> None:
        self.scenes: list[Scene] = []
        self.waiting: dict[str, list[str]] = {}
        self.door = asyncio.Semaphore(16)
        self.url = ""

    async def __call__(self, asked: Asked) -> Reply:
        """Answer as the provider does that is asked."""
        said = f"{asked.path} {asked.body.decode(errors='replace')}"
        known = re.search(r"job-([0-9]{4})-x", said)
        if known is not None:
            return self.scenes[int(known[1])].answer(asked)
        name = asked.path.split("/")[1].partition("?")[0]
        if asked.path.endswith("/amazon.pem"):
            return Reply(body=amazons_certificate())
        if asked.path.endswith("/jwks.json"):
            return Reply(body=key_set(name))
        if asked.path == f"/{name}/token":
            token = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
            return Reply(body=json.dumps(token).encode())
        scene = Scene(described(name, self.url), len(self.scenes), self.waiting[name].pop(0))
        scene.submission = asked
        self.scenes.append(scene)
        written = scene.remote.accepted(key=SECRET.decode())
        assert written is not None, name
        return Reply(body=written.body, headers={"content-type": written.content_type, **written.headers})


def described(name: str, url: str) -> Provider:
    """A description as the receiver has it, pointed at the stage."""
    return PROVIDERS[name].at(f"{url}/{name}")


def plots_of(provider: Provider) -> list[str]:
    """What of a plot a description can tell at all, polled."""
    if provider.poll is None:
        return []
    shape = provider.shapes[provider.poll.answer]
    told = {MEANINGS[one] for one in shape.states.values()} | {MEANINGS[one.state] for one in shape.rules}
    found = ["succeeded"]
    if provider.callback is not None:
        found.append("lost callback")
    if JobState.FAILED in told:
        found += ["failed without a reason"] + (["failed"] if shape.error else [])
    found += [one.value for one in (JobState.CANCELED, JobState.EXPIRED) if one in told]
    if takes_word(shape):
        found.append("unlisted word" + (" that is a failure" if shape.unknown == "failed" else ""))
    if inline(provider):
        found.append("404 at the status, then the result")
    found += [STATUS_SAYS] if JobState.FAILED in told else []
    if not inline(provider):
        found += ["404, then the result", "410"]
        found += [WHY_FAILED] if provider.fetch.failed else []
    return found


def ends_of(provider: Provider) -> list[str]:
    """What of an end a description can tell by callback."""
    if provider.callback is None:
        return []
    shape = provider.shape(provider.callback.delivers)
    told = {MEANINGS[one] for one in shape.states.values()} | {MEANINGS[one.state] for one in shape.rules}
    found = ["callback succeeded", "callback failed", "callback failed without a reason"]
    if not provider.signed or provider.poll is None:
        return found
    found += [f"callback {one.value}" for one in (JobState.CANCELED, JobState.EXPIRED) if one in told]
    if takes_word(shape) and (shape.about is None or shape.about.path not in shape.statuses):
        found.append("callback with an unlisted word")
    if (
        provider.callback.delivers is Delivery.NOTIFICATION
        and JobState.SUCCEEDED in told
        and inline(provider)
    ):
        found += ["callback, 404 at the status, then the result", "callback, 410 at the status"]
    return found


def takes_word(shape: Shape) -> bool:
    """Whether the test can put a word of its own into a document of *shape*."""
    return bool(shape.statuses) and shape.content == "json" and "header" not in shape.statuses[0]


def inline(provider: Provider) -> bool:
    """Whether the answer about the state has the result, too; where it may name an address, only a template counts."""
    if provider.poll is None:
        return False
    shape = provider.shapes[provider.poll.answer]
    return shape.result_url is None or (shape.result is not None and "{" not in shape.result_url)


def words_of(provider: Provider) -> list[str]:
    """Every listed word in an answer that is an end; of those that stand in JSON."""
    if provider.poll is None or not takes_word(shape := provider.shapes[provider.poll.answer]):
        return []
    return [f"{WORD}{word}" for word, meant in shape.states.items() if MEANINGS[meant].ended]


def write_descriptions(folder: Path) -> None:
    """The packaged descriptions, with two things that a test cannot have from them.

    Few have a status at the address of the state that means the job's own failure. And fal's keys are published at a
    host that is none of its origins, where nothing of a test is.
    """
    folder.mkdir(exist_ok=True)
    for file in packaged():
        text = file.read_bytes().decode()
        found = re.search(r"(?m)^\[poll\]\n(?:(?!\[).*\n)*", text)
        if found is not None and "\nfailed = [" in found[0]:
            poll = found[0].replace("\nfailed = [", f"\nfailed = [{POLL_FAILED}, ")
            text = text.replace(found[0], poll)
        else:
            text = text.replace("\n[poll]\n", f"\n[poll]\nfailed = [{POLL_FAILED}]\n")
        text = text.replace("https://rest.fal.ai/.well-known", "https://queue.fal.run/.well-known")
        (folder / file.name).write_text(text, encoding="utf-8")


def service_account() -> str:
    """The key of a service account, as Google hands one out."""
    key = generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps({"client_email": "me@p1.example", "private_key_id": "k1", "private_key": pem})


@asynccontextmanager
async def staged(world: World) -> AsyncIterator[tuple[Stage, Receiver, Clock]]:
    """A receiver that knows every provider, all of them pointed at one stage; its clock is the test's."""
    stage, clock = Stage(), Clock()
    write_descriptions(Path(world.environ["RECEIVER_PROVIDERS_DIR"]))
    async with stub(stage) as serving:
        stage.url = serving.url
        for name, provider in PROVIDERS.items():
            world.environ[f"RECEIVER_{name.upper().replace('-', '_')}_BASE_URL"] = f"{serving.url}/{name}"
            for one in provider.credentials:
                minted = one.mint.references if one.mint is not None else ()
                for reference in filter(None, (one.secret, *(one.basic or ()), *minted)):
                    world.environ[reference.removeprefix("env:")] = "x"
            if provider.key is not None and provider.key.secret is not None and provider.verify is not None:
                secret = WHSEC if provider.verify.key_encoding == "whsec" else SECRET.decode()
                world.environ[provider.key.secret.removeprefix("env:")] = secret
        world.environ |= ACCOUNT | {"GOOGLE_SERVICE_ACCOUNT": service_account(), "AWS_SNS_TOPIC_ARN": TOPIC}
        async with world.receiver(clock.wind) as receiver:
            yield stage, receiver, clock


async def submitted(
    stage: Stage, receiver: Receiver, name: str, plot: str, operation: str | None = None
) -> Job:
    """A job that is going to go so; of the first operation, if of no other."""
    stage.waiting.setdefault(name, []).append(plot)
    callback = plot == "lost callback" or plot.startswith("callback")
    # All at once would be more connections than wait at a socket.
    async with stage.door:
        job = await receiver.submit(
            name, REQUEST, operation=operation or operation_of(name), callback=callback
        )
    assert job.remote_id is not None, (name, plot, job.state, job.error)
    return job


def _due(tx: Any) -> tuple[int | None, int, int]:  # noqa: ANN401
    """When something is due next, how much is being done, and how many jobs are open."""
    ((when,),) = tx.run("SELECT min(run_at) FROM due WHERE owner IS NULL")
    ((owned,),) = tx.run("SELECT count(*) FROM due WHERE owner IS NOT NULL")
    ((still,),) = tx.run("SELECT count(*) FROM job WHERE ended_at IS NULL")
    return when, owned, still


async def played(receiver: Receiver, clock: Clock, jobs: list[Job]) -> dict[str, Job]:
    """Go from one due thing to the next until every job has ended: how they are then."""
    store = receiver.running.store
    async with asyncio.timeout(6 * PATIENCE):
        while True:
            when, owned, still = await store.read(_due)
            if not still:
                return {one.id: await store.job(one.id) for one in jobs}
            if when is not None and not owned:
                clock.ahead = max(clock.ahead, when - read_clock() + 1)
            receiver.running.notify()
            await asyncio.sleep(0.02)
