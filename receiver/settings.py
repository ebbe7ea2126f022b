"""Settings: one frozen value, read once from the environment.

Every setting may come from a file instead (``NAME_FILE``), which is how containers and systemd hand secrets over.
``.env.example`` and ``docs/configuration.md`` are written from this module: ``python -m tests.documentation --write``.
"""

import codecs
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from receiver.core.address import Network, networks
from receiver.core.errors import ConfigurationError
from receiver.core.model import SECOND
from receiver.core.signature.token import MasterKey, master_key

_MIB: Final = 1024 * 1024
#: The shortest time, in days, that storage/retention.py keeps a job.
_SHORTEST_DAYS: Final = 4


def _setting(env: str, default: Any, says: str, *, secret: bool = False) -> Any:  # noqa: ANN401
    """A field, and everything that is documented about it: *says* is what a reader is told."""
    return field(default=default, repr=not secret, metadata={"env": env, "secret": secret, "says": says})


def _here() -> Path:
    try:
        return Path.cwd()
    except OSError:  # it was removed
        return Path()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator decides. Sizes are bytes, times are seconds."""

    public_url: str | None = _setting(
        "RECEIVER_PUBLIC_URL",
        None,
        "Where providers reach this receiver: https, or http to a loopback address. Without it no callback URL is "
        "minted, and jobs are polled.",
    )
    database_url: str = _setting(
        "RECEIVER_DATABASE_URL",
        "sqlite:///receiver.db",
        "Where everything is kept. Three slashes for a relative path, four for an absolute one; or, for several nodes, "
        "`postgresql://user:password@host:5432/database`.",
    )
    secret_key: str = _setting(
        "RECEIVER_SECRET_KEY",
        "",
        "Master keys, comma-separated, newest first. Make one with `receiver keygen`.",
        secret=True,
    )
    api_token: str = _setting(
        "RECEIVER_API_TOKEN", "", "Opens `/v1`. Without it `/v1` answers 403.", secret=True
    )
    handlers: str | None = _setting(
        "RECEIVER_HANDLERS", None, "`module:object`, the `Receiver` that holds your handlers."
    )
    sinks: str | None = _setting(
        "RECEIVER_SINKS", None, "A TOML file of sinks, which send completions on without code."
    )
    providers_dir: str | None = _setting(
        "RECEIVER_PROVIDERS_DIR", None, "A folder of further provider descriptions."
    )
    host: str = _setting("RECEIVER_HOST", "127.0.0.1", "The address at which `serve` listens.")
    port: int = _setting(
        "RECEIVER_PORT", 8000, "The port at which `serve` listens. `PORT` is read where this is not set."
    )
    max_body: int = _setting("RECEIVER_MAX_BODY", 10 * _MIB, "The largest callback, in bytes.")
    max_result: int = _setting("RECEIVER_MAX_RESULT", 64 * _MIB, "The largest answer and result, in bytes.")
    max_pages: int = _setting(
        "RECEIVER_MAX_PAGES",
        1000,
        "The most pages that one result may come in; together they may have `RECEIVER_MAX_RESULT` bytes.",
    )
    files_url: str | None = _setting(
        "RECEIVER_FILES_URL",
        None,
        "Where the files are kept that results link to: `file:///folder`, `s3://bucket/prefix`, "
        "`gs://…`, `az://…` (extra `files`). If it is left out: `receiver.files` beside an SQLite file called "
        "`receiver.db`, and `receiver.files` in the current folder otherwise.",
    )
    max_file: int = _setting(
        "RECEIVER_MAX_FILE",
        2048 * _MIB,
        "The largest file that is fetched because a result links to it, in bytes.",
    )
    max_files: int = _setting(
        "RECEIVER_MAX_FILES",
        1000,
        "Files of one result that are fetched; the others are lost, and said to be.",
    )
    max_files_size: int = _setting(
        "RECEIVER_MAX_FILES_SIZE", 20 * 1024 * _MIB, "The largest size of all files of one result, in bytes."
    )
    receive_timeout: int = _setting(
        "RECEIVER_RECEIVE_TIMEOUT", 10, "How long a request may take to arrive, in seconds."
    )
    trusted_proxies: str = _setting(
        "RECEIVER_TRUSTED_PROXIES",
        "",
        "Networks of your own proxies, comma-separated (`10.0.0.0/8`). Whom they name in `X-Forwarded-For` is taken "
        "for the sender of a callback; without them the sender is whoever connects.",
    )
    egress_proxy: str = _setting(
        "RECEIVER_EGRESS_PROXY",
        "",
        "The proxy through which providers are asked: `http://user:password@host:3128`, or `https://…`. It is asked "
        "for a tunnel (CONNECT) to each. Proxies that other variables name are not used.",
        secret=True,
    )
    spool: str | None = _setting(
        "RECEIVER_SPOOL",
        None,
        "The folder in which orders and answers of providers are held while the database cannot take them. If it is "
        "left out: `receiver.db-spool` beside an SQLite file of that name, `receiver-spool` in the current folder "
        "otherwise.",
    )
    lease: int = _setting(
        "RECEIVER_LEASE",
        60,
        "How long a claim on work lasts without a sign of life of its process, in seconds.",
    )
    keep_days: int = _setting(
        "RECEIVER_KEEP_DAYS",
        0,
        "Days after their end that jobs are kept, at least 4; 0 keeps them until `receiver db prune`.",
    )
    migrate: bool = _setting(
        "RECEIVER_MIGRATE",
        True,
        "Whether `serve` and `worker` bring the schema up to date (1); with 0 `receiver db migrate` does.",
    )
    listen: bool = _setting(
        "RECEIVER_LISTEN",
        True,
        "Whether PostgreSQL tells workers of new work (1); 0 behind a transaction-mode pooler, then they look every "
        "second.",
    )
    disk_floor: int = _setting(
        "RECEIVER_DISK_FLOOR",
        1024 * _MIB,
        "Bytes that should stay free on the disks that are written to (SQLite's, the spool's, that of a folder of "
        "files); below that the alarm `disk_low` is raised, and no file is fetched. 0 raises none.",
    )
    quarantine: int = _setting(
        "RECEIVER_QUARANTINE",
        1000,
        "Rejected callbacks kept per provider, with and without a valid token each; no more are written in 10 s.",
    )
    console: bool = _setting(
        "RECEIVER_CONSOLE", True, "Whether the console is served at `/console` (1); with 0 it is left out."
    )
    console_password: str = _setting(
        "RECEIVER_CONSOLE_PASSWORD",
        "",
        "Who may sign in to the console besides whoever holds the API token: `[name[/viewer]:]scrypt$…`, "
        "comma-separated. Make an entry with `receiver keygen --password`.",
        secret=True,
    )
    console_user_header: str = _setting(
        "RECEIVER_CONSOLE_USER_HEADER",
        "",
        "The header in which a proxy that authenticates people names them to the console.",
    )
    console_proxy: str = _setting(
        "RECEIVER_CONSOLE_PROXY",
        "",
        "The addresses or networks of that proxy, comma-separated: from nowhere else the header is believed.",
    )
    console_operators: str = _setting(
        "RECEIVER_CONSOLE_OPERATORS",
        "",
        "Which of the people that the proxy names may act and not only look: names, comma-separated; `*` is "
        "everybody.",
    )
    otel: bool = _setting(
        "RECEIVER_OTEL",
        False,
        "Whether traces and metrics go to OpenTelemetry (1, with the extra `otel`); where to, variables such as "
        "`OTEL_EXPORTER_OTLP_ENDPOINT` say.",
    )
    log_level: str = _setting("RECEIVER_LOG_LEVEL", "info", "`debug`, `info`, `warning` or `error`.")
    #: The whole environment, for the references in provider descriptions.
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Where relative paths begin: a handler may change the folder of the process, and a file may be read again later.
    folder: Path = field(default_factory=_here, repr=False)

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings from *environ*; raises ConfigurationError naming the one that is wrong."""
        values: dict[str, Any] = {"environ": environ}
        for one in fields(cls):
            if "env" not in one.metadata:
                continue
            text = read_secret(environ, one.metadata["env"])
            if text is None and one.name == "port":
                text = environ.get("PORT")
            if text is None or text == "":
                continue
            values[one.name] = _value(one.metadata["env"], text, type(one.default))
        settings = cls(**values)
        settings._check()
        return settings

    def _check(self) -> None:
        if self.public_url is not None and not is_safe_url(self.public_url):
            raise ConfigurationError(
                "RECEIVER_PUBLIC_URL must be https (http only to a loopback address): callback URLs are secrets.",
                code="public_url_invalid",
            )
        if self.log_level.lower() not in {"debug", "info", "warning", "error"}:
            raise ConfigurationError(
                "RECEIVER_LOG_LEVEL must be debug, info, warning or error.", code="setting_invalid"
            )
        _ = self.proxies
        for name in (
            "max_body",
            "max_result",
            "max_pages",
            "max_file",
            "max_files",
            "receive_timeout",
            "lease",
        ):
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"RECEIVER_{name.upper()} must be positive.", code="setting_invalid")
        if 0 < self.keep_days < _SHORTEST_DAYS:
            raise ConfigurationError(
                f"RECEIVER_KEEP_DAYS must be 0 or at least {_SHORTEST_DAYS}: nothing is deleted before that, because "
                "senders retry for 76 hours.",
                code="setting_invalid",
            )

    @property
    def proxies(self) -> tuple[Network, ...]:
        """Where our own proxies are; raises ConfigurationError where that is no list of networks."""
        return _networks("RECEIVER_TRUSTED_PROXIES", self.trusted_proxies)

    @property
    def console_proxies(self) -> tuple[Network, ...]:
        """Where the proxy is that signs people in; raises ConfigurationError where that is no list of networks."""
        return _networks("RECEIVER_CONSOLE_PROXY", self.console_proxy)

    @property
    def master_keys(self) -> tuple[MasterKey, ...]:
        """The master keys, newest first; raises ConfigurationError where one is too short."""
        return tuple(master_key(text) for text in self.secret_key.split(",") if text.strip())

    @property
    def spool_folder(self) -> Path:
        """Where answers are held that the database cannot take."""
        if self.spool:
            return Path(self.spool)
        scheme, _, rest = self.database_url.partition("://")
        return Path(f"{rest[1:]}-spool") if scheme == "sqlite" else Path("receiver-spool")

    @property
    def database_folder(self) -> Path | None:
        """The folder of the SQLite file; ``None`` where the database is no file."""
        scheme, _, rest = self.database_url.partition("://")
        return Path(rest[1:]).parent if scheme == "sqlite" else None

    @property
    def files_folder(self) -> Path | None:
        """The folder in which files are kept that results link to; ``None`` where they are kept elsewhere."""
        if self.files_url:
            parts = urlsplit(self.files_url)
            return Path(unquote(parts.path)) if (parts.scheme, parts.netloc) == ("file", "") else None
        scheme, _, rest = self.database_url.partition("://")
        return Path(rest[1:]).with_suffix(".files") if scheme == "sqlite" else Path("receiver.files")

    @property
    def lease_ms(self) -> int:
        """The lease in milliseconds."""
        return self.lease * SECOND

    def base_url(self, provider: str) -> str | None:
        """Where ``RECEIVER_<PROVIDER>_BASE_URL`` points *provider*, if it is set."""
        name = provider_setting(provider, "BASE_URL")
        url = self.environ.get(name)
        if url and not is_safe_url(url, plain=bool(self.private_networks(provider))):
            raise ConfigurationError(
                f"{name} must be https (http only to a loopback address, or to what "
                f"{provider_setting(provider, 'ALLOW_PRIVATE')} names): credentials go there.",
                code="base_url_invalid",
            )
        return url or None

    def private_networks(self, provider: str) -> tuple[Network, ...]:
        """The private networks that *provider* may be in; raises ConfigurationError where that is no list of some."""
        name = provider_setting(provider, "ALLOW_PRIVATE")
        return _networks(name, self.environ.get(name, ""))

    def egress_proxy_of(self, provider: str) -> tuple[str, str]:
        """The proxy through which *provider* is asked, if any, and the setting that says so."""
        own = provider_setting(provider, "EGRESS_PROXY")
        text = self.resolve(f"env:{own}")
        return (own, text) if text else ("RECEIVER_EGRESS_PROXY", self.egress_proxy)

    def resolve(self, reference: str) -> str | None:
        """What ``env:NAME`` (or its ``NAME_FILE``) or ``file:PATH`` refers to; ``None`` where it is not set."""
        kind, _, rest = reference.partition(":")
        if kind == "env":
            return read_secret(self.environ, rest, folder=self.folder) or None
        return _read_file(self.folder / rest, setting=reference)

    def is_fixed(self, reference: str) -> bool:
        """Whether *reference* means the same as long as this process runs; a file may be written anew."""
        kind, _, rest = reference.partition(":")
        return kind == "env" and not self.environ.get(f"{rest}_FILE")


