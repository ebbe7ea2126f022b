"""verify and sign."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .programs import SECRETS

if TYPE_CHECKING:
    from pathlib import Path

    from .programs import Program

BODY = '{"job_id": "a1b2"}'
AT = "2026-11-21T05:00:00Z"


def headers(text: str) -> list[str]:
    """What ``sign`` printed, as options for ``verify``."""
    return [word for line in text.splitlines() for word in ("-H", line)]


def test_what_sign_prints_verify_accepts(alone: Program) -> None:
    """The headers are those of the provider's scheme, made with the configured key."""
    signed = alone.run("sign", "pulse", "-", "--at", AT, given=BODY)
    assert signed.code == 0
    assert {line.partition(":")[0] for line in signed.out.splitlines()} == {
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }
    proved = alone.json("verify", "pulse", "-", "--at", AT, *headers(signed.out), given=BODY)
    assert (proved["verified"], proved["timestamp"]) == (True, "2026-11-21T05:00:00.000Z")
    assert "verified" in alone.run("verify", "pulse", "-", "--at", AT, *headers(signed.out), given=BODY).out


def test_a_rejected_message_is_4_and_says_why(alone: Program) -> None:
    """The code is the failed proof, the diagnosis names the cause."""
    signed = headers(alone.run("sign", "pulse", "-", "--at", AT, given=BODY).out)
    stale = alone.run("verify", "pulse", "-", *signed, "--at", "2026-11-21T09:00:00Z", "--json", given=BODY)
    assert (stale.code, stale.json["code"], stale.json["cause"]) == (4, "timestamp_stale", "timestamp_stale")
    changed = alone.run("verify", "pulse", "-", *signed, "--at", AT, given=BODY + "\n")
    assert changed.code == 4
    assert "signature_mismatch" in changed.out
    assert alone.run("verify", "pulse", "-", given=BODY).code == 4


def test_a_header_that_is_signed_is_sent_once(program: Program) -> None:
    """What ``-H`` gives for the signature to cover is not sent beside the signed one: twice it would be malformed."""
    to = f"{program.settings['RECEIVER_PUBLIC_URL']}/webhooks/pulse"
    done = program.run(
        *("send", "pulse", "-", "--to", to, "-H", "Webhook-Id: msg_once", "--json"),
        given='{"job_id": "once"}',
    )
    assert [one["status"] for one in done.json["answers"]] == [200]


def test_send_makes_callbacks_right_and_wrong(program: Program) -> None:
    """A genuine callback is taken; each fault gets the answer that it deserves."""
    url = program.settings["RECEIVER_PUBLIC_URL"] + "/webhooks/pulse"
    body = json.dumps({"type": "job.completed", "data": {"job_id": "sent-by-hand"}})

    def status(*fault: str) -> tuple[int, list[int]]:
        done = program.run("send", "pulse", "-", "--to", url, "--json", *fault, given=body)
        return done.code, [one["status"] for one in done.json["answers"]]

    assert status() == (0, [200])
    assert status("--fault", "duplicate") == (0, [200, 200])
    for fault in ("bad-signature", "stale", "future", "tampered", "truncated"):
        assert status("--fault", fault) == (1, [401])


def test_a_key_comes_from_a_variable_or_a_file(alone: Program, tmp_path: Path) -> None:
    """--key-env and --key-file name a key that the settings do not have."""
    other = "whsec_" + "b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldA=="
    (tmp_path / "key").write_text(other + "\n", encoding="utf-8")
    (tmp_path / "body").write_text(BODY, encoding="utf-8")
    program = alone.but(OTHER_KEY=other)
    signed = headers(program.run("sign", "pulse", "body", "--key-env", "OTHER_KEY").out)
    assert program.run("verify", "pulse", "body", "--key-file", "key", *signed).code == 0
    assert program.run("verify", "pulse", "body", *signed).code == 4
    missing = program.run("verify", "pulse", "body", "--key-env", "NO_SUCH_KEY", "--json")
    assert (missing.code, missing.problem["code"]) == (2, "key_unavailable")
    assert program.run("verify", "pulse", "body", "--key-file", "nowhere").code == 2


def test_the_key_of_a_job_is_derived(program: Program, succeeded: str) -> None:
    """Where each job has a key, naming the job is enough; without it the sentence says so."""
    signed = headers(program.run("sign", "perplexity-webhook", "-", "--job", succeeded, given=BODY).out)
    proved = program.json("verify", "perplexity-webhook", "-", "--job", succeeded[:-4], *signed, given=BODY)
    assert proved["key_id"].startswith("job:")
    unnamed = program.run("verify", "perplexity-webhook", "-", given=BODY)
    assert unnamed.code == 2
    assert "--job" in unnamed.err


def test_what_signs_nothing_cannot_be_verified(alone: Program) -> None:
    """A provider without signatures, and one that there is not, are wrong usage."""
    for name, code in (("netnut", "unsigned_provider"), ("brew", "provider_unknown")):
        done = alone.run("verify", name, "-", "--json", given=BODY)
        assert (done.code, done.problem["code"]) == (2, code)


def test_sign_as_json(alone: Program) -> None:
    """The headers are pairs."""
    document = alone.json("sign", "pulse", "-", given=BODY)
    assert dict(document["headers"])["webhook-signature"].startswith("v1,")
    assert SECRETS["PULSE_WEBHOOK_SECRET"] not in json.dumps(document)
