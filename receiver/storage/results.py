"""Results that have rows of their own: chunks, so that a large one never has to be in memory whole."""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from io import BytesIO
from typing import Final

from msgspec.structs import replace

from receiver.core.body.encoding import EncodingError, undone
from receiver.core.job.transition import Move
from receiver.core.model import Held, Job, Result
from receiver.core.reading.given import ANSWER, Given
from receiver.storage.driver import Transaction

CHUNK = 256 * 1024
#: Beyond it the parts are the pages of a result, by their numbers: no look is the billionth of its job.
FIRST_PAGE = 1_000_000_000
_OTHER_PARTS: Final = f"DELETE FROM result_chunk WHERE job_id = :id AND part <> :part AND part < {ANSWER}"
_CODED: Final = b"content-encoding"
_KIND: Final = re.compile(rb'\["content-type",("(?:[^"\\]|\\.)*")\]', re.IGNORECASE)
#: What a callback unfolds to at most, in bytes.
_LARGEST: Final = 64 * 1024 * 1024


def cut(content: bytes) -> Iterable[bytes]:
    """Cut *content* into chunks of at most 256 KiB."""
    return (content[start : start + CHUNK] for start in range(0, len(content), CHUNK))


def write_chunks(
    tx: Transaction, job_id: str, *, part: int, content: bytes, first: int = 0, conflict: str = ""
) -> None:
    """Write *content* as chunks of one part, from number *first*; a part is one body of one look."""
    if first == 0:
        _drop_part(tx, job_id, part)
    tx.insert(
        "result_chunk",
        "job_id, part, number, data",
        [(job_id, part, number, data) for number, data in enumerate(cut(content), start=first)],
        conflict=conflict,
    )


def drop_look(tx: Transaction, job_id: str, *, attempt: int) -> None:
    """Delete what one look wrote: the body as it arrived, and what it unfolded to."""
    for part in (attempt, unfolded(attempt)):
        _drop_part(tx, job_id, part)


def drop_unfinished(tx: Transaction, kept: Mapping[str, int | None]) -> None:
    """Delete what looks at jobs left unfinished; *kept* is the part that each one's result is, if it is one.

    Pages stay beside the result that they make up, and the provider's last word beside both.
    """
    # Most have no part at all: all of them are looked after at once.
    if inside := [job_id for job_id, part in kept.items() if part is None]:
        where, params = tx.among("job_id", inside)
        tx.write(f"DELETE FROM result_chunk WHERE {where} AND part < {ANSWER}", params)
    for job_id, part in kept.items():
        if part is not None:
            tx.write(_OTHER_PARTS, {"id": job_id, "part": part})


def unfolded(part: int) -> int:
    """The part that holds, without its content codings, what *part* holds as it arrived."""
    return -part - 1


def _drop_part(tx: Transaction, job_id: str, part: int) -> None:
    tx.run(
        "DELETE FROM result_chunk WHERE job_id = :job_id AND part = :part", {"job_id": job_id, "part": part}
    )


def keep_answer(tx: Transaction, move: Move, given: Given | None) -> Move:
    """Store what a provider said, where it ends a job or names where its result is; *move* knows where then."""
    if given is None or not (move.taken or move.result_url is not None):
        return move
    write_chunks(tx, move.job.id, part=ANSWER, content=given.content)
    held = Held(offset=ANSWER, size=len(given.content), sha256="", content_type=given.content_type)
    return replace(move, job=replace(move.job, answer_held=held))


def read_slice(tx: Transaction, job_id: str, held: Held, *, number: int) -> bytes:
    """The bytes of a stored result from chunk *number*; empty past the end."""
    start = held.start + number * CHUNK
    size = min(CHUNK, held.start + held.size - start)
    if held.callback_id is not None:
        if size <= 0:
            return b""
        found = tx.run(
            "SELECT substr(body, :start, :size) FROM callback WHERE id = :id",
            {"start": held.offset + start + 1, "size": size, "id": held.callback_id},
        )
        return bytes(found[0][0]) if found else b""
    if held.start == 0 and held.offset != ANSWER:
        return _chunk(tx, job_id, held.offset, number)
    first, skipped = divmod(start, CHUNK)
    if size <= 0:
        return b""
    piece = _chunk(tx, job_id, held.offset, first)
    if len(piece) - skipped < size:
        piece += _chunk(tx, job_id, held.offset, first + 1)
    return piece[skipped : skipped + size]


def _chunk(tx: Transaction, job_id: str, part: int, number: int) -> bytes:
    found = tx.run(
        "SELECT data FROM result_chunk WHERE job_id = :job_id AND part = :part AND number = :number",
        {"job_id": job_id, "part": part, "number": number},
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


def answer_at(tx: Transaction, job: Job) -> Held | None:
    """Where the provider's last word about *job* lies, as it arrived; ``None`` where it is not kept."""
    held = job.answer_held or job.held
    if held is None or (job.answer_held is None and held.callback_id is None):
        return None
    if held.callback_id is None:
        return held
    found = tx.run("SELECT length(body), headers FROM callback WHERE id = :id", {"id": held.callback_id})
    if not found:
        return None
    size, headers = found[0]
    return Held(callback_id=held.callback_id, size=size, sha256="", content_type=_kind(bytes(headers)))


def answered(tx: Transaction, job: Job) -> Held | Result | None:
    """The provider's last word about *job*: whole, where a callback brought it, or where else it lies."""
    at = answer_at(tx, job)
    return at if at is None or at.callback_id is None else loaded(tx, job).answer


def loaded(tx: Transaction, job: Job) -> Job:
    """*job* with its result and with its provider's last word, whole and in memory, as far as they are kept."""
    held, whole = job.held, job.answer_held
    callback_id = whole.callback_id if whole is not None else held.callback_id if held is not None else None
    if callback_id is not None:
        found = tx.run("SELECT body, headers FROM callback WHERE id = :id", {"id": callback_id})
        if found:
            job = with_answer(job, bytes(found[0][0]), bytes(found[0][1]))
    elif whole is not None:
        content = read_whole(tx, job.id, whole)
        answer = Result(content=content, content_type=whole.content_type, size=len(content))
        job = replace(job, answer=answer)
        if held is not None and held.callback_id is None and held.offset == ANSWER:
            # A single copy, where the result is the whole answer.
            part = content[held.start : held.start + held.size]
            return with_result(job, part)
    if held is None or (held.callback_id is not None and held.callback_id == callback_id):
        return job
    return with_result(job, read_whole(tx, job.id, held))


def with_answer(job: Job, body: bytes, headers: bytes) -> Job:
    """*job* with a callback's body as its provider's last word, and with its result, where that lies in it.

    *headers* are the callback's, as they are stored.
    """
    held = job.held
    if held is not None and held.callback_id is not None:
        job = with_result(job, body[held.offset : held.offset + held.size])
    if _CODED in headers.lower():
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(headers)]
        with suppress(EncodingError):
            body = undone(body, pairs, largest=_LARGEST)
    return replace(job, answer=Result(content=body, content_type=_kind(headers), size=len(body)))


def _kind(headers: bytes) -> str:
    """The content type among the headers of a callback, as they are stored."""
    found = _KIND.search(headers)
    return str(json.loads(found[1])) if found is not None else "application/octet-stream"


def with_result(job: Job, content: bytes) -> Job:
    """*job* with the content of its result."""
    assert job.held is not None  # noqa: S101  (whoever read it looked)
    held = job.held
    result = Result(content=content, content_type=held.content_type, size=held.size, sha256=held.sha256)
    return replace(job, result=result)
