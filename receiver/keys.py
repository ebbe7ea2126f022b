"""Keys: the receiver's own, the providers', and the credentials that go out."""

import base64
from collections.abc import Sequence

from receiver.core.admission import Examined, examine
from receiver.core.errors import ConfigurationError, KeyUnavailableError, RejectionError
from receiver.core.model import Callback
from receiver.core.provider import KeySource, Provider
from receiver.core.signature import Key, load_key
from receiver.core.token import MasterKey, check, job_secret, mint
from receiver.settings import Settings


class Keys:
    """Hands out keys by what they are for. Nothing here is logged, and no error names a value."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._masters = settings.master_keys
        self._loaded: dict[tuple[str, str], tuple[Key, ...]] = {}

    @property
    def masters(self) -> tuple[MasterKey, ...]:
        """The master keys in force, newest first."""
        return self._masters

    @property
    def newest(self) -> MasterKey:
        """The key that new tokens are made with; raises ConfigurationError where there is none."""
        if not self._masters:
            raise ConfigurationError(
                "RECEIVER_SECRET_KEY is not set; make a key with: receiver keygen", code="secret_key_missing"
            )
        return self._masters[0]

    def mint(self, job_id: str, *, provider: str) -> str:
        """Make the callback token of a job."""
        return mint(job_id, provider=provider, key=self.newest)

    def check(self, token: str, *, provider: str) -> tuple[str, MasterKey] | None:
        """The job that a genuine token names, and its key."""
        return check(token, provider=provider, keys=self._masters)

    def job_secret(self, job_id: str, provider: Provider, *, master: MasterKey) -> bytes:
        """The signing secret of one job, as the text that the provider is given."""
        raw = job_secret(job_id, provider=provider.name, key=master)
        encoding = provider.callback.secret_encoding if provider.callback is not None else "hex"
        return raw.hex().encode() if encoding == "hex" else base64.b64encode(raw)

    def verifying(self, provider: Provider, *, job_id: str | None, master: MasterKey | None) -> Sequence[Key]:
        """The keys that prove a callback of *provider* genuine, newest first.

        Raises:
            KeyUnavailableError: none is configured.
        """
        if not provider.signed or provider.verify is None or provider.key is None:
            return ()
        if provider.key.source == "per-job":
            if job_id is None or master is None:
                return ()
            secret = self.job_secret(job_id, provider, master=master)
            return (load_key(f"job:{master.id}", secret.decode(), scheme=provider.verify),)
        return self._configured(provider, provider.key)

    def _configured(self, provider: Provider, source: KeySource) -> tuple[Key, ...]:
        reference = source.secret or ""
        text = self._settings.resolve(reference)
        if not text:
            raise KeyUnavailableError(
                f"Callbacks of {provider.name} cannot be verified: {reference.removeprefix('env:')} is not set."
            )
        known = self._loaded.get((provider.name, text))
        if known is None:
            assert provider.verify is not None  # noqa: S101  (the caller looked)
            name = reference.partition(":")[2]
            # PEM and JWK contain commas or line breaks of their own; shared secrets do not.
            several = [text] if provider.verify.key_encoding in {"pem", "jwk"} else text.split(",")
            try:
                known = tuple(
                    load_key(f"{name}#{place}", one, scheme=provider.verify)
                    for place, one in enumerate(several, start=1)
                    if one.strip()
                )
            except ConfigurationError as error:
                raise KeyUnavailableError(str(error), code=error.code) from error
            self._loaded[provider.name, text] = known
        return known

    def examine(
        self, callback: Callback, provider: Provider, *, master: MasterKey | None, now: int
    ) -> Examined:
        """Prove and read *callback* as of *now*; *master* is the key that its token was made with.

        Raises:
            RejectionError: it is not proved genuine.
            KeyUnavailableError: the key that would prove it is missing.
        """
        return examine(
            callback,
            provider=provider,
            keys=self.verifying(provider, job_id=callback.job_id, master=master),
            url=self._signed_url(callback, master),
            now=now,
            largest=self._settings.max_body,
        )

    def examine_stored(self, callback: Callback, provider: Provider) -> tuple[Examined, str]:
        """Prove and read a stored callback again, as of its arrival, with the keys now in force.

        The token that it carried is not stored; it is made again from each master key that may have made it.

        Returns:
            What was read, and the id of the master key.

        Raises:
            RejectionError: it is not proved genuine under any of them.
            KeyUnavailableError: the key that would prove it is missing.
        """
        if not self._masters:
            raise ConfigurationError("RECEIVER_SECRET_KEY is not set.", code="secret_key_missing")
        refusal: RejectionError | None = None
        for master in self._masters:
            try:
                examined = self.examine(callback, provider, master=master, now=callback.received_at)
            except RejectionError as error:
                refusal = refusal or error
            else:
                return examined, master.id
        assert refusal is not None  # noqa: S101  (there is at least one key, and none of them passed)
        raise refusal

    def _signed_url(self, callback: Callback, master: MasterKey | None) -> str:
        url = f"{(self._settings.public_url or '').rstrip('/')}/{callback.route}/{callback.provider}"
        if callback.route == "callbacks" and callback.job_id is not None and master is not None:
            url += "/" + mint(callback.job_id, provider=callback.provider, key=master)
        return f"{url}?{callback.query.decode('latin-1')}" if callback.query else url

    def credentials(self, provider: Provider) -> dict[str, str]:
        """The headers that authenticate us to *provider*, and its fixed ones.

        Raises:
            ConfigurationError: none of the ways that its description names is configured.
        """
        headers = self._authorization(provider)
        for name, value in provider.headers.items():
            text = self._settings.resolve(value) if value.startswith(("env:", "file:")) else value
            if text:
                headers[name] = text
        return headers

    def _authorization(self, provider: Provider) -> dict[str, str]:
        if not provider.credentials:
            return {}
        wanted = []
        for one in provider.credentials:
            references = [one.secret] if one.basic is None else list(one.basic)
            values = [self._settings.resolve(reference or "") for reference in references]
            found = [value for value in values if value]
            if len(found) == len(references):
                if one.basic is None:
                    return {one.header: one.prefix + found[0]}
                return {one.header: "Basic " + base64.b64encode(":".join(found).encode()).decode()}
            wanted.append(" and ".join((reference or "").partition(":")[2] for reference in references))
        raise ConfigurationError(
            f"No credentials for {provider.name}: set {' or '.join(wanted)}.", code="credentials_missing"
        )