def _networks(env: str, text: str) -> tuple[Network, ...]:
    if not text:
        return ()
    try:
        return networks(one for one in text.split(",") if one.strip())
    except ValueError as error:
        raise ConfigurationError(
            f"{env}: {error}; write 10.0.0.0/8,192.0.2.7.", code="setting_invalid"
        ) from error


def provider_setting(provider: str, what: str) -> str:
    """The name of a setting about one provider."""
    return f"RECEIVER_{provider.upper().replace('-', '_')}_{what}"


def is_safe_url(url: str, *, plain: bool = False) -> bool:
    """Whether *url* is https, or http to a loopback address or where *plain* allows it, with nothing odd in it."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    if parts.username is not None or parts.query or parts.fragment or not host or not url.isprintable():
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and (plain or is_loopback(host)))


def is_loopback(host: str) -> bool:
    """Whether *host* is a loopback address or its usual name."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_secret(environ: Mapping[str, str], name: str, *, folder: Path = Path()) -> str | None:
    """The variable *name*, or the content of the file that ``NAME_FILE`` points to, from *folder* on."""
    path = environ.get(f"{name}_FILE")
    if path:
        return _read_file(folder / path, setting=f"{name}_FILE")
    return environ.get(name, "").strip() or None  # a line break around it was copied along


def _read_file(path: Path, *, setting: str) -> str:
    try:
        content = path.read_bytes()
        # PowerShell writes UTF-16 by default, and Notepad a mark in front of UTF-8.
        marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if marked else "utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{setting} points to a file that cannot be read: {error.__class__.__name__}.",
            code="secret_unreadable",
        ) from error


def _value(env: str, text: str, kind: type) -> str | int:
    if kind is bool:
        return _switch(env, text)
    return _number(env, text) if kind is int else text


def _switch(env: str, text: str) -> bool:
    if text not in {"0", "1"}:
        raise ConfigurationError(f"{env} must be 1 or 0.", code="setting_invalid")
    return text == "1"


def _number(env: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ConfigurationError(f"{env} must be a whole number.", code="setting_invalid")
    return int(text)


def from_environment() -> Settings:
    """The settings of this process."""
    return Settings.load(dict(os.environ))
