"""Credentials that are minted: what a description says of them, and the tokens that need nobody else.

::

    [[credentials]]
    prefix = "Bearer "
    mint = { kind = "oauth", token_url = "https://…/token", client_id = "env:ID", client_secret = "env:SECRET" }
    mint = { kind = "service-account", token_url = "https://oauth2.googleapis.com/token", key = "env:…", scope = "…" }
    mint = { kind = "hs256", access_key = "env:KLING_ACCESS_KEY", secret_key = "env:KLING_SECRET_KEY" }
    mint = { kind = "sigv4", service = "transcribe", access_key = "env:…", secret_key = "env:…" }

An OAuth client shows its id and secret (RFC 6749, 4.4), a service account an assertion signed with its key (RFC 7523),
and each gets a token that lapses. ``hs256`` is a JSON Web Token that we sign ourselves. ``sigv4`` signs each request.
"""

import base64
import hmac
from typing import Any, Final, Literal, Self

import msgspec
from msgspec.structs import replace

from receiver.core.errors import ConfigurationError
from receiver.core.jwt import sign_jwt
from receiver.core.keyform import load_key
from receiver.core.model import Value
from receiver.core.parts import Duration, Part, check_reference
from receiver.core.scheme import Scheme

#: What each kind needs, and may have.
_NEEDS: Final = {
    "oauth": ("token_url", "client_id", "client_secret"),
    "service-account": ("token_url", "key"),
    "hs256": ("access_key", "secret_key"),
    "sigv4": ("access_key", "secret_key", "service"),
}
_MAY: Final = {
    "oauth": ("scope", "audience", "shown"),
    "service-account": ("scope",),
    "hs256": ("lifetime",),
    "sigv4": ("session_token",),
}
_REFERENCES: Final = ("client_id", "client_secret", "key", "access_key", "secret_key", "session_token")
_HOUR: Final = 3600
#: How far a clock may be behind ours, in seconds.
_BACK: Final = 5
#: Of an answer that does not say how long its token is good for (RFC 6749, 5.1, only recommends it), in seconds.
_UNSAID: Final = 300
_RS256: Final = Scheme(kind="jwt", header="Authorization", audience="-", key_encoding="pem")


