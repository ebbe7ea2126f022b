"""Keys: the receiver's own, the providers', and the credentials that go out."""

import base64
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from receiver.core.description.credential import Credential, Mint
from receiver.core.description.provider import KeySource, Provider
from receiver.core.description.scheme import Scheme
from receiver.core.errors import ConfigurationError, KeyUnavailableError
from receiver.core.model import Value
from receiver.core.signature.keylist import KeyList, load_keys
from receiver.core.signature.token import MasterKey, check, job_secret, mint, sealing_key
from receiver.core.signature.verify import Key, load_key
from receiver.settings import Settings

_NONCE: Final = 12


class Remarks(Value, frozen=True, kw_only=True):
    """What is to be said of the keys of a provider."""

    #: A sentence for each key that cannot be used.
    warnings: tuple[str, ...] = ()
    #: How the setting is read, where that is not plain.
    note: str | None = None


class Lacks(Value, frozen=True, kw_only=True):
    """What of a provider is not set and should be, by the names of settings; all empty where nothing is."""

    #: Without it no job can be submitted there.
    credentials: str = ""
    #: Without it callbacks cannot be verified, and are answered 503.
    secret: str = ""
    #: Why something that is set cannot be used.
    unusable: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """Every name."""
        return tuple(filter(None, (self.credentials, self.secret)))


class Minted(Value, frozen=True, kw_only=True):
    """What a credential is minted with, and where it goes."""

    mint: Mint
    header: str
    prefix: str
    #: The secrets, by the names that ``mint`` has for them.
    values: dict[str, str]

    def __repr__(self) -> str:
        return f"Minted(kind={self.mint.kind!r})"


