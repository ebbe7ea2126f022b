"""The Celery task that the receiver's sink calls by name, with the CloudEvent as its argument."""

import os
from typing import Any

import django
from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

from reports.models import Report  # noqa: E402  (models are there once Django is set up)

app = Celery("tasks", broker=os.environ["CELERY_BROKER"])
app.conf.task_acks_late = True
app.conf.broker_connection_retry_on_startup = True


@app.task(name="tasks.on_job")
def on_job(event: dict[str, Any]) -> None:
    """Write the report. An event may come twice, so it goes by the job's id."""
    job, result = event["data"]["job"], event["data"].get("result")
    text = "" if result is None else result["choices"][0]["message"]["content"]
    topic = job["metadata"].get("topic", "")
    Report.objects.update_or_create(
        job=job["id"], defaults={"topic": topic, "state": job["state"], "text": text}
    )
