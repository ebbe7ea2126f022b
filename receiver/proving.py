"""Proving: bring a callback and the keys for it together, wherever those keys are.

They may be configured, derived for one job, published by the provider, or handed out with the submit answer.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from receiver.core.admission import Examined, examine
from receiver.core.diagnosis import Diagnosis, diagnose
from receiver.core.errors import ConfigurationError, KeyUnavailableError, KeyUnknownError, RejectionError
from receiver.core.model import Callback, Verdict
from receiver.core.provider import Provider, is_reference
from receiver.core.signature import Key, Message, Verified, load_key, verify
from receiver.core.token import MasterKey, mint
from receiver.keys import Keys
from receiver.keysets import KeySets
from receiver.storage.store import Store

#: From this many bytes on, a body is read off the event loop.
_LARGE: Final = 64 * 1024
_ENCODED: Final = b"content-encoding"


class Proving:
    """Proves and reads callbacks, live or stored."""

    def __init__(
        self, *, keys: Keys, key_sets: KeySets, store: Store, public_url: str | None, largest: int
    ) -> None:
        self._keys = keys
        self._key_sets = key_sets
        self._store = store
        self._public_url = (public_url or "").rstrip("/")
        self._largest = largest
        self._reading = asyncio.Semaphore(1)

    async def examine(
        self, callback: Callback, provider: Provider, *, master: MasterKey | None, now: int
    ) -> Examined:
        """Prove and read *callback* as of *now*; *master* is the key that its token was made with.

        Raises:
            RejectionError: it is not proved genuine.
            KeyUnavailableError: the key that would prove it is missing or out of reach.
        """
        keys = await self.keys_for(provider, job_id=callback.job_id, master=master)
        signs_url = provider.verify is not None and provider.verify.covers_url
        url = self._signed_url(callback, master) if signs_url else ""
        try:
            return await self._examine(callback, provider, keys, url=url, now=now)
        except KeyUnknownError:
            fresh = await self._key_sets.keys(provider, unknown=True)
            if fresh is None or fresh == keys:
                raise
            return await self._examine(callback, provider, fresh, url=url, now=now)

    async def _examine(
        self, callback: Callback, provider: Provider, keys: Sequence[Key], *, url: str, now: int
    ) -> Examined:
        work = partial(
            examine, callback, provider=provider, keys=keys, url=url, now=now, largest=self._largest
        )
        if len(callback.body) < _LARGE and _ENCODED not in dict(callback.headers):
            return work()
        # Reading megabytes of JSON takes a second, in which every other callback would wait; one at a time,
        # because each takes many times its size in memory.
        async with self._reading:
            return await asyncio.to_thread(work)

    async def examine_stored(self, callback: Callback, provider: Provider) -> tuple[Examined, str]:
        """Prove and read a stored callback again, as of its arrival, with the keys now in force.

        The token that it carried is not stored; it is made again from each master key that may have made it.

        Returns:
            What was read, and the id of the master key.

        Raises:
            RejectionError: it is not proved genuine under any of them.
            KeyUnavailableError: the key that would prove it is missing or out of reach.
        """
        refusal: RejectionError | None = None
        for master in self._keys.masters:
            try:
                examined = await self.examine(callback, provider, master=master, now=callback.received_at)
            except RejectionError as error:
                refusal = refusal or error
            else:
                return examined, master.id
        if refusal is None:
            raise ConfigurationError("RECEIVER_SECRET_KEY is not set.", code="secret_key_missing")
        raise refusal

    async def verify(
        self, message: Message, provider: Provider, *, job_id: str | None, master: MasterKey | None, now: int
    ) -> Verified:
        """Prove a message that is not to be admitted; raises as ``examine`` does."""
        assert provider.verify is not None  # noqa: S101  (the caller looked)
        keys = await self.keys_for(provider, job_id=job_id, master=master)
        try:
            return verify(message, scheme=provider.verify, keys=keys, now=now)
        except KeyUnknownError:
            fresh = await self._key_sets.keys(provider, unknown=True)
            if fresh is None or fresh == keys:
                raise
            return verify(message, scheme=provider.verify, keys=fresh, now=now)

    async def diagnosis(
        self, callback: Callback, provider: Provider, *, providers: Mapping[str, Provider]
    ) -> Diagnosis | None:
        """Say why a stored callback was rejected, as of its arrival; ``None`` where it was not."""
        if callback.verdict is not Verdict.REJECTED or provider.verify is None:
            return None
        master = next(iter(self._keys.masters), None)
        message = Message(
            body=callback.body,
            headers=callback.headers,
            url=self._signed_url(callback, master),
            query=callback.query,
            method=callback.method,
        )
        try:
            keys = await self.keys_for(provider, job_id=callback.job_id, master=master)
            verify(message, scheme=provider.verify, keys=keys, now=callback.received_at)
        except KeyUnavailableError as error:
            return Diagnosis(code=error.code, sentence=str(error))
        except RejectionError as error:
            # Some hundred MACs over the whole body: not on the event loop.
            return await asyncio.to_thread(
                diagnose,
                message,
                scheme=provider.verify,
                keys=keys,
                now=callback.received_at,
                error=error,
                other_keys=self._keys.others(providers, but=provider.name),
            )
        return Diagnosis(
            code="passes_now",
            sentence="It passes with the keys now in force: receiver callbacks reverify "
            f"--provider {provider.name} admits it.",
        )

    async def keys_for(
        self, provider: Provider, *, job_id: str | None, master: MasterKey | None
    ) -> Sequence[Key]:
        """The keys that prove a callback of *provider* genuine, newest first.

        Raises:
            KeyUnavailableError: there is none, or it cannot be had.
        """
        audience = provider.verify.audience if provider.verify is not None else None
        if audience is not None and is_reference(audience):
            raise KeyUnavailableError(
                f"Callbacks of {provider.name} cannot be verified: {audience.partition(':')[2]} is not set."
            )
        source = provider.key.source if provider.key is not None else None
        if source == "jwks":
            return await self._key_sets.keys(provider) or ()
        if source == "submit-answer":
            sealed = None if job_id is None else await self._store.sealed_key(job_id)
            if job_id is None or sealed is None or provider.verify is None:
                # The callback may have overtaken the answer that brings its key: the sender tries again.
                raise KeyUnavailableError(f"The key for this callback of {provider.name} is not here (yet).")
            return (load_key("answer", self._keys.unseal(job_id, sealed), scheme=provider.verify),)
        return self._keys.verifying(provider, job_id=job_id, master=master)

    def _signed_url(self, callback: Callback, master: MasterKey | None) -> str:
        url = f"{self._public_url}/{callback.route}/{callback.provider}"
        if callback.route == "callbacks" and callback.job_id is not None and master is not None:
            url += "/" + mint(callback.job_id, provider=callback.provider, key=master)
        return f"{url}?{callback.query.decode('latin-1')}" if callback.query else url
