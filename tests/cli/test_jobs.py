"""Jobs, callbacks, dead letters and replays, beside a process that serves."""

from __future__ import annotations

import http.server
import json
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from .conftest import CHAT
from .programs import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .programs import Program


def test_a_refused_submission_is_1(program: Program) -> None:
    """The provider's answer to a submission that it refused is shown."""
    done = program.run("submit", "netnut", "-", given='{"engine": "google"}')
    assert done.code == 1
    assert "submission_refused_400" in done.out
    assert "prompt" in done.out


@pytest.mark.parametrize(
    ("arguments", "request_", "code"),
    [
        (["submit", "brew", "-"], CHAT, "provider_unknown"),
        (["submit", "perplexity", "-"], "[1]", "request_invalid"),
        (["submit", "perplexity", "-"], "{", "body_not_json"),
        (["submit", "perplexity", "-", "--metadata", "1"], CHAT, "request_invalid"),
    ],
)
def test_an_order_that_cannot_be_meant_is_2(
    program: Program, arguments: list[str], request_: str, code: str
) -> None:
    """Nothing is recorded; the problem is JSON on standard error."""
    done = program.run(*arguments, "--json", given=request_)
    assert (done.code, done.out, done.problem["code"]) == (2, "", code)


def test_an_idempotency_key_names_one_job(program: Program) -> None:
    """The same key and request are the same job; the same key with another request is refused."""
    order = ("submit", "perplexity", "-", "--idempotency-key", "tea", "--deadline", "600")
    assert program.json(*order, given=CHAT)["id"] == program.json(*order, given=CHAT)["id"]
    done = program.run(*order, given='{"model": "sonar"}')
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert done.err.endswith("(idempotency_key_reused)\n")


def test_rejected_callbacks_are_counted(program: Program) -> None:
    """A callback that was not believed is no callback of the job, and is told beside those that are."""
    made = program.json("submit", "perplexity-webhook", "-", given=CHAT)
    assert httpx.post(made["callback_url"], content=b"{}", timeout=60).status_code == 401
    fields = dict(
        line.split(None, 1)
        for line in program.run("jobs", "show", made["id"]).out.partition("\n\n")[0].splitlines()
    )
    # The simulated job may have ended by now, with a callback that was accepted.
    assert fields["callbacks"].endswith(" accepted, 1 rejected")


def test_jobs_are_listed_and_shown(program: Program, succeeded: str) -> None:
    """A list has a line for each job; one job has its timeline and its result."""
    listed = program.json(
        "jobs", "list", "--state", "succeeded", "--provider", "perplexity-webhook", "--since", "1h"
    )
    assert succeeded in [one["id"] for one in listed["jobs"]]
    lines = program.run("jobs", "list", "--state", "succeeded").out.splitlines()
    assert lines[0].startswith("ID ")
    assert any(line.startswith(succeeded) for line in lines)

    record = program.json("jobs", "show", succeeded)
    assert record["metadata"] == {"topic": "tea"}
    assert {"submission", "callback", "attempt"} <= {one["kind"] for one in record["timeline"]}
    text = program.run("jobs", "show", succeeded).out
    assert "→ submit accepted" in text
    assert "← callback accepted" in text
    assert json.loads(program.run("jobs", "show", succeeded, "--result").out)["object"] == "chat.completion"


def test_a_page_ends_with_a_cursor(program: Program, submit: Callable[..., str]) -> None:
    """The cursor of a page leads to the next."""
    older, newer = submit("perplexity"), submit("perplexity")
    page = program.json("jobs", "list", "--provider", "perplexity", "--limit", "1", "--cursor", newer)
    assert [one["id"] for one in page["jobs"]] == [older]


def test_ids_may_be_shortened(program: Program, succeeded: str, submit: Callable[..., str]) -> None:
    """A prefix serves as long as one id has it; with none it is 3, with several 2."""
    submit("perplexity")
    assert program.json("jobs", "show", succeeded[:-4])["id"] == succeeded
    assert program.json("jobs", "show", succeeded.removeprefix("job_")[:-4])["id"] == succeeded
    several = program.run("jobs", "show", "job_", "--json")
    assert (several.code, several.problem["code"]) == (2, "id_ambiguous")
    none = program.run("jobs", "show", "job_ffff", "--json")
    assert (none.code, none.problem["code"], none.problem["status"]) == (3, "not_found", 404)
    assert program.run("callbacks", "show", succeeded).code == 3


def test_a_wait_ends(program: Program, succeeded: str, submit: Callable[..., str]) -> None:
    """0 for success, 124 when time is up, 1 for another end."""
    assert program.json("jobs", "wait", succeeded)["state"] == "succeeded"
    job_id = submit("perplexity")
    late = program.run("jobs", "wait", job_id, "--timeout", "0.1")
    assert late.code == 124
    assert job_id in late.out
    assert f"It goes on: wait for it again with 'receiver jobs wait {job_id}'" in late.err
    assert program.run("jobs", "wait", job_id, "--timeout", "0").code == 124
    assert program.json("jobs", "show", job_id)["state"] not in {"timed_out", "canceled"}
    assert program.json("jobs", "abandon", job_id)["state"] == "timed_out"
    assert program.run("jobs", "wait", job_id, "--json").code == 1


