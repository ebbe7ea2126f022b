"""Who may see the console and who may act: sign-in, sessions, and attempts that are bounded."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from starlette.requests import Request

from receiver.core.errors import ConfigurationError
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, Value
from receiver.settings import Settings
from receiver.storage import sessions
from receiver.storage.sessions import Session
from receiver.storage.store import Store

COOKIE: Final = "receiver_console"
#: How long a session lasts without being used, and at all.
_IDLE: Final = 2 * HOUR
LONGEST: Final = DAY
#: How long a ticket can be redeemed.
_TICKET: Final = 15 * MINUTE
#: A session's use is noted this often.
_NOTED: Final = MINUTE
#: Wrong tries from one address before it has to wait, and for how long it waits then.
_TRIES: Final = 8
_LOCKED: Final = 10 * MINUTE
_MOST_ADDRESSES: Final = 10_000
#: Seconds that the answer to a wrong try takes, by how many there were before.
_SLOWER: Final = (0.2, 0.4, 0.8, 1.6, 2.0)
_LONGEST_SECRET: Final = 1024
#: Bytes that scrypt may take.
_SCRYPT_MEMORY: Final = 128 * 1024 * 1024
_SAFE: Final = {"GET", "HEAD"}

OPERATOR, VIEWER = "operator", "viewer"


class Visitor(Value, frozen=True, kw_only=True):
    """A person who is signed in."""

    who: str
    role: str
    #: What every form of theirs carries.
    csrf: str
    digest: str

    @property
    def acts(self) -> bool:
        """Whether they may do more than look."""
        return self.role == OPERATOR


class Login(Value, frozen=True, kw_only=True):
    """One entry of RECEIVER_CONSOLE_PASSWORD."""

    name: str
    role: str
    hash: str


class Locked(Exception):  # noqa: N818  (it is an answer, raised)
    """Too many wrong tries; ``wait`` is how many seconds are left."""

    def __init__(self, wait: int) -> None:
        super().__init__(wait)
        self.wait = wait


class Attempts:
    """Counts wrong tries by address, in bounded memory."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raise Locked while *address* has to wait."""
        count, last = self._failed.get(address, (0, 0))
        left = last + _LOCKED - self._clock()
        if count >= _TRIES and left > 0:
            raise Locked(-(-left // SECOND))

    def wrong(self, address: str) -> float:
        """Count a wrong try; how many seconds the answer is to take."""
        count, last = self._failed.pop(address, (0, 0))
        now = self._clock()
        count = 1 if now - last > _LOCKED else count + 1
        self._failed[address] = (count, now)
        while len(self._failed) > _MOST_ADDRESSES:
            self._failed.popitem(last=False)
        return _SLOWER[min(count, len(_SLOWER)) - 1]

    def right(self, address: str) -> None:
        """Forget the wrong tries of *address*."""
        self._failed.pop(address, None)


class Access:
    """Signs people in and knows them again."""

    def __init__(self, *, store: Store, settings: Settings, clock: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock
        self._token = settings.api_token.encode()
        self.logins = list(read_logins(settings.console_password))
        self._header = settings.console_user_header.lower()
        self._proxies = list(read_proxies(settings.console_proxy))
        check_settings(settings)
        self._operators = {one.strip() for one in settings.console_operators.split(",") if one.strip()}
        self._secure = (settings.public_url or "").startswith("https://")
        self._attempts = Attempts(clock)
        self._hashing = asyncio.Semaphore(2)

    @property
    def open(self) -> bool:
        """Whether there is any way to sign in."""
        return bool(self._token or self.logins or self._header)

    async def visitor(self, request: Request) -> Visitor | None:
        """Who sends *request*; ``None`` for somebody who has not signed in.

        Raises:
            StoreUnavailableError: nobody can be known again right now.
        """
        held = request.cookies.get(COOKIE, "")
        named = self._named_by_proxy(request)
        found = await self._known(held) if held else None
        if found is not None and named in {None, found.who}:
            return _visitor(found, held)
        if named is None:
            return None
        role = OPERATOR if {named, "*"} & self._operators else VIEWER
        held, session = await self._begin(named, role)
        request.state.cookie = held
        return _visitor(session, held)

    async def sign_in(self, name: str, secret: str, *, address: str) -> str | None:
        """Exchange a password or the API token for what the browser is to hold; ``None`` for a wrong one.

        Raises:
            Locked: too many wrong ones came from *address*.
        """
        address = network(address)
        self._attempts.check(address)
        found = await self._recognised(name, secret[: _LONGEST_SECRET + 1])
        if found is None:
            await asyncio.sleep(self._attempts.wrong(address))
            return None
        self._attempts.right(address)
        held, _ = await self._begin(*found)
        return held

    async def ticket(self, who: str, role: str) -> str:
        """Make what signs somebody in once, within a quarter of an hour."""
        held, _ = await self._begin(who, role, kind="ticket")
        return held

    async def redeem(self, ticket: str) -> str | None:
        """Exchange a ticket for what the browser is to hold; ``None`` where it is no good any more."""
        held, now = secrets.token_urlsafe(32), self._clock()
        item = (_digest(ticket), _digest(held), now, now - _TICKET)
        return held if await self._store.write(sessions.redeem, item) is not None else None

    async def sign_out(self, visitor: Visitor) -> None:
        """End a session: what the browser holds is worth nothing from now on."""
        await self._store.write(sessions.end, visitor.digest)

    def cookie(self, held: str, request: Request) -> str:
        """The header that has a browser hold *held*; an empty one takes it away."""
        path = f"{request.scope.get('root_path') or ''}/console"
        secure = "; Secure" if self._secure or request.url.scheme == "https" else ""
        age = LONGEST // SECOND if held else 0
        return f"{COOKIE}={held}; Path={path}; Max-Age={age}; HttpOnly; SameSite=Lax{secure}"

    def is_token(self, request: Request) -> bool:
        """Whether *request* carries the API token as ``Authorization: Bearer``."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return (
            bool(self._token)
            and scheme.lower() == "bearer"
            and hmac.compare_digest(token.strip().encode(), self._token)
        )

    async def _known(self, held: str) -> Session | None:
        found = await self._store.read(sessions.find, _digest(held))
        now = self._clock()
        if found is None or now - found.created_at > LONGEST or now - found.seen_at > _IDLE:
            return None
        if now - found.seen_at > _NOTED:
            await self._store.write(sessions.touch, (found.digest, now))
        return found

    async def _begin(self, who: str, role: str, *, kind: str = "session") -> tuple[str, Session]:
        held, now = secrets.token_urlsafe(32), self._clock()
        session = Session(digest=_digest(held), kind=kind, who=who, role=role, created_at=now, seen_at=now)
        await self._store.write(sessions.open_, (session, now - LONGEST))
        return held, session

    def _named_by_proxy(self, request: Request) -> str | None:
        if not self._header or request.client is None:
            return None
        given = request.headers.getlist(self._header)
        try:
            peer = ipaddress.ip_address(request.client.host)
        except ValueError:
            return None
        if len(given) != 1 or not given[0].strip() or not any(peer in one for one in self._proxies):
            return None
        return given[0].strip()[:200]

    async def _recognised(self, name: str, secret: str) -> tuple[str, str] | None:
        given = secret.encode("utf-8", "surrogatepass")
        if len(given) > _LONGEST_SECRET:
            return None
        if self._token and hmac.compare_digest(given, self._token):
            return (name.strip()[:100] or "API token"), OPERATOR
        for login in self.logins:
            if login.name and login.name != name.strip():
                continue
            async with self._hashing:
                if await asyncio.to_thread(matches, given, login.hash):
                    return login.name or name.strip()[:100] or "console", login.role
        return None


def check_settings(settings: Settings) -> None:
    """Raise ConfigurationError where a setting of the console is wrong."""
    list(read_logins(settings.console_password))
    if bool(settings.console_user_header) != bool(list(read_proxies(settings.console_proxy))):
        raise ConfigurationError(
            "RECEIVER_CONSOLE_USER_HEADER and RECEIVER_CONSOLE_PROXY go together: the header is believed only "
            "from that address.",
            code="setting_invalid",
        )


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


def read_proxies(text: str) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Read RECEIVER_CONSOLE_PROXY: addresses or networks; raises ConfigurationError."""
    for one in filter(None, (one.strip() for one in text.split(","))):
        try:
            yield ipaddress.ip_network(one)
        except ValueError as error:
            raise ConfigurationError(
                f"RECEIVER_CONSOLE_PROXY: {one!r} is no address or network (10.0.0.5, 10.0.0.0/24).",
                code="setting_invalid",
            ) from error


def same_origin(request: Request) -> bool:
    """Whether a browser sent *request* from one of our own pages, as far as its headers tell."""
    if request.method in _SAFE:
        return True
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host", "")


def network(address: str) -> str:
    """Whose tries are counted together: one address, or with IPv6 the network that one customer has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network(f"{found}/64", strict=False))
    return str(found)


def _visitor(session: Session, held: str) -> Visitor:
    csrf = hmac.digest(held.encode(), b"receiver console form", "sha256").hex()
    return Visitor(who=session.who, role=session.role, csrf=csrf, digest=session.digest)


def _digest(held: str) -> str:
    return hashlib.sha256(held.encode("utf-8", "surrogatepass")).hexdigest()
