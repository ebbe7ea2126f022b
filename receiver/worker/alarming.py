"""Alarming: one node a round looks for what somebody must see to, and sinks that want to know are told.

Every process that serves takes part, also one without a worker: that no worker runs is just what is to be seen.
"""

import asyncio
import random
import shutil
import socket
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from msgspec.structs import replace

from receiver.catalog import Catalog
from receiver.core.alarms import rules, upkeep
from receiver.core.alarms.alarm import OF_ONE_NODE, SEVERITIES, Alarm, Finding
from receiver.core.alarms.upkeep import Disk
from receiver.core.errors import ConfigurationError, StoreUnavailableError
from receiver.core.model import DAY, MINUTE, SECOND
from receiver.keys import Keys
from receiver.raising import Dead
from receiver.settings import Settings
from receiver.sinks.sinks import Sinks
from receiver.storage import alarms, attention, circuits, signs
from receiver.storage.alarms import Looked, Notice, Round
from receiver.storage.nodes import Node
from receiver.storage.store import Store
from receiver.threads import off_loop

log = structlog.get_logger(__name__)

#: Milliseconds from one round to the next, and seconds between two looks whether the next is due.
EVERY: Final = 15 * SECOND
_PAUSE: Final = 5.0
#: For how long a notice is nobody else's while it is being told: longer than a sink may take.
_TELLING: Final = 5 * MINUTE
_OF_ALL: Final = frozenset(SEVERITIES) - OF_ONE_NODE


