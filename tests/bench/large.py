"""Large callbacks, as deep research and scraping send them: many small members, or one long text."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from .bench import CONNECTIONS, Bench, rates
from .callbacks import copy_database, environ, prepared, remote_id, write_callbacks
from .generator import Order, Tally
from .load import check_stored, drive
from .servers import Server, script, serving

#: Bytes of all requests of one kind together; each job has one.
_ALL: Final = {True: 24 << 20, False: 96 << 20}
_MOST: Final = 3_000
_ACCEPTED: Final = "SELECT count(*) FROM callback WHERE verdict = 'accepted'"
#: KiB of a body, and what fills it.
SIZES: Final = (16, 256)
KINDS: Final = ("members", "text")
Values = Mapping[str, float]


def names(size: int, kind: str) -> tuple[str, str]:
    """What the rates of one kind of callback are called: the receiver's, and the bare route's."""
    return f"ingest-{size}KiB-{kind}", f"bare-{size}KiB-{kind}"


def ingest(bench: Bench, *, size: int, kind: str) -> Values:
    """First-time callbacks of that kind."""
    name, _ = names(size, kind)
    stock = _stock(bench, size, kind)
    with bench.room() as folder:
        copy_database(stock / "receiver.db", folder / "receiver.db")
        with serving(folder, environ(folder)) as server:
            tally = _load(bench, server, stock, size)
            check_stored(folder / "receiver.db", _ACCEPTED, acked=tally.right)
            return rates(name, server, tally)


def bare(bench: Bench, *, size: int, kind: str) -> Values:
    """The same to a route that only reads the body."""
    _, name = names(size, kind)
    with bench.room() as folder, script("bare.py", folder=folder) as server:
        return rates(name, server, _load(bench, server, _stock(bench, size, kind), size))


def runs() -> dict[Callable[[Bench], Values], tuple[str, ...]]:
    """Every run, and the rate that it brings."""
    found: dict[Callable[[Bench], Values], tuple[str, ...]] = {}
    for size in SIZES:
        for kind in KINDS:
            ours, theirs = names(size, kind)
            found[partial(ingest, size=size, kind=kind)] = (ours,)
            found[partial(bare, size=size, kind=kind)] = (theirs,)
    return found


def _count(bench: Bench, size: int) -> int:
    return min(_ALL[bench.short] // (size << 10), _MOST)


def _stock(bench: Bench, size: int, kind: str) -> Path:
    """The folder with the database and the callbacks of one kind, made once."""
    folder = bench.folder / f"large-{size}-{kind}"
    if not folder.exists():
        folder.mkdir()
        settings = environ(folder)
        ids = prepared(folder, settings, _count(bench, size))
        write_callbacks(folder / "genuine", ids, settings, body=partial(_body, size=size << 10, kind=kind))
    return folder


def _load(bench: Bench, server: Server, stock: Path, size: int) -> Tally:
    order = Order(
        port=server.port,
        file=str(stock / "genuine"),
        connections=CONNECTIONS,
        expect=200,
        count=_count(bench, size),
        warm_up=0.05,
    )
    return drive(order)


def _body(job_id: str, *, size: int, kind: str) -> bytes:
    document = {"id": remote_id(job_id), "status": "done", "result": {"title": "x"}}
    if kind == "text":
        document["result"] = {"text": "what was found, at length. " * (size // 27)}
    else:
        items = [
            {"id": place, "url": f"https://example.com/{place}", "score": 0.5} for place in range(size // 58)
        ]
        document["result"] = {"items": items}
    return json.dumps(document).encode()
