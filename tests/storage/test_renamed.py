"""A handler that is renamed node by node: one line for each key, and one circuit, whichever name a node knows."""

from receiver.core.circuit import Sign
from receiver.core.handler import HandlerSpec
from receiver.core.identity import new_id
from receiver.core.model import MINUTE, Dispatch, Job
from receiver.storage import circuits
from receiver.storage.dispatches import DispatchSettled
from receiver.storage.settlements import timeline
from tests.core.making import NOW
from tests.storage.making import DONE, LEASE, Desk
from tests.storage.test_lines import claim, completed

OLD = HandlerSpec(name="h", ordered_by="metadata.customer")
NEW = HandlerSpec(name="new", ordered_by="metadata.customer", aliases=("h",))
FAILS = Sign(word="fails", most=2, wait=1000)


async def renamed(desk: Desk) -> tuple[Dispatch, list[Job]]:
    """Three jobs of one key, the first under way on a node that knows the old name when another brings the new one."""
    done = await completed(desk, "a", "a", "a")
    ((under_way, job),) = await claim(desk, at=NOW + 9, owner="old node")
    assert job.id == done[0].id
    await desk.register(NEW, only=False, now=NOW + 10)
    return under_way, done


async def test_nothing_overtakes_what_the_old_name_is_at(desk: Desk) -> None:
    """The next of its key begins under the new name once it has ended under the old one, in the very commit."""
    under_way, done = await renamed(desk)
    assert await claim(desk, at=NOW + 11, handler="new") == []
    await desk.finish(under_way, at=NOW + 12)
    for expected in done[1:]:
        ((dispatch, job),) = await claim(desk, at=NOW + 13, handler="new")
        assert job.id == expected.id
        assert await claim(desk, at=NOW + 13, handler="h", owner="old node") == []
        await desk.finish(dispatch, at=NOW + 13)


async def test_what_failed_under_the_old_name_comes_first_under_the_new(desk: Desk) -> None:
    """It is tried again where it stood, and by nobody else."""
    under_way, done = await renamed(desk)
    await desk.finish(under_way, "failed", at=NOW + 12, retry_at=NOW + 13)
    assert await claim(desk, at=NOW + 14, handler="h", owner="old node") == []
    ((again, job),) = await claim(desk, at=NOW + 14, handler="new")
    assert (job.id, again.alias, again.failures) == (done[0].id, "h", 1)
    assert await claim(desk, at=NOW + 14, handler="new") == []


async def test_one_that_died_under_the_old_name_holds_up_its_key(desk: Desk) -> None:
    """Until a person discards it, under its new name."""
    under_way, done = await renamed(desk)
    await desk.finish(under_way, "failed", at=NOW + 12)
    assert await claim(desk, at=NOW + 14, handler="new") == []
    (dead,) = [one for one in (await desk.store.record(done[0].id)).dispatches if one.state == "dead"]
    assert dead.handler == "new"
    await desk.store.discard_dispatch(dead, now=NOW + 15)
    ((_, job),) = await claim(desk, at=NOW + 16, handler="new")
    assert job.id == done[1].id


async def test_a_node_that_is_gone_holds_the_key_until_its_lease_has_lapsed(desk: Desk) -> None:
    """Then the new name takes it over, before those behind it."""
    _, done = await renamed(desk)
    late = NOW + 9 + LEASE
    await desk.store.reap(now=late)
    ((again, job),) = await claim(desk, at=late, handler="new")
    assert (job.id, again.lapsed) == (done[0].id, True)


async def test_what_an_old_node_made_late_is_not_run_under_the_old_name(desk: Desk) -> None:
    """A callback that was taken with the old names in mind: its dispatch moves before anybody has it."""
    (done,) = await completed(desk, "a")
    await desk.register(NEW, only=False, now=NOW + 10)
    with desk.store.driver.write() as tx:
        tx.run("UPDATE dispatch SET handler = 'h'")
    assert await claim(desk, at=NOW + 11, handler="h", owner="old node") == []
    ((_, job),) = await claim(desk, at=NOW + 12, handler="new")
    assert job.id == done.id


