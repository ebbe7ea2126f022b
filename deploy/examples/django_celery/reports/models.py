"""A report, by the job that makes it."""

from django.db import models


class Report(models.Model):
    """What a job is about, how it stands, and what came of it."""

    job = models.CharField(max_length=40, primary_key=True)
    topic = models.CharField(max_length=200)
    state = models.CharField(max_length=20)
    text = models.TextField(default="")

    def __str__(self) -> str:
        """Its topic and state."""
        return f"{self.topic}: {self.state}"
