"""The file store in an object store: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.

An upload in parts cannot be seen before it is complete. It goes to a name that we made up, and is then named by its
digest, which is known at its end only. Credentials come from the environment, under the vendors' own names.
"""

import io
import secrets
from collections.abc import AsyncIterator, Awaitable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store

from receiver.files.store import MARK, PIECE, Digests, FileGoneError, FileStoreError, Kept, Swept
from receiver.settings import Settings

T = TypeVar("T")

#: Bytes of a part: the least that S3 takes, because each file that is written has one in memory.
_PART: Final = 5 * 1024 * 1024
#: So many digests are asked about at a time.
_BATCH: Final = 500
#: What is handed on from our own environment, whose secrets may be in files (``NAME_FILE``); the vendors' other
#: variables are read by their client itself.
_S3: Final = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
    "region": "AWS_REGION",
    "endpoint": "AWS_ENDPOINT_URL",
}
_AZURE: Final = {"account_name": "AZURE_STORAGE_ACCOUNT_NAME", "account_key": "AZURE_STORAGE_ACCOUNT_KEY"}
_GOOGLE: Final = {"service_account": "GOOGLE_SERVICE_ACCOUNT"}
_KINDS: Final[dict[str, tuple[Any, dict[str, str]]]] = {
    "s3": (S3Store, _S3),
    "gs": (GCSStore, _GOOGLE),
    "az": (AzureStore, _AZURE),
}


class Bucket:
    """Files in an object store."""

    #: Each has a part of its upload in memory.
    at_once = 8

    def __init__(self, url: str, settings: Settings) -> None:
        parts = urlsplit(url)
        kind, names = _KINDS[parts.scheme]
        config = {
            key: value
            for key, name in names.items()
            if (value := settings.resolve(f"env:{name}")) is not None
        }
        plain = config.get("endpoint", "").startswith("http:")
        self.where = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._store = kind.from_url(
            self.where,
            config=config,
            client_options={"allow_http": True} if plain else {},
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
        )

    async def begin(self, *, partial: str | None = None, received: int = 0) -> "BucketWriting":  # noqa: ARG002
        """Begin a file, always anew: nothing goes on with an upload that somebody else began."""
        return BucketWriting(self, self._store)

    async def read(self, sha256: str, *, start: int, length: int) -> AsyncIterator[bytes]:
        """A part of a file; see ``store.FileStore``."""
        if length <= 0:
            return
        with self.trouble():
            found = await obstore.get_async(
                self._store, _key(sha256), options={"range": (start, start + length)}
            )
            async for piece in found.stream(min_chunk_size=PIECE):
                yield bytes(piece)

    def open(self, sha256: str) -> BinaryIO:
        """A file, opened for reading; raises FileGoneError."""
        with self.trouble():
            return io.BufferedReader(_Reading(obstore.open_reader(self._store, _key(sha256))), PIECE)

    def path(self, sha256: str) -> Path | None:  # noqa: ARG002
        """None: an object has no path here."""
        return None

    async def has(self, sha256: str) -> bool:
        """Whether a file is there."""
        try:
            await self.ask(obstore.head_async(self._store, _key(sha256)))
        except FileGoneError:
            return False
        return True

    async def delete(self, sha256: str) -> None:
        """Delete a file."""
        await self.drop(_key(sha256))

    async def drop(self, key: str) -> None:
        """Delete what is at *key*, if anything is."""
        try:
            await self.ask(obstore.delete_async(self._store, key))
        except FileGoneError:
            return

    async def sweep(self, kept: Kept, *, unfinished: Collection[str], older_than: int) -> Swept:  # noqa: ARG002
        """Delete what nobody has; see ``store.FileStore``. Nobody goes on with what is unfinished."""
        before = datetime.now(UTC) - timedelta(seconds=older_than)  # noqa: TID251  (compared with the store's own times)
        files = left = size = 0
        with self.trouble():
            async for batch in obstore.list(self._store, "sha256/", chunk_size=_BATCH):
                old = {one["path"].rpartition("/")[2]: one for one in batch if one["last_modified"] < before}
                for name in old.keys() - (await kept(sorted(old)) if old else set()):
                    # The file may have been put there anew since it was listed.
                    now = await obstore.head_async(self._store, old[name]["path"])
                    if now["last_modified"] < before:
                        await self.drop(old[name]["path"])
                        files, size = files + 1, size + now["size"]
            async for batch in obstore.list(self._store, "unfinished/"):
                for one in batch:
                    if one["last_modified"] < before:
                        await self.drop(one["path"])
                        left, size = left + 1, size + one["size"]
        return Swept(files=files, unfinished=left, bytes=size)

    async def room(self) -> int | None:
        """None: nobody knows."""
        return None

    async def mark(self) -> str | None:
        """The id that stands there."""
        try:
            found = await self.ask(obstore.get_async(self._store, MARK))
            return bytes(await self.ask(found.bytes_async())).decode("ascii", "replace").strip()
        except FileGoneError:
            return None

    async def set_mark(self, text: str) -> None:
        """Give it its id, unless it has one."""
        try:
            if await self.mark() is None:
                await self.ask(obstore.put_async(self._store, MARK, text.encode()))
        except FileGoneError as error:
            raise FileStoreError(f"{self.where} cannot be used: there is no such bucket.") from error

    async def close(self) -> None:
        """Nothing is held."""

    async def ask(self, work: Awaitable[T]) -> T:
        """Wait for *work*; raises FileStoreError where it fails."""
        with self.trouble():
            return await work

    @contextmanager
    def trouble(self) -> Iterator[None]:
        """Raise what the client raises as FileStoreError, without what it says of credentials."""
        try:
            yield
        except (exceptions.NotFoundError, FileNotFoundError) as error:
            raise FileGoneError(f"A file is not in {self.where} any more.") from error
        except (exceptions.BaseError, OSError) as error:
            raise FileStoreError(f"{self.where} cannot be used: {type(error).__name__}.") from error


