"""What can go wrong on demand, and for which submissions it was ordered."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong; `fault()` makes one with the parameters its name takes.

    Attributes:
        name: One of `FAULTS`.
        seconds: A delay, an age or a `Retry-After`, in seconds.
        times: How often it happens; 0 means every time.
        status: The HTTP status it answers with.
        size: Bytes of a body, or pages of a document.
        value: A word or a URL it lies with; empty means the provider's usual lie.
        part: Which file (its name) or page (its number) of a result it happens to; empty means every one.
    """

    name: str
    seconds: float | None = None
    times: int | None = None
    status: int | None = None
    size: int | None = None
    value: str | None = None
    part: str | None = None

    def parameters(self) -> dict[str, Any]:
        """Return the parameters this fault takes, with their values."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "name" and getattr(self, field.name) is not None
        }


#: A fault, its name, or its JSON form `{"name": …, parameters…}`.
Order: TypeAlias = "Fault | str | Mapping[str, Any]"

_CALLBACK = (
    Fault(name="late", seconds=1.0),
    Fault(name="lost"),
    Fault(name="early"),
    Fault(name="twice"),
    Fault(name="burst", times=100),
    Fault(name="forged"),
    Fault(name="stale", seconds=86_400.0),
    Fault(name="tampered"),
    Fault(name="lying_url", value=""),
    Fault(name="lying_status", value=""),
    Fault(name="wrong_job", value=""),
    Fault(name="not_json"),
)
_SUBMIT = (
    Fault(name="submit_5xx", status=503, times=1),
    Fault(name="submit_429", seconds=1.0, times=1),
    Fault(name="submit_4xx", status=400, times=1),
    Fault(name="submit_drop"),
    Fault(name="submit_slow", seconds=2.0),
)
_POLL = (
    Fault(name="poll_5xx", status=503, times=1),
    Fault(name="poll_429", seconds=1.0, times=1),
    Fault(name="slow_body", seconds=2.0),
    Fault(name="huge_body", size=10_000_000),
    Fault(name="redirect", status=302, value="http://elsewhere.invalid/", times=0),
    Fault(name="expired"),
)
_JOB = (
    Fault(name="failed", value=""),
    Fault(name="never"),
    Fault(name="large_result", size=70),
    Fault(name="early_error", value="error"),
)

_FILE = (
    Fault(name="file_5xx", status=503, times=1, part=""),
    Fault(name="file_429", seconds=1.0, times=1, part=""),
    Fault(name="file_broken", size=1_048_576, times=1, part=""),
    Fault(name="file_changed", size=1_048_576, times=1, part=""),
    Fault(name="file_revoked", status=403, times=1, part=""),
    Fault(name="file_length", size=1000, part=""),
    Fault(name="file_digest", part=""),
    Fault(name="file_endless", part=""),
    Fault(name="file_stalled", size=1_048_576, seconds=3600.0, times=1, part=""),
    Fault(name="file_private", status=302, value="http://169.254.169.254/latest/", times=0, part=""),
    Fault(name="file_hops", status=302, times=1, part=""),
    Fault(name="file_type", value="", part=""),
    Fault(name="many_files", size=50),
    Fault(name="large_files", size=1_073_741_824),
)
_PAGE = (
    Fault(name="page_5xx", status=503, times=1, part="2"),
    Fault(name="page_gone", status=404, times=0, part="2"),
    Fault(name="page_garbled", times=1, part="2"),
    Fault(name="page_pending", times=1, part="2"),
    Fault(name="page_repeats", part="2"),
    Fault(name="page_elsewhere", value="http://elsewhere.invalid/", part="2"),
    Fault(name="many_pages", size=30),
)

#: Every fault by name, with the default value of each parameter it takes.
FAULTS: Final[Mapping[str, Fault]] = {
    f.name: f for f in (*_CALLBACK, *_SUBMIT, *_POLL, *_JOB, *_FILE, *_PAGE)
}

#: The faults that refuse a submission before there is a job.
REFUSALS: Final = ("submit_5xx", "submit_429", "submit_4xx")

_EVERYWHERE = frozenset(f.name for f in (*_SUBMIT, *_POLL)) | {"failed", "never"}
_UNSIGNED = frozenset(f.name for f in _CALLBACK) - {"stale", "tampered"}

#: Which provider can show which fault: no signed time means none stale, no signature none tampered with.
OFFERED: Final[Mapping[str, frozenset[str]]] = {
    "netnut": _EVERYWHERE | _UNSIGNED,
    "pulse": (_EVERYWHERE | _UNSIGNED | {"stale", "tampered", "large_result"}) - {"lying_url"},
    "yandex": _EVERYWHERE | {"early_error"},
    "perplexity": _EVERYWHERE,
    "perplexity-webhook": (_EVERYWHERE | _UNSIGNED | {"tampered"}) - {"lying_url"},
    "runway": _EVERYWHERE | {f.name for f in _FILE},
    "firecrawl": (_EVERYWHERE | _UNSIGNED | {"tampered"} | {f.name for f in _PAGE}) - {"lying_url"},
}


def fault(name: str, **parameters: float | str | None) -> Fault:
    """Return the fault called *name*, with *parameters* in place of its defaults.

    Raises:
        ValueError: There is no such fault, or it does not take such a parameter.
    """
    if name not in FAULTS:
        raise ValueError(f"no fault is called {name!r}; there are {', '.join(FAULTS)}")
    allowed = FAULTS[name].parameters()
    for parameter, value in parameters.items():
        if parameter not in allowed:
            raise ValueError(f"{name} takes {', '.join(allowed) or 'no parameters'}, not {parameter!r}")
        wanted = (int, float) if isinstance(allowed[parameter], float) else type(allowed[parameter])
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError(f"{name}: {parameter} cannot be {value!r}")  # noqa: TRY004  one error for bad orders
        if isinstance(value, (int, float)) and value < 0:
            raise ValueError(f"{name}: {parameter} cannot be negative")
        if parameter == "status" and value not in range(300, 600):
            raise ValueError(f"{name}: {value} is not the status of a redirect or an error")
    return replace(FAULTS[name], **parameters)  # type: ignore[arg-type]  # checked in the loop above


def read_orders(provider: str, orders: Iterable[Order]) -> tuple[Fault, ...]:
    """Return *orders* as faults.

    Raises:
        ValueError: One of them is no fault, or none that *provider* can show.
    """
    faults = []
    for order in orders:
        if isinstance(order, Fault):
            ordered = order
        elif isinstance(order, str):
            ordered = fault(order)
        elif not isinstance(order, Mapping):
            raise ValueError(f"no fault is {order!r}")  # noqa: TRY004  one error for bad orders
        else:
            ordered = fault(str(order.get("name")), **{k: v for k, v in order.items() if k != "name"})
        if ordered.name not in OFFERED[provider]:
            raise ValueError(f"{provider} cannot show {ordered.name}: {', '.join(sorted(OFFERED[provider]))}")
        faults.append(ordered)
    return tuple(faults)


class Plan:
    """The faults of one submission, with what is left of those that happen a number of times."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults: dict[str, Fault] = {}
        self._left: dict[str, int] = {}
        self.add(faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults, in the order in which they were asked for."""
        return tuple(self._faults.values())

    @property
    def over(self) -> bool:
        """Whether it only refused submissions and has no refusal left."""
        return all(name in REFUSALS and self._left[name] == 0 for name in self._faults)

    def __contains__(self, name: str) -> bool:
        return name in self._faults

    def add(self, faults: Iterable[Fault]) -> None:
        """Add *faults*; one of the same name is replaced and counted anew."""
        for added in faults:
            self._faults[added.name] = added
            # Zero asked for means "every time", which no counting down ever reaches.
            self._left[added.name] = added.times or -1

    def get(self, name: str, part: str = "") -> Fault | None:
        """Return the fault called *name*, if it is planned, for this *part* of the result."""
        planned = self._faults.get(name)
        return planned if planned is not None and (not planned.part or planned.part == part) else None

    def spend(self, name: str, part: str = "") -> Fault | None:
        """Return the fault called *name* if it is still to happen, to this *part*, and count it."""
        planned = self.get(name, part)
        if planned is None or self._left[name] == 0:
            return None
        self._left[name] -= 1 if self._left[name] > 0 else 0
        return planned


class Plans:
    """The faults ordered for the submissions to come."""

    def __init__(self) -> None:
        self._next: deque[Plan] = deque()
        self._standing: Plan | None = None

    def order(self, faults: tuple[Fault, ...], *, count: int | None) -> None:
        """Plan *faults* for the next *count* submissions, or with None for all that have no other plan."""
        if count is None:
            self._standing = Plan(faults)
        else:
            self._next.extend(Plan(faults) for _ in range(count))

    def clear(self) -> None:
        """Forget every order."""
        self._next.clear()
        self._standing = None

    def pending(self) -> list[tuple[Fault, ...]]:
        """Return the faults of each planned submission, the standing order last."""
        standing = [self._standing] if self._standing else []
        return [plan.faults for plan in (*self._next, *standing)]

    def refusal(self) -> Fault | None:
        """Return the fault that refuses the submission at hand, and count it."""
        plan = self._next[0] if self._next else self._standing
        if plan is None:
            return None
        for name in REFUSALS:
            refused = plan.spend(name)
            if refused is not None:
                if plan.over and self._next:
                    self._next.popleft()
                return refused
        return None

    def take(self) -> Plan:
        """Return the plan of the submission that is about to be accepted."""
        if self._next:
            return self._next.popleft()
        return Plan(self._standing.faults if self._standing else ())
