"""Results that have rows of their own: chunks, so that a large one never has to be in memory whole."""

from collections.abc import Iterable
from io import BytesIO

from msgspec.structs import replace

from receiver.core.model import Held, Job, Result
from receiver.storage.driver import Transaction

CHUNK = 256 * 1024
#: Beyond it the parts are the pages of a result, by their numbers: no look is the billionth of its job.
FIRST_PAGE = 1_000_000_000


def cut(content: bytes) -> Iterable[bytes]:
    """Cut *content* into chunks of at most 256 KiB."""
    return (content[start : start + CHUNK] for start in range(0, len(content), CHUNK))


def write_chunks(tx: Transaction, job_id: str, *, part: int, content: bytes, first: int = 0) -> None:
    """Write *content* as chunks of one part, from number *first*; a part is one body of one look."""
    if first == 0:
        _drop_part(tx, job_id, part)
    tx.insert(
        "result_chunk",
        "job_id, part, number, data",
        [(job_id, part, number, data) for number, data in enumerate(cut(content), start=first)],
    )


def drop_look(tx: Transaction, job_id: str, *, attempt: int) -> None:
    """Delete what one look wrote: the body as it arrived, and what it unfolded to."""
    for part in (attempt, unfolded(attempt)):
        _drop_part(tx, job_id, part)


def unfolded(part: int) -> int:
    """The part that holds, without its content codings, what *part* holds as it arrived."""
    return -part - 1


def _drop_part(tx: Transaction, job_id: str, part: int) -> None:
    tx.run(
        "DELETE FROM result_chunk WHERE job_id = :job_id AND part = :part", {"job_id": job_id, "part": part}
    )


def read_slice(tx: Transaction, job_id: str, held: Held, *, number: int) -> bytes:
    """The bytes of a stored result from chunk *number*; empty past the end."""
    if held.callback_id is not None:
        start = number * CHUNK
        size = min(CHUNK, held.size - start)
        if size <= 0:
            return b""
        found = tx.run(
            "SELECT substr(body, :start, :size) FROM callback WHERE id = :id",
            {"start": held.offset + start + 1, "size": size, "id": held.callback_id},
        )
    else:
        found = tx.run(
            "SELECT data FROM result_chunk WHERE job_id = :job_id AND part = :part AND number = :number",
            {"job_id": job_id, "part": held.offset, "number": number},
        )
    return bytes(found[0][0]) if found else b""


def read_whole(tx: Transaction, job_id: str, held: Held) -> bytes:
    """The whole of a stored result, in memory."""
    if held.callback_id is not None:
        found = tx.run(
            "SELECT substr(body, :start, :size) FROM callback WHERE id = :id",
            {"start": held.offset + 1, "size": held.size, "id": held.callback_id},
        )
        return bytes(found[0][0]) if found else b""
    # Chunk by chunk into one buffer, which becomes the result: nothing of it is in memory twice.
    whole = BytesIO()
    number = 0
    while piece := read_slice(tx, job_id, held, number=number):
        whole.write(piece)
        number += 1
    return whole.getvalue()


def with_result(job: Job, content: bytes) -> Job:
    """*job* with the content of its result."""
    assert job.held is not None  # noqa: S101  (whoever read it looked)
    held = job.held
    result = Result(content=content, content_type=held.content_type, size=held.size, sha256=held.sha256)
    return replace(job, result=result)
