"""What Prometheus and Grafana are given: valid, about metrics and labels that exist, and tried on invented series."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from itertools import combinations
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from receiver import Receiver, Settings
from receiver.core.alarms.alarm import SEVERITIES

from .artefacts import DEPLOY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MONITORING = DEPLOY / "monitoring"
RULES: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
EXPRESSIONS = {
    **{one["alert"]: one["expr"] for one in RULES},
    **{
        f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "5m")
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    },
}
#: What Prometheus itself adds to every series.
SCRAPED = {"instance", "job"}


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every metric that /metrics of a receiver tells of, with its labels."""
    return asyncio.run(_exposed(tmp_path_factory.mktemp("receiver")))


async def _exposed(folder: Path) -> dict[str, set[str]]:
    environ = {"RECEIVER_DATABASE_URL": f"sqlite:///{folder}/r.db", "RECEIVER_SECRET_KEY": "k" * 32}
    receiver = Receiver(Settings.load(environ))
    await receiver.start()
    try:
        transport = httpx.ASGITransport(app=receiver.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as http:
            shown = (await http.get("/metrics")).text
        labels = {
            one.name: set(getattr(one, "_labelnames", ())) for one in await receiver.running.gathering()
        }
    finally:
        await receiver.stop()
    names = re.findall(r"(?m)^# HELP (\w+) ", shown)
    return {name: labels[name.removesuffix("_total")] for name in names}


@pytest.fixture
def promtool() -> str:
    """Prometheus' own checker, where it is installed."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    return found


@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", "prometheus.yaml"),
        ("check", "rules", "alerts.yaml"),
        ("test", "rules", "alerts.test.yaml"),
    ],
)
def test_prometheus_takes_what_it_is_given(promtool: str, words: tuple[str, ...]) -> None:
    """Configuration and rules are right, and alerts come and go as the invented series say."""
    done = subprocess.run([promtool, *words], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_understands_every_question(promtool: str, tmp_path: Path) -> None:
    """Those of the dashboard too."""
    rules = [{"record": f"asked:{place}", "expr": expr} for place, expr in enumerate(EXPRESSIONS.values())]
    (tmp_path / "asked.yaml").write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", "asked.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_and_label_exists(metrics: dict[str, set[str]]) -> None:
    """What is asked for is at /metrics, by that name and with those labels."""
    assert len(metrics) > 25
    for name, expr in EXPRESSIONS.items():
        used = re.findall(r"(receiver_\w+)(?:\{([^}]*)\})?", expr)
        assert used or "up{" in expr, name
        for metric, matchers in used:
            assert metric in metrics, f"{name}: {metric}"
            known = metrics[metric] | SCRAPED
            assert set(re.findall(r"(\w+)\s*[!=]", matchers)) <= known, f"{name}: {expr}"
            grouped = {
                one.strip() for words in re.findall(r"by \(([^)]*)\)", expr) for one in words.split(",")
            }
            assert grouped <= known, f"{name}: {expr}"


def test_every_metric_is_on_the_dashboard_or_has_an_alert(metrics: dict[str, set[str]]) -> None:
    """None is told that nobody is shown; but for two that explain others."""
    shown = " ".join(EXPRESSIONS.values())
    left_out = {name for name in metrics if not re.search(rf"\b{name}\b", shown)}
    assert left_out <= {"receiver_jobs_overdue", "receiver_unlisted_words_total"}


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    """And those of the receiver's own alarms are as bad as the receiver says."""
    assert len({one["alert"] for one in RULES}) == len(RULES)
    for one in RULES:
        assert set(one) <= {"alert", "expr", "for", "labels", "annotations"}
        assert one["labels"]["severity"] in {"critical", "warning"}
        assert set(one["annotations"]) == {"summary", "description"}
    critical = {name for name, severity in SEVERITIES.items() if severity == "critical"}
    for one in RULES[:2]:
        (names,) = re.findall(r'name[!=]~"([^"]*)"', one["expr"])
        assert set(names.split("|")) == critical


def test_the_dashboard_is_one_by_grafanas_own_schema() -> None:
    """Read by the models that Grafana makes from its schema, and written again, nothing of it is lost."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    written = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(DASHBOARD)))
    assert list(lost(DASHBOARD, written, "")) == []


def lost(before: Any, after: Any, path: str) -> Iterator[str]:  # noqa: ANN401
    """What of *before* is missing or different in *after*."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            if name not in after:
                yield f"{path}/{name}"
            else:
                yield from lost(value, after[name], f"{path}/{name}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{path}/{place}")
    elif before != after:
        yield path


def test_no_panel_lies_on_another() -> None:
    """Each has its place, within the 24 columns, and an id of its own."""
    places = {one["id"]: one["gridPos"] for one in DASHBOARD["panels"]}
    assert len(places) == len(DASHBOARD["panels"])
    for one in places.values():
        assert one["x"] + one["w"] <= 24
    for one, other in combinations(places.values(), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
