"""The programs of deploy/examples, as they stand there, beside a receiver that serves and a simulated provider."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.deploy.artefacts import DEPLOY
from tests.ports import free_port
from tests.sinks.servers import RABBIT, nats, rabbit, valkey

from .beside import beside

if TYPE_CHECKING:
    from pathlib import Path

    from .beside import Beside

EXAMPLES = DEPLOY / "examples"
CHAT = '{"model": "sonar-deep-research", "messages": [{"role": "user", "content": "?"}]}'


def sinks(example: str) -> str:
    """The sinks of an example."""
    return (EXAMPLES / example / "sinks.toml").read_text(encoding="utf-8")


def submitted(receiver: Beside) -> str:
    """A job that has ended."""
    return str(receiver.program.json("submit", "perplexity-webhook", "-", "--wait", given=CHAT)["id"])


def consumed(receiver: Beside, program: str, **environ: str) -> None:
    """What ends while the consumer runs, and while it does not, is handled by it, each once; it ends when told to."""
    with receiver.running(str(EXAMPLES / program), **environ) as first_run:
        receiver.until(lambda: "waiting" in receiver.log())
        first = submitted(receiver)
        receiver.until(lambda: first in receiver.log())
    second = submitted(receiver)
    with receiver.running(str(EXAMPLES / program), **environ) as second_run:
        receiver.until(lambda: second in receiver.log())
    assert (first_run.returncode, second_run.returncode) == (0, 0), receiver.log()[-4000:]
    handled = [line.split()[:2] for line in receiver.log().splitlines() if line.startswith("receiver.job.")]
    assert handled == [["receiver.job.succeeded.v1", first], ["receiver.job.succeeded.v1", second]]


def test_a_consumer_of_nats_handles_each_completion_once(tmp_path: Path) -> None:
    """By way of JetStream, with the sink and the consumer of the example."""
    (tmp_path / "nats").mkdir()
    with nats(tmp_path / "nats") as server:
        host = {"NATS_HOST": "127.0.0.1", "NATS_PORT": str(server.port)}
        with beside(tmp_path, sinks=sinks("nats"), handlers=False, **host) as receiver:
            consumed(receiver, "nats/consumer.py", **host)


@pytest.mark.skipif(
    not RABBIT.exists(), reason="RabbitMQ is not installed here; Debian has it: rabbitmq-server"
)
def test_a_consumer_of_rabbitmq_handles_each_completion_once(tmp_path: Path) -> None:
    """By way of a durable queue, with the sink and the consumer of the example."""
    (tmp_path / "rabbit").mkdir()
    with rabbit(tmp_path / "rabbit") as server:
        host = {
            "RABBITMQ_HOST": "127.0.0.1",
            "RABBITMQ_LOGIN": "guest:guest",
            "RABBITMQ_PORT": str(server.port),
        }
        with beside(tmp_path, sinks=sinks("rabbitmq"), handlers=False, **host) as receiver:
            consumed(receiver, "rabbitmq/consumer.py", **host)


def test_a_worker_on_the_feed_goes_on_where_it_stood(tmp_path: Path) -> None:
    """It handles what ended before it ran the first time, and what ended while it did not run, each once."""
    with beside(tmp_path, handlers=False) as receiver:
        environ = {"HOOKS_URL": receiver.url, "HOOKS_TOKEN": receiver.environ["RECEIVER_API_TOKEN"]}
        jobs = [submitted(receiver)]
        for _ in range(2):
            with receiver.running(str(EXAMPLES / "feed_worker.py"), **environ):
                receiver.until(lambda: jobs[-1] in receiver.log())
                jobs.append(submitted(receiver))
                receiver.until(lambda: jobs[-1] in receiver.log())
            jobs.append(submitted(receiver))
        lines = [line.split() for line in receiver.log().splitlines() if "application/json" in line]
        # The last one of a run may come again: it counts as read when the next one is asked for.
        assert list(dict.fromkeys(words[1] for words in lines)) == jobs[:-1]


def test_fastapi_submits_takes_callbacks_and_handles(tmp_path: Path) -> None:
    """One process does it all, with the receiver mounted below /hooks."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with beside(tmp_path, handlers=False) as other:
        environ = {
            **{name: value for name, value in other.program.settings.items() if name != "RECEIVER_HANDLERS"},
            "RECEIVER_PUBLIC_URL": f"{url}/hooks",
            "RECEIVER_DATABASE_URL": f"sqlite:///{tmp_path}/mounted.db",
        }
        command = ["-m", "uvicorn", "app:app", "--port", str(port), "--app-dir", str(EXAMPLES / "fastapi")]
        with (
            other.running(*command, **environ),
            httpx.Client(base_url=url, trust_env=False, timeout=20) as browser,
        ):
            other.until(lambda: browser.get("/reports/none").status_code == 404)
            job = browser.post("/ask", params={"topic": "tea"}).json()["job"]
            told = other.until(lambda: (one := browser.get(f"/reports/{job}").json())["report"] and one)
            assert told["state"] == "succeeded"


def test_django_asks_and_celery_writes_down(tmp_path: Path) -> None:
    """The view submits, the sink calls the task by its name, the task writes to the database, the view shows it."""
    project = tmp_path / "project"
    shutil.copytree(EXAMPLES / "django_celery", project, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "valkey").mkdir()
    port = free_port()
    with valkey(tmp_path / "valkey") as server:
        host = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port)}
        with beside(tmp_path, sinks=sinks("django_celery"), handlers=False, **host) as receiver:
            environ = {
                "CELERY_BROKER": f"redis://127.0.0.1:{server.port}/0",
                "DJANGO_DATABASE": str(tmp_path / "reports.sqlite3"),
                "DJANGO_SECRET_KEY": "a key for a test",
                "DJANGO_SETTINGS_MODULE": "settings",
                "HOOKS_TOKEN": receiver.environ["RECEIVER_API_TOKEN"],
                "HOOKS_URL": receiver.url,
                "PYTHONPATH": str(project),
            }
            with receiver.running("-m", "django", "migrate", **environ) as migrating:
                assert migrating.wait(60) == 0, receiver.log()
            worker = [
                "-m",
                "celery",
                "-A",
                "tasks",
                "worker",
                "-Q",
                "jobs",
                "--pool",
                "solo",
                "--without-mingle",
            ]
            served = ["-m", "waitress", f"--listen=127.0.0.1:{port}", "django.core.wsgi:get_wsgi_application"]
            served.insert(2, "--call")
            with (
                receiver.running(*worker, **environ),
                receiver.running(*served, **environ),
                httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as browser,
            ):
                receiver.until(lambda: browser.get("/reports/none").status_code == 404, patience=60)
                job = browser.post("/ask", data={"topic": "tea"}).json()["job"]
                report = receiver.until(
                    lambda: (one := browser.get(f"/reports/{job}").json())["text"] and one, patience=60
                )
                assert (report["topic"], report["state"]) == ("tea", "succeeded")
