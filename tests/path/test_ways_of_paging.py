"""The ways in which providers give a list in pages, each by a provider of the tests."""

import json
from pathlib import Path
from typing import Any

import pytest

from receiver import JobState, Receiver

from .described import describe, replies
from .hurry import hurried
from .stub import Asked, Reply, stub
from .test_pages import serving
from .world import World, ended


async def joined(receiver: Receiver) -> bytes:
    """The result of a job of the provider's."""
    job = await ended(receiver, await receiver.submit("made-up", {}))
    assert job.state is JobState.SUCCEEDED, job.error
    return await receiver.running.store.result(job)


async def test_a_dataset_is_read_until_no_items_come(world: World) -> None:
    """Apify's way: a list, gone on with by how many items there were so far, until a page has none."""
    documents: dict[str, Any] = {
        "/jobs/j1": {"id": "j1", "state": "done", "result_url": "/x"},
        "/rows?offset=0&limit=2": [1, 2],
        "/rows?limit=2&offset=2": [3, 4],
        "/rows?limit=2&offset=4": [5],
        "/rows?limit=2&offset=5": [],
    }
    async with stub(serving(documents)) as provider:
        documents["/jobs/j1"]["result_url"] = f"{provider.url}/rows?offset=0&limit=2"
        rows = 'result = "."\nitems = "."\nnext = "?offset={items_so_far}"'
        describe(world, provider, every="1s", fetch='answer = "rows"', shape_job=f"[shapes.rows]\n{rows}")
        async with hurried(world) as receiver:
            assert await joined(receiver) == b"[1, 2,3, 4,5]"
            assert [one.path for one in provider.gets()] == list(documents)


@pytest.mark.parametrize("again", [[1], [1, 1]], ids=["short", "full"])
async def test_an_offset_that_nobody_knows_of_ends_with_the_first_page(
    world: World, again: list[int]
) -> None:
    """The same few items for every offset are there once; as many as were asked for may be as many more."""
    documents: dict[str, Any] = {
        "/jobs/j1": {"id": "j1", "state": "done", "result_url": "/x"},
        "/rows?offset=0&limit=2": again,
        f"/rows?limit=2&offset={len(again)}": again,
        f"/rows?limit=2&offset={2 * len(again)}": [],
    }
    async with stub(serving(documents)) as provider:
        documents["/jobs/j1"]["result_url"] = f"{provider.url}/rows?offset=0&limit=2"
        rows = 'result = "."\nitems = "."\nnext = "?offset={items_so_far}"'
        describe(world, provider, every="1s", fetch='answer = "rows"', shape_job=f"[shapes.rows]\n{rows}")
        async with hurried(world) as receiver:
            assert json.loads(await joined(receiver)) == ([1] if again == [1] else [1, 1, 1, 1])


async def test_a_list_is_read_by_its_cursor(world: World) -> None:
    """OpenAI's way of lists: ``has_more`` says whether it goes on, ``last_id`` after what."""
    documents: dict[str, Any] = {
        "/jobs/j1": {"id": "j1", "state": "done", "result_url": ""},
        "/rows": {"object": "list", "data": [{"id": "a"}, {"id": "b"}], "has_more": True, "last_id": "b"},
        "/rows?after=b": {"object": "list", "data": [{"id": "c"}], "has_more": False, "last_id": "c"},
    }
    async with stub(serving(documents)) as provider:
        documents["/jobs/j1"]["result_url"] = f"{provider.url}/rows"
        rows = 'result = "."\nitems = "data"\nmore = "has_more"\nnext = "?after={last_id}"'
        describe(world, provider, every="1s", fetch='answer = "rows"', shape_job=f"[shapes.rows]\n{rows}")
        async with hurried(world) as receiver:
            result = json.loads(await joined(receiver))
        assert result == documents["/rows"] | {"data": [{"id": "a"}, {"id": "b"}, {"id": "c"}]}


async def test_pages_that_are_used_up_are_asked_for_once(world: World) -> None:
    """Where a GET deletes what it gives, every page is fetched once, also if the first one's address is named again."""
    rows = 'result = "."\nitems = "rows"\nnext = "next"'
    given: set[str] = set()
    documents: dict[str, Any] = {
        "/jobs/j1": {"id": "j1", "state": "done", "result_url": ""},
        "/rows": {"rows": [1], "next": "/rows/2"},
        "/rows/2": {"rows": [2], "next": "/rows/3"},
        "/rows/3": {"rows": [3]},
    }
    plain, refusals = serving(documents), ["/rows/3"]

    async def once(asked: Asked) -> Reply:
        if asked.path in refusals:
            refusals.remove(asked.path)
            return Reply(status=503)
        if asked.path.startswith("/rows"):
            assert asked.path not in given, "it was used up"
            given.add(asked.path)
        return await plain(asked)

    async with stub(once) as provider:
        documents["/jobs/j1"]["result_url"] = f"{provider.url}/rows"
        fetch = 'single_use = true\nanswer = "rows"'
        describe(world, provider, every="1s", fetch=fetch, shape_job=f"[shapes.rows]\n{rows}")
        async with hurried(world) as receiver:
            assert json.loads(await joined(receiver))["rows"] == [1, 2, 3]


async def test_pages_may_be_asked_for_in_the_body(world: World) -> None:
    """Textract's way: the same address by POST, with a token in the body, and every header of the poll."""
    documents: dict[str | None, Any] = {
        None: {"id": "j1", "state": "done", "Blocks": [1], "NextToken": "a b&c"},
        "a b&c": {"id": "j1", "state": "done", "Blocks": [2, 3], "NextToken": "t3"},
        "t3": {"id": "j1", "state": "done", "Blocks": []},
    }

    async def answer(asked: Asked) -> Reply:
        if asked.path == "/jobs":
            return replies({"id": "j1", "state": "queued"})
        assert (asked.method, asked.header("x-target")) == ("POST", "Get")
        body = json.loads(asked.body)
        assert body["JobId"] == "j1"
        return replies(documents[body.get("NextToken")])

    async with stub(answer) as provider:
        poll = 'method = "POST"\nbody = { JobId = "{id}" }\nheaders = { X-Target = "Get" }'
        describe(world, provider, every="1s", poll=poll)
        shape = 'result = "."\nitems = ["Rows", "Blocks"]\nnext = "#NextToken={NextToken}"'
        file = Path(world.environ["RECEIVER_PROVIDERS_DIR"]) / "made-up.toml"
        text = file.read_text(encoding="utf-8")
        file.write_text(
            text.replace('result = "result"\nresult_url = "result_url"', shape, 1), encoding="utf-8"
        )
        async with hurried(world) as receiver:
            result = json.loads(await joined(receiver))
        assert result == documents[None] | {"Blocks": [1, 2, 3]}