class Alarming:
    """Looks, from ``start`` to ``stop``."""

    def __init__(
        self,
        *,
        store: Store,
        catalog: Catalog,
        keys: Keys,
        settings: Settings,
        sinks: Sinks | None,
        clock: Callable[[], int],
        node: Node,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._keys = keys
        self._settings = settings
        self._sinks = sinks
        self._clock = clock
        self._node = node
        self._host = socket.gethostname()
        self._expected = {
            one.name: int(one.callback.expected) for one in catalog.values() if one.callback is not None
        }
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; what is being told is told again by whoever comes next."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def round(self, *, now: int) -> bool:
        """Look, if it is time; whether it was.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        await self._look_here(now)
        if not await self._store.write(alarms.begin, Round(node=self._node.name, now=now, every=EVERY)):
            return False
        await self._settle(Looked(names=_OF_ALL, findings=tuple(await self.findings(now=now)), now=now))
        await self._forget_gone(now)
        return True

    async def findings(self, *, now: int) -> list[Finding]:
        """What is found in the record; each question is a short read of its own."""
        return await self._of_providers(now) + await self._of_ourselves(now)

    async def _of_providers(self, now: int) -> list[Finding]:
        read = self._store.read
        found: list[Finding] = []
        for calls in await read(signs.calls, self._expected, now=now):
            found += rules.callbacks_silent(calls, now=now)
        for verdicts in await read(signs.verdicts, now=now):
            found += rules.rejections_high(verdicts)
        for leaving in await read(signs.leaving, now=now):
            found += rules.results_expiring(leaving, now=now)
        for files in await read(signs.leaving_files, now=now):
            found += rules.files_expiring(files, now=now)
        for lost in await read(signs.lost_files, since=now - DAY):
            found += rules.files_lost(lost)
        for overdue in await read(signs.overdue, now=now):
            found += rules.jobs_overdue(overdue, now=now)
        for wanted in await read(attention.attention, now - DAY):
            found += rules.attention_wanted(wanted)
        for key in await read(signs.old_keys, self._several_keys(), now=now):
            found += rules.old_key_in_use(key, now=now)
        return found

    async def _of_ourselves(self, now: int) -> list[Finding]:
        read = self._store.read
        found: list[Finding] = []
        for letters in await read(signs.letters):
            found += upkeep.dead_letters(letters, now=now)
        for circuit in await read(circuits.circuits):
            found += upkeep.circuit_open(circuit, now=now)
        for waiting in await read(signs.waiting, now=now):
            found += upkeep.backlog_old(waiting, now=now)
        # This node is looking, so it is present.
        present = [
            replace(one, seen_at=now) if one.name == self._node.name else one
            for one in await read(signs.present)
        ]
        found += upkeep.node_silent(present, lease_ms=self._settings.lease_ms, now=now)
        return found

    async def tell(self, *, now: int) -> int:
        """Tell sinks what they have not been told yet; how many took it.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        if self._sinks is None or not self._sinks.of_alarms:
            return 0
        item = (self._sinks.of_alarms, now, now + _TELLING)
        notices = await self._store.write(alarms.take, item)
        outcomes = await asyncio.gather(*(self._tell(one) for one in notices))
        return sum(outcomes)

    async def _look_here(self, now: int) -> None:
        """Look for what only this node can see."""
        found = [finding for disk in await off_loop(self._disks) for finding in upkeep.disk_low(disk)]
        # The fullest disk stands for all of a node.
        some = tuple(found[:1])
        standing = [one for one in await self._store.read(alarms.raised) if one.name in OF_ONE_NODE]
        if some or any(one.subject == self._host for one in standing):
            await self._settle(Looked(names=OF_ONE_NODE, subject=self._host, findings=some, now=now))

    async def _forget_gone(self, now: int) -> None:
        """Clear the alarms of hosts that have no node any more: nobody else would ever clear them."""
        standing = {one.subject for one in await self._store.read(alarms.raised) if one.name in OF_ONE_NODE}
        if standing:
            present = await self._store.read(signs.present)
            hosts = {self._host, *(one.name.rpartition("-")[0] for one in present)}
            for host in sorted(standing - hosts):
                await self._settle(Looked(names=OF_ONE_NODE, subject=host, findings=(), now=now))

    def _disks(self) -> list[Disk]:
        """The disks that are written to here, the fullest first."""
        found = []
        settings = self._settings
        for named in (settings.database_folder, settings.spool_folder, settings.files_folder):
            # A handler may have changed the folder of the process.
            folder = None if named is None else settings.folder / named
            there = next((one for one in (folder, *folder.parents) if one.is_dir()), None) if folder else None
            if there is not None:
                free = shutil.disk_usage(there).free
                found.append(
                    Disk(host=self._host, folder=str(there), free=free, floor=self._settings.disk_floor)
                )
        return sorted(found, key=lambda one: one.free)

    def _several_keys(self) -> dict[str, Sequence[str]]:
        """The providers that have more than one key in force, with the ids of these, the newest first."""
        found: dict[str, Sequence[str]] = {}
        for provider in self._catalog.values():
            if provider.key is None or provider.key.source != "settings":
                continue
            try:
                keys = self._keys.verifying(provider, job_id=None, master=None)
            except ConfigurationError:
                continue
            if len(keys) > 1:
                found[provider.name] = tuple(dict.fromkeys(one.id for one in keys))
        return found

    async def _settle(self, looked: Looked) -> None:
        sinks = () if self._sinks is None else self._sinks.of_alarms
        changes = await self._store.write(alarms.settle, replace(looked, sinks=sinks))
        for one in changes.raised:
            log.warning("alarm_raised", **_facts(one), cause=one.cause, see="receiver alarms list")
        for one in changes.cleared:
            log.info("alarm_cleared", **_facts(one), raised_for_s=(looked.now - one.raised_at) // SECOND)

    async def _tell(self, notice: Notice) -> bool:
        """Tell one sink, and note how that went; whether it took it."""
        assert self._sinks is not None  # noqa: S101  (only ours are taken)
        facts = {**_facts(notice.alarm), "sink": notice.sink, "word": notice.word}
        again: int | None = None
        try:
            await self._sinks.tell(notice.sink, notice.alarm, word=notice.word, at=notice.made_at)
        except Dead as error:
            log.error("alarm_refused", reason=str(error), **facts)
        except Exception as error:  # noqa: BLE001  (a client of somebody else's; it must not end the round)
            now = self._clock()
            if now - notice.made_at < alarms.TRIED:
                backoff = self._sinks.backoff(notice.sink)
                again = now + backoff.wait(notice.attempt, jitter=random.random())
                log.warning("alarm_not_told", reason=str(error) or type(error).__name__, **facts)
            else:
                log.error("alarm_given_up", reason=str(error) or type(error).__name__, **facts)
        else:
            log.info("alarm_told", **facts)
            await self._store.write(alarms.told, (notice, None))
            return True
        await self._store.write(alarms.told, (notice, again))
        return False

    async def _run(self) -> None:
        while True:
            # Not all nodes at once.
            await asyncio.sleep(_PAUSE * (0.5 + random.random() / 2))
            try:
                await self.round(now=self._clock())
                await self.tell(now=self._clock())
            except StoreUnavailableError as error:
                log.info("alarms_not_looked_at", reason=str(error))
            except Exception:
                log.exception("alarms_failed")


def _facts(alarm: Alarm) -> dict[str, str]:
    facts = {"alarm": alarm.name, "id": alarm.id, "provider": alarm.provider, "subject": alarm.subject}
    return {name: value for name, value in facts.items() if value}
