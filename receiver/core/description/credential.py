"""Credentials: how one authenticates to a provider, the ``[[credentials]]`` tables of a description.

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

from collections.abc import Callable
from typing import Final, Literal, Self

import msgspec
from msgspec.structs import replace

from receiver.core.description.http import check_headers
from receiver.core.description.parts import Duration, Part, check_reference
from receiver.core.origin import below

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


class Mint(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a credential is minted; names of secrets are references."""

    kind: Literal["oauth", "service-account", "hs256", "sigv4"]
    #: Where a token is asked for: https, outside ``origins`` if it must be. A setting may say so (``{setting:NAME}``);
    #: one in the place of the host, or of a part of it, is held against ``origins``.
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
        if self.token_url is not None and not self.token_url.startswith(("https://", "{setting:")):
            raise ValueError("mint.token_url must be https: it is shown the secret")

    def named(self) -> dict[str, str]:
        """Every reference that is given, by its name here; ``session_token`` need not be set."""
        given = {name: getattr(self, name) for name in _REFERENCES}
        return {name: reference for name, reference in given.items() if reference is not None}

    def moved(self, token_url: str) -> Self:
        """The same with its tokens elsewhere, which a setting says."""
        # A setting may say http, at loopback; and a second one may follow the first.
        made = replace(self, token_url="https://moved")  # noqa: S106  (it is an address)
        msgspec.structs.force_setattr(made, "token_url", token_url)
        return made

    @property
    def references(self) -> tuple[str, ...]:
        """The references that must be set for it to be used."""
        return tuple(getattr(self, name) for name in _NEEDS[self.kind] if name in _REFERENCES)


class Credential(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to authenticate to the provider; the first whose secrets are configured is used."""

    header: str = "Authorization"
    #: The field of the address that it travels in, instead of a header.
    query: str | None = None
    #: What stands before the secret: ``"Bearer "``, ``"Api-Key "``.
    prefix: str = ""
    #: ``env:NAME`` or ``file:PATH``; never the secret itself.
    secret: str | None = None
    #: References to user name and password, for HTTP Basic; a user name alone has an empty password.
    basic: tuple[str, ...] | None = None
    #: How it is minted, where it lapses or is another one for each request.
    mint: Mint | None = None

    def __post_init__(self) -> None:
        if [self.secret, self.basic, self.mint].count(None) != 2:  # noqa: PLR2004  (of three)
            raise ValueError("give one of secret, basic and mint")
        check_headers({self.header: self.prefix})
        if self.basic is not None and len(self.basic) not in {1, 2}:
            raise ValueError("basic is a user name, or a user name and a password")
        if self.query is not None and self.secret is None:
            raise ValueError("query needs secret: only that can travel in an address")
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
        return self.moved(lambda url: below(base, url))

    def moved(self, moved: Callable[[str], str]) -> Self:
        """The same with its tokens elsewhere."""
        if self.mint is None or self.mint.token_url is None:
            return self
        return replace(self, mint=self.mint.moved(moved(self.mint.token_url)))
