"""The nine batch APIs as their vendors' own packages expect them (the sources and the day are in the descriptions)."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .stub import Asked, Reply
from .test_uploads import parts_of

LINES = [{"custom_id": "1", "body": {"text": "déjà vu"}}, {"custom_id": "2", "body": {"text": "b"}}]
JSONL = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in LINES)
OUTPUT = b'{"custom_id": "1", "response": {}}\n'
ERRORS = b'{"custom_id": "2", "error": "too long"}\n'


@dataclass
class Batch:
    """What a provider's side remembers."""

    url: str = ""
    #: The bytes of the file, as they arrived.
    file: bytes | None = None
    #: What it answers first when it is asked whether the file is good.
    checks: int = 0
    #: What a second upload is answered.
    there: bool = False
    #: Whether the file turns out to be no good.
    broken: bool = False


def answered(document: dict[str, Any], *, status: int = 200, **headers: str) -> Reply:
    """An answer in JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps(document).encode()
    return Reply(status=status, body=body, headers={"content-type": "application/json", **named})


def together(batch: Batch, asked: Asked) -> Reply:
    """Together's side: a redirect names the address that takes the bytes, then the file is prepared."""
    match asked.method, asked.path:
        case "POST", "/v1/files":
            form = parts_of(asked)
            assert (form["purpose"], form["file_name"], form["file_type"]) == (
                b"batch-api",
                b"batch.jsonl",
                b"jsonl",
            )
            assert form["checksum"] == hashlib.sha256(JSONL).hexdigest().encode()
            if batch.there:
                return answered({"file_id": "file-1"}, status=409)
            place = f"{batch.url}/storage/file-1?signature=s"
            return Reply(status=302, headers={"location": place, "x-together-file-id": "file-1"})
        case "PUT", "/storage/file-1?signature=s":
            assert asked.header("authorization") is None
            batch.file = asked.body
            return Reply()
        case "POST", "/v1/files/file-1/preprocess":
            return answered({"id": "file-1", "filename": "batch.jsonl"})
        case "POST", "/v1/batches":
            assert json.loads(asked.body) == {"endpoint": "/v1/chat/completions", "input_file_id": "file-1"}
            return answered({"job": {"id": "b1", "status": "VALIDATING"}})
        case "GET", "/v1/batches/b1":
            return answered(
                {"id": "b1", "status": "COMPLETED", "output_file_id": "out", "error_file_id": "err"}
            )
    return Reply(body={"/v1/files/out/content": OUTPUT, "/v1/files/err/content": ERRORS}[asked.path])


def cohere(batch: Batch, asked: Asked) -> Reply:
    """Cohere's side: a dataset that is good once it has been validated, and one of several parts that comes out."""
    path, _, query = asked.path.partition("?")
    match asked.method, path:
        case "POST", "/v1/datasets":
            assert re.fullmatch(r"name=receiver-[0-9a-f]+&type=batch-chat-v2-input", query)
            batch.file = parts_of(asked)["data"]
            return answered({"id": "d1"})
        case "GET", "/v1/datasets/d1":
            batch.checks -= 1
            said = "queued" if batch.checks >= 0 else "failed" if batch.broken else "validated"
            dataset = {"id": "d1", "validation_status": said, "validation_error": "no field text"}
            return answered({"dataset": dataset})
        case "POST", "/v2/batches":
            assert json.loads(asked.body) == {"name": "n", "model": "m", "input_dataset_id": "d1"}
            return answered({"batch": {"id": "b1", "status": "BATCH_STATUS_QUEUED"}})
        case "GET", "/v2/batches/b1":
            ended = {"id": "b1", "status": "BATCH_STATUS_COMPLETED", "output_dataset_id": "d2"}
            return answered({"batch": ended})
        case "GET", "/v1/datasets/d2":
            parts = [{"name": name, "url": f"{batch.url}/parts/{name}"} for name in ("out-0", "out-1")]
            return answered({"dataset": {"id": "d2", "dataset_parts": parts}})
    return Reply(body={"/parts/out-0": OUTPUT, "/parts/out-1": ERRORS}[path])


