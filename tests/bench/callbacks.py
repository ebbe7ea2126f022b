"""Callbacks and what they are about: a provider of our own, jobs that it accepted, and signed requests."""

import asyncio
import hashlib
import hmac
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from receiver.core.identity import JOB, new_id
from receiver.core.model import HOUR, MINUTE, Delivery, Due, Job, JobState, Observation, Step
from receiver.keys import Keys
from receiver.settings import Settings
from receiver.storage.records import NewJob
from receiver.storage.settlements import SubmitSettled, timeline
from receiver.storage.store import Store

from .load import write_requests
from .servers import serving

SECRET: Final = "the secret of the provider in the benchmark"
API_TOKEN: Final = "the API token of the benchmark"
_FOREIGN_KEY: Final = "a master key that is nobody's, for forged tokens"
SIZE: Final = 1024
#: So many jobs are taken to be under way at once.
_UNDER_WAY: Final = 1000
#: So many members fill one transaction of the store.
_TOGETHER: Final = 512
_DESCRIPTION: Final = """
name = "bench"
title = "The benchmark's provider"
origins = ["https://bench.example"]
deadline = "6h"
sources = [{ url = "https://bench.example/docs", read = "2026-11-21" }]

[submit]
url = "https://bench.example/jobs"
answer = "event"

[callback]
where = "body"
path = "callback_url"
delivers = "result"
result = "event"

[verify]
scheme = "hmac"
header = "X-Signature"
prefix = "sha256="

[key]
secret = "env:BENCH_SECRET"

[poll]
url = ["https://bench.example/jobs/{id}"]
answer = "event"

[shapes.event]
id = ["id"]
status = "status"
states = { done = "succeeded", failed = "failed" }
result = "result"
error = ["reason"]
"""

#: The same, but it only says that a job is done and where its result is.
_FETCHING: Final = """
[limits]
concurrency = 20
rate = 100

[shapes.notice]
id = ["id"]
status = "status"
states = { done = "succeeded" }
result_url = "https://bench.example/results/{id}"
"""


def environ(folder: Path, *, database: str | None = None) -> dict[str, str]:
    """The receiver's settings for the database in *folder*."""
    providers = folder / "providers"
    providers.mkdir(exist_ok=True)
    (providers / "bench.toml").write_text(_DESCRIPTION, encoding="utf-8")
    fetching = _DESCRIPTION.replace('"bench"', '"bench-fetch"').replace(
        'delivers = "result"\nresult = "event"', 'delivers = "notification"\nnotification = "notice"'
    )
    (providers / "bench-fetch.toml").write_text(fetching + _FETCHING, encoding="utf-8")
    return {
        "RECEIVER_DATABASE_URL": database or f"sqlite:///{folder}/receiver.db",
        "RECEIVER_SECRET_KEY": "a master key for the benchmark that is long enough",
        "RECEIVER_API_TOKEN": API_TOKEN,
        "RECEIVER_PUBLIC_URL": "https://receiver.example",
        "RECEIVER_PROVIDERS_DIR": str(providers),
        "BENCH_SECRET": SECRET,
    }


class Stock:
    """A database of jobs that wait for their callbacks, and those callbacks; made once, copied for each round."""

    def __init__(self, folder: Path, *, jobs: int) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.database = folder / "receiver.db"
        #: A genuine callback for each job; of those that are under way at once, any may be the next to end.
        self.genuine = folder / "genuine"
        #: The same, with tokens that nobody minted.
        self.forged_tokens = folder / "forged-tokens"
        #: The same, with signatures that nobody made.
        self.forged_signatures = folder / "forged-signatures"
        settings = environ(folder)
        self.ids = prepared(folder, settings, jobs)
        shuffle(self.ids)
        write_callbacks(self.genuine, self.ids, settings)
        write_callbacks(self.forged_tokens, self.ids, settings | {"RECEIVER_SECRET_KEY": _FOREIGN_KEY})
        write_callbacks(self.forged_signatures, self.ids, settings, secret="somebody else's")

    def copy(self, folder: Path) -> dict[str, str]:
        """Put a fresh copy of the database into *folder*; the settings that serve it."""
        copy_database(self.database, folder / "receiver.db")
        return environ(folder)