async def fails(desk: Desk, dispatch: Dispatch, *, at: int) -> None:
    """Have an attempt fail, as its node tells it."""
    ended = timeline(
        dispatch.job_id, step="dispatch", started_at=at, now=at, outcome="failed", number=dispatch.attempt
    )
    settled = DispatchSettled(dispatch=dispatch, log=ended, retry_at=at + 1, sign=FAILS)
    assert await desk.store.settle_dispatches([settled]) == [True]


async def test_failures_under_either_name_open_one_circuit(desk: Desk) -> None:
    """One on each node is two in a row; the circuit is that of the new name, and no other is left."""
    await desk.register("h", only=False)
    for number in range(3):
        await desk.call(await desk.submitted(remote_id=f"r{number}"), DONE)
    ((first, _),) = await desk.work("h", at=NOW, limit=1, owner="old node")
    await desk.register(HandlerSpec(name="new", aliases=("h",)), only=False)
    await fails(desk, first, at=NOW + 1)
    ((second, _),) = await desk.work("new", at=NOW + 1, limit=1)
    await fails(desk, second, at=NOW + 2)
    (circuit,) = await desk.store.read(circuits.circuits)
    assert (circuit.handler, circuit.state, circuit.failures) == ("new", "open", 2)
    assert await desk.work("new", at=NOW + 3) == []


async def test_a_handler_that_was_paused_stays_so_under_its_new_name(desk: Desk) -> None:
    """Whoever paused it did not mean the name."""
    await desk.register("h", only=False)
    await desk.store.write(circuits.pause, ("h", "ann", NOW))
    await desk.register(HandlerSpec(name="new", aliases=("h",)), only=False)
    (circuit,) = await desk.store.read(circuits.circuits)
    assert (circuit.handler, circuit.state, circuit.who) == ("new", "paused", "ann")


async def whose(desk: Desk, *, at: int) -> list[str]:
    """The handlers that a completion goes to, which another one has just begun to want."""
    one = await desk.submitted(remote_id=new_id("r", at))
    await desk.call(one, DONE)
    return [row.handler for row in (await desk.store.record(one.id)).dispatches]


async def test_a_node_that_begins_by_the_old_name_takes_nothing_back(desk: Desk) -> None:
    """While a node goes by the new one: each completion goes to that alone."""
    new = HandlerSpec(name="new", aliases=("h",))
    await desk.register("h", only=False)
    await desk.register(new, only=False, now=NOW + 1)
    await desk.register("h", only=False, now=NOW + 2)
    assert await whose(desk, at=NOW + 3) == ["new"]
    await desk.store.reap(now=NOW + 4)
    assert await whose(desk, at=NOW + 5) == ["new"]
    await desk.register(new, only=False, now=NOW + 6)
    assert await whose(desk, at=NOW + 7) == ["new"]


async def test_a_new_version_that_is_taken_back_gives_the_name_back(desk: Desk) -> None:
    """Once no node has given a sign of life by the new name for five minutes, and some by the old; what waited, too."""
    await desk.register("h", only=False)
    await desk.register(HandlerSpec(name="new", aliases=("h",)), only=False, now=NOW + 1)
    await desk.register("h", only=False, now=NOW + 2)
    assert await whose(desk, at=NOW + 3) == ["new"]
    later = NOW + 1 + 5 * MINUTE + 1
    await desk.beat(at=later, handlers=["h"])
    await desk.store.reap(now=later)
    assert await whose(desk, at=later) == ["h"]
    assert len(await desk.work("h", at=later, limit=9)) == 2
    assert await desk.work("new", at=later, limit=9) == []


async def test_the_only_process_goes_by_the_names_that_it_has(desk: Desk) -> None:
    """A new version that is taken back there is gone at once; and a later one with both names takes the new one."""
    new = HandlerSpec(name="new", aliases=("h",))
    for spec, name in (
        (HandlerSpec(name="h"), "h"),
        (new, "new"),
        (HandlerSpec(name="h"), "h"),
        (new, "new"),
    ):
        await desk.register(spec, now=NOW)
        assert await whose(desk, at=NOW) == [name]
