"""The request that each submitting description makes, against what its API documents."""

import base64
import json
from typing import Any, Final
from urllib.parse import parse_qsl, quote

import pytest
from msgspec.structs import replace

from receiver.core.asking import cancelling, exchange
from receiver.core.asking.assembly import assemble
from receiver.core.asking.exchange import Accepted, HttpRequest, HttpResponse, submission_request
from receiver.core.description.callbacks import KeySource
from receiver.core.description.provider import Provider, describe, origin_of
from receiver.core.errors import RequestError
from receiver.core.model import Due, Step
from receiver.keys import Keys
from receiver.settings import Settings

from .making import JOB_ID, LARGEST, NOW, PROVIDERS, SECRET, SUBMITTING, job_of

CALLBACK = "https://hooks.example/callbacks/p/token"
QUOTED = quote(CALLBACK, safe="")
TEXT = SECRET.decode()
TRIGGER = "https://api.brightdata.com/datasets/v3/trigger"
OPENAI = {"model": "o3-deep-research", "input": "Hello"}
GEMINI = {"agent": "deep-research", "input": "Hello"}

#: What a submission carries of ours where the provider repeats it.
MARKED: Final = json.dumps({"receiver_job": JOB_ID})
#: provider: (the caller's request, the address, the body, the header that authenticates).
EXPECTED: dict[str, tuple[dict[str, Any], str, Any, str]] = {
    "apify": (
        {"actor": "apify~website-content-crawler", "startUrls": []},
        "https://api.apify.com/v2/actors/apify~website-content-crawler/runs?webhooks=BASE64",
        {"startUrls": []},
        "Authorization: Bearer x",
    ),
    "assemblyai": (
        {"audio_url": "https://a.example/a.mp3"},
        "https://api.assemblyai.com/v2/transcript",
        {
            "audio_url": "https://a.example/a.mp3",
            "webhook_url": CALLBACK,
            "webhook_auth_header_name": "X-Receiver-Token",
            "webhook_auth_header_value": TEXT,
        },
        "Authorization: x",
    ),
    "bfl": (
        {"model": "flux-pro-1.1", "prompt": "A cat"},
        "https://api.bfl.ai/v1/flux-pro-1.1",
        {"prompt": "A cat", "webhook_url": CALLBACK, "webhook_secret": TEXT},
        "x-key: x",
    ),
    "brightdata": (
        {"dataset_id": "gd_1", "input": [{"url": "https://a.example"}]},
        f"{TRIGGER}?dataset_id=gd_1&format=json&endpoint={QUOTED}&auth_header={TEXT}",
        [{"url": "https://a.example"}],
        "Authorization: Bearer x",
    ),
    "brightdata-serp": (
        {"customer": "c_1", "zone": "serp", "url": "https://www.google.com/search?q=pizza"},
        "https://api.brightdata.com/serp/req?customer=c_1&zone=serp",
        {"url": "https://www.google.com/search?q=pizza"},
        "Authorization: Bearer x",
    ),
    "browserbase": (
        {"function_id": "f1", "params": {"a": 1}},
        "https://api.browserbase.com/v1/functions/f1/invoke",
        {"params": {"a": 1}},
        "X-BB-API-Key: x",
    ),
    "dataforseo": (
        {"keyword": "pizza", "location_code": 2840},
        "https://api.dataforseo.com/v3/serp/google/organic/task_post",
        [{"keyword": "pizza", "location_code": 2840, "pingback_url": CALLBACK + "?id=$id&tag=$tag"}],
        "Authorization: Basic eDp4",
    ),
    "deepgram": (
        {"model": "nova-3", "smart_format": True, "tag": ["a", "b"], "url": "https://a.example/a.mp3"},
        f"https://api.deepgram.com/v1/listen?model=nova-3&smart_format=true&tag=a&tag=b&callback={QUOTED}",
        {"url": "https://a.example/a.mp3"},
        "Authorization: Token x",
    ),
    "elevenlabs": (
        {"model_id": "scribe_v1"},
        "https://api.elevenlabs.io/v1/speech-to-text",
        {"model_id": "scribe_v1", "webhook": "true", "webhook_metadata": MARKED},
        "xi-api-key: x",
    ),
    "exa": (
        {"search": {"query": "startups"}},
        "https://api.exa.ai/websets/v0/websets",
        {"search": {"query": "startups"}},
        "x-api-key: x",
    ),
    "fal": (
        {"model": "fal-ai/flux/dev", "prompt": "A cat"},
        f"https://queue.fal.run/fal-ai/flux/dev?fal_webhook={QUOTED}",
        {"prompt": "A cat"},
        "Authorization: Key x",
    ),
    "firecrawl": (
        {"url": "https://a.example"},
        "https://api.firecrawl.dev/v2/crawl",
        {"url": "https://a.example", "webhook": {"url": CALLBACK, "events": ["completed", "failed"]}},
        "Authorization: Bearer x",
    ),
    "gemini": (
        GEMINI,
        "https://generativelanguage.googleapis.com/v1beta/interactions",
        GEMINI | {"background": True},
        "x-goog-api-key: x",
    ),
    "gemini-dynamic": (
        GEMINI,
        "https://generativelanguage.googleapis.com/v1beta/interactions",
        GEMINI | {"background": True, "webhook_config": {"uris": [CALLBACK]}},
        "x-goog-api-key: x",
    ),
    "heygen": (
        {"video_inputs": [], "callback_id": "mine"},
        "https://api.heygen.com/v2/video/generate",
        {"video_inputs": [], "callback_id": "mine"},
        "X-Api-Key: x",
    ),
    "landingai": (
        {"document_url": "https://a.example/a.pdf"},
        "https://api.va.landing.ai/v1/ade/parse/jobs",
        {"document_url": "https://a.example/a.pdf"},
        "Authorization: Bearer x",
    ),
    "llamaparse": (
        {"file_id": "f", "tier": "fast"},
        "https://api.cloud.llamaindex.ai/api/v2/parse",
        {
            "file_id": "f",
            "tier": "fast",
            "webhook_configurations": [
                {
                    "webhook_url": CALLBACK,
                    "webhook_events": [
                        "parse.success",
                        "parse.error",
                        "parse.partial_success",
                        "parse.cancelled",
                    ],
                    "webhook_signing_secret": TEXT,
                }
            ],
        },
        "Authorization: Bearer x",
    ),
    "luma": (
        {"prompt": "A cat", "model": "ray-2"},
        "https://api.lumalabs.ai/dream-machine/v1/generations/video",
        {"prompt": "A cat", "model": "ray-2", "callback_url": CALLBACK},
        "Authorization: Bearer x",
    ),
    "mistral-batch": (
        {"input_files": ["f"], "model": "m", "endpoint": "/v1/chat/completions"},
        "https://api.mistral.ai/v1/batch/jobs",
        {"input_files": ["f"], "model": "m", "endpoint": "/v1/chat/completions"},
        "Authorization: Bearer x",
    ),
    "netnut": (
        {"engine": "chatgpt", "prompt": "Hello"},
        "https://llm-scraper.netnut.io/search",
        {"engine": "chatgpt", "prompt": "Hello", "async": True, "callback_url": CALLBACK},
        "Authorization: Basic eDp4",
    ),
    "netnut-serp": (
        {"q": "pizza", "num": 10},
        f"https://serp-api.netnut.io/search?q=pizza&num=10&callbackUrl={QUOTED}",
        None,
        "Authorization: Basic eDp4",
    ),
    "openai": (
        OPENAI,
        "https://api.openai.com/v1/responses",
        OPENAI | {"background": True, "metadata": json.loads(MARKED)},
        "Authorization: Bearer x",
    ),
    "openai-batch": (
        {"input_file_id": "f", "endpoint": "/v1/responses"},
        "https://api.openai.com/v1/batches",
        {
            "input_file_id": "f",
            "endpoint": "/v1/responses",
            "completion_window": "24h",
            "metadata": json.loads(MARKED),
        },
        "Authorization: Bearer x",
    ),
    "oxylabs": (
        {"source": "google_search", "query": "pizza"},
        "https://data.oxylabs.io/v1/queries",
        {"source": "google_search", "query": "pizza", "callback_url": CALLBACK},
        "Authorization: Basic eDp4",
    ),
    "parallel": (
        {"input": "Hello", "processor": "core"},
        "https://api.parallel.ai/v1/tasks/runs",
        {
            "input": "Hello",
            "processor": "core",
            "webhook": {"url": CALLBACK, "event_types": ["task_run.status"]},
        },
        "x-api-key: x",
    ),
    "perplexity": (
        {"model": "sonar-deep-research", "messages": []},
        "https://api.perplexity.ai/async/chat/completions",
        {"request": {"model": "sonar-deep-research", "messages": []}, "idempotency_key": JOB_ID},
        "Authorization: Bearer x",
    ),
    "perplexity-webhook": (
        {"model": "sonar-deep-research", "messages": []},
        "https://api.perplexity.ai/async/chat/completions",
        {
            "request": {"model": "sonar-deep-research", "messages": []},
            "idempotency_key": JOB_ID,
            "webhook": {"url": CALLBACK, "secret": TEXT},
        },
        "Authorization: Bearer x",
    ),
    "pulse": (
        {"file_url": "https://a.example/a.pdf"},
        "https://api.runpulse.com/extract",
        {"file_url": "https://a.example/a.pdf", "async": "true"},
        "x-api-key: x",
    ),
    "reducto": (
        {"input": "https://a.example/a.pdf", "async": {"metadata": {"mine": 1}}},
        "https://platform.reducto.ai/parse_async",
        {
            "input": "https://a.example/a.pdf",
            "async": {"metadata": {"mine": 1}, "webhook": {"url": CALLBACK, "mode": "direct"}},
        },
        "Authorization: Bearer x",
    ),
    "replicate": (
        {"version": "v", "input": {"text": "Alice"}},
        "https://api.replicate.com/v1/predictions",
        {
            "version": "v",
            "input": {"text": "Alice"},
            "webhook": CALLBACK,
            "webhook_events_filter": ["completed"],
        },
        "Authorization: Bearer x",
    ),
    "revai": (
        {"source_config": {"url": "https://a.example/a.mp3"}},
        "https://api.rev.ai/speechtotext/v1/jobs",
        {
            "source_config": {"url": "https://a.example/a.mp3"},
            "notification_config": {
                "url": CALLBACK,
                "auth_headers": {"Authorization": f"Bearer {TEXT}"},
            },
        },
        "Authorization: Bearer x",
    ),
    "runpod": (
        {"endpoint_id": "abc123", "input": {"prompt": "Hello"}},
        "https://api.runpod.ai/v2/abc123/run",
        {"input": {"prompt": "Hello"}, "webhook": CALLBACK},
        "Authorization: Bearer x",
    ),
    "runway": (
        {"model": "gen4_turbo", "promptImage": "https://a.example/a.jpg"},
        "https://api.dev.runwayml.com/v1/image_to_video",
        {"model": "gen4_turbo", "promptImage": "https://a.example/a.jpg"},
        "Authorization: Bearer x",
    ),
    "sarvam": (
        {"job_parameters": {"model": "saarika"}},
        "https://api.sarvam.ai/speech-to-text/job/v1",
        {"job_parameters": {"model": "saarika"}, "callback": {"url": CALLBACK}},
        "api-subscription-key: x",
    ),
    "speechmatics": (
        {"config": {"type": "transcription", "fetch_data": {"url": "https://a.example/a.mp3"}}},
        "https://asr.api.speechmatics.com/v2/jobs",
        {
            "config": json.dumps(
                {
                    "type": "transcription",
                    "fetch_data": {"url": "https://a.example/a.mp3"},
                    "notification_config": [
                        {
                            "url": CALLBACK,
                            "contents": [],
                            "auth_headers": [f"Authorization: Bearer {TEXT}"],
                        }
                    ],
                }
            )
        },
        "Authorization: Bearer x",
    ),
    "anthropic-batch": (
        {"requests": []},
        "https://api.anthropic.com/v1/messages/batches",
        {"requests": []},
        "x-api-key: x",
    ),
    "aws-bedrock": (
        {"modelId": "m"},
        "https://bedrock-runtime.eu-west-1.amazonaws.com/async-invoke",
        {"modelId": "m", "clientRequestToken": JOB_ID},
        "",
    ),
    "aws-textract": (
        {"DocumentLocation": {"S3Object": {"Bucket": "b", "Name": "a.pdf"}}},
        "https://textract.eu-west-1.amazonaws.com/",
        {"DocumentLocation": {"S3Object": {"Bucket": "b", "Name": "a.pdf"}}, "ClientRequestToken": JOB_ID},
        "",
    ),
    "aws-transcribe": (
        {"TranscriptionJobName": "j", "Media": {"MediaFileUri": "s3://b/a.mp3"}},
        "https://transcribe.eu-west-1.amazonaws.com/",
        {"TranscriptionJobName": "j", "Media": {"MediaFileUri": "s3://b/a.mp3"}},
        "",
    ),
    "azure-document-intelligence": (
        {"model": "prebuilt-layout", "urlSource": "https://a.example/a.pdf", "pages": "1-2"},
        (
            "https://mine.cognitiveservices.azure.com/documentintelligence/documentModels/prebuilt-layout:analyze"
            "?api-version=2024-11-30&pages=1-2"
        ),
        {"urlSource": "https://a.example/a.pdf"},
        "Ocp-Apim-Subscription-Key: x",
    ),
    "azure-openai-batch": (
        {"input_file_id": "f", "endpoint": "/chat/completions"},
        "https://mine.openai.azure.com/openai/batches?api-version=2024-10-21",
        {
            "input_file_id": "f",
            "endpoint": "/chat/completions",
            "completion_window": "24h",
            "metadata": {"receiver_job": JOB_ID},
        },
        "api-key: x",
    ),
    "browserbase-agents": (
        {"task": "x"},
        "https://api.browserbase.com/v1/agents/runs",
        {"task": "x"},
        "X-BB-API-Key: x",
    ),
    "cloudconvert": (
        {"tasks": {}},
        "https://api.cloudconvert.com/v2/jobs",
        {"tasks": {}},
        "Authorization: Bearer x",
    ),
    "cohere-batch": (
        {"name": "n", "input_dataset_id": "d", "model": "m"},
        "https://api.cohere.com/v2/batches",
        {"name": "n", "input_dataset_id": "d", "model": "m"},
        "Authorization: Bearer x",
    ),
    "datalab": (
        {"file_url": "https://a.example/a.pdf", "output_format": "markdown"},
        "https://www.datalab.to/api/v1/convert",
        {"file_url": "https://a.example/a.pdf", "output_format": "markdown", "webhook_url": CALLBACK},
        "X-API-Key: x",
    ),
    "exa-agent": ({"query": "q"}, "https://api.exa.ai/agent/runs", {"query": "q"}, "x-api-key: x"),
    "fireworks-batch": (
        {"batchInferenceJobId": "j", "model": "m", "inputDatasetId": "d"},
        "https://api.fireworks.ai/v1/accounts/mine/batchInferenceJobs?batchInferenceJobId=j",
        {"model": "m", "inputDatasetId": "d"},
        "Authorization: Bearer x",
    ),
    "github-actions": (
        {"owner": "octo", "repo": "hello", "workflow_id": "build.yml", "ref": "main"},
        "https://api.github.com/repos/octo/hello/actions/workflows/build.yml/dispatches",
        {"ref": "main", "return_run_details": True},
        "Authorization: Bearer x",
    ),
    "gladia": (
        {"audio_url": "https://a.example/a.mp3"},
        "https://api.gladia.io/v2/pre-recorded",
        {
            "audio_url": "https://a.example/a.mp3",
            "callback": True,
            "callback_config": {"url": CALLBACK},
        },
        "x-gladia-key: x",
    ),
    "google-documentai": (
        {"processor": "abc", "inputDocuments": {}},
        "https://us-documentai.googleapis.com/v1/projects/p1/locations/us/processors/abc:batchProcess",
        {"inputDocuments": {}},
        "",
    ),
    "google-speech": (
        {"recognizer": "_", "files": []},
        "https://speech.googleapis.com/v2/projects/p1/locations/global/recognizers/_:batchRecognize",
        {"files": []},
        "",
    ),
    "google-vertex-batch": (
        {"displayName": "j", "model": "publishers/google/models/m"},
        "https://us-central1-aiplatform.googleapis.com/v1beta1/projects/p1/locations/us-central1/batchPredictionJobs",
        {"displayName": "j", "model": "publishers/google/models/m"},
        "",
    ),
    "groq-batch": (
        {"input_file_id": "f", "endpoint": "/v1/chat/completions"},
        "https://api.groq.com/openai/v1/batches",
        {
            "input_file_id": "f",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": {"receiver_job": JOB_ID},
        },
        "Authorization: Bearer x",
    ),
    "huggingface-jobs": (
        {"namespace": "me", "command": ["true"], "flavor": "cpu-basic"},
        "https://huggingface.co/api/jobs/me",
        {"command": ["true"], "flavor": "cpu-basic"},
        "Authorization: Bearer x",
    ),
    "kling": (
        {"prompt": "A cat", "model_name": "kling-v2-master"},
        "https://api.klingai.com/v1/videos/text2video",
        {"prompt": "A cat", "model_name": "kling-v2-master", "callback_url": CALLBACK},
        "",
    ),
    "ideogram": (
        {"text_prompt": "A cat"},
        f"https://api.ideogram.ai/v1/ideogram-v4/async/generate?webhook_url={QUOTED}",
        {"text_prompt": "A cat"},
        "Api-Key: x",
    ),
    "leonardo": (
        {"prompt": "A cat", "width": 512, "height": 512},
        "https://cloud.leonardo.ai/api/rest/v1/generations",
        {"prompt": "A cat", "width": 512, "height": 512},
        "Authorization: Bearer x",
    ),
    "mathpix": (
        {"source_uri": "https://a.example/a.pdf"},
        "https://api.mathpix.com/files/v1/uri",
        {"source_uri": "https://a.example/a.pdf", "callback_url": CALLBACK},
        "app_key: x",
    ),
    "mindee-v2": (
        {"product": "extraction", "model_id": "m", "url": "https://a.example/a.pdf"},
        "https://api-v2.mindee.net/v2/products/extraction/enqueue",
        {"model_id": "m", "url": "https://a.example/a.pdf"},
        "Authorization: x",
    ),
    "minimax": (
        {"model": "MiniMax-Hailuo-02", "prompt": "A cat"},
        "https://api.minimax.io/v1/video_generation",
        {"model": "MiniMax-Hailuo-02", "prompt": "A cat", "callback_url": CALLBACK},
        "Authorization: Bearer x",
    ),
    "tavily": ({"input": "q"}, "https://api.tavily.com/research", {"input": "q"}, "Authorization: Bearer x"),
    "together-batch": (
        {"input_file_id": "f", "endpoint": "/v1/chat/completions"},
        "https://api.together.ai/v1/batches",
        {"input_file_id": "f", "endpoint": "/v1/chat/completions"},
        "Authorization: Bearer x",
    ),
    "unstructured": (
        {"workflow_id": "w"},
        "https://platform.unstructuredapp.io/api/v1/workflows/w/run",
        {},
        "unstructured-api-key: x",
    ),
    "vapi": (
        {"assistantId": "a", "phoneNumberId": "p"},
        "https://api.vapi.ai/call",
        {"assistantId": "a", "phoneNumberId": "p"},
        "Authorization: Bearer x",
    ),
    "yandex": (
        {"modelUri": "gpt://f/yandexgpt", "messages": []},
        "https://llm.api.cloud.yandex.net/foundationModels/v1/completionAsync",
        {"modelUri": "gpt://f/yandexgpt", "messages": []},
        "Authorization: Api-Key x",
    ),
}


