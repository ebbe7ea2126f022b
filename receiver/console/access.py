"""Who may see the console and who may act: sign-in, sessions, and attempts that are bounded."""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from msgspec.structs import replace
from starlette.requests import Request

from receiver.console.attempts import Attempts, Locked, Together
from receiver.console.passwords import OPERATOR, VIEWER, Login, matches, read_logins
from receiver.core.address import within
from receiver.core.errors import ConfigurationError
from receiver.core.model import DAY, HOUR, MINUTE, SECOND, Value
from receiver.settings import Settings
from receiver.storage import sessions
from receiver.storage.sessions import Session
from receiver.storage.store import Store
from receiver.threads import off_loop
from receiver.wire.web import is_same

COOKIE: Final = "receiver_console"
#: How long a session lasts without being used, and at all.
_IDLE: Final = 2 * HOUR
LONGEST: Final = DAY
#: How long a ticket can be redeemed.
_TICKET: Final = 15 * MINUTE
#: A session's use is noted this often.
_NOTED: Final = MINUTE
#: What was signed in with, where it was no secret of ours: the word of a proxy, which counts for one request.
_BY_PROXY: Final = "proxy"
_LONGEST_SECRET: Final = 1024
_SAFE: Final = {"GET", "HEAD"}


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


class Access:
    """Signs people in and knows them again."""

    def __init__(self, *, store: Store, settings: Settings, clock: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock
        self._api_token = settings.api_token
        self._token = settings.api_token.encode("utf-8", "surrogateescape")
        self.logins = list(read_logins(settings.console_password))
        #: The most entries that one name has: so many are hashed for any.
        self._most = max((len(self._meant(one.name)) for one in self.logins), default=0)
        self._header = settings.console_user_header.lower()
        self._proxies = settings.console_proxies
        check_settings(settings)
        self._operators = {one.strip() for one in settings.console_operators.split(",") if one.strip()}
        self._secure = (settings.public_url or "").startswith("https://")
        #: The secrets in force, by digest: whoever signed in with another one has to sign in again.
        self._proofs = {_proof("token", settings.api_token)} if settings.api_token else set[str]()
        self._proofs |= {_proof_of(login) for login in self.logins}
        self._attempts = Attempts(clock)
        self._together = Together(clock)
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
        if found is not None and found.proof == _BY_PROXY:
            # The proxy vouches for each request; what somebody may do is as it is set now.
            found = replace(found, role=self._role(found.who)) if found.who == named else None
        if found is not None and named in {None, found.who}:
            now = self._clock()
            if now - found.seen_at > _NOTED and not _by_itself(request):
                await self._store.write(sessions.touch, (found.digest, now))
            return _visitor(found, held)
        if named is None:
            return None
        held, session = await self._begin(named, self._role(named), _BY_PROXY)
        request.state.cookie = held
        return _visitor(session, held)

    async def stays(self, visitor: Visitor) -> bool:
        """Whether the session of *visitor* has not ended meanwhile."""
        found = await self._store.read(sessions.find, visitor.digest)
        return found is not None and self._holds(found)

    async def sign_in(self, name: str, secret: str, *, address: str) -> str | None:
        """Exchange a password or the API token for what the browser is to hold; ``None`` for a wrong one.

        Raises:
            Locked: too many wrong ones came from *address*, or from everywhere together.
        """
        slower = self._attempts.begin(address)
        try:
            self._together.begin(address)
        except Locked:
            # Nothing was compared, so it was no try.
            self._attempts.right(address)
            raise
        found = await self._recognised(name, secret[: _LONGEST_SECRET + 1])
        if found is None:
            await asyncio.sleep(slower)
            return None
        self._attempts.right(address)
        self._together.right(address)
        held, _ = await self._begin(*found)
        return held

    async def ticket(self) -> str:
        """Make what signs somebody in once, within a quarter of an hour, as whoever holds the API token."""
        held, _ = await self._begin(
            "API token", OPERATOR, _proof("token", self._token.decode()), kind="ticket"
        )
        return held

    async def redeem(self, ticket: str) -> str | None:
        """Exchange a ticket for what the browser is to hold; ``None`` where it is no good any more."""
        # Anybody may send what is no ticket: only for one that lies here something is written.
        if not await self._store.read(sessions.lies, _digest(ticket)):
            return None
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
            bool(self._api_token) and scheme.lower() == "bearer" and is_same(token.strip(), self._api_token)
        )

    async def _known(self, held: str) -> Session | None:
        found = await self._store.read(sessions.find, _digest(held))
        return found if found is not None and self._holds(found) else None

    def _holds(self, session: Session) -> bool:
        now = self._clock()
        proved = session.proof in self._proofs or (session.proof == _BY_PROXY and bool(self._header))
        return proved and now - session.created_at <= LONGEST and now - session.seen_at <= _IDLE

    def _role(self, named: str) -> str:
        return OPERATOR if {named, "*"} & self._operators else VIEWER

    async def _begin(self, who: str, role: str, proof: str, *, kind: str = "session") -> tuple[str, Session]:
        held, now = secrets.token_urlsafe(32), self._clock()
        session = Session(
            digest=_digest(held), kind=kind, who=who, role=role, proof=proof, created_at=now, seen_at=now
        )
        await self._store.write(sessions.open_, (session, now - LONGEST))
        return held, session

    def _named_by_proxy(self, request: Request) -> str | None:
        if not self._header or request.client is None:
            return None
        given = request.headers.getlist(self._header)
        if len(given) != 1 or not given[0].strip() or not within(request.client.host, self._proxies):
            return None
        return given[0].strip()[:200]

    def _meant(self, name: str) -> list[Login]:
        """The entries whose password may be given with *name*."""
        return [one for one in self.logins if one.name in {"", name}]

    async def _recognised(self, name: str, secret: str) -> tuple[str, str, str] | None:
        """Whose secret it is: the name, the role and what was proved with."""
        given = secret.encode("utf-8", "surrogatepass")
        if len(given) > _LONGEST_SECRET:
            return None
        if self._token and hmac.compare_digest(given, self._token):
            return _called(name, "API token"), OPERATOR, _proof("token", self._token.decode())
        meant = self._meant(name.strip())
        # A name that nobody has takes as long as one that somebody has.
        others = self.logins[:1] * (self._most - len(meant))
        for login in [*meant, *others]:
            async with self._hashing:
                right = await off_loop(matches, given, login.hash)
            if right and login in meant:
                return login.name or _called(name, "console"), login.role, _proof_of(login)
        return None