def fireworks(batch: Batch, asked: Asked) -> Reply:
    """Fireworks' side: a dataset is made, filled, and READY some time after that."""
    path = asked.path.removeprefix("/v1/accounts/mine/")
    datasets = re.fullmatch(r"datasets/(receiver-[0-9a-z]+)(:upload)?", path)
    if (asked.method, path) == ("POST", "datasets"):
        made = json.loads(asked.body)
        assert made["dataset"] == {"userUploaded": {}}
        return answered({"name": f"accounts/mine/datasets/{made['datasetId']}", "state": "UPLOADING"})
    if datasets is not None and datasets[2]:
        batch.file = parts_of(asked)["file"]
        return answered({"id": datasets[1], "filename": "batch.jsonl"})
    if datasets is not None:
        batch.checks -= 1
        state = "UPLOADING" if batch.checks >= 0 else "READY"
        return answered({"name": f"accounts/mine/datasets/{datasets[1]}", "state": state})
    if (asked.method, path) == ("POST", "batchInferenceJobs"):
        assert json.loads(asked.body)["inputDatasetId"].startswith("accounts/mine/datasets/receiver-")
        return answered({"name": "accounts/mine/batchInferenceJobs/j1", "state": "JOB_STATE_CREATING"})
    if path == "batchInferenceJobs/j1":
        job = {"name": "accounts/mine/batchInferenceJobs/j1", "state": "JOB_STATE_COMPLETED"}
        return answered({**job, "outputDatasetId": "accounts/mine/datasets/out"})
    if path == "datasets/out:getDownloadEndpoint":
        signed = {"d/results.jsonl": "/signed/results.jsonl", "d/errors.jsonl": "/signed/errors.jsonl"}
        links = {name: f"{batch.url}{place}" for name, place in signed.items()}
        return answered({"filenameToSignedUrls": links})
    return Reply(body={"/signed/results.jsonl": OUTPUT, "/signed/errors.jsonl": ERRORS}[asked.path])


def gemini(batch: Batch, asked: Asked) -> Reply:
    """Gemini's side: the resumable upload in two requests, and an operation."""
    match asked.method, asked.path:
        case "POST", "/upload/v1beta/files":
            assert asked.header("x-goog-upload-command") == "start"
            assert asked.header("x-goog-upload-protocol") == "resumable"
            assert asked.header("x-goog-upload-header-content-length") == str(len(JSONL))
            assert asked.header("x-goog-api-key") == "a key"
            assert json.loads(asked.body)["file"]["displayName"] == "batch.jsonl"
            return Reply(headers={"x-goog-upload-url": f"{batch.url}/upload/v1beta/files?upload_id=u"})
        case "POST", "/upload/v1beta/files?upload_id=u":
            assert asked.header("x-goog-upload-command") == "upload, finalize"
            assert asked.header("x-goog-upload-offset") == "0"
            assert asked.header("x-goog-api-key") is None
            batch.file = asked.body
            return answered({"file": {"name": "files/f1", "state": "PROCESSING"}})
        case "GET", "/v1beta/files/f1":
            batch.checks -= 1
            return answered({"name": "files/f1", "state": "PROCESSING" if batch.checks >= 0 else "ACTIVE"})
        case "POST", "/v1beta/models/gemini-2.5-flash:batchGenerateContent":
            sent = json.loads(asked.body)["batch"]
            assert sent["inputConfig"] == {"fileName": "files/f1"}
            assert sent["displayName"] == "mine"
            return answered({"name": "batches/b1", "metadata": {"state": "BATCH_STATE_PENDING"}})
        case "GET", "/v1beta/batches/b1":
            ended = {"state": "BATCH_STATE_SUCCEEDED", "output": {"responsesFile": "files/out"}}
            return answered({"name": "batches/b1", "done": True, "metadata": ended})
    return Reply(body={"/v1beta/files/out:download?alt=media": OUTPUT}[asked.path])


def uploading(batch: Batch, asked: Asked, *, under: str, jobs: str, states: tuple[str, str]) -> Reply:
    """The side of those that take the file in one form, and the job with its id: OpenAI, Groq, Azure and Mistral."""
    path = asked.path.partition("?")[0].removeprefix(under)
    first, last = states
    match asked.method, path:
        case "POST", "/files":
            form = parts_of(asked)
            assert form["purpose"] == b"batch"
            batch.file = form["file"]
            return answered({"id": "file-1", "object": "file", "purpose": "batch"})
        case "POST", place if place == jobs:
            sent = json.loads(asked.body)
            assert sent.get("input_file_id", "file-1") == "file-1"
            assert sent.get("input_files", ["file-1"]) == ["file-1"]
            assert {"input_file_id", "input_files"} & sent.keys()
            return answered({"id": "b1", "status": first})
        case "GET", place if place == f"{jobs}/b1":
            named = {
                "output_file_id": "out",
                "error_file_id": "err",
                "output_file": "out",
                "error_file": "err",
            }
            return answered({"id": "b1", "status": last} | named)
    return Reply(body={"/files/out/content": OUTPUT, "/files/err/content": ERRORS}[path])


