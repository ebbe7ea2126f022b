"""Pauses: providers that asked to be left alone for a while. Every node keeps to it, and so does the next process."""

from collections.abc import Sequence

from receiver.storage.driver import Transaction


def pause(tx: Transaction, items: Sequence[tuple[str, int]]) -> list[None]:
    """Note that providers are to be left alone: (provider, until when)."""
    longest: dict[str, int] = {}
    for name, until in items:
        longest[name] = max(until, longest.get(name, 0))
    tx.insert(
        "pause",
        "provider, until",
        sorted(longest.items()),
        conflict="ON CONFLICT (provider) DO UPDATE SET until = excluded.until WHERE excluded.until > pause.until",
    )
    return [None] * len(items)


def pauses(tx: Transaction, now: int) -> list[tuple[str, int]]:
    """The providers that are to be left alone, and until when."""
    found = tx.run("SELECT provider, until FROM pause WHERE until > :now", {"now": now})
    return [(name, until) for name, until in found]