def request_of(name: str, asked: dict[str, Any], *, callback_url: str | None = CALLBACK) -> HttpRequest:
    """The submission that the description makes."""
    return submission_request(PROVIDERS[name], job_of(name), asked, callback_url=callback_url, secret=SECRET)


def environment(provider: Provider) -> dict[str, str]:
    """Every credential, set to x."""
    names = [reference for one in provider.credentials for reference in one.references]
    return {name.removeprefix("env:"): "x" for name in names}


def test_every_submission_is_held_against_its_documentation() -> None:
    """No submitting description is left out below."""
    assert sorted(EXPECTED) == SUBMITTING


@pytest.mark.parametrize("name", SUBMITTING)
def test_a_submission_is_as_documented(name: str) -> None:
    """Method, address, body with the callback URL at its place, and the header that authenticates."""
    asked, url, body, header = EXPECTED[name]
    request = request_of(name, asked)
    assert request.method == ("GET" if name == "netnut-serp" else "POST")
    if "BASE64" in url:
        url, found = url.removesuffix("BASE64"), request.url
        assert found.startswith(url)
        request = HttpRequest(purpose="submit", method=request.method, url=url, body=request.body)
        hooks = json.loads(base64.b64decode(dict(parse_qsl(found.partition("?")[2]))["webhooks"]))
        assert hooks[0]["requestUrl"] == CALLBACK
        assert "ACTOR.RUN.SUCCEEDED" in hooks[0]["eventTypes"]
    assert request.url == url
    sent = request.fields or (None if request.body is None else json.loads(request.body))
    assert sent == body
    field, _, value = header.partition(": ")
    keys = Keys(Settings.load(environment(PROVIDERS[name])))
    if not header:
        assert keys.minted(PROVIDERS[name]) is not None
        return
    assert keys.credentials(PROVIDERS[name])[field] == value


