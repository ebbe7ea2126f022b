"""Where a field of a request goes that its description does not list: to the documented place, or nowhere at all."""

from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import pytest
from msgspec.structs import replace

from receiver.core.asking.assembly import at_path
from receiver.core.asking.exchange import HttpRequest, submission_request
from receiver.core.errors import RequestError

from .documented import CALLBACK, EXPECTED
from .making import PROVIDERS, SECRET, SUBMITTING, job_of
from .test_submissions import sent_in

FIELD: Final = "aFieldThatNobodyListed"
SAID: Final = "what it says"
EVERY: Final = [(name, one) for name in SUBMITTING for one in PROVIDERS[name].operations or [""]]
#: Where such a field goes in the address; each other description has it in the body.
IN_THE_ADDRESS: Final = {"deepgram", "netnut-serp", "serpapi"}
#: Bodies that are one field of the request: what stands beside it goes into the address.
UNWRAPPED: Final = {"brightdata"}


def submitted(name: str, operation: str, more: dict[str, Any]) -> HttpRequest:
    """The submission of one operation; what its address needs beside the request of the first one is made up."""
    asked = EXPECTED[name][0] | more
    job = replace(job_of(name), operation=operation)
    while True:
        try:
            return submission_request(PROVIDERS[name], job, asked, callback_url=CALLBACK, secret=SECRET)
        except RequestError as error:
            if error.code != "request_field_missing" or error.field is None:
                raise
            asked = asked | {error.field.removeprefix("request."): "a-name"}


@pytest.mark.parametrize(("name", "operation"), EVERY)
def test_a_field_that_is_not_listed_is_never_dropped(name: str, operation: str) -> None:
    """It is in the address or in the body, once, as it was given; beside the others, and inside of what wraps them."""
    request = submitted(name, operation, {FIELD: SAID})
    terms = PROVIDERS[name].submit
    assert terms is not None
    address = [value for key, value in parse_qsl(urlsplit(request.url).query) if key == FIELD]
    body = sent_in(request)
    inside = at_path(body, f"{terms.wrap}.{FIELD}" if terms.wrap else FIELD)
    if name in IN_THE_ADDRESS | UNWRAPPED:
        assert (address, inside) == ([SAID], None)
    else:
        assert (address, inside) == ([], SAID)
    assert f"{request.url}{body}".count(FIELD) == 1
