"""The plugin fits whatever is installed beside it, and is not noticed by those who do not use it."""

from pathlib import Path

import pytest

from .projects import ANYIO, ASYNCIO, checked

ASYNC = """
import pytest

{mark}

async def test_a_job_is_handled(receiver, provider):
    got = []

    @receiver.on("perplexity")
    async def save(job):
        got.append(job.result.json())

    job = await receiver.submit("perplexity", {{"model": "m", "messages": []}})
    done = await provider.complete(job, {{"choices": []}})
    assert done.job.state == "succeeded"
    assert got == [{{"choices": []}}]

@pytest.fixture
{fixture}
async def submitted(receiver):
    return await receiver.submit("perplexity", {{"model": "m", "messages": []}})

async def test_a_fixture_may_use_it(submitted, receiver, provider):
    done = await provider.fail(submitted, "no")
    assert done.job.state == "failed"
"""


ANYIO_MARK = "pytestmark = pytest.mark.anyio\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'"


@pytest.mark.parametrize(
    ("mark", "options"),
    [
        ("", [*ASYNCIO, "-o", "asyncio_mode=auto"]),
        ("pytestmark = pytest.mark.asyncio", [*ASYNCIO, *ANYIO, "-o", "asyncio_mode=auto"]),
        (ANYIO_MARK, ANYIO),
        (ANYIO_MARK, [*ASYNCIO, *ANYIO, "-o", "asyncio_mode=strict"]),
    ],
    ids=["asyncio-auto", "asyncio-auto-beside-anyio", "anyio-alone", "anyio-beside-asyncio-strict"],
)
def test_the_kit_runs_in_the_loop_of_the_test(mark: str, options: list[str], tmp_path: Path) -> None:
    """Whichever plugin runs coroutines: receiver, handlers and the fixtures of a test share its loop."""
    text = ASYNC.format(mark=mark, fixture="")
    assert "2 passed" in checked(tmp_path, "-W", "error", *options, test_it=text)


@pytest.mark.parametrize("scope", ["function", "module"])
def test_strict_mode_and_wider_loops_fit(scope: str, tmp_path: Path) -> None:
    """In pytest-asyncio's strict mode the mark decides, also where a whole module shares one loop."""
    text = ASYNC.format(
        mark=f'import pytest_asyncio\npytestmark = pytest.mark.asyncio(loop_scope="{scope}")', fixture=""
    ).replace("@pytest.fixture", f'@pytest_asyncio.fixture(loop_scope="{scope}")')
    options = [*ASYNCIO, "-W", "error", "-o", "asyncio_mode=strict"]
    assert "2 passed" in checked(tmp_path, *options, test_it=text)


def test_a_test_case_of_the_standard_library_fits(tmp_path: Path) -> None:
    """It gets the fixtures by one that is used automatically, and its receiver is stopped in its own loop."""
    text = """
import unittest
import pytest

class TestIt(unittest.IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def given(self, receiver, provider):
        self.receiver, self.provider = receiver, provider

    async def test_a_job_ends(self):
        job = await self.receiver.submit("perplexity", {"model": "m", "messages": []})
        self.assertEqual((await self.provider.complete(job, {"choices": []})).job.state, "succeeded")
"""
    assert "1 passed" in checked(tmp_path, "-W", "error", test_it=text)


def test_an_application_may_start_it(tmp_path: Path) -> None:
    """A plain test drives an application whose lifespan starts the receiver, which is the kit's all the same."""
    application = """
from fastapi import FastAPI
from receiver import Receiver

receiver = Receiver()
got = []

@receiver.on("perplexity")
def save(job):
    got.append(job.result.json())

app = FastAPI(lifespan=receiver.lifespan)
app.mount("/hooks", receiver.asgi)

@app.post("/ask")
async def ask():
    job = await receiver.submit("perplexity", {"model": "m", "messages": []})
    return {"id": job.id}
"""
    text = """
from fastapi.testclient import TestClient
import application

def test_a_question_is_answered(receiver, provider):
    with TestClient(application.app) as client:
        job_id = client.post("/ask").json()["id"]
        job = client.portal.call(receiver.job, job_id)
        client.portal.call(provider.complete, job, {"choices": [1]})
    assert application.got == [{"choices": [1]}]
"""
    options = ["-o", "receiver_app=application:receiver"]
    assert "1 passed" in checked(tmp_path, *options, application=application, test_it=text)


