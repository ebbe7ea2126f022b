"""Whether anybody serves a database: the lock where one process may, the signs of life where several do."""

from collections.abc import Sequence

from receiver.core.errors import ConfigurationError
from receiver.storage import nodes
from receiver.storage.driver import Driver
from receiver.storage.nodes import Seen

#: A node gives a sign of life three times a lease; one that gave none for so many leases is gone.
_LEASES = 3


def alive(driver: Driver, *, lease_ms: int) -> list[Seen]:
    """The nodes that gave a sign of life lately; none where the database does not tell the time."""
    now = driver.time()
    if now is None or "node" not in driver.tables():
        return []
    with driver.read() as tx:
        return lately(nodes.nodes(tx), lease_ms=lease_ms, now=now)


def lately(seen: Sequence[Seen], *, lease_ms: int, now: int) -> list[Seen]:
    """Those of *seen* that are not gone."""
    return [one for one in seen if one.seen_at > now - _LEASES * lease_ms]


def is_served(driver: Driver, *, lease_ms: int) -> bool:
    """Whether a process serves the database; where it can have only one, that right is *driver*'s from now on."""
    if not driver.exclusive:
        return bool(alive(driver, lease_ms=lease_ms))
    try:
        driver.serve()
    except ConfigurationError as error:
        # What was copied elsewhere may be copied again, and asked; the right to it is ours.
        return error.code != "database_copied"
    return False
