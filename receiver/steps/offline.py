"""Verification as a library call: no database, no running receiver, one message."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from receiver.catalog import Catalog
from receiver.core.errors import RequestError
from receiver.core.message import lowered
from receiver.core.signature.verify import Key, Message, Verified, load_key, verify
from receiver.keys import Keys
from receiver.settings import Settings, from_environment


def verify_message(
    provider: str,
    *,
    body: bytes,
    headers: Mapping[str, str] | Sequence[tuple[bytes, bytes]] | Sequence[tuple[str, str]],
    url: str = "",
    keys: Sequence[str] | None = None,
    at: datetime | None = None,
    settings: Settings | None = None,
) -> Verified:
    """Verify one message by a provider's scheme; needs neither a database nor a running receiver.

    Args:
        provider: The provider's name.
        body: The bytes as they arrived.
        headers: The headers as they arrived; a sequence keeps their order and duplicates.
        url: The URL that the message was sent to; needed where the URL is signed, and where the key is one
            job's own, which its token names.
        keys: Keys as they would be configured; those of the settings if left out.
        at: The time as of which the message is judged; now if left out.
        settings: Read from the environment if left out.

    Raises:
        RejectionError: it is not proved genuine; ``code`` says which proof failed.
        KeyUnavailableError: there is no key to prove it with.
        RequestError: there is no such provider, or it signs nothing.
    """
    settings = settings or from_environment()
    described = Catalog.load(settings).named(provider)
    if described.verify is None or not described.signed:
        raise RequestError(f"{provider} signs nothing that could be verified.", code="unsigned_provider")
    if keys is not None:
        loaded: Sequence[Key] = [
            load_key(f"key#{n}", text, scheme=described.verify) for n, text in enumerate(keys, start=1)
        ]
    else:
        own = Keys(settings)
        job_id, master = own.check(url.partition("?")[0].rpartition("/")[2], provider=provider) or (
            None,
            None,
        )
        loaded = own.verifying(described, job_id=job_id, master=master)
    given = headers.items() if isinstance(headers, Mapping) else headers
    pairs = lowered((_raw(name), _raw(value)) for name, value in given)
    message = Message(body=body, headers=pairs, url=url, query=url.partition("?")[2].encode())
    now = time.time_ns() // 1_000_000 if at is None else int(at.timestamp() * 1000)
    return verify(message, scheme=described.verify, keys=loaded, now=now)


def _raw(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