class BucketWriting:
    """A file on its way into an object store."""

    def __init__(self, bucket: Bucket, store: Any) -> None:  # noqa: ANN401  (one of three, without a common base)
        self._bucket = bucket
        self._store = store
        self._begin()

    def _begin(self) -> None:
        self._key = f"unfinished/{secrets.token_hex(16)}"
        self._writer = obstore.open_writer_async(self._store, self._key, buffer_size=_PART, max_concurrency=1)
        #: Nothing that is left can be gone on with.
        self.name = ""
        self.size = 0
        self.digests = Digests()

    async def write(self, pieces: Sequence[bytes]) -> None:
        """Write on."""
        joined = b"".join(pieces)
        await self._bucket.ask(self._writer.write(joined))
        self.digests.add(joined)
        self.size += len(joined)

    async def secure(self) -> int:
        """Nothing is safe of an upload that is not complete."""
        return 0

    async def restart(self) -> None:
        """Begin anew; the parts of the old upload are the store's to drop."""
        self._begin()

    async def finish(self) -> str:
        """Complete the upload, and name it."""
        await self._bucket.ask(self._writer.close())
        digest = (self.digests.of("sha256") or b"").hex()
        await self._bucket.ask(obstore.copy_async(self._store, self._key, _key(digest)))
        await self._bucket.drop(self._key)
        return digest

    async def leave(self) -> None:
        """Let go of it."""

    async def discard(self) -> None:
        """Let go of it: an upload that was never completed cannot be seen by anybody."""


class _Reading(io.RawIOBase):
    """An object, read as a file."""

    def __init__(self, reader: Any) -> None:  # noqa: ANN401  (the client's own)
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  (a writable buffer)
        piece = bytes(self._reader.read(len(buffer)))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            self._reader.close()
        super().close()


def _key(sha256: str) -> str:
    return f"sha256/{sha256[:2]}/{sha256}"