@pytest.mark.parametrize("name", SUBMITTING)
def test_without_a_public_address_no_callback_is_asked_for(name: str) -> None:
    """A receiver that cannot be reached asks for none, and gives no secret away."""
    provider, asked = PROVIDERS[name], EXPECTED[name][0]
    request = request_of(name, asked, callback_url=None)
    assert "hooks.example" not in f"{request}"
    assert TEXT not in f"{request.url}{request.body!r}{request.fields}"
    assert provider.poll is not None or provider.callback is not None


@pytest.mark.parametrize("name", SUBMITTING)
def test_every_address_lies_in_the_origins(name: str) -> None:
    """Credentials go to the origins of the description and nowhere else, whatever id the provider gives."""
    provider, asked = PROVIDERS[name], EXPECTED[name][0]
    urls = [request_of(name, asked).url]
    for operation in list(provider.operations) or [""]:
        job = job_of(name)
        accepted = HttpResponse(
            status=200, headers=((b"x-response-id", b"a/../b?c"),), body=b'{"id": "a/../b?c"}'
        )
        conversation = exchange.submit(
            provider,
            job,
            asked,
            callback_url=None,
            secret=None,
            files={},
            largest=LARGEST,
            now=NOW,
        )
        urls.append(next(conversation).url)
        with pytest.raises(StopIteration) as end:
            conversation.send(accepted)
        seen = end.value.value.seen if isinstance(end.value.value, Accepted) else None
        known = replace(
            job,
            operation=operation,
            remote_id="a/../b?c",
            response_url=seen.response_url if seen else None,
            cancel_url=seen.cancel_url if seen else None,
        )
        if exchange.can_look(provider, known, Due(job_id=job.id, step=Step.LOOK, provider=name, run_at=NOW)):
            looking = exchange.status(provider, known, candidate_id=None, largest=LARGEST, now=NOW)
            urls.append(next(looking).url)
        if provider.cancel is not None and (known.cancel_url or "{cancel_url}" not in provider.cancel.url):
            urls.append(next(cancelling.cancel(provider, known, now=NOW)).url)
    for url in urls:
        assert origin_of(url) in provider.origins
        assert "/../" not in url


