"""Running the demo: processes up, jobs submitted, outcomes watched and judged, processes down."""

import base64
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from receiver.demo import show
from receiver.demo.keep import kept
from receiver.demo.processes import (
    ProcessFailedError,
    base_environ,
    faster_descriptions,
    free_port,
    started,
    wait_ready,
)
from receiver.demo.scenes import SCENES, Scene

_PATIENCE: Final = 15.0
_GLANCE: Final = 0.2
_ENDED: Final = {"succeeded", "failed", "canceled", "expired", "timed_out"}


class Played(msgspec.Struct, kw_only=True):
    """A scene, and what has been seen of it."""

    scene: Scene
    job_id: str
    record: dict[str, Any]
    #: How often the handler really ran, by what it wrote itself.
    runs: int = 0
    #: What is not as it should be; nothing, if all is well.
    problems: list[str] = []

    @property
    def over(self) -> bool:
        """Whether the job has ended, its handler has run, and every expected callback has come."""
        ended = self.record["state"] in _ENDED and not self.waiting and self.runs > 0
        return ended and all(self.verdicts[one] >= least for one, least in self.scene.verdicts.items())

    @property
    def timeline(self) -> list[dict[str, Any]]:
        """Everything that happened to the job."""
        entries: list[dict[str, Any]] = self.record.get("timeline", [])
        return entries

    @property
    def pages(self) -> list[dict[str, Any]]:
        """The pages of its result that are here, where that comes in several."""
        pages: list[dict[str, Any]] = self.record.get("pages", [])
        return pages

    @property
    def files(self) -> list[dict[str, Any]]:
        """The files that its result links to."""
        files: list[dict[str, Any]] = self.record.get("files", [])
        return files

    @property
    def waiting(self) -> bool:
        """Whether a dispatch has not been finished."""
        return any(entry["kind"] == "dispatch" for entry in self.timeline)

    @property
    def verdicts(self) -> Counter[str]:
        """What became of the job's callbacks."""
        return Counter(entry["callback"]["verdict"] for entry in self.timeline if entry["kind"] == "callback")

    @property
    def dispatches(self) -> int:
        """How many attempts of handlers succeeded, replays not counted."""
        return sum(
            entry["kind"] == "attempt"
            and entry["step"] == "dispatch"
            and entry["outcome"] == "succeeded"
            and entry["replay_id"] is None
            for entry in self.timeline
        )


def run(
    *,
    as_json: bool = False,
    keep: bool = False,
    environ: Mapping[str, str] | None = None,
    patience: float = _PATIENCE,
) -> int:
    """Play every scene; the exit code is 0 only if every outcome was the right one.

    Args:
        as_json: Print one JSON document instead of the show.
        keep: Leave receiver and simulator running until Ctrl-C, and print an address of the console that
            signs in once.
        environ: Settings of the receiver that replace the demo's own, to see it fail.
        patience: Seconds after which a job that is not over is judged as it is.
    """
    screen = show.Screen(quiet=as_json)
    ending: list[int] = []

    def judged(played: list[Played]) -> None:
        for one in played:
            one.problems += judge(one)
        ending.append(_told(screen, played, as_json=as_json))

    try:
        _play(screen, environ or {}, patience, judged, keep=keep)
    except (ProcessFailedError, httpx.HTTPError) as error:
        sys.stderr.write(f"error: {error}\n")
        if as_json:
            sys.stdout.write('{"ok": false, "jobs": []}\n')
        return 1
    return ending[0]


def _told(screen: "show.Screen", played: list[Played], *, as_json: bool) -> int:
    ok = not any(one.problems for one in played)
    if as_json:
        document = {"ok": ok, "jobs": [_document(one) for one in played]}
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        sys.stdout.flush()
    else:
        screen.summary(played, ok=ok)
    return 0 if ok else 1


def judge(played: Played) -> list[str]:
    """Say what about a job is not as its scene wants it."""
    scene, record = played.scene, played.record
    problems = []
    if record["state"] != "succeeded":
        problems.append(f"state is {record['state']}")
    if record["settled_by"] != scene.settled_by:
        problems.append(f"settled by {record['settled_by']}, not {scene.settled_by}")
    if not record["result"] or not record["result"]["size"]:
        problems.append("no result is stored")
    for verdict, least in scene.verdicts.items():
        if played.verdicts[verdict] < least:
            problems.append(f"{played.verdicts[verdict]} callbacks {verdict}, not {least}")
    problems += [f"a callback was {verdict}" for verdict in scene.never if played.verdicts[verdict]]
    if len(played.pages) != scene.pages:
        problems.append(f"the result came in {len(played.pages)} pages, not {scene.pages}")
    stored = sum(one["state"] == "stored" for one in played.files)
    if stored < scene.files:
        problems.append(f"{stored} files are stored, not {scene.files}")
    if played.dispatches != 1 or played.runs != 1:
        problems.append(f"the handler ran {played.runs} times in {played.dispatches} dispatches, not once")
    return problems