def test_a_submission_belongs_to_the_trace_of_its_environment(program: Program) -> None:
    """TRACEPARENT is kept with the job where it can be read, and is as good as none where it cannot."""
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for told, kept in ((given, given), ("nonsense", None)):
        traced = program.but(TRACEPARENT=told)
        assert traced.json("submit", "perplexity", "-", given=CHAT)["traceparent"] == kept


def finish(program: Program, job_id: str) -> None:
    """Have the provider be done with a job."""
    remote = program.json("jobs", "show", job_id)["remote_id"]
    simulator = program.settings["RECEIVER_PERPLEXITY_BASE_URL"].removesuffix("/perplexity")
    httpx.post(
        f"{simulator}/_control/jobs/{remote}/finish", timeout=PATIENCE, trust_env=False
    ).raise_for_status()


def test_a_poll_asks_now(program: Program, submit: Callable[..., str]) -> None:
    """A job that is polled every ten seconds is settled by the question that a person asks."""
    job_id = submit("perplexity")
    finish(program, job_id)
    job = program.json("jobs", "poll", job_id)
    assert (job["state"], job["settled_by"]) == ("succeeded", "poll")
    again = program.run("jobs", "poll", job_id)
    assert again.code == 0
    assert "has ended" in again.err


def test_a_poll_asks_about_a_job_that_was_given_up(program: Program, submit: Callable[..., str]) -> None:
    """What timed out, by the clock or by hand, may be done at the provider: a person finds out, and has the result."""
    job_id = submit("perplexity")
    assert program.json("jobs", "abandon", job_id)["state"] == "timed_out"
    finish(program, job_id)
    job = program.json("jobs", "poll", job_id)
    assert (job["state"], job["settled_by"], job["error"]) == ("succeeded", "poll", None)


def test_a_name_that_is_known_is_not_changed(program: Program, submit: Callable[..., str]) -> None:
    """`jobs link` is for a job whose name nobody knows; the code says that this one's is."""
    refused = program.run("jobs", "link", submit("perplexity"), "another", "--json")
    assert (refused.code, refused.problem["code"]) == (1, "remote_id_known")
    for no_name in ("", " ", "..", "a\nb", "a" * 257):
        assert program.run("jobs", "link", submit("perplexity"), no_name).code == 2


def test_a_job_is_canceled_or_resubmitted_where_that_can_be(
    program: Program, submit: Callable[..., str]
) -> None:
    """The wish is recorded; where it cannot be granted, the code says why."""
    request = '{"modelUri": "gpt://f/yandexgpt", "messages": [{"role": "user", "text": "?"}]}'
    wished = program.json("jobs", "cancel", submit("yandex", request=request))
    assert wished["cancel_requested_at"] is not None
    other = submit("perplexity")
    refused = program.run("jobs", "cancel", other, "--json")
    assert (refused.code, refused.problem["code"]) == (1, "cancel_unsupported")
    refused = program.run("jobs", "resubmit", other, "--json")
    assert (refused.code, refused.problem["code"]) == (1, "not_resubmittable")


def test_callbacks_are_kept_as_they_came(program: Program, succeeded: str) -> None:
    """The list names them, the details mask what is secret, the body is the sender's own bytes."""
    found = program.json("callbacks", "list", "--job", succeeded, "--verdict", "accepted", "--since", "1h")
    (callback,) = found["callbacks"]
    detail = program.json("callbacks", "show", callback["id"])
    assert dict(detail["headers"])["x-perplexity-signature"] == "***"
    assert "x-perplexity-signature: ***" in program.run("callbacks", "show", callback["id"][:-3]).out
    body = program.run("callbacks", "body", callback["id"]).out
    assert json.loads(body)["status"] == "COMPLETED"
    assert len(body) == detail["size"]
    assert program.run("callbacks", "list", "--provider", "perplexity-webhook").out.startswith("ID ")


def test_a_job_is_replayed(program: Program, succeeded: str) -> None:
    """A dry run touches nothing; a replay makes a dispatch, for one handler or all that want it."""
    (foreseen,) = program.json("replay", succeeded, "--dry-run")["replays"]
    assert (foreseen["handlers"], foreseen["replay_id"]) == (["save"], None)
    before = len(program.json("jobs", "show", succeeded)["timeline"])
    (made,) = program.json("replay", succeeded, "--handler", "save")["replays"]
    assert made["handlers"] == ["save"]
    assert len(program.json("jobs", "show", succeeded)["timeline"]) > before
    assert program.run("replay", succeeded, "--handler", "brew").code == 3
    assert program.run("replay", "job_ffff").code == 3


