"""What every kind of sink promises, tried against a real other side."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from receiver.sinks.sink import SinkAwayError
from tests.sinks.making import event, opened

if TYPE_CHECKING:
    from tests.sinks.sides import Side


async def test_what_is_confirmed_is_there(side: Side) -> None:
    """A sink says what the other side said, and the event is there with its id and its result."""
    sink = opened(side.to)
    said = await sink.send(event())
    [(found, data)] = await side.received()
    await sink.close()
    assert said
    assert found == event().id
    assert data["result"] == {"answer": 42}
    assert data["job"]["id"] == event().subject


async def test_whatever_the_result_is_arrives(side: Side) -> None:
    """What is no JSON keeps its bytes and its own content type; what is too large is left out, and its job is not."""
    sink = opened(side.to)
    odd = bytes(range(256)) * 4
    for one in (
        event(odd, number=1),
        event(b"[1]", number=2),
        event(b'{"x": "%s"}' % (b"x" * 99), largest=99),
    ):
        await sink.send(one)
    found = dict(await side.received())
    await sink.close()
    assert found[event(number=1).id] == ("image/png", odd)
    assert found[event(number=2).id]["result"] == [1]
    assert "result" not in found[event().id]
    assert found[event().id]["job"]["result"]["size"] == len(b'{"x": ""}') + 99


async def test_a_content_type_that_no_header_may_hold_keeps_no_result_back(side: Side) -> None:
    """What a provider says of its result may have letters beyond ASCII in it; the bytes arrive all the same."""
    sink = opened(side.to)
    odd = b"\x89PNG"
    for number, said in enumerate(('image/png; name="\xe9.png"', "image\u0100/png", "  text/plain ")):
        await sink.send(event(odd, number=number + 1, content_type=said))
    found = dict(await side.received())
    await sink.close()
    kinds = ("image/png", "application/octet-stream", "text/plain")
    assert [found[event(number=number).id] for number in (1, 2, 3)] == [(kind, odd) for kind in kinds]


async def test_events_under_way_together_all_arrive(side: Side) -> None:
    """Events that are sent at once do not mix and do not get lost."""
    sink = opened(side.to)
    events = [event(b'{"n": %d}' % number, number=number) for number in range(1, 26)]
    await asyncio.gather(*(sink.send(one) for one in events))
    found = dict(await side.received())
    await sink.close()
    assert {key: data["result"]["n"] for key, data in found.items()} == {
        one.id: number for number, one in enumerate(events, start=1)
    }


async def test_a_repetition_leaves_one_where_the_other_side_knows_ids(side: Side) -> None:
    """The same event sent again has the same id, which is what a broker with a dedupe goes by."""
    sink = opened(side.to)
    for _ in range(2):
        await sink.send(event())
    found = await side.received()
    await sink.close()
    assert [key for key, _ in found] == [event().id] * (1 if side.dedupes else 2)


async def test_an_outage_is_told_from_a_refusal_and_ends(side: Side) -> None:
    """A sink whose server is gone says that it is away, and sends again once it is back."""
    if side.server is None:
        pytest.skip("this kind has no server that could be away; its own tests try what it has instead")
    sink = opened(side.to)
    await sink.send(event(number=1))
    side.server.kill()
    with pytest.raises(SinkAwayError):
        await asyncio.wait_for(sink.send(event(number=2)), 40)
    side.server.start()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(SinkAwayError):
            await sink.send(event(number=2))
            break
        await asyncio.sleep(0.1)
    found = [key for key, _ in await side.received()]
    await sink.close()
    assert {event(number=1).id, event(number=2).id} == set(found)
