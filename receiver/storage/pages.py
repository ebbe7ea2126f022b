"""The pages of a result that comes in several: each is stored as it came, before the next one is asked for."""

from typing import Final

from receiver.core.errors import NotFoundError
from receiver.core.model import Value
from receiver.core.reading.pagination import ResultPage
from receiver.storage.driver import Transaction
from receiver.storage.results import FIRST_PAGE, write_chunks

_COLUMNS: Final = "number, url, next_url, size, sha256, content_type, items, fetched_at"


class StoredPage(Value, frozen=True, kw_only=True):
    """A page of a result, without its bytes."""

    #: From 1.
    number: int
    #: Where it came from.
    url: str
    #: Where the one after it is; ``None`` for the last.
    next_url: str | None
    size: int
    sha256: str
    content_type: str
    #: How many items it adds.
    items: int
    fetched_at: int


class Taken(Value, frozen=True, kw_only=True):
    """What became of a page that arrived."""

    #: Where it goes on: the next page that is not here, or the last page's own address once all are.
    onward: str
    #: Whether it was not here yet.
    new: bool
    #: Whether no page is missing.
    complete: bool


def stored(tx: Transaction, job_id: str) -> list[StoredPage]:
    """The pages of a job's result that are here, in order."""
    found = tx.run(f"SELECT {_COLUMNS} FROM page WHERE job_id = :job_id ORDER BY number", {"job_id": job_id})
    return [StoredPage(**dict(zip(_COLUMNS.split(", "), row, strict=True))) for row in found]


def read(tx: Transaction, job_id: str, number: int) -> bytes:
    """The bytes of one page, as they arrived; raises NotFoundError where it is not here."""
    named = {"job_id": job_id, "number": number}
    if not tx.run("SELECT 1 FROM page WHERE job_id = :job_id AND number = :number", named):
        raise NotFoundError(f"{job_id} has no page {number} of a result.", code="page_missing")
    found = tx.run(
        "SELECT data FROM result_chunk WHERE job_id = :job_id AND part = :part ORDER BY number",
        {"job_id": job_id, "part": FIRST_PAGE + number},
    )
    return b"".join(bytes(row[0]) for row in found)


def take(tx: Transaction, job_id: str, page: ResultPage, *, now: int) -> Taken:
    """Store a page of a job's result, behind those that are here.

    A first page that names the same next one as before is no news: what is here is gone on with. One that names another
    begins the result anew, because the addresses of its other pages may have run out.
    """
    if page.number == 1:
        have = stored(tx, job_id)
        if have and have[0].next_url == page.next_url:
            last = have[-1]
            return Taken(onward=last.next_url or last.url, new=False, complete=last.next_url is None)
        drop(tx, job_id)
    content = page.content
    tx.insert(
        "page",
        f"job_id, {_COLUMNS}",
        [
            (
                job_id,
                page.number,
                page.url,
                page.next_url,
                len(content),
                page.sha256,
                page.content_type,
                page.items,
                now,
            )
        ],
    )
    write_chunks(tx, job_id, part=FIRST_PAGE + page.number, content=content)
    return Taken(onward=page.next_url or page.url, new=True, complete=page.next_url is None)


def drop(tx: Transaction, job_id: str) -> None:
    """Delete the pages of a job's result."""
    names = {"job_id": job_id, "first": FIRST_PAGE}
    tx.run("DELETE FROM page WHERE job_id = :job_id", {"job_id": job_id})
    tx.run("DELETE FROM result_chunk WHERE job_id = :job_id AND part >= :first", names)
