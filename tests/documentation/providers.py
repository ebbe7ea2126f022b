"""The table of providers, told from their descriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from receiver import Settings
from receiver.catalog import Catalog
from receiver.cli import output
from receiver.core.model import Delivery

if TYPE_CHECKING:
    from collections.abc import Iterable

    from receiver.core.description.provider import Provider
    from receiver.core.description.scheme import Scheme

COLUMNS = ("name", "API", "callback", "proved by", "poll", "result", "cancel", "kept", "open")
_PLAIN = {
    "ecdsa": "ECDSA",
    "rsa": "RSA",
    "ed25519": "Ed25519",
    "header_token": "a header of ours",
    "basic": "Basic credential",
}
_STANDARD = {"webhook-signature", "svix-signature"}
_NONE = "–"


def table(names: Iterable[str]) -> str:
    """A line for each of *names*."""
    catalog = Catalog.load(Settings())
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(_line(catalog[name]) for name in names)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(one: Provider) -> tuple[str, ...]:
    return (
        f"`{one.name}`",
        one.title,
        _callback(one),
        _proof(one),
        _yes(one.poll),
        _result(one),
        _yes(one.cancel),
        _kept(one),
        str(len(one.unverified)) if one.unverified else _NONE,
    )


def _callback(one: Provider) -> str:
    if one.callback is None:
        return _NONE
    carries = "full result" if one.callback.delivers is Delivery.RESULT else "notification"
    return (
        f"{carries}, webhook endpoint" if one.callback.where == "registered" else f"{carries}, one URL a job"
    )


def _proof(one: Provider) -> str:
    if one.verify is None:
        return _NONE
    if not one.signed:
        return (
            "its token only"
            if one.callback and one.callback.delivers is Delivery.RESULT
            else "nothing: a wake-up"
        )
    return _scheme(one.verify) + {
        "per-job": ", a key for each job",
        "submit-answer": ", a key for each job",
        "certificate": ", its certificate",
    }.get(one.key.source if one.key else "", "")


def _scheme(scheme: Scheme) -> str:
    if _STANDARD & {name.lower() for name in scheme.headers} and scheme.kind == "hmac":
        return "Standard Webhooks"
    if scheme.kind == "hmac":
        return f"HMAC-{scheme.alg.upper()}"
    if scheme.kind == "hash":
        return f"{scheme.alg.upper()} over a shared secret"
    if scheme.kind == "jwt":
        return "RS256 token" + ("" if scheme.body_claim else " (its claims only)")
    if scheme.plugin == "sns":
        return "Amazon SNS"
    return _PLAIN[scheme.kind]


def _result(one: Provider) -> str:
    places = []
    if Delivery.RESULT in one.deliveries:
        places.append("in the callback")
    if one.poll is not None:
        shape = one.shapes[one.poll.answer]
        places += ["in the answer"] if shape.result else []
        places += ["at an address" + (", once" if one.fetch.single_use else "")] if shape.result_url else []
    return " or ".join(places) or _NONE


def _kept(one: Provider) -> str:
    return _NONE if one.retention is None else output.span(one.retention.keeps)


def _yes(value: object) -> str:
    return _NONE if value is None else "yes"
