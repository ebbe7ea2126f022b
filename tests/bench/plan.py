"""Which figures there are, which of them belong to a short run, and what measures each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from . import console, dispatch, downloads, memory, million, postgres, sinks, starts, startup, verification
from .bench import Bench
from .figure import ROUNDS, Figure, UnmeasuredError
from .load import WrongError
from .million import Million
from .rounds import RATIOS, Ratio, figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Figures that are measured together."""

    names: tuple[str, ...]
    measure: Callable[[Bench], Sequence[Figure]]
    short: bool = False


def _one(name: str, measure: Callable[[Bench], Figure], *, short: bool = False) -> Part:
    return Part(names=(name,), measure=lambda bench: [measure(bench)], short=short)


def _fetching(name: str, *, tls: bool) -> Part:
    return _one(name, partial(memory.fetching, name=name, tls=tls))


def _rounds(bench: Bench) -> int:
    """How many rounds of what takes no server and no time."""
    return bench.rounds if bench.short else ROUNDS


_MILLION: Final = {
    "ingest-1M/empty": million.ingesting,
    "list-1M-ms": million.listing,
    "console-1M-ms": console.looking,
    "console-1M-postgres-ms": console.looking_on_postgres,
}
PARTS: Final = (
    _one("verify-1KiB/bare", lambda bench: verification.small(rounds=_rounds(bench)), short=True),
    _one("verify-10MiB/bare", lambda bench: verification.large(rounds=_rounds(bench)), short=True),
    _one("help/pass", lambda bench: startup.help_over_pass(rounds=_rounds(bench)), short=True),
    _one("serve-start/pass", lambda bench: startup.serve_over_pass(rounds=_rounds(bench)), short=True),
    _one("ack-p99-ms", starts.ack),
    Part(names=("handler-start-idle-p50-ms", "handler-start-idle-p99-ms"), measure=starts.idle),
    _one("handler-start-loaded-p99-ms", starts.loaded),
    _one("ingest-watched/unwatched", console.watching),
    _one("memory-idle", memory.idle),
    _one("memory-5000", memory.waiting),
    _fetching("fetch-25MiB-memory", tls=False),
    _fetching("fetch-25MiB-tls-memory", tls=True),
    _one("download/curl", downloads.speed, short=True),
    _one("download-20-memory", downloads.memory),
    _one("ingest-postgres/sqlite", postgres.ingesting),
    _one("dispatch/dbos", dispatch.dbos),
    _one("dispatch/procrastinate", dispatch.procrastinate),
    Part(names=("sink/nats-py", "sink/nats-py-at-once"), measure=sinks.nats),
)


def chosen(names: Sequence[str], *, short: bool) -> list[Part]:
    """The parts that the figures beginning with *names* belong to; all of them where none is named."""

    def wanted(name: str) -> bool:
        return not names or any(name.startswith(one) for one in names)

    def of_a_million(given: Mapping[str, Callable[[Bench, Million], Figure]], bench: Bench) -> list[Figure]:
        filled = Million(bench.folder / "million")
        return [measure(bench, filled) for measure in given.values()]

    def of_ratios(given: Sequence[Ratio], bench: Bench) -> list[Figure]:
        return figures(bench, given)

    ratios = [one for one in RATIOS if wanted(one.name) and (one.short or not short)]
    asked = {name: measure for name, measure in _MILLION.items() if wanted(name) and not short}
    parts = [part for part in PARTS if any(map(wanted, part.names)) and (part.short or not short)]
    if ratios:
        names_of = tuple(one.name for one in ratios)
        parts.insert(0, Part(names=names_of, measure=partial(of_ratios, ratios)))
    if asked:
        parts.append(Part(names=tuple(asked), measure=partial(of_a_million, asked)))
    return parts


def measured(part: Part, bench: Bench) -> list[Figure]:
    """Measure a part; where that is not possible, or went wrong, its figures say so."""
    try:
        return list(part.measure(bench))
    except UnmeasuredError as error:
        return [_without(name, str(error), broken=False) for name in part.names]
    except WrongError as error:
        return [_without(name, str(error), broken=True) for name in part.names]


def _without(name: str, reason: str, *, broken: bool) -> Figure:
    return Figure(name=name, target=0.0, at_most=False, runs=[], unmeasured=reason, broken=broken)