def test_nothing_stays_with_the_receiver_of_an_application(tmp_path: Path) -> None:
    """One test's handlers, settings, jobs and clock are gone in the next."""
    text = """
from receiver import Receiver
shared = Receiver()

async def test_one(receiver, provider, receiver_clock):
    assert receiver is shared
    receiver.on("perplexity")(lambda job: None)
    receiver.on("perplexity", name="other")(print)
    receiver_clock.advance(days=3)
    await provider.complete(await receiver.submit("perplexity", {"model": "m", "messages": []}))

async def test_two(receiver, receiver_clock):
    assert len(receiver.handlers) == 0
    assert [one async for one in stored(receiver)] == []

async def stored(receiver):
    await receiver.idle()
    for one in await receiver.running.store.handlers():
        yield one
"""
    text = text.replace('receiver.on("perplexity")(lambda job: None)\n', "\n")
    options = [*ASYNCIO, "-o", "asyncio_mode=auto", "-o", "receiver_app=test_it:shared"]
    assert "2 passed" in checked(tmp_path, *options, test_it=text)


@pytest.mark.parametrize("named", ["nowhere:receiver", "json:loads"])
def test_a_receiver_that_cannot_be_found_is_named(named: str, tmp_path: Path) -> None:
    """A setting that leads nowhere stops the test with the setting's name and the reason."""
    text = "def test_it(receiver): pass"
    printed = checked(tmp_path, "-o", f"receiver_app={named}", code=1, test_it=text)
    assert f"receiver_app: {named} " in printed


def test_it_is_not_noticed_by_those_who_do_not_use_it(tmp_path: Path) -> None:
    """A run without the fixtures loads no part of the receiver but the plugin, and no other plugin for its sake."""
    text = """
import sys

def test_nothing_is_loaded():
    ours = sorted(name for name in sys.modules if name.split(".")[0] == "receiver")
    assert ours == ["receiver", "receiver.testing", "receiver.testing.plugin"]
    assert not {"httpx", "starlette", "sqlite3", "cryptography", "msgspec"} & sys.modules.keys()
"""
    assert "1 passed" in checked(tmp_path, "-W", "error", test_it=text)


def test_it_begins_fast_and_opens_no_port(tmp_path: Path) -> None:
    """Begun in 300 ms once it is imported, with no library more, and a whole job done without a socket of its own."""
    # Processor's time, and what is imported by name: how long it takes by the clock says how busy the machine is.
    text = """
import socket, sys, time
import pytest
import receiver.testing.kit

TOOK, LOADED = [], set()

@pytest.mark.parametrize("time_", range(3))
async def test_it(time_, request, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a socket")
    for name in ("bind", "connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    before, begun = set(sys.modules), time.process_time()
    receiver = request.getfixturevalue("receiver")
    await receiver.idle()
    TOOK.append(time.process_time() - begun)
    LOADED.update(name.partition(".")[0] for name in sys.modules.keys() - before)
    provider = request.getfixturevalue("provider")
    job = await receiver.submit("netnut", {"engine": "perplexity", "prompt": "?"})
    assert (await provider.complete(job, {"response": {}})).job.state == "succeeded"
    await receiver.stop()

def test_the_best_of_three():
    assert min(TOOK) < 0.3, TOOK
    # What is imported once is in the first of the three alone.
    assert LOADED - sys.stdlib_module_names <= {"receiver"}, LOADED
"""
    assert "4 passed" in checked(tmp_path, *ASYNCIO, "-o", "asyncio_mode=auto", test_it=text)