@pytest.mark.parametrize(
    ("name", "field"), [("fal", "model"), ("runpod", "endpoint_id"), ("apify", "actor"), ("bfl", "model")]
)
@pytest.mark.parametrize("value", [None, "", "../admin", "a/./b", "a//b", "/a", "a\n", 1.5, "x" * 600, {}])
def test_an_address_takes_only_a_plain_name(name: str, field: str, value: object) -> None:
    """What the address needs must be in the request, and cannot lead to another place of the API."""
    asked = EXPECTED[name][0] | {field: value}
    with pytest.raises(RequestError) as refused:
        request_of(name, asked)
    assert (refused.value.code, refused.value.field) == ("request_field_missing", f"request.{field}")


def test_a_name_in_an_address_is_quoted() -> None:
    """A query or a fragment in a name stays part of the name."""
    asked = {"model": "flux?x=1#y@z:9", "prompt": "A cat"}
    assert request_of("bfl", asked).url == "https://api.bfl.ai/v1/flux%3Fx%3D1%23y%40z%3A9"


@pytest.mark.parametrize(
    ("name", "field", "asked"),
    [
        ("replicate", "webhook", {"webhook": "https://mine.example"}),
        ("firecrawl", "webhook.url", {"webhook": {"url": "https://mine.example"}}),
        ("netnut-serp", "callbackUrl", {"q": "pizza", "callbackUrl": "https://mine.example"}),
        (
            "llamaparse",
            "webhook_configurations.0.webhook_url",
            {"webhook_configurations": [{"webhook_url": "https://mine.example"}]},
        ),
        ("dataforseo", "0.pingback_url", {"keyword": "x", "pingback_url": "https://mine.example"}),
    ],
)
def test_the_callback_is_the_receivers_to_set(name: str, field: str, asked: dict[str, Any]) -> None:
    """A request that sets the place of the callback itself is refused, naming the field."""
    with pytest.raises(RequestError) as refused:
        request_of(name, asked)
    assert (refused.value.code, refused.value.field) == ("request_field_reserved", f"request.{field}")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("firecrawl", {"url": "https://a.example", "webhook": "https://mine.example"}),
        ("llamaparse", {"file_id": "f", "webhook_configurations": {"a": 1}}),
    ],
)
def test_a_list_and_an_object_are_not_mixed_up(name: str, asked: dict[str, Any]) -> None:
    """Where the description needs a list or an object, the request cannot hold another thing."""
    with pytest.raises(RequestError) as refused:
        request_of(name, asked)
    assert refused.value.code == "request_field_reserved"