def test_a_callback_is_read_again(program: Program, succeeded: str) -> None:
    """Its bytes are verified as of their arrival."""
    (callback,) = program.json("callbacks", "list", "--job", succeeded)["callbacks"]
    done = program.run("replay", callback["id"], "--dry-run")
    assert done.code == 0
    assert "duplicate" in done.out


class _Recorder(http.server.BaseHTTPRequestHandler):
    taken: list[tuple[dict[str, str], bytes]] = []

    def do_POST(self) -> None:
        """Take it, and answer."""
        self.taken.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(202)
        self.end_headers()
        self.wfile.write(b"taken")

    def log_message(self, *_: Any) -> None:  # noqa: ANN401
        """Say nothing."""


@pytest.fixture
def recorder() -> Iterator[str]:
    """Take requests at an address."""
    with http.server.HTTPServer(("127.0.0.1", 0), _Recorder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/here"
        server.shutdown()
        thread.join()


def test_a_stored_request_is_sent_again(program: Program, succeeded: str, recorder: str) -> None:
    """--to sends the exact bytes with their headers, and prints the answer."""
    assert recorder in program.run("replay", succeeded, "--to", recorder, "--dry-run").out
    assert _Recorder.taken == []
    (answer,) = program.json("replay", succeeded, "--to", recorder)["answers"]
    assert (answer["status"], answer["body"]) == (202, "taken")
    ((headers, body),) = _Recorder.taken
    assert "x-perplexity-signature" in {name.lower() for name in headers}
    assert body.decode() == program.run("callbacks", "body", answer["id"]).out


def test_dead_letters_are_retried_and_discarded(program: Program, dead_letter: str) -> None:
    """What a person decides about a dead letter is done once; control characters never reach the terminal."""
    name = f"{dead_letter}:broken"
    listed = program.run("dead", "list").out
    assert "RuntimeError: the handler's own" in listed
    assert "\x1b" not in listed
    assert program.json("dead", "retry", name)["retried"] == [name]
    program.wait_for_dead_letter(dead_letter)
    assert program.json("dead", "list", "--handler", "keep")["dispatches"] == []
    assert program.json("dead", "discard", "--handler", "keep")["discarded"] == []
    assert name in program.json("dead", "discard", "--handler", "broken")["discarded"]
    # Those of other tests may come meanwhile.
    left = program.json("dead", "list", "--handler", "broken")["dispatches"]
    assert dead_letter not in [one["job_id"] for one in left]
    assert program.run("dead", "discard", name).code == 3
    assert program.run("dead", "retry", name).code == 3


def test_the_failed_are_replayed_together(program: Program, dead_letter: str) -> None:
    """--failed makes a new dispatch for each dead letter of the selection, which then leaves the list."""
    selection = ("replay", "--failed", "--provider", "netnut", "--since", "1h", "--handler", "broken")
    foreseen = program.json(*selection, "--dry-run")["replays"]
    assert dead_letter in [one["id"] for one in foreseen]
    made = {one["id"]: one for one in program.json(*selection)["replays"]}
    assert made[dead_letter]["handlers"] == ["broken"]
    left = [one["id"] for one in program.json("dead", "list")["dispatches"]]
    assert f"{dead_letter}:broken" not in left
    assert program.json("replay", "--failed", "--provider", "pulse")["replays"] == []


@pytest.mark.usefixtures("forged")
def test_the_quarantine_is_verified_again(program: Program) -> None:
    """`callbacks reverify` reads quarantine again; what is forged stays there, and that is no failure."""
    rejected = program.json("callbacks", "list", "--verdict", "rejected", "--provider", "pulse")["callbacks"]
    callback = rejected[0]
    done = program.run("callbacks", "reverify", "--provider", "pulse")
    assert done.code == 0
    assert callback["code"] in done.err
    foreseen = program.json("callbacks", "reverify", "--provider", "pulse", "--dry-run")
    assert (foreseen["admitted"], sum(foreseen["refused"].values())) == ([], len(rejected))
    assert program.run("replay", callback["id"]).code == 4
    assert program.json("replay", "--unreadable")["replays"] == []


def test_pages_are_counted_and_written_as_they_came(program: Program) -> None:
    """A job says in how many pages its result came; each is written by itself, and one that is not there is 3."""
    job = program.json("submit", "firecrawl", "-", "--wait", given='{"url": "https://example.com"}')["id"]
    shown = program.run("jobs", "show", job).out
    assert "3, 6 items" in shown
    assert "fetch page 3" in shown
    pages = [json.loads(program.run("jobs", "show", job, "--page", str(n)).out) for n in (1, 2, 3)]
    whole = json.loads(program.run("jobs", "show", job, "--result").out)
    assert whole["data"] == [row for page in pages for row in page["data"]]
    missing = program.run("jobs", "show", job, "--page", "4")
    assert (missing.code, missing.out) == (3, "")
