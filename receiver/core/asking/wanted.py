"""What a request wants besides its job: whether and how its end is told, and for how long its result is kept."""

from collections.abc import Mapping
from typing import Any

from receiver.core.asking.assembly import at_path
from receiver.core.description.callbacks import CallbackTerms
from receiver.core.description.provider import Provider
from receiver.core.model import SECOND, Delivery, Job, Observation


def delivery_for(provider: Provider, request: Mapping[str, Any], *, reachable: bool) -> Delivery:
    """How the provider will tell of the end of a job submitted as *request*; *reachable*: we have a public URL."""
    terms = provider.callback
    if terms is None or (not reachable and terms.where != "registered") or declines(terms, request):
        return Delivery.NONE
    for variant in terms.delivers_when:
        value = at_path(request, variant.path)
        if type(value) is type(variant.is_) and value == variant.is_:
            return variant.delivers
    return terms.delivers


def declines(terms: CallbackTerms, request: Mapping[str, Any]) -> bool:
    """Whether a request says null where the callback URL goes: its job is to be polled."""
    if terms.where == "registered":
        return False
    above, _, key = terms.path.rpartition(".")
    place = at_path(request, above) if above else request
    return isinstance(place, Mapping) and key in place and place[key] is None


def keeps_for(provider: Provider, request: Mapping[str, Any]) -> int | None:
    """For how many milliseconds the provider keeps the result of *request*, as far as its description tells."""
    if provider.retention is None:
        return None
    keeps = int(provider.retention.keeps)
    for kept in provider.retention.keeps_when:
        value = at_path(request, kept.path)
        if type(value) is type(kept.is_) and value == kept.is_:
            keeps = int(kept.keeps)
            break
    asked = at_path(request, provider.retention.keeps_at) if provider.retention.keeps_at else None
    return min(keeps, asked * SECOND) if type(asked) is int and asked > 0 else keeps


def is_nameless(provider: Provider, job: Job, seen: Observation) -> bool:
    """Whether a job that runs, by its answer *seen*, can neither be asked about nor be known again in what comes."""
    if seen.state is not None and seen.state.ended:
        return False
    if seen.remote_id is not None or seen.response_url is not None or seen.result_url is not None:
        return False
    by_account = provider.callback is not None and provider.callback.where == "registered"
    return job.delivery is Delivery.NONE or by_account
