"""Proving: bring a callback and the keys for it together, wherever those keys are.

They may be configured, derived for one job, published by the provider, or handed out with the submit answer.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

from msgspec.structs import replace

from receiver.core.address import within
from receiver.core.body.encoding import looks_packed
from receiver.core.description.provider import Provider
from receiver.core.errors import (
    ConfigurationError,
    KeyUnavailableError,
    KeyUnknownError,
    RejectionError,
    SenderNotAllowedError,
    SignatureMismatchError,
)
from receiver.core.job.admission import Examined, examine
from receiver.core.message import Message
from receiver.core.model import Callback, Value, Verdict
from receiver.core.signature.diagnosis import Diagnosis, diagnose
from receiver.core.signature.token import MasterKey, callback_url, mint
from receiver.core.signature.verify import Key, Verified, load_key, verify
from receiver.core.signature.walk import Checked, walk
from receiver.keys import Keys
from receiver.outbound.certificates import Certificates
from receiver.outbound.keysets import KeySets
from receiver.readers import LARGE, Readers
from receiver.storage.store import Store
from receiver.threads import off_loop

T = TypeVar("T")

_ENCODED: Final = b"content-encoding"


class Way(Value, frozen=True, kw_only=True):
    """An address that is ours: whose it is, and what its token proved; ``job_id`` is ``None`` account-wide."""

    provider: Provider
    job_id: str | None = None
    #: The master key that the token was made with.
    master: MasterKey | None = None


class Proving:
    """Proves and reads callbacks, live or stored."""

    def __init__(
        self,
        *,
        keys: Keys,
        key_sets: KeySets,
        certificates: Certificates,
        store: Store,
        public_url: str | None,
        largest: int,
    ) -> None:
        self._keys = keys
        self._key_sets = key_sets
        self._certificates = certificates
        self._store = store
        self._public_url = (public_url or "").rstrip("/")
        self._largest = largest
        self._readers = Readers()

    async def examine(self, message: Message, way: Way, *, now: int) -> Examined:
        """Prove and read *message*, which came by *way*, as of *now*.

        Raises:
            RejectionError: it is not proved genuine, or comes from where its provider never calls.
            KeyUnavailableError: the key that would prove it is missing or out of reach.
        """
        provider = way.provider
        if provider.senders:
            _check_sender(message, provider)
        if provider.verify is not None and provider.verify.covers_url:
            message = replace(message, url=self._signed_url(message, way))
        small = len(message.body) < LARGE and not (
            looks_packed(message.body) or _ENCODED in dict(message.headers)
        )
        keys = self._keys.fixed(provider)
        if small and keys:
            # Most callbacks: nothing is waited for, and nobody publishes other keys.
            return examine(message, provider=provider, keys=keys, now=now, largest=self._largest)

        async def examined(keys: Sequence[Key]) -> Examined:
            if small:
                return examine(message, provider=provider, keys=keys, now=now, largest=self._largest)
            return await self._apart(message, provider, keys, now)

        return await self._proved(way, examined, message, now=now)

    async def _proved(
        self, way: Way, prove: Callable[[Sequence[Key]], Awaitable[T]], message: Message, *, now: int
    ) -> T:
        """What *prove* makes of the keys in force; where none fits, of those that the provider publishes now."""
        provider = way.provider
        keys = self._keys.fixed(provider) or await self.keys_for(way, message, now=now)
        try:
            return await prove(keys)
        except (KeyUnknownError, SignatureMismatchError):
            # A set without names says nothing about which key is meant: any that fails may be a new one.
            fresh = await self._key_sets.keys(provider, unknown=True)
            if fresh is None or fresh == keys:
                raise
            return await prove(fresh)

    async def _apart(self, message: Message, provider: Provider, keys: Sequence[Key], now: int) -> Examined:
        """Examine *message* off the event loop: to read megabytes of JSON takes a second."""
        return await self._readers.read(
            len(message.body),
            examine,
            message,
            provider=provider,
            keys=keys,
            now=now,
            largest=self._largest,
        )

    async def examine_stored(self, callback: Callback, provider: Provider) -> tuple[Examined, str]:
        """Prove and read a stored callback again, as of its arrival, with the keys now in force.

        The token that it carried is not stored; it is made again from each master key that may have made it.

        Returns:
            What was read, and the id of the master key.

        Raises:
            RejectionError: it is not proved genuine under any of them.
            KeyUnavailableError: the key that would prove it is missing or out of reach.
        """
        message = _message(callback)
        refusal: RejectionError | None = None
        for master in self._keys.masters:
            way = _way(callback, provider, master)
            try:
                examined = await self.examine(message, way, now=callback.received_at)
            except RejectionError as error:
                refusal = refusal or error
            else:
                return examined, master.id
        if refusal is None:
            raise ConfigurationError("RECEIVER_SECRET_KEY is not set.", code="secret_key_missing")
        raise refusal

    async def verify(self, message: Message, way: Way, *, now: int) -> Verified:
        """Prove a message that is not to be admitted; raises as ``examine`` does."""
        scheme = way.provider.verify
        assert scheme is not None  # noqa: S101  (the caller looked)

        async def verified(keys: Sequence[Key]) -> Verified:
            return verify(message, scheme=scheme, keys=keys, now=now)

        return await self._proved(way, verified, message, now=now)

    async def diagnosis(
        self, callback: Callback, provider: Provider, *, providers: Mapping[str, Provider]
    ) -> Diagnosis | None:
        """Say why a stored callback was rejected, as of its arrival; ``None`` where it was not."""
        if callback.verdict is not Verdict.REJECTED or provider.verify is None:
            return None
        message, way = _message(callback), _way(callback, provider, next(iter(self._keys.masters), None))
        message = replace(message, url=self._signed_url(message, way))
        try:
            _check_sender(message, provider)
        except SenderNotAllowedError as error:
            return Diagnosis(code=error.code, sentence=str(error))
        keys: Sequence[Key] = ()
        try:
            keys = await self.keys_for(way, message, now=callback.received_at)
            verify(message, scheme=provider.verify, keys=keys, now=callback.received_at)
        except KeyUnavailableError as error:
            return Diagnosis(code=error.code, sentence=str(error))
        except RejectionError as error:
            # Some hundred MACs over the whole body: not on the event loop.
            return await off_loop(
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

    async def walk(self, callback: Callback, provider: Provider) -> list[Checked]:
        """Every step of checking a stored callback, as of its arrival, with the keys now in force."""
        if provider.verify is None:
            return []
        message, way = _message(callback), _way(callback, provider, next(iter(self._keys.masters), None))
        message = replace(message, url=self._signed_url(message, way))
        keys: Sequence[Key] = ()
        missing: list[Checked] = []
        try:
            keys = await self.keys_for(way, message, now=callback.received_at)
        except (KeyUnavailableError, RejectionError) as error:
            missing = [Checked(mark="bad", sentence=str(error))]
        found = await off_loop(walk, message, scheme=provider.verify, keys=keys, now=callback.received_at)
        return missing + found

    async def keys_for(self, way: Way, message: Message, *, now: int) -> Sequence[Key]:
        """The keys that prove *message*, which came by *way*, genuine, newest first.

        Raises:
            KeyUnavailableError: there is none, or it cannot be had.
            RejectionError: the message itself says what proves it, and that is not the provider's.
        """
        provider, job_id = way.provider, way.job_id
        scheme, key = provider.verify, provider.key
        if key is not None and key.source == "jwks":
            return await self._key_sets.keys(provider) or ()
        if key is not None and key.source == "certificate":
            return await self._certificates.keys(provider, message, now=now)
        if key is not None and key.source == "submit-answer":
            sealed = None if job_id is None else await self._store.sealed_key(job_id)
            if job_id is None or sealed is None or scheme is None:
                # The callback may have overtaken the answer that brings its key: the sender tries again.
                raise KeyUnavailableError(f"The key for this callback of {provider.name} is not here (yet).")
            return (load_key("answer", self._keys.unseal(job_id, sealed), scheme=scheme),)
        return self._keys.verifying(provider, job_id=job_id, master=way.master)

    def _signed_url(self, message: Message, way: Way) -> str:
        name = way.provider.name
        if way.job_id is not None and way.master is not None:
            token = mint(way.job_id, provider=name, key=way.master)
            url = callback_url(self._public_url, provider=name, token=token)
        else:
            url = f"{self._public_url}/webhooks/{name}"
        return f"{url}?{message.query.decode('latin-1')}" if message.query else url


def _message(callback: Callback) -> Message:
    return Message(
        body=callback.body,
        headers=callback.headers,
        query=callback.query,
        method=callback.method,
        sender=callback.sender,
    )


def _check_sender(message: Message, provider: Provider) -> None:
    """Raise SenderNotAllowedError where the description lists the senders of callbacks, and this one is not listed.

    A callback that was stored before senders were kept passes: nobody knows its sender.
    """
    sender = message.sender
    if provider.senders and sender is not None and not within(sender, provider.senders):
        raise SenderNotAllowedError(
            f"It came from {sender}, and allow_from of {provider.name} does not name that network. If that is a proxy "
            "of yours, add it to RECEIVER_TRUSTED_PROXIES; if the provider has moved, correct its description and run: "
            f"receiver callbacks reverify --provider {provider.name}"
        )


def _way(callback: Callback, provider: Provider, master: MasterKey | None) -> Way:
    """The way by which a stored callback came; one to the account's address may have found its job since."""
    named = callback.route == "callbacks"
    return Way(provider=provider, job_id=callback.job_id if named else None, master=master)