def _play(
    screen: "show.Screen",
    overrides: Mapping[str, str],
    patience: float,
    judged: Callable[[list[Played]], None],
    *,
    keep: bool,
) -> None:
    with tempfile.TemporaryDirectory(prefix="receiver-demo-") as name, ExitStack() as stack:
        folder = Path(name)
        descriptions = folder / "providers"
        descriptions.mkdir()
        faster_descriptions(descriptions)
        runs = folder / "runs"
        runs.touch()
        simulator, receiver = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        webhook_secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        token = secrets.token_urlsafe(24)
        environ = base_environ() | {"FIRECRAWL_WEBHOOK_SECRET": secrets.token_urlsafe(24)}
        stack.enter_context(
            started("simulate", "--port", simulator.rpartition(":")[2], environ=environ, folder=folder)
        )
        environ |= _settings(folder, simulator, receiver, token, webhook_secret)
        environ |= overrides
        stack.enter_context(started("serve", environ=environ, folder=folder))
        wait_ready(f"{simulator}/_control/health", name="simulate", folder=folder)
        wait_ready(f"{receiver}/readyz", name="serve", folder=folder)
        client = stack.enter_context(httpx.Client(trust_env=False, timeout=10))
        client.headers["authorization"] = f"Bearer {token}"
        client.post(
            f"{simulator}/_control/pulse/webhook",
            json={"url": f"{receiver}/webhooks/pulse", "secret": webhook_secret},
        ).raise_for_status()
        played = [_submit(client, simulator, receiver, scene) for scene in SCENES]
        with screen.watching(played):
            _watch(client, receiver, played, runs, screen, patience)
        for one in played[:5]:
            _replay(client, receiver, one, runs, screen)
        judged(played)
        if keep:
            kept(client, receiver, simulator)


def _settings(folder: Path, simulator: str, receiver: str, token: str, webhook_secret: str) -> dict[str, str]:
    names = sorted({scene.provider for scene in SCENES})
    return {
        "DEMO_RUNS": str(folder / "runs"),
        "RECEIVER_DATABASE_URL": f"sqlite:///{folder}/receiver.db",
        "RECEIVER_SECRET_KEY": secrets.token_urlsafe(32),
        "RECEIVER_API_TOKEN": token,
        "RECEIVER_HANDLERS": "receiver.demo.handlers:receiver",
        "RECEIVER_PROVIDERS_DIR": str(folder / "providers"),
        "RECEIVER_PUBLIC_URL": receiver,
        "RECEIVER_HOST": "127.0.0.1",
        "RECEIVER_PORT": receiver.rpartition(":")[2],
        "NETNUT_USERNAME": "demo",
        "NETNUT_PASSWORD": secrets.token_urlsafe(8),
        "PULSE_API_KEY": secrets.token_urlsafe(8),
        "PULSE_WEBHOOK_SECRET": webhook_secret,
        "YANDEX_API_KEY": secrets.token_urlsafe(8),
        "YANDEX_FOLDER_ID": "demo-folder",
        "PERPLEXITY_API_KEY": secrets.token_urlsafe(8),
        "FIRECRAWL_API_KEY": secrets.token_urlsafe(8),
        "RUNWAYML_API_SECRET": secrets.token_urlsafe(8),
        **{f"RECEIVER_{name.upper().replace('-', '_')}_BASE_URL": f"{simulator}/{name}" for name in names},
    }


def _submit(client: httpx.Client, simulator: str, receiver: str, scene: Scene) -> Played:
    if scene.faults:
        order = {"provider": scene.provider, "faults": list(scene.faults), "count": 1}
        client.post(f"{simulator}/_control/faults", json=order).raise_for_status()
    body = {
        "provider": scene.provider,
        "request": scene.request,
        "metadata": {"scene": scene.name},
    }
    if scene.operation:
        body["operation"] = scene.operation
    answer = client.post(f"{receiver}/v1/jobs", json=body)
    answer.raise_for_status()
    record = answer.json()
    return Played(scene=scene, job_id=record["id"], record=record)


def _watch(
    client: httpx.Client,
    receiver: str,
    played: Sequence[Played],
    runs: Path,
    screen: "show.Screen",
    patience: float,
) -> None:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        lines = runs.read_text(encoding="utf-8").splitlines()
        for one in played:
            one.record = client.get(f"{receiver}/v1/jobs/{one.job_id}").raise_for_status().json()
            one.runs = sum(line.startswith(one.job_id) for line in lines)
        screen.update(played)
        if all(one.over for one in played):
            return
        time.sleep(_GLANCE)


def _replay(client: httpx.Client, receiver: str, played: Played, runs: Path, screen: "show.Screen") -> None:
    url = f"{receiver}/v1/jobs/{played.job_id}/replay"
    for dry_run in (True, False):
        answer = client.post(url, json={"dry_run": dry_run})
        if answer.is_error:
            played.problems.append(f"the replay was refused: {answer.json()['code']}")
            return
    until = time.monotonic() + _PATIENCE / 3
    before = [
        line for line in runs.read_text(encoding="utf-8").splitlines() if line.startswith(played.job_id)
    ][:1]
    while time.monotonic() < until:
        lines = [
            line for line in runs.read_text(encoding="utf-8").splitlines() if line.startswith(played.job_id)
        ]
        if len(lines) == played.runs + 1:
            if lines[-1:] != before:
                played.problems.append("the replay brought another result")
            screen.replayed(played, answer.json())
            return
        time.sleep(_GLANCE / 4)
    played.problems.append("the replay did not run")


def _document(played: Played) -> dict[str, Any]:
    record = played.record
    return {
        "scene": played.scene.name,
        "id": played.job_id,
        "provider": record["provider"],
        "state": record["state"],
        "settled_by": record["settled_by"],
        "callbacks": record["callbacks"],
        "verdicts": dict(played.verdicts),
        "dispatches": played.dispatches,
        "handler_runs": played.runs,
        "result_bytes": (record["result"] or {}).get("size", 0),
        "pages": len(played.pages),
        "files": [{name: one[name] for name in ("name", "state", "size")} for one in played.files],
        "ok": not played.problems,
        "problems": played.problems,
    }
