"""The timeline in a terminal: what is said of requests that were refused."""

from receiver.cli.timeline import line
from receiver.core.model import Attempt
from receiver.views.timeline import attempt_entry
from tests.core.making import NOW


def test_a_refused_callback_is_a_line_of_what_came() -> None:
    """An arrow inwards, why, how it was asked, and from where; what a sender wrote is no terminal's order."""
    detail = {"status": 413, "method": "POST", "sender": "203.0.113.9\x1b[31m"}
    one = Attempt(
        id="att_1",
        job_id="job_1",
        step="receive",
        started_at=NOW,
        outcome="refused",
        code="body_too_large",
        detail=detail,
    )
    said = line(attempt_entry(one))
    assert said.split(" ", 1)[1] == "← callback refused body_too_large 413 POST from 203.0.113.9\\x1b[31m"


def test_a_page_of_a_result_is_a_line_of_its_own() -> None:
    """Which page it was stands beside the step that got it."""
    detail = {"page": 2, "items": 100, "size": 7}
    one = Attempt(id="att_1", job_id="job_1", step="fetch", started_at=NOW, outcome="page", detail=detail)
    assert line(attempt_entry(one)).split(" ", 1)[1] == "→ fetch page 2"