class Mint(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a credential is minted; names of secrets are references."""

    kind: Literal["oauth", "service-account", "hs256", "sigv4"]
    #: Where a token is asked for: https, outside ``origins`` if it must be.
    token_url: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    #: How the client shows its secret: in ``Authorization``, or in the form.
    shown: Literal["basic", "form"] = "basic"
    scope: str | None = None
    audience: str | None = None
    #: The JSON text of a service account's key.
    key: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    session_token: str | None = None
    #: ``hs256``: how long each token is good for.
    lifetime: Duration | None = None
    #: ``sigv4``: the service as signatures name it; the region is in the host.
    service: str | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            wanted = name in _NEEDS[self.kind]
            given = getattr(self, name) not in {None, "basic"}
            if wanted and not given:
                raise ValueError(f"mint.{name}: kind {self.kind!r} needs it")
            if given and not wanted and name not in {"kind", *_MAY[self.kind]}:
                raise ValueError(f"mint.{name}: kind {self.kind!r} does not use it")
            if given and name in _REFERENCES:
                check_reference(str(getattr(self, name)))
        if self.token_url is not None and not self.token_url.startswith("https://"):
            raise ValueError("mint.token_url must be https: it is shown the secret")

    def named(self) -> dict[str, str]:
        """Every reference that is given, by its name here; ``session_token`` need not be set."""
        given = {name: getattr(self, name) for name in _REFERENCES}
        return {name: reference for name, reference in given.items() if reference is not None}

    def moved(self, token_url: str) -> Self:
        """The same with its tokens elsewhere, which a setting says."""
        made = replace(self)
        msgspec.structs.force_setattr(made, "token_url", token_url)
        return made

    @property
    def references(self) -> tuple[str, ...]:
        """The references that must be set for it to be used."""
        return tuple(getattr(self, name) for name in _NEEDS[self.kind] if name in _REFERENCES)


class Credential(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to authenticate to the provider; the first whose secrets are configured is used."""

    header: str = "Authorization"
    #: What stands before the secret: ``"Bearer "``, ``"Api-Key "``.
    prefix: str = ""
    #: ``env:NAME`` or ``file:PATH``; never the secret itself.
    secret: str | None = None
    #: References to user name and password, for HTTP Basic.
    basic: tuple[str, str] | None = None
    #: How it is minted, where it lapses or is another one for each request.
    mint: Mint | None = None

    def __post_init__(self) -> None:
        if [self.secret, self.basic, self.mint].count(None) != 2:  # noqa: PLR2004  (of three)
            raise ValueError("give one of secret, basic and mint")
        for reference in self.references:
            check_reference(reference)

    @property
    def references(self) -> tuple[str, ...]:
        """The references that must be set for it to be used."""
        if self.mint is not None:
            return self.mint.references
        return self.basic if self.basic is not None else (self.secret or "",)

    def at(self, base: str) -> Self:
        """The same where the API is at *base*: so is what mints tokens for it."""
        if self.mint is None or self.mint.token_url is None:
            return self
        path = "/" + self.mint.token_url.partition("://")[2].partition("/")[2]
        return replace(self, mint=self.mint.moved(base + path))


class Token(Value, frozen=True, kw_only=True):
    """A token, and when it lapses (milliseconds)."""

    text: str
    made_at: int
    lapses_at: int

    def __repr__(self) -> str:
        return f"Token(lapses_at={self.lapses_at})"

    def is_fresh(self, now: int) -> bool:
        """Whether it need not be renewed yet: it has a fifth of its life left, or five minutes."""
        margin = min(300_000, (self.lapses_at - self.made_at) // 5)
        return now < self.lapses_at - margin


def own_token(mint: Mint, *, access_key: str, secret_key: str, now: int) -> Token:
    """Make an HS256 token in the name of *access_key*, good from a moment ago (RFC 7519, RFC 7515)."""
    seconds = now // 1000
    life = int(mint.lifetime or 1_800_000) // 1000
    claims = {"iss": access_key, "exp": seconds + life, "nbf": seconds - _BACK}
    content = b".".join(_part(part) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = hmac.digest(secret_key.encode(), content, "sha256")
    text = (content + b"." + _base64url(signature)).decode()
    return Token(text=text, made_at=now, lapses_at=(seconds + life) * 1000)


def assertion(mint: Mint, *, key: str, now: int) -> str:
    """Make the assertion of a service account (RFC 7523) from the JSON text of its key.

    Raises:
        ConfigurationError: *key* is no such text (code ``key_malformed``); the sentence does not hold any of it.
    """
    try:
        account: dict[str, Any] = msgspec.json.decode(key)
        email, key_id, pem = (
            str(account[name]) for name in ("client_email", "private_key_id", "private_key")
        )
    except (ValueError, TypeError, LookupError) as error:
        raise ConfigurationError(
            f"{(mint.key or '').partition(':')[2]} does not hold the JSON text of a service account's key.",
            code="key_malformed",
        ) from error
    seconds = now // 1000
    claims = {"iss": email, "aud": mint.token_url, "iat": seconds, "exp": seconds + _HOUR}
    if mint.scope is not None:
        claims["scope"] = mint.scope
    return sign_jwt(claims, key=load_key(key_id, pem, scheme=_RS256)).decode()


def token_form(mint: Mint, *, values: dict[str, str], now: int) -> dict[str, str]:
    """The fields of the form that asks for a token; *values* are the secrets by the names that *mint* has for them."""
    if mint.kind == "service-account":
        return {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": assertion(mint, key=values["key"], now=now),
        }
    fields = {"grant_type": "client_credentials", "scope": mint.scope, "audience": mint.audience}
    if mint.shown == "form":
        fields |= {"client_id": values["client_id"], "client_secret": values["client_secret"]}
    return {name: value for name, value in fields.items() if value}


def read_token(document: bytes, *, now: int) -> Token | None:
    """Read the answer of a token's address (RFC 6749, 5.1); ``None`` where it holds none that a header can carry."""
    try:
        answer = msgspec.json.decode(document)
    except (ValueError, RecursionError):
        return None
    text = answer.get("access_token") if isinstance(answer, dict) else None
    if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable():
        return None
    life = answer.get("expires_in", _UNSAID)
    life = int(life) if isinstance(life, (int, str)) and str(life).isdigit() else _UNSAID
    return Token(text=text, made_at=now, lapses_at=now + life * 1000)


def _part(value: dict[str, Any]) -> bytes:
    return _base64url(msgspec.json.encode(value))


def _base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
