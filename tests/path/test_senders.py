"""Where callbacks come from: kept, shown, and where a description names its networks, a second lock."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from receiver.core.errors import ConfigurationError
from receiver.core.model import Callback
from receiver.settings import Settings
from receiver.storage.queries import Page

from .test_bad_input import SIGNED, Target
from .test_refusals import WAKER
from .test_refusals import target as unsigned
from .world import API_TOKEN, REQUESTS, World, until


def allow_from(world: World, provider: str, *networks: str) -> None:
    """Have the description name its networks."""
    file = world.folder / "providers" / f"{provider}.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(
        text.replace("[callback]\n", f"[callback]\nallow_from = {json.dumps(networks)}\n"), encoding="utf-8"
    )


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[Target]:
    """A receiver with one signed job, whose callback never comes by itself."""
    world.simulator.faults(SIGNED, "never", count=None)
    async with world.receiver() as receiver, httpx.AsyncClient(trust_env=False, timeout=20) as client:
        yield Target(world, receiver, client, await receiver.submit(SIGNED, REQUESTS[SIGNED]))


def genuine(one: Target, sender: str | None = None) -> tuple[bytes, dict[str, str]]:
    """A callback that its signature vouches for, by a proxy that names *sender*."""
    body = json.dumps({"job_id": one.remote_id, "status": "COMPLETED", "response": {}}).encode()
    headers = {"x-perplexity-signature": one.signature(body)}
    return body, headers if sender is None else headers | {"x-forwarded-for": sender}


async def kept(one: Target) -> list[Callback]:
    """What is stored, the newest first."""
    return await one.receiver.running.store.callbacks(Page())


@pytest.mark.parametrize(
    ("proxies", "sender"),
    [("", "127.0.0.1"), ("127.0.0.0/8", "198.51.100.7"), ("10.0.0.0/8", "127.0.0.1")],
)
async def test_the_sender_is_kept_and_shown(world: World, proxies: str, sender: str) -> None:
    """The peer, or behind proxies that we trust whom they name; in the record and by ``/v1``."""
    world.environ["RECEIVER_TRUSTED_PROXIES"] = proxies
    async with serving(world) as one:
        body, headers = genuine(one, "198.51.100.7")
        assert (await one.post(body, headers)).status_code == 200
        (callback,) = await kept(one)
        assert callback.sender == sender
        answer = await one.client.get(
            f"{world.url}/v1/callbacks/{callback.id}", headers={"authorization": f"Bearer {API_TOKEN}"}
        )
        assert answer.json()["sender"] == sender


async def test_a_genuine_callback_from_elsewhere_is_rejected_and_can_be_admitted_later(world: World) -> None:
    """The signature is good and the network is not: quarantine; once the list is corrected it is admitted."""
    allow_from(world, SIGNED, "203.0.113.0/24")
    async with serving(world) as one:
        body, headers = genuine(one)
        answer = await one.post(body, headers)
        assert (answer.status_code, answer.json()) == (401, {"code": "sender_not_allowed"})
        assert await one.state() == "submitted"
        (callback,) = await kept(one)
        shown = await one.client.get(
            f"{world.url}/v1/callbacks/{callback.id}", headers={"authorization": f"Bearer {API_TOKEN}"}
        )
        assert shown.json()["diagnosis"]["code"] == "sender_not_allowed"
        assert "127.0.0.1" in shown.json()["diagnosis"]["sentence"]
        with pytest.raises(Exception, match="not name that network"):
            await one.receiver.replay(callback.id)
    world.cadence()
    allow_from(world, SIGNED, "127.0.0.1")
    async with world.receiver() as receiver:
        await receiver.replay(callback.id)
        assert (await receiver.job(one.job.id)).state.value == "succeeded"


async def test_it_is_never_the_only_lock(world: World) -> None:
    """From the right network a signature that is wrong, or a token that is, gains nothing."""
    allow_from(world, SIGNED, "127.0.0.1")
    async with serving(world) as one:
        body, _ = genuine(one)
        answer = await one.post(body, {"x-perplexity-signature": "0" * 64})
        assert answer.json() == {"code": "signature_mismatch"}
        assert (await one.post(body, url=one.url[:-1] + "_")).status_code == 404
        assert (await one.post(body, genuine(one)[1])).status_code == 200


async def test_a_token_from_elsewhere_wakes_nobody(world: World) -> None:
    """Neither with a body, nor with one that is refused before it is here."""
    allow_from(world, WAKER, "203.0.113.0/24")
    async with unsigned(world, WAKER) as one:
        answer = await one.client.post(one.url, content=b"{}")
        assert (answer.status_code, answer.json()) == (401, {"code": "sender_not_allowed"})
        assert (await one.client.post(one.url, content=bytes(2000))).status_code == 413
        await until(one.noted)
        record = await one.receiver.running.store.record(one.job.id)
        assert await one.lines() == [("body_too_large", 413)]
        assert record.job.woken_by is None


async def test_whoever_forwards_nothing_cannot_say_where_it_comes_from(world: World) -> None:
    """A header of the sender's own changes nothing where no proxy is trusted."""
    allow_from(world, SIGNED, "203.0.113.0/24")
    async with serving(world) as one:
        body, headers = genuine(one, "203.0.113.5")
        assert (await one.post(body, headers)).json() == {"code": "sender_not_allowed"}


@pytest.mark.parametrize("text", ["10.0.0.0/33", "proxy.example", "10.0.0.1/8", "10.0.0.0/8;10.1.0.0/16"])
def test_what_is_no_network_is_refused_at_the_start(text: str) -> None:
    """With the name of the setting, and of the piece that is wrong."""
    with pytest.raises(ConfigurationError, match="RECEIVER_TRUSTED_PROXIES"):
        Settings.load({"RECEIVER_TRUSTED_PROXIES": text})