def test_addresses_follow_from_the_request_and_the_id() -> None:
    """RunPod's answer names no address: they are made from the endpoint in the request and the job's id."""
    conversation = exchange.submit(
        PROVIDERS["runpod"],
        job_of("runpod"),
        EXPECTED["runpod"][0],
        callback_url=None,
        secret=None,
        files={},
        largest=LARGEST,
        now=NOW,
    )
    next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send(HttpResponse(status=200, body=b'{"id": "j/1", "status": "IN_QUEUE"}'))
    seen = end.value.value.seen
    assert seen.response_url == "https://api.runpod.ai/v2/abc123/status/j%2F1"
    assert seen.cancel_url == "https://api.runpod.ai/v2/abc123/cancel/j%2F1"


def test_a_key_may_come_with_the_submit_answer() -> None:
    """Where a provider returns the key for its callbacks with the answer, the description names its path."""
    provider = describe(
        {
            "name": "acme",
            "title": "Acme",
            "origins": ["https://api.acme.example"],
            "sources": [{"url": "https://acme.example/docs", "read": "2026-11-20"}],
            "submit": {"url": "https://api.acme.example/monitors"},
            "callback": {"where": "body", "path": "webhook", "result": "answer"},
            "verify": {"scheme": "hmac", "header": "X-Signature"},
            "key": {"source": "submit-answer", "path": "webhookSecret"},
            "shapes": {"answer": {"id": ["id"]}},
        }
    )
    assert provider.key == KeySource(source="submit-answer", path="webhookSecret")
    conversation = exchange.submit(
        provider,
        job_of("exa"),
        {},
        callback_url=CALLBACK,
        secret=None,
        files={},
        largest=LARGEST,
        now=NOW,
    )
    next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send(HttpResponse(status=201, body=b'{"id": "m_1", "webhookSecret": "s3cret"}'))
    assert end.value.value.key == "s3cret"
    assert "s3cret" not in repr(end.value.value)


def test_fields_that_are_null_are_left_out_of_forms_and_addresses() -> None:
    """A null is nothing in a form or an address."""
    made = assemble(
        PROVIDERS["netnut-serp"],
        job_of("netnut-serp"),
        {"q": "x", "num": None},
        callback_url=None,
        secret=None,
    )
    assert made.url == "https://serp-api.netnut.io/search?q=x"
