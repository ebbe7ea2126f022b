"""What a provider lacks is told alike by the list, the doctor, the console, and by how a callback is answered."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import httpx

from receiver.catalog import Catalog
from receiver.settings import Settings

from .programs import PATIENCE, SECRETS

if TYPE_CHECKING:
    from .programs import Program

#: One with its credentials only, one with its secret only, and one whose secret is none.
CHOSEN = {
    "PULSE_WEBHOOK_SECRET": "",
    "YANDEX_API_KEY": "",
    "REPLICATE_WEBHOOK_SIGNING_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "STRIPE_WEBHOOK_SECRET": "whsec_4e1c9a04b7d2f5e8a1c0",
}


def test_what_a_provider_lacks_is_told_alike(alone: Program) -> None:
    """Whoever is ready in the console is so in the list and for the doctor; whose secret is missing answers 503."""
    program = alone.but(**CHOSEN)
    listed = {one["name"]: one["missing"] for one in program.json("providers", "list")["providers"]}
    checks = {one["name"]: one for one in program.run("doctor", "--json").json["checks"]}
    unused = {name for name in listed if f"provider {name}" not in checks}
    assert checks["credentials"]["text"].startswith(
        f"{len(unused)} of {len(listed)} providers are not in use"
    )
    assert {"baseten", "yandex", "anthropic"} <= unused
    for name, missing in listed.items():
        check = checks.get(f"provider {name}")
        assert bool(missing) == (check is None or "is not set" in check["text"]), (name, missing, check)
    assert checks["provider pulse"]["status"] == "warn"

    catalog = Catalog.load(Settings.load(program.environ))
    with (
        program.started("serve", "--port", "0") as serving,
        httpx.Client(trust_env=False) as http,
    ):
        http.base_url = f"http://127.0.0.1:{json.loads(serving.wait_for('receiver_listening'))['port']}"
        for name, provider in catalog.items():
            if provider.callback is None or provider.callback.where != "registered":
                continue
            answer = http.post(f"/webhooks/{name}", content=b"{}")
            secret = provider.key is not None and (provider.key.secret or "").partition(":")[2]
            assert (answer.status_code == 503) == (secret in listed[name]), (name, answer.text)
        http.post("/console/sign-in", data={"secret": SECRETS["RECEIVER_API_TOKEN"]})
        page = http.get("/console/providers").text
    told = dict(
        re.findall(r'data-key="([^"]+)".*?<td class="mark"><span class="\w+">(\w+)<', page, re.DOTALL)
    )
    assert told == {name: "missing" if missing else "ready" for name, missing in listed.items()}
    assert "not set: BASETEN_WEBHOOK_SECRET" in page


def test_a_secret_that_cannot_be_used_is_not_ready(alone: Program) -> None:
    """The list says so in a word, the description in a sentence, and the doctor fails."""
    program = alone.but(STRIPE_WEBHOOK_SECRET="short")
    rows = {line.split()[0]: line for line in program.run("providers", "list").out.splitlines()}
    assert rows["stripe"].endswith("unusable")
    assert "it needs 16" in program.run("providers", "show", "stripe").out
    checks = {one["name"]: one for one in program.run("doctor", "--json").json["checks"]}
    assert checks["provider stripe"]["status"] == "fail"


def test_alarms_say_as_of_when_they_are(program: Program) -> None:
    """Somebody looks every 15 seconds; what was mended since is in the list still, and the list says so."""
    until = time.monotonic() + PATIENCE
    while "As of " not in (said := program.run("alarms", "list").err):
        assert time.monotonic() < until, said
    assert "seen within 15 seconds" in said