class Keys:
    """Hands out keys by what they are for. Nothing here is logged, and no error names a value."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._masters = settings.master_keys
        self._loaded: dict[tuple[str, str], KeyList] = {}
        #: The keys of providers that stay as they are while this process runs.
        self._fixed: dict[str, tuple[Key, ...]] = {}

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

    def fixed(self, provider: Provider) -> tuple[Key, ...] | None:
        """The keys of a provider that cannot change while this process runs, once ``verifying`` has loaded them."""
        return self._fixed.get(provider.name)

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
        if provider.key.source != "settings":
            raise KeyUnavailableError(f"The keys of {provider.name} are not among the settings.")
        return self._configured(provider, provider.key).keys

    def _configured(self, provider: Provider, source: KeySource) -> KeyList:
        reference = source.secret or ""
        text = self._settings.resolve(reference)
        if not text:
            raise KeyUnavailableError(
                f"Callbacks of {provider.name} cannot be verified: {reference.removeprefix('env:')} is not set."
            )
        known = self._loaded.get((provider.name, text))
        if known is None:
            assert provider.verify is not None  # noqa: S101  (the caller looked)
            try:
                known = load_keys(reference.partition(":")[2], text, scheme=provider.verify)
            except ConfigurationError as error:
                raise KeyUnavailableError(str(error), code=error.code) from error
            self._loaded[provider.name, text] = known
            if self._settings.is_fixed(reference):
                self._fixed[provider.name] = known.keys
        return known

    def refuse_unusable(self, providers: Iterable[Provider]) -> None:
        """Raise ConfigurationError where a provider's keys are set and none of them can be used.

        What is not set is not in use, and what a file holds may be right in a moment: neither is refused.
        """
        for provider in providers:
            source = provider.key
            if (
                source is None
                or source.source != "settings"
                or not self._settings.is_fixed(source.secret or "")
            ):
                continue
            try:
                self._configured(provider, source)
            except KeyUnavailableError as error:
                if error.code != KeyUnavailableError.code:
                    raise ConfigurationError(
                        f"Callbacks of {provider.name} could not be verified. {error} Correct it, or unset it if "
                        f"{provider.name} is not used.",
                        code=error.code,
                    ) from error

    def remarks(self, provider: Provider) -> Remarks:
        """What is to be said of the configured keys of *provider*; nothing where none are."""
        source = provider.key
        if source is None or source.source != "settings":
            return Remarks()
        try:
            found = self._configured(provider, source)
        except ConfigurationError as error:
            unset = error.code == KeyUnavailableError.code
            return Remarks() if unset else Remarks(warnings=(str(error),))
        return Remarks(
            warnings=tuple(
                f"{sentence} The other keys of {provider.name} are in force." for sentence in found.unusable
            ),
            note=found.remark,
        )

    def others(
        self, providers: Mapping[str, Provider], *, but: str
    ) -> dict[str, tuple[Scheme, Sequence[Key]]]:
        """The configured keys of every provider but one: a diagnosis tries whether theirs was used by mistake."""
        found: dict[str, tuple[Scheme, Sequence[Key]]] = {}
        for name, other in providers.items():
            if name == but or other.verify is None or other.key is None or other.key.source != "settings":
                continue
            try:
                keys = self.verifying(other, job_id=None, master=None)
            except ConfigurationError:
                continue
            if keys:
                found[name] = (other.verify, keys)
        return found

    def lacks(self, provider: Provider) -> Lacks:
        """What has to be set before *provider* can be used; lists, pages and the doctor all say this."""
        credentials, secret, unusable = "", "", ""
        try:
            self.credentials(provider)
        except ConfigurationError as error:
            if error.code == "credentials_missing":
                ways = (" and ".join(map(_name, one.references)) for one in provider.credentials)
                credentials = " and ".join(provider.missing or ()) or " or ".join(ways)
            else:
                unusable = str(error)
        if provider.key is not None and provider.key.source == "settings":
            try:
                self.verifying(provider, job_id=None, master=None)
            except ConfigurationError as error:
                if error.code == KeyUnavailableError.code:
                    secret = _name(provider.key.secret or "")
                else:
                    unusable = unusable or str(error)
        return Lacks(credentials=credentials, secret=secret, unusable=unusable)

    def seal(self, job_id: str, text: str) -> bytes:
        """Encrypt a key that a provider handed out for one job, under the newest master key.

        ``key id (4) ‖ nonce (12) ‖ AES-256-GCM``, bound to the job's id.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        master, nonce = self.newest, secrets.token_bytes(_NONCE)
        cipher = AESGCM(sealing_key(master)).encrypt(nonce, text.encode(), job_id.encode())
        return bytes.fromhex(master.id) + nonce + cipher

    def unseal(self, job_id: str, sealed: bytes) -> str:
        """Decrypt what ``seal`` made; raises KeyUnavailableError where its master key is gone."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key_id, nonce, cipher = sealed[:4].hex(), sealed[4 : 4 + _NONCE], sealed[4 + _NONCE :]
        for master in self._masters:
            if master.id == key_id:
                try:
                    return AESGCM(sealing_key(master)).decrypt(nonce, cipher, job_id.encode()).decode()
                except InvalidTag:
                    break
        raise KeyUnavailableError(
            f"The key of {job_id} is sealed under the master key {key_id}, which is gone."
        )

    def credentials(self, provider: Provider) -> dict[str, str]:
        """The headers that authenticate us to *provider*, and its fixed ones.

        Raises:
            ConfigurationError: none of the ways that its description names is configured.
        """
        if provider.missing:
            raise ConfigurationError(
                f"No address for {provider.name}: set {' and '.join(provider.missing)}.",
                code="credentials_missing",
            )
        headers = self._authorization(provider)
        for name, value in provider.headers.items():
            text = self._settings.resolve(value) if value.startswith(("env:", "file:")) else value
            if text:
                headers[name] = text
        for name, text in headers.items():
            if not (text.isascii() and text.isprintable()):
                raise ConfigurationError(
                    f"No request can carry what is set for the header {name} of {provider.name}: there is a line break "
                    "in it, or something else than ASCII. Copy it from the provider again.",
                    code="credentials_unusable",
                )
        return headers

    def _authorization(self, provider: Provider) -> dict[str, str]:
        chosen = self._chosen(provider)
        if chosen is None or chosen[0].mint is not None:
            return {}
        one, found = chosen
        if one.query is not None:
            return {}
        if one.basic is None:
            return {one.header: one.prefix + found[0]}
        user, password = [*found, ""][:2]
        pair = f"{user}:{password}".encode("utf-8", "surrogateescape")
        return {one.header: "Basic " + base64.b64encode(pair).decode()}

    def in_address(self, provider: Provider) -> dict[str, str]:
        """The fields of an address that authenticate us, where no header does; raises as ``credentials`` does."""
        chosen = self._chosen(provider)
        if chosen is None or chosen[0].query is None:
            return {}
        return {chosen[0].query: chosen[0].prefix + chosen[1][0]}

    def minted(self, provider: Provider) -> Minted | None:
        """What the credentials of *provider* are minted with, where they are; raises as ``credentials`` does."""
        chosen = self._chosen(provider)
        if chosen is None or chosen[0].mint is None:
            return None
        one, mint = chosen[0], chosen[0].mint
        texts = {reference: self._settings.resolve(reference) for reference in mint.named().values()}
        values = {name: text for name, reference in mint.named().items() if (text := texts[reference])}
        return Minted(mint=mint, header=one.header, prefix=one.prefix, values=values)

    def _chosen(self, provider: Provider) -> tuple[Credential, list[str]] | None:
        """The first of the ways to authenticate that is configured, and its secrets."""
        wanted = []
        for one in provider.credentials:
            values = [self._settings.resolve(reference) for reference in one.references]
            found = [value for value in values if value]
            if len(found) == len(values):
                return one, found
            wanted.append(" and ".join(map(_name, one.references)))
        if not wanted:
            return None
        raise ConfigurationError(
            f"No credentials for {provider.name}: set {' or '.join(wanted)}.", code="credentials_missing"
        )


def _name(reference: str) -> str:
    """A reference as the name of a variable, or the path of a file."""
    return reference.partition(":")[2]
