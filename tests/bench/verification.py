"""What verifying costs, as a multiple of the bare MAC and its comparison."""

import hmac
import time
from collections.abc import Callable

from receiver.core.description.scheme import Scheme
from receiver.core.signature.verify import Key, Message, sign, verify

from .figure import ROUNDS, Figure, in_turn

SECRET = b"a secret that is long enough"
SCHEME = Scheme(kind="hmac", header="X-Hub-Signature-256", prefix="sha256=")


def small(*, rounds: int = ROUNDS) -> Figure:
    """The cost of a small callback."""
    return Figure(name="verify-1KiB/bare", target=2.5, at_most=True, runs=_ratios(1024, 4000, rounds))


def large(*, rounds: int = ROUNDS) -> Figure:
    """The cost of a large callback."""
    runs = _ratios(10 * 1024 * 1024, 4, rounds)
    return Figure(name="verify-10MiB/bare", target=1.1, at_most=True, runs=runs)


def _ratios(size: int, times: int, rounds: int) -> list[float]:
    body = bytes(size)
    key = Key(id="k", secret=SECRET)
    usual = [
        (b"host", b"example.com"),
        (b"user-agent", b"sender/1.0"),
        (b"content-type", b"application/json"),
    ]
    signed = sign(body, scheme=SCHEME, key=key, now=0)
    headers = [*usual, *((name.lower(), value) for name, value in signed)]
    expected = hmac.digest(SECRET, body, "sha256")

    def ours() -> None:
        verify(Message(body=body, headers=headers), scheme=SCHEME, keys=(key,), now=0)

    def bare() -> None:
        hmac.compare_digest(hmac.digest(SECRET, body, "sha256"), expected)

    return in_turn(lambda: _seconds(ours, times), lambda: _seconds(bare, times), rounds=rounds)


def _seconds(work: Callable[[], None], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        work()
    return time.perf_counter() - began
