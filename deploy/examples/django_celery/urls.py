"""The views: a question is submitted to the receiver and answered at once; the task writes the report later."""

import os

from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from reports.models import Report

from receiver.client import Client

receiver = Client(os.environ["HOOKS_URL"], token=os.environ["HOOKS_TOKEN"])


@csrf_exempt
@require_POST
def ask(request: HttpRequest) -> JsonResponse:
    """Submit a question."""
    topic = request.POST["topic"]
    question = {"model": "sonar-deep-research", "messages": [{"role": "user", "content": topic}]}
    job = receiver.submit("perplexity-webhook", question, metadata={"topic": topic})
    # The task may have been quicker.
    Report.objects.get_or_create(job=job.id, defaults={"topic": topic, "state": job.state})
    return JsonResponse({"job": job.id}, status=202)


def report(_request: HttpRequest, job: str) -> JsonResponse:
    """How a report stands."""
    found = get_object_or_404(Report, job=job)
    return JsonResponse({"topic": found.topic, "state": found.state, "text": found.text})


urlpatterns = [path("ask", ask), path("reports/<job>", report)]
