"""Callbacks that were rejected: a job's page and the list of jobs count them, although the job itself does not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from tests.console.conftest import Person
    from tests.web.conftest import Site


async def forged(site: Site, many: int) -> str:
    """A job whose address got *many* callbacks that nobody can prove; its id."""
    job = await site.submit("perplexity-webhook")
    url = site.sim.jobs("perplexity-webhook")[-1].submission.callback_url
    assert url is not None
    for number in range(many):
        answer = await site.http.post(urlsplit(url).path, json={"id": number})
        assert answer.status_code == 401
    return str(job["id"])


async def test_rejected_callbacks_are_counted_where_callbacks_are(site: Site, operator: Person) -> None:
    """Four that were rejected are never “0 callbacks” or “none”, neither before the end nor after it."""
    job = await forged(site, 4)
    assert re.search(rf'callbacks\?job={job}">4 rejected<', await operator.see("/jobs"))
    page = await operator.see(f"/jobs/{job}")
    assert "4 came, none could be proved genuine" in page
    assert re.search(rf'callbacks\?job={job}">4 rejected<', page)
    await operator.do(f"/jobs/{job}/abandon")
    page = await operator.see(f"/jobs/{job}")
    assert "<b>Callback" in page
    assert "4 rejected, and the deadline passed" in page
    quiet = await site.ended("netnut")
    assert quiet["callbacks"] == 1
    listed = await operator.see("/jobs?provider=netnut")
    assert re.search(r'data-name="callbacks">1<', listed)
    assert "rejected<" not in listed.partition("</form>")[2]
