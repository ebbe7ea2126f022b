"""The JSON documents of the systems, field for field as their own pages print them.

Every function builds a new document, so that no caller can change another one's. Pages were read on 2026-11-20
unless another day is given; what a page leaves open is said at the function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

#: A JSON object. Its values are whatever the page in question prints.
JSON: TypeAlias = dict[str, Any]


def zulu(moment: datetime, *, timespec: str = "seconds") -> str:
    """Write a UTC *moment* as `2023-11-30T18:31:32Z`."""
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


# NetNut LLM Scraper
# https://help.netnut.io/netnut-documentation/netnut-scraper-apis/llm-scraper/async-requests


def netnut_ack(trace_id: str, response_url: str | None) -> JSON:
    """Return the initial answer; without *response_url* in the callback-only mode."""
    document: JSON = {"message": "request received", "traceId": trace_id}
    if response_url is not None:
        document["response_url"] = response_url
    return document


def netnut_processing(trace_id: str) -> JSON:
    """Return what `response_url` answers until the request is completed."""
    return {"status": "processing", "message": "Request is still processing", "traceId": trace_id}


def netnut_notification(trace_id: str, status_code: int | str, response_url: str) -> JSON:
    """Return the callback of the mode `async` plus `callback_url`."""
    return {"traceId": trace_id, "status_code": status_code, "response_url": response_url}


def netnut_result(trace_id: str, *, model: str, prompt: str, ended_at: datetime, seconds: float) -> JSON:
    """Return the final response. Its key is `traceID`, unlike everywhere else.

    Fields: https://help.netnut.io/netnut-documentation/netnut-scraper-apis/llm-scraper/chatgpt/response-fields
    """
    text = "Specialty coffee, cold brew and traceable beans lead the trends."
    return {
        "traceID": trace_id,
        "timestamp": zulu(ended_at, timespec="milliseconds"),
        "request_duration": round(seconds, 2),
        "process_duration": round(seconds, 2),
        "model": model,
        "response": {
            "prompt": prompt,
            "text_markdown": f"**{text}**",
            "text": text,
            "citations_found": True,
            "citations": ["https://example.com/coffee-trends"],
        },
    }


def netnut_failure(trace_id: str, status_code: int) -> JSON:
    """Return the result of a request that failed. No page prints one: the shape is an assumption."""
    return {"status": "failed", "message": "Request failed", "traceId": trace_id, "status_code": status_code}


# Pulse
# https://docs.runpulse.com, and the types of pulse-python-sdk 1.0.17 where a page prints no example


def pulse_ack(job_id: str) -> JSON:
    """Return the 202 answer of an endpoint called with `async: true`."""
    return {"job_id": job_id, "status": "pending"}


def pulse_extraction(extraction_id: str) -> JSON:
    """Return an `ExtractResultCore`."""
    return {
        "markdown": "# Invoice 1042\n\n| Item | Total |\n|---|---|\n| Paper | 12.50 |\n",
        "bounding_boxes": {
            "Text": [],
            "Title": [
                {
                    "id": "txt-1",
                    "content": "Invoice 1042",
                    "page_number": 1,
                    "bounding_box": [0.1, 0.1, 0.5, 0.1, 0.5, 0.2, 0.1, 0.2],
                }
            ],
        },
        "extraction_id": extraction_id,
        "extraction_url": f"https://platform.runpulse.com/extractions/{extraction_id}",
        "page_count": 1,
        "plan_info": {"tier": "growth", "total_credits_used": 42.0, "pages_used": 42},
        "warnings": [],
    }


def pulse_split(split_id: str) -> JSON:
    """Return a `SplitResultCore`."""
    return {"split_id": split_id, "split_output": {"splits": {"invoice": [1, 2], "terms": [3]}}}


def pulse_schema(schema_id: str) -> JSON:
    """Return a `SingleSchemaResponse`."""
    return {
        "schema_id": schema_id,
        "version": 1,
        "schema_output": {"values": {"number": "1042"}, "citations": {"number": ["txt-1"]}},
    }


def pulse_large(url: str, *, page_count: int) -> JSON:
    """Return an `ExtractLargeResultResponse`: the result is at the single-use *url*."""
    return {"is_url": True, "url": url, "page_count": page_count}


def pulse_error(code: str, message: str) -> JSON:
    """Return an error body; documented as such for 410 only, used here for all."""
    return {"error": {"code": code, "message": message}}


def pulse_event(event: str, *, job_id: str, status: str, sent_at: datetime) -> JSON:
    """Return a webhook event. No page prints one: the envelope is that of Svix, which sends them."""
    return {
        "type": event,
        "timestamp": zulu(sent_at, timespec="milliseconds"),
        "data": {"job_id": job_id, "status": status},
    }


# Yandex AI Studio
# https://yandex.cloud/en/docs/ai-studio/operations/generation/async-request
# https://yandex.cloud/en/docs/api-design-guide/concepts/operation


def yandex_operation(operation_id: str, *, created_at: datetime, modified_at: datetime) -> JSON:
    """Return an Operation that is not done."""
    return {
        "id": operation_id,
        "description": "Async GPT Completion",
        "createdAt": zulu(created_at),
        "createdBy": "aje2stn6id9k43qq8n1v",
        "modifiedAt": zulu(modified_at),
        "done": False,
        "metadata": None,
    }


def yandex_completion() -> JSON:
    """Return the `response` of a finished Operation. Its counts are strings, as int64 is in proto JSON."""
    return {
        "@type": "type.googleapis.com/yandex.cloud.ai.foundation_models.v1.CompletionResponse",
        "alternatives": [
            {
                "message": {"role": "assistant", "text": "To be, or not to be, that is the question."},
                "status": "ALTERNATIVE_STATUS_FINAL",
            }
        ],
        "usage": {"inputTextTokens": "31", "completionTokens": "10", "totalTokens": "41"},
        "modelVersion": "18.01.2024",
    }


def yandex_status(code: int, message: str) -> JSON:
    """Return a google.rpc.Status: the `error` of an Operation, and the body of a refused request."""
    return {"code": code, "message": message, "details": []}


# Perplexity
# https://docs.perplexity.ai/api-reference/async-chat-completions-api-request-get


def perplexity_response(response_id: str, *, model: str, created: int) -> JSON:
    """Return the completion inside a finished job. Its own `status` stays PENDING, as the page prints it."""
    source = {
        "title": "Voice AI agents in 2026",
        "url": "https://example.com/voice-ai",
        "date": "2026-05-01",
        "last_updated": "2026-05-02",
        "snippet": "",
        "source": "web",
    }
    message = {"role": "assistant", "content": "Voice AI agents answer the phone.", "tool_calls": []}
    return {
        "id": response_id,
        "model": model,
        "created": created,
        "choices": [
            {
                "index": 0,
                "message": message,
                "delta": {"role": "assistant", "content": ""},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 34,
            "total_tokens": 46,
            "cost": {
                "input_tokens_cost": 0.01,
                "output_tokens_cost": 0.02,
                "total_cost": 0.08,
                "reasoning_tokens_cost": 0.01,
                "request_cost": 0.01,
                "citation_tokens_cost": 0.01,
                "search_queries_cost": 0.02,
            },
            "search_context_size": "low",
            "citation_tokens": 5,
            "num_search_queries": 2,
            "reasoning_tokens": 7,
        },
        "object": "chat.completion",
        "citations": [source["url"]],
        "search_results": [source],
        "type": "message",
        "status": "PENDING",
    }


def perplexity_error(status: int, kind: str, message: str) -> JSON:
    """Return the body of a refused request. Not printed on the pages above: an assumption."""
    return {"error": {"message": message, "type": kind, "code": status}}


# The webhook variant of Perplexity's async jobs, described by a third party only and hypothetical:
# https://tokrepo.com/en/workflows/perplexity-async-jobs-long-research-with-webhook-callbacks-d68236aa


def perplexity_callback(job_id: str, *, status: str, response: JSON | None) -> JSON:
    """Return the body posted to `webhook.url`."""
    return {"job_id": job_id, "status": status, "response": response}


# Runway
# runwayml 5.24.0, types/task_retrieve_response.py and types/image_to_video_create_response.py, read 2026-11-29


def runway_ack(task_id: str) -> JSON:
    """Return the answer to a submission."""
    return {"id": task_id, "estimatedCost": {"credits": 25.0}}


def runway_task(task_id: str, *, status: str, created_at: datetime) -> JSON:
    """Return a task, without what belongs to its state alone."""
    ended = status in {"SUCCEEDED", "FAILED", "CANCELLED"}
    cost = {"cost": {"credits": 25}} if ended else {"estimatedCost": {"credits": 25.0}}
    return {"id": task_id, "status": status, "createdAt": zulu(created_at, timespec="milliseconds"), **cost}


# Firecrawl
# https://github.com/firecrawl/firecrawl, apps/api/src/controllers/v2/crawl-status.ts at 014bc16, read 2026-11-29


def firecrawl_ack(crawl_id: str, *, url: str) -> JSON:
    """Return the answer to a submission."""
    return {"success": True, "id": crawl_id, "url": url}


def firecrawl_status(
    *,
    status: str,
    done: Iterable[int],
    total: int,
    expires_at: datetime,
    following: str | None,
    error: str | None,
) -> JSON:
    """Return one page of a crawl: the documents numbered *done*, and where the *following* page is."""
    data = [firecrawl_document(number) for number in done]
    document: JSON = {
        "success": True,
        "status": status,
        "completed": total if status == "completed" else len(data),
        "total": total,
        "creditsUsed": total,
        "expiresAt": zulu(expires_at, timespec="milliseconds"),
    }
    if following is not None:
        document["next"] = following
    document["data"] = data
    return document if error is None else document | {"error": error}


def firecrawl_document(number: int) -> JSON:
    """Return what was scraped of one page of a site."""
    url = f"https://example.com/pages/{number + 1}"
    return {
        "markdown": f"# Page {number + 1}\n\nCafé, 咖啡, ☕: what stands on page {number + 1}.",
        "metadata": {"title": f"Page {number + 1}", "sourceURL": url, "url": url, "statusCode": 200},
    }


def firecrawl_event(kind: str, crawl_id: str, *, webhook_id: str, error: str | None) -> JSON:
    """Return a webhook event of a crawl's end: https://docs.firecrawl.dev/webhooks."""
    event: JSON = {
        "success": error is None,
        "type": kind,
        "id": crawl_id,
        "webhookId": webhook_id,
        "data": [],
        "metadata": {},
    }
    return event if error is None else event | {"error": error}
