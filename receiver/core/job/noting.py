"""What an observation notes about a job beside its state: addresses, and why somebody should look at it."""

from msgspec.structs import replace

from receiver.core.description.shape import NEEDS_ACTION
from receiver.core.model import Job, Observation


def with_addresses(job: Job, seen: Observation) -> Job:
    """*job* with the addresses that it had not; the first ones stay."""
    if seen.response_url is None and seen.cancel_url is None and job.remote_id is not None:
        return job
    remote_id = job.remote_id or seen.remote_id
    response_url = job.response_url or seen.response_url
    cancel_url = job.cancel_url or seen.cancel_url
    if (remote_id, response_url, cancel_url) == (job.remote_id, job.response_url, job.cancel_url):
        return job
    return replace(job, remote_id=remote_id, response_url=response_url, cancel_url=cancel_url)


def with_attention(job: Job, seen: Observation) -> Job:
    """Note why somebody should look at *job*.

    What waits for a person does so until its provider says something else. A word that nobody listed is missing in the
    description whatever is said afterwards.
    """
    if seen.attention is not None:
        same = (seen.attention, seen.word) == (job.attention, job.word)
        return job if same else replace(job, attention=seen.attention, word=seen.word)
    if job.attention == NEEDS_ACTION and seen.state is not None:
        return replace(job, attention=None, word=None)
    return job