def check_settings(settings: Settings) -> None:
    """Raise ConfigurationError where a setting of the console is wrong."""
    list(read_logins(settings.console_password))
    if bool(settings.console_user_header) != bool(settings.console_proxies):
        raise ConfigurationError(
            "RECEIVER_CONSOLE_USER_HEADER and RECEIVER_CONSOLE_PROXY go together: the header is believed only "
            "from that address.",
            code="setting_invalid",
        )


def same_origin(request: Request, public_url: str | None) -> bool:
    """Whether a browser sent *request* from one of our own pages, as far as its headers tell."""
    if request.method in _SAFE:
        return True
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    # A proxy may have put its own name for us in the place of the one that the browser knows.
    ours = {request.headers.get("host", ""), urlsplit(public_url or "").netloc} - {""}
    return origin is None or origin.partition("://")[2] in ours


def _by_itself(request: Request) -> bool:
    """Whether a page asked by itself, so that nobody may be there who looks at it."""
    return "x-receiver-again" in request.headers or "text/event-stream" in request.headers.get("accept", "")


def _visitor(session: Session, held: str) -> Visitor:
    csrf = hmac.digest(held.encode(), b"receiver console form", "sha256").hex()
    return Visitor(who=session.who, role=session.role, csrf=csrf, digest=session.digest)


def _called(name: str, shared: str) -> str:
    """Who signed in with a secret that several may hold: the name is their own word, so it never stands alone."""
    said = name.strip()[:100]
    return f"{said} ({shared})" if said else shared


def _digest(held: str) -> str:
    return hashlib.sha256(held.encode("utf-8", "surrogatepass")).hexdigest()


def _proof(kind: str, text: str) -> str:
    return hashlib.sha256(f"receiver console {kind} {text}".encode("utf-8", "surrogatepass")).hexdigest()


def _proof_of(login: Login) -> str:
    return _proof("password", f"{login.name}/{login.role}:{login.hash}")
