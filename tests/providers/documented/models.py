"""Language models, research and whatever else computes: one at a time and in batches."""

import json
from typing import Any, Final

from tests.providers.making import JOB_ID

from .marks import CALLBACK, MARKED, QUOTED, TEXT

OPENAI = {"model": "o3-deep-research", "input": "Hello"}
GEMINI = {"agent": "deep-research", "input": "Hello"}

MODELS: Final[dict[str, tuple[dict[str, Any], str, Any, str]]] = {
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
    "cohere-batch": (
        {"name": "n", "input_dataset_id": "d", "model": "m"},
        "https://api.cohere.com/v2/batches",
        {"name": "n", "input_dataset_id": "d", "model": "m"},
        "Authorization: Bearer x",
    ),
    "exa": (
        {"search": {"query": "startups"}},
        "https://api.exa.ai/websets/v0/websets",
        {"search": {"query": "startups"}},
        "x-api-key: x",
    ),
    "exa-agent": ({"query": "q"}, "https://api.exa.ai/agent/runs", {"query": "q"}, "x-api-key: x"),
    "fal": (
        {"model": "fal-ai/flux/dev", "prompt": "A cat"},
        f"https://queue.fal.run/fal-ai/flux/dev?fal_webhook={QUOTED}",
        {"prompt": "A cat"},
        "Authorization: Key x",
    ),
    "fireworks-batch": (
        {"batchInferenceJobId": "j", "model": "m", "inputDatasetId": "d"},
        "https://api.fireworks.ai/v1/accounts/mine/batchInferenceJobs?batchInferenceJobId=j",
        {"model": "m", "inputDatasetId": "d"},
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
    "mistral-batch": (
        {"input_files": ["f"], "model": "m", "endpoint": "/v1/chat/completions"},
        "https://api.mistral.ai/v1/batch/jobs",
        {"input_files": ["f"], "model": "m", "endpoint": "/v1/chat/completions"},
        "Authorization: Bearer x",
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
    "runpod": (
        {"endpoint_id": "abc123", "input": {"prompt": "Hello"}},
        "https://api.runpod.ai/v2/abc123/run",
        {"input": {"prompt": "Hello"}, "webhook": CALLBACK},
        "Authorization: Bearer x",
    ),
    "tavily": ({"input": "q"}, "https://api.tavily.com/research", {"input": "q"}, "Authorization: Bearer x"),
    "together-batch": (
        {"input_file_id": "f", "endpoint": "/v1/chat/completions"},
        "https://api.together.ai/v1/batches",
        {"input_file_id": "f", "endpoint": "/v1/chat/completions"},
        "Authorization: Bearer x",
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
    "gemini-batch": (
        {"model": "gemini-2.5-flash", "inputConfig": {"fileName": "files/f1"}},
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:batchGenerateContent",
        {
            "batch": {
                "displayName": "receiver",
                "inputConfig": {"fileName": "files/f1"},
                "webhookConfig": {"uris": [CALLBACK]},
            }
        },
        "x-goog-api-key: x",
    ),
}
