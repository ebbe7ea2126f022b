"""Rival (b), what a user would write: FastAPI, SQLAlchemy on SQLite, one commit per event, a background task.

Written with care: write-ahead log, ``synchronous=FULL`` (the durability that the receiver has), a constant-time
comparison, a unique key against duplicates, and one connection kept open.
"""

# Its packages are installed for a run only, into an environment of their own.
# mypy: disable-error-code="import-not-found, misc, untyped-decorator"

import hashlib
import hmac
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, FastAPI, HTTPException, Request
from sqlalchemy import LargeBinary, String, event
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.bench.rivals.serving import serve

SECRET = os.environ["BENCH_SECRET"].encode()
engine = create_async_engine(f"sqlite+aiosqlite:///{os.environ['DATABASE']}", pool_size=5)
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """The tables."""


class Event(Base):
    """One callback."""

    __tablename__ = "event"

    id: Mapped[str] = mapped_column(String, primary_key=True)
    received_at: Mapped[float]
    status: Mapped[str]
    body: Mapped[bytes] = mapped_column(LargeBinary)


@event.listens_for(engine.sync_engine, "connect")
def durable(connection: object, _record: object) -> None:
    """Set up a connection."""
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Make the tables."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def handle(_document: dict[str, object]) -> None:
    """Do what a completion is for: here, nothing."""


@app.post("/callbacks/{provider}/{token}")
async def take(provider: str, token: str, request: Request, background: BackgroundTasks) -> dict[str, bool]:
    """Take one callback."""
    body = await request.body()
    expected = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, request.headers.get("x-signature", "")):
        raise HTTPException(401)
    document = json.loads(body)
    async with sessions() as session:
        session.add(Event(id=document["id"], received_at=time.time(), status=document["status"], body=body))
        try:
            await session.commit()
        except IntegrityError:
            return {"duplicate": True}
    background.add_task(handle, document)
    return {"duplicate": False}


if __name__ == "__main__":
    serve(app)
