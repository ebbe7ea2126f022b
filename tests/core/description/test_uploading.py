"""What a description can say of the file that a job is made of, and what it cannot mean."""

from typing import Any

import pytest

from receiver.core.asking.exchange import FilePart, HttpResponse
from receiver.core.asking.upload import Uploaded, upload
from receiver.core.errors import RequestError
from tests.core.making import LARGEST, NOW, job

from .test_language import API, acme


def submit(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """The table of a submission with an upload and *changes* to that."""
    return {"url": f"{API}/jobs", "upload": {"url": f"{API}/files", "into": "file_id", **changes}}


SHAPES = {"answer": {"id": ["id"]}, "file": {"id": ["id"]}}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"content": "json"}, "one of its requests brings the file"),
        ({"then": [{"url": API + "/files/{id}"}]}, "one of its requests brings the file"),
        ({"url": API + "/files/{id}"}, "before the first answer"),
        ({"headers": {"X-Name": "{nobody}"}}, "nothing fills in {nobody}"),
        ({"set": {"deep": {"a": 1}}}, "the fields of a form are texts"),
        ({"accepts": [500]}, "500 is no status from 300 to 499"),
        ({"content": "bytes", "set": {"a": "b"}}, "has no place for it"),
        ({"then": [{"url": API + "/x", "content": "none", "there": [409]}]}, "upload.there needs answer"),
        ({"url": "https://elsewhere.example/files"}, "is outside origins"),
        ({"then": [{"url": "https://elsewhere.example/x", "content": "none"}]}, "is outside origins"),
        ({"ready": {"url": "https://elsewhere.example/{id}", "answer": "file"}}, "is outside origins"),
        ({"ready": {"url": API + "/files/{id}", "answer": "gone"}}, "shapes.gone is used but not described"),
        ({"then": [{"url": API + "/x", "content": "none", "answer": "gone"}]}, "shapes.gone is used"),
        ({"content": "steam"}, "Invalid enum value 'steam'"),
    ],
)
def test_an_upload_that_cannot_be_meant_is_refused(changes: dict[str, Any], reason: str) -> None:
    """With the key and the reason, before anything is asked."""
    with pytest.raises(ValueError, match=reason.replace("{", r"\{")):
        acme(submit=submit(**changes), shapes=SHAPES)


def test_an_id_that_leads_elsewhere_fills_no_address() -> None:
    """A name that is a path (``{+id}``) may have no step up; else our credentials went wherever an answer says."""
    changes = {"then": [{"url": API + "/{+id}:check", "content": "none"}]}
    provider = acme(submit=submit(**changes), shapes=SHAPES)
    part = FilePart(name="a.jsonl", content=b"{}\n")
    asking = upload(provider, job(), {}, {"file": part}, largest=LARGEST, now=NOW)
    next(asking)
    with pytest.raises(RequestError, match="leads elsewhere"):
        asking.send(HttpResponse(status=200, body=b'{"id": "../../keys"}'))


def test_an_address_that_an_answer_names_gets_no_credentials() -> None:
    """It may be anywhere in public, and is good for whoever has it."""
    changes = {
        "content": "json",
        "answer": "place",
        "then": [{"url": "{response_url}", "method": "PUT", "content": "bytes"}],
    }
    shapes = {**SHAPES, "place": {"id": ["id"], "response_url": "to"}}
    provider = acme(submit=submit(**changes), shapes=shapes)
    part = FilePart(name="a.jsonl", content=b"{}\n")
    asking = upload(provider, job(), {}, {"file": part}, largest=LARGEST, now=NOW)
    assert next(asking).credentials
    sent = asking.send(HttpResponse(status=200, body=b'{"id": "f", "to": "https://storage.example/put?s=1"}'))
    assert (sent.url, sent.method, sent.body) == ("https://storage.example/put?s=1", "PUT", b"{}\n")
    assert (sent.credentials, sent.anywhere) == (False, True)
    with pytest.raises(StopIteration) as end:
        asking.send(HttpResponse(status=200))
    assert end.value.value == Uploaded(file_id="f")


def test_an_upload_moves_with_its_provider() -> None:
    """Behind a proxy or at a simulator every address of an upload is below the new base."""
    changes = {
        "ready": {"url": API + "/files/{id}", "answer": "file"},
        "then": [{"url": API + "/files/{id}/check", "content": "none"}],
    }
    moved = acme(submit=submit(**changes), shapes=SHAPES).at("http://127.0.0.1:9/acme")
    assert moved.submit is not None
    assert moved.submit.upload is not None
    assert moved.submit.upload.urls == [
        "http://127.0.0.1:9/acme/files",
        "http://127.0.0.1:9/acme/files/{id}/check",
        "http://127.0.0.1:9/acme/files/{id}",
    ]
