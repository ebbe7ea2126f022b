"""How many completions a second go through a NATS sink, against bare publishers that wait for acknowledgements.

One publisher waits for each acknowledgement before it sends the next, as a loop over what is to be sent does. The other
has as many under way at once as the sink. Neither keeps a record: it reads no job, makes no event of it, and forgets
what was sent when it ends. The sink does all that, and commits how each attempt ended.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from receiver.core.model import SECOND
from tests.sinks import servers

from .bench import CONNECTIONS, Bench
from .dispatch import until_none_waits
from .figure import Figure, UnmeasuredError
from .generator import Order
from .handlers import CONCURRENCY
from .load import WrongError, drive
from .machine import SERVER_CORE, on_core
from .servers import RIVALS, serving

_JOBS: Final = 3_000
_SUBJECT: Final = "jobs.bench.succeeded"


def nats(bench: Bench) -> Sequence[Figure]:
    """All write to the same server, the same payload, in turn: against each of the two publishers."""
    rounds = [_round(bench) for _ in range(bench.rounds)]
    ours, alone, together = sorted(rounds)[len(rounds) // 2]
    return [
        Figure(
            name="sink/nats-py",
            target=0.5,
            at_most=False,
            runs=[one / other for one, other, _ in rounds],
            seen={"sink/s": ours, "nats-py, one at a time/s": alone},
        ),
        Figure(
            name="sink/nats-py-at-once",
            target=0.5,
            at_most=False,
            runs=[one / other for one, _, other in rounds],
            usual=0.24,
            seen={f"nats-py, {CONCURRENCY} at once/s": together},
        ),
    ]


def _round(bench: Bench) -> tuple[float, float, float]:
    """How many a second the sink sends, a publisher that waits for each, and one that waits for many at once."""
    with bench.room() as folder, contextlib.ExitStack() as stack:
        (folder / "nats").mkdir()
        try:
            server = stack.enter_context(servers.nats(folder / "nats"))
        except (OSError, AssertionError) as error:
            raise UnmeasuredError(f"NATS does not start: {error}") from error
        asyncio.run(_make_stream(server.port))
        settings = dict(bench.stock.copy(folder)) | {
            "RECEIVER_HANDLERS": "",
            "RECEIVER_SINKS": str(folder / "sinks.toml"),
        }
        (folder / "sinks.toml").write_text(
            f'[sinks.bench]\nto = "nats://127.0.0.1:{server.port}/jobs.{{provider}}.{{state}}"\n'
            f"concurrency = {CONCURRENCY}\n",
            encoding="utf-8",
        )
        ours, payload = _sent(folder, settings, bench.stock.genuine, server.port)
        (folder / "payload").write_bytes(payload)
        alone, together = [_published(server.port, folder / "payload", many) for many in (1, CONCURRENCY)]
        return ours, alone, together


async def _make_stream(port: int) -> None:
    import nats  # noqa: PLC0415

    client = await nats.connect(f"nats://127.0.0.1:{port}")
    await client.jetstream().add_stream(name="jobs", subjects=["jobs.>"])
    await client.close()


def _sent(folder: Path, settings: Mapping[str, str], requests: Path, port: int) -> tuple[float, bytes]:
    """Have completions wait for the sink, then start the worker: how many a second arrive, and what one is."""
    with serving(folder, settings) as server:
        order = Order(port=server.port, file=str(requests), connections=CONNECTIONS, expect=200, count=_JOBS)
        acked = drive(order).right
    with serving(folder, settings, worker=True):
        asyncio.run(until_none_waits(settings["RECEIVER_DATABASE_URL"], "sink:bench"))
    return asyncio.run(_arrived(port, acked))


async def _arrived(port: int, many: int) -> tuple[float, bytes]:
    """By the server's own clock, from the first message to the last."""
    import nats  # noqa: PLC0415

    client = await nats.connect(f"nats://127.0.0.1:{port}")
    stream = client.jetstream()
    state = (await stream.stream_info("jobs")).state
    first, last = [await stream.get_msg("jobs", number) for number in (1, state.last_seq)]
    await client.close()
    if state.messages != many or first.time is None or last.time is None:
        raise WrongError(f"{many} completions were acknowledged and {state.messages} arrived")
    return (many - 1) / ((last.time - first.time).total_seconds() or 1 / SECOND), first.data or b""


def _published(port: int, payload: Path, concurrency: int) -> float:
    given = (port, _SUBJECT, _JOBS, payload, concurrency)
    command = [sys.executable, str(RIVALS / "nats_app.py"), *map(str, given)]
    with on_core(SERVER_CORE):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise WrongError(f"nats_app.py failed: {done.stderr.strip()[-600:]}")
    return float(done.stdout)
