"""Documents, pages of the web, pictures, films and speech."""

import json
from typing import Any, Final

from tests.providers.making import JOB_ID

from .marks import CALLBACK, MARKED, QUOTED, TEXT

TRIGGER = "https://api.brightdata.com/datasets/v3/trigger"

MEDIA: Final[dict[str, tuple[dict[str, Any], str, Any, str]]] = {
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
    "dataforseo": (
        {"keyword": "pizza", "location_code": 2840},
        "https://api.dataforseo.com/v3/serp/google/organic/task_post",
        [{"keyword": "pizza", "location_code": 2840, "pingback_url": CALLBACK + "?id=$id&tag=$tag"}],
        "Authorization: Basic eDp4",
    ),
    "datalab": (
        {"file_url": "https://a.example/a.pdf", "output_format": "markdown"},
        "https://www.datalab.to/api/v1/convert",
        {"file_url": "https://a.example/a.pdf", "output_format": "markdown", "webhook_url": CALLBACK},
        "X-API-Key: x",
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
    "firecrawl": (
        {"url": "https://a.example"},
        "https://api.firecrawl.dev/v2/crawl",
        {"url": "https://a.example", "webhook": {"url": CALLBACK, "events": ["completed", "failed"]}},
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
    "heygen": (
        {"video_inputs": [], "callback_id": "mine"},
        "https://api.heygen.com/v2/video/generate",
        {"video_inputs": [], "callback_id": "mine"},
        "X-Api-Key: x",
    ),
    "ideogram": (
        {"text_prompt": "A cat"},
        f"https://api.ideogram.ai/v1/ideogram-v4/async/generate?webhook_url={QUOTED}",
        {"text_prompt": "A cat"},
        "Api-Key: x",
    ),
    "kling": (
        {"prompt": "A cat", "model_name": "kling-v2-master"},
        "https://api.klingai.com/v1/videos/text2video",
        {"prompt": "A cat", "model_name": "kling-v2-master", "callback_url": CALLBACK},
        "",
    ),
    "landingai": (
        {"document_url": "https://a.example/a.pdf"},
        "https://api.va.landing.ai/v1/ade/parse/jobs",
        {"document_url": "https://a.example/a.pdf"},
        "Authorization: Bearer x",
    ),
    "leonardo": (
        {"prompt": "A cat", "width": 512, "height": 512},
        "https://cloud.leonardo.ai/api/rest/v1/generations",
        {"prompt": "A cat", "width": 512, "height": 512},
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
    "oxylabs": (
        {"source": "google_search", "query": "pizza"},
        "https://data.oxylabs.io/v1/queries",
        {"source": "google_search", "query": "pizza", "callback_url": CALLBACK},
        "Authorization: Basic eDp4",
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
    "unstructured": (
        {"workflow_id": "w"},
        "https://platform.unstructuredapp.io/api/v1/workflows/w/run",
        {},
        "unstructured-api-key: x",
    ),
    "diffbot": (
        {"seeds": "https://a.example", "apiUrl": "https://api.diffbot.com/v3/analyze"},
        "https://api.diffbot.com/v3/crawl",
        {
            "seeds": "https://a.example",
            "apiUrl": "https://api.diffbot.com/v3/analyze",
            "name": JOB_ID,
            "notifyWebhook": CALLBACK,
        },
        "?token=x",
    ),
    "diffbot-bulk": (
        {"urls": "https://a.example https://b.example", "name": "mine"},
        "https://api.diffbot.com/v3/bulk",
        {"urls": "https://a.example https://b.example", "name": "mine", "notifyWebhook": CALLBACK},
        "?token=x",
    ),
    "nanonets": (
        {"workflow_id": "w1", "document_url": "https://a.example/a.pdf"},
        "https://app.nanonets.com/api/v4/workflows/w1/documents",
        {"document_url": "https://a.example/a.pdf", "async": True},
        "Authorization: Basic eDo=",
    ),
    "rossum": (
        {"queue": 8199, "metadata": {"order": 7}},
        "https://elis.rossum.ai/api/v1/queues/8199/upload",
        {"metadata": '{"order": 7}'},
        "Authorization: Bearer x",
    ),
    "serpapi": (
        {"engine": "google", "q": "coffee"},
        "https://serpapi.com/search?engine=google&q=coffee&async=true",
        None,
        "?api_key=x",
    ),
    "stability": (
        {"prompt": "a cat", "creativity": 0.3},
        "https://api.stability.ai/v2beta/stable-image/upscale/creative",
        {"prompt": "a cat", "creativity": "0.3"},
        "Authorization: Bearer x",
    ),
    "zyte": (
        {"project": 123, "spider": "somespider", "units": 2},
        "https://app.zyte.com/api/run.json",
        {"project": "123", "spider": "somespider", "units": "2"},
        "Authorization: Basic eDo=",
    ),
}
