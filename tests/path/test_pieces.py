"""Handlers that take their results piece by piece, beside others that take them whole."""

import hashlib

from receiver import Job, Receiver

from .world import REQUESTS, World, ended


async def test_a_handler_reads_its_result_in_pieces(world: World) -> None:
    """One that awaits, and a plain one in a thread; what they read is what the others are given."""
    read: dict[str, bytes] = {}

    def prepare(receiver: Receiver) -> None:
        @receiver.on("perplexity", pieces=True)
        async def piecewise(job: Job) -> None:
            assert job.result is not None
            read["piecewise"] = b"".join([piece async for piece in job.result])

        @receiver.on("perplexity", pieces=True)
        def plain(job: Job) -> None:
            assert job.result is not None
            read["plain"] = b"".join(job.result)

        @receiver.on("perplexity")
        async def whole(job: Job) -> None:
            assert job.result is not None
            read["whole"] = job.result.content

    async with world.receiver(prepare) as receiver:
        done = await ended(receiver, await receiver.submit("perplexity", REQUESTS["perplexity"]))
    assert read["piecewise"] == read["plain"] == read["whole"]
    assert done.held is not None
    assert hashlib.sha256(read["whole"]).hexdigest() == done.held.sha256