def shuffle(ids: list[str]) -> None:
    """Bring the jobs *ids*, the oldest first, into an order in which they may end."""
    order = random.Random(7)
    for begin in range(0, len(ids), _UNDER_WAY):
        some = ids[begin : begin + _UNDER_WAY]
        order.shuffle(some)
        ids[begin : begin + _UNDER_WAY] = some


def copy_database(source: Path, target: Path) -> None:
    """Copy a database and wait for the disk: what is still to be written would slow the commits that follow."""
    for ending in ("-wal", "-shm", "-lock", "-serve"):
        target.with_name(target.name + ending).unlink(missing_ok=True)
    shutil.copyfile(source, target)
    file = os.open(target, os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def prepared(
    folder: Path, settings: dict[str, str], count: int, *, delivery: Delivery = Delivery.RESULT
) -> list[str]:
    """Fill a new database: tables and handler by a first start, jobs through the store's own methods; their ids."""
    with serving(folder, settings, worker=True):
        pass
    return asyncio.run(_submit(settings, count, delivery))


async def _submit(settings: dict[str, str], count: int, delivery: Delivery) -> list[str]:
    key_id = Keys(Settings.load(settings)).newest.id
    store = await Store.open(settings["RECEIVER_DATABASE_URL"])
    now = time.time_ns() // 1_000_000
    ids = [new_id(JOB, now - count + place) for place in range(count)]
    try:
        for begin in range(0, count, _TOGETHER):
            some = [
                _job(one, place, key_id, delivery) for place, one in enumerate(ids[begin : begin + _TOGETHER])
            ]
            await asyncio.gather(*(store.submit(one) for one in some))
            await asyncio.gather(*(store.settle_submit(_accepted(one, now)) for one in some))
    finally:
        await store.close()
    return ids


def _job(job_id: str, place: int, key_id: str, delivery: Delivery) -> NewJob:
    created = int(job_id[4:16], 16)
    request = json.dumps({"prompt": f"question {place}"}).encode()
    return NewJob(
        job=Job(
            id=job_id,
            provider=named(delivery),
            delivery=delivery,
            key_id=key_id,
            created_at=created,
            deadline_at=created + 6 * HOUR,
        ),
        request=request,
        request_sha256=hashlib.sha256(request).hexdigest(),
        metadata=b"{}",
        idempotency_key=None,
        owner="bench",
        lease_ms=MINUTE,
    )


def _accepted(new: NewJob, now: int) -> SubmitSettled:
    job = new.job
    due = Due(
        job_id=job.id,
        step=Step.SUBMIT,
        provider=job.provider,
        run_at=job.created_at + MINUTE,
        attempt=1,
        owner="bench",
    )
    return SubmitSettled(
        due=due,
        seen=Observation(state=JobState.SUBMITTED, remote_id=remote_id(job.id)),
        answer_status=202,
        answer_body=b"{}",
        first_look_at=now + HOUR,
        log=timeline(job.id, step="submit", started_at=job.created_at, now=now, outcome="accepted"),
        now=now,
    )


def named(delivery: Delivery) -> str:
    """The provider that calls back like that."""
    return "bench" if delivery is Delivery.RESULT else "bench-fetch"


def remote_id(job_id: str) -> str:
    """What the provider calls a job."""
    return f"r{job_id[4:]}"


def write_callbacks(
    path: Path,
    ids: Sequence[str],
    settings: dict[str, str],
    *,
    secret: str = SECRET,
    provider: str = "bench",
    body: Callable[[str], bytes] | None = None,
) -> None:
    """Write a callback of *provider* for each of the jobs *ids*, signed with *secret*; *body* makes one for a job."""
    keys = Keys(Settings.load(settings))
    key = secret.encode()
    requests = []
    for one in ids:
        address = f"/callbacks/{provider}/{keys.mint(one, provider=provider)}"
        requests.append(_request(address, (body or _body)(one), key))
    write_requests(path, requests)


def _body(job_id: str) -> bytes:
    head = f'{{"id":"{remote_id(job_id)}","status":"done","result":{{"text":"'
    return f'{head}{"x" * (SIZE - len(head) - 3)}"}}}}'.encode()


def _request(address: str, body: bytes, secret: bytes) -> bytes:
    return (
        f"POST {address} HTTP/1.1\r\n"
        "Host: receiver.example\r\n"
        "User-Agent: bench/1.0\r\n"
        "Accept: */*\r\n"
        "Content-Type: application/json\r\n"
        f"X-Signature: sha256={hmac.digest(secret, body, 'sha256').hex()}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
