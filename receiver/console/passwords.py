"""Passwords of the console: how they are hashed, and the setting that lists them."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator
from typing import Final

from receiver.core.errors import ConfigurationError
from receiver.core.model import Value

OPERATOR, VIEWER = "operator", "viewer"
#: Bytes that scrypt may take.
_SCRYPT_MEMORY: Final = 128 * 1024 * 1024


class Login(Value, frozen=True, kw_only=True):
    """One entry of RECEIVER_CONSOLE_PASSWORD."""

    name: str
    role: str
    hash: str


def hash_password(password: bytes, *, salt: bytes) -> str:
    """Hash a password as RECEIVER_CONSOLE_PASSWORD takes it: ``scrypt$n$r$p$salt$hash``.

    The cost is one of those of the OWASP password storage cheat sheet (https://cheatsheetseries.owasp.org, read
    2026-11-29): N = 2^16, r = 8, p = 2.
    """
    n, r, p = 2**16, 8, 2
    made = hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=_SCRYPT_MEMORY, dklen=32)
    return f"scrypt${n}${r}${p}${base64.b64encode(salt).decode()}${base64.b64encode(made).decode()}"


def matches(password: bytes, hashed: str) -> bool:
    """Whether *hashed* was made from *password*."""
    _, n, r, p, salt, made = hashed.split("$")
    wanted = base64.b64decode(made)
    found = hashlib.scrypt(
        password,
        salt=base64.b64decode(salt),
        n=int(n),
        r=int(r),
        p=int(p),
        maxmem=_SCRYPT_MEMORY,
        dklen=len(wanted),
    )
    return hmac.compare_digest(found, wanted)


def read_logins(text: str) -> Iterator[Login]:
    """Read RECEIVER_CONSOLE_PASSWORD; raises ConfigurationError where an entry is no hash."""
    for entry in filter(None, (one.strip() for one in text.split(","))):
        name, _, hashed = entry.rpartition(":")
        name, _, role = name.partition("/")
        try:
            kind, n, r, p, salt, made = hashed.split("$")
            sound = (
                kind == "scrypt"
                and 128 * int(n) * int(r) <= _SCRYPT_MEMORY
                and int(p) >= 1
                and len(base64.b64decode(salt, validate=True)) >= 8  # noqa: PLR2004
                and len(base64.b64decode(made, validate=True)) >= 16  # noqa: PLR2004
            )
        except (ValueError, binascii.Error):
            sound = False
        if not sound or role not in {"", OPERATOR, VIEWER}:
            raise ConfigurationError(
                "RECEIVER_CONSOLE_PASSWORD is no list of [name[/viewer]:]scrypt$…; make an entry with: "
                "receiver keygen --password",
                code="setting_invalid",
            )
        yield Login(name=name, role=role or OPERATOR, hash=hashed)
