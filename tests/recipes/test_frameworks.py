"""The applications of frameworks.md, as they stand there, behind a real WSGI server and beside a receiver."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.documentation.blocks import blocks
from tests.ports import free_port

from .beside import beside

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("framework", ["flask", "django"])
def test_a_synchronous_application_asks_and_is_told(framework: str, tmp_path: Path) -> None:
    """Its request is answered at once, the completion comes signed, and what is not signed is refused."""
    (text,) = [
        one.text
        for one in blocks("receiver/docs/frameworks.md")
        if one.text.startswith(f"# {framework}_app.py")
    ]
    (tmp_path / f"{framework}_app.py").write_text(text, encoding="utf-8")
    port = free_port()
    app = f"http://127.0.0.1:{port}"
    sinks = f'[sinks.app]\nto = "{app}/completions"\nsecret = "env:APP_SECRET"\n'
    with beside(tmp_path, sinks=sinks) as receiver:
        command = ["-m", "waitress", f"--listen=127.0.0.1:{port}", f"{framework}_app:app"]
        with receiver.running(*command), httpx.Client(base_url=app, trust_env=False, timeout=60) as browser:
            receiver.until(lambda: browser.get("/reports/none").is_success)
            asked = browser.post("/ask", data={"topic": "tea"})
            assert asked.status_code == 202, receiver.log()
            job = asked.json()["job"]
            receiver.until(lambda: browser.get(f"/reports/{job}").json()["state"] == "succeeded")
            forged = browser.post(
                "/completions",
                content=json.dumps({}),
                headers={
                    "webhook-id": "m",
                    "webhook-timestamp": "1",
                    "webhook-signature": "v1,bm8=",
                    "ce-type": "receiver.job.failed.v1",
                },
            )
            assert forged.status_code == 401
            assert browser.get("/completions").status_code == 405
        (shown,) = receiver.program.json("jobs", "list")["jobs"]
        assert shown["id"] == job