def openai(batch: Batch, asked: Asked) -> Reply:
    """OpenAI's side, and that of whoever answers alike."""
    under = next(one for one in ("/openai/v1", "/openai", "/v1") if asked.path.startswith(one))
    return uploading(batch, asked, under=under, jobs="/batches", states=("validating", "completed"))


def mistral(batch: Batch, asked: Asked) -> Reply:
    """Mistral's side."""
    return uploading(batch, asked, under="/v1", jobs="/batch/jobs", states=("QUEUED", "SUCCESS"))


def anthropic(batch: Batch, asked: Asked) -> Reply:
    """Anthropic's side: the lines are the request, and what failed stands in the output."""
    place = "/v1/messages/batches"
    if asked.path == f"{place}/b1/results":
        return Reply(body=OUTPUT + ERRORS)
    if asked.method == "POST":
        lines = json.loads(asked.body)["requests"]
        batch.file = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)
        return answered({"id": "b1", "processing_status": "in_progress"})
    return answered(
        {"id": "b1", "processing_status": "ended", "results_url": f"{batch.url}{place}/b1/results"}
    )


@dataclass(frozen=True)
class Api:
    """One provider: its side, what is asked of it, and what has to be kept with the job."""

    answer: Callable[[Batch, Asked], Reply]
    request: dict[str, Any]
    #: The result, where it is the output itself.
    result: bytes | None
    kept: dict[str, bytes]
    environ: dict[str, str]
    #: Where the job is started.
    starts: str


APIS = {
    "together-batch": Api(
        together,
        {"endpoint": "/v1/chat/completions"},
        OUTPUT,
        {"errors.jsonl": ERRORS},
        {"TOGETHER_API_KEY": "a key"},
        "/v1/batches",
    ),
    "cohere-batch": Api(
        cohere,
        {"name": "n", "model": "m"},
        None,
        {"out-0": OUTPUT, "out-1": ERRORS},
        {"CO_API_KEY": "a key"},
        "/v2/batches",
    ),
    "fireworks-batch": Api(
        fireworks,
        {"model": "m"},
        None,
        {"results.jsonl": OUTPUT, "errors.jsonl": ERRORS},
        {"FIREWORKS_API_KEY": "a key", "FIREWORKS_ACCOUNT_ID": "mine"},
        "/v1/accounts/mine/batchInferenceJobs",
    ),
    "gemini-batch": Api(
        gemini,
        {"model": "gemini-2.5-flash", "displayName": "mine"},
        OUTPUT,
        {},
        {"GEMINI_API_KEY": "a key"},
        "/v1beta/models/gemini-2.5-flash:batchGenerateContent",
    ),
    "openai-batch": Api(
        openai,
        {"endpoint": "/v1/responses"},
        OUTPUT,
        {"errors.jsonl": ERRORS},
        {"OPENAI_API_KEY": "a key"},
        "/v1/batches",
    ),
    "groq-batch": Api(
        openai,
        {"endpoint": "/v1/chat/completions"},
        OUTPUT,
        {"errors.jsonl": ERRORS},
        {"GROQ_API_KEY": "a key"},
        "/openai/v1/batches",
    ),
    "azure-openai-batch": Api(
        openai,
        {"endpoint": "/chat/completions"},
        OUTPUT,
        {"errors.jsonl": ERRORS},
        {
            "AZURE_OPENAI_API_KEY": "a key",
            "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com",
            "OPENAI_API_VERSION": "2024-10-21",
        },
        "/openai/batches?api-version=2024-10-21",
    ),
    "mistral-batch": Api(
        mistral,
        {"endpoint": "/v1/chat/completions", "model": "m"},
        OUTPUT,
        {"errors.jsonl": ERRORS},
        {"MISTRAL_API_KEY": "a key"},
        "/v1/batch/jobs",
    ),
    "anthropic-batch": Api(
        anthropic,
        {},
        OUTPUT + ERRORS,
        {},
        {"ANTHROPIC_API_KEY": "a key"},
        "/v1/messages/batches",
    ),
}
