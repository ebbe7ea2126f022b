"""The console's ASGI face: signs people in, finds the page, and says what is wrong in words."""

import hmac
import re
from typing import Final
from urllib.parse import quote

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from receiver.console import ask
from receiver.console.access import Access, Visitor, same_origin
from receiver.console.ask import HEADERS, Ask, Route, page, read_form, static
from receiver.console.attempts import Locked
from receiver.console.callback import CallbackPage
from receiver.console.callbacks import CallbacksPage
from receiver.console.causes import Causes
from receiver.console.dead import DeadPage
from receiver.console.files import FilesOfJob
from receiver.console.handlers import HandlersPage
from receiver.console.job import JobPage
from receiver.console.jobs import JobsPage
from receiver.console.live import LivePage
from receiver.console.overview import OverviewPage
from receiver.console.parts import Parts
from receiver.console.providers import ProvidersPage
from receiver.console.trail import TrailPage
from receiver.core.errors import NotFoundError, ReceiverError, StoreUnavailableError
from receiver.storage.queries import Page
from receiver.wire.sender import Senders
from receiver.wire.web import RETRY, Bodies, BodyRefused

log = structlog.get_logger(__name__)

_LARGEST_FORM: Final = 512 * 1024
_NAME: Final = re.compile(r"\{(\w+)\}")
_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
#: Dead letters are counted up to here for the number beside their name.
_MOST_DEAD: Final = 100


class Face:
    """Answers whatever is asked for below ``/console``."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.access = Access(store=parts.store, settings=parts.settings, clock=parts.clock)
        self._bodies = Bodies(largest=_LARGEST_FORM, patience=parts.settings.receive_timeout)
        self._senders = Senders(parts.settings.proxies)
        causes = Causes(parts)
        callbacks = CallbacksPage(parts, causes)
        pages = (
            OverviewPage(parts, causes),
            JobsPage(parts),
            JobPage(parts),
            FilesOfJob(parts),
            callbacks,
            CallbackPage(parts, callbacks, causes),
            DeadPage(parts),
            HandlersPage(parts),
            ProvidersPage(parts),
            LivePage(parts),
            TrailPage(parts),
        )
        routes = [route for one in pages for route in one.routes]
        #: What can be asked for by somebody who is signed in.
        self.routes: list[Route] = routes
        self._shown = {one.path for one in routes if one.method == "GET"}
        self._routes = [
            (one.method, re.compile(_NAME.sub(r"(?P<\1>[^/]+)", one.path)), one) for one in routes
        ]

    async def __call__(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request for *path*, which begins behind ``/console``."""
        request = Request(scope, receive)
        try:
            response = await self._answer(path or "/", request)
        except BodyRefused as refused:
            response = refused.response
        except StoreUnavailableError:
            # It comes back by itself: the page asks again as soon as it is told to. No action is done again by itself:
            # after one, the browser asks for the page above.
            acted = request.method == "POST" and path != "/sign-in"
            above = f"; url={_below(request, _above(path))}" if acted else ""
            retry = RETRY | {"refresh": RETRY["retry-after"] + above}
            response = await page("lost.html", request, status=503, headers=retry, acted=acted)
        except ReceiverError as error:
            response = await page("refused.html", request, status=error.status, error=error)
        except Exception:
            log.exception("request_failed", route="console")
            response = await page("broken.html", request, status=500)
        if (held := getattr(request.state, "cookie", None)) is not None:
            response.headers.append("set-cookie", self.access.cookie(held, request))
        await response(scope, receive, send)

    async def _answer(self, path: str, request: Request) -> Response:
        if path.startswith("/static/"):
            return _static(path.removeprefix("/static/"), request)
        method = "GET" if request.method == "HEAD" else request.method
        match method, path.split("/"):
            case _, ["", "sign-in"]:
                return await self._sign_in(request)
            case "GET", ["", "enter", ticket]:
                return await self._enter(ticket, request)
            case "POST", ["", "tickets"]:
                return await self._ticket(request)
        visitor = await self.access.visitor(request)
        if visitor is None:
            return await self._turned_away(path, request)
        if method == "POST" and path == "/sign-out":
            return await self._sign_out(visitor, request)
        return await self._page(method, path, visitor, request)

    async def _page(self, method: str, path: str, visitor: Visitor, request: Request) -> Response:
        form = []
        if method == "POST":
            form = read_form(await self._bodies.read(request.receive, request.scope["headers"]))
        dead = await self._parts.store.dispatches(Page(state="dead", limit=_MOST_DEAD))
        asked = Ask(
            request, visitor, parts=self._parts, named={}, form=form, dead=len(dead), stays=self.access.stays
        )
        if method == "POST" and not (
            self._from_here(request)
            and hmac.compare_digest(asked.field("csrf").encode(), visitor.csrf.encode())
        ):
            return await asked.page("stale.html", status=403)
        methods = set()
        for wanted, pattern, route in self._routes:
            if (found := pattern.fullmatch(path)) is None:
                continue
            if method == "GET" and route.path not in self._shown:
                # What a form is sent to stands in the browser's address, and is asked for again from there.
                return _redirect(request, _above(path))
            methods.add(wanted)
            if wanted != method:
                continue
            if route.acts and not visitor.acts:
                return await asked.page("viewer.html", status=403)
            asked.named = found.groupdict()
            return await self._endpoint(route, asked)
        if methods:
            response = await asked.page("unknown.html", status=405, error=None)
            response.headers["allow"] = ", ".join(sorted(methods))
            return response
        return await asked.page("unknown.html", status=404, error=None)

    async def _endpoint(self, route: Route, asked: Ask) -> Response:
        try:
            return await route.endpoint(asked)
        except NotFoundError as error:
            return await asked.page("unknown.html", status=404, error=error)
        except StoreUnavailableError:
            raise
        except ReceiverError as error:
            return await asked.page("refused.html", status=error.status, error=error)

    async def _sign_in(self, request: Request) -> Response:
        """Show the form, or take it."""
        if request.method != "POST":
            return await self._form(request, following=request.query_params.get("next", ""))
        form = dict(read_form(await self._bodies.read(request.receive, request.scope["headers"])))
        following = form.get("next", "")
        if not self._from_here(request):
            return await self._form(request, following=following, status=403, problem="origin")
        address = self._senders.of(request.scope)
        try:
            held = await self.access.sign_in(form.get("name", ""), form.get("secret", ""), address=address)
        except Locked as locked:
            log.warning("console_locked", address=address)
            wait = {"retry-after": str(locked.wait)}
            return await self._form(
                request, following=following, status=429, problem="locked", wait=locked.wait, headers=wait
            )
        if held is None:
            log.warning("console_sign_in_failed", address=address)
            return await self._form(request, following=following, status=401, problem="wrong")
        request.state.cookie = held
        log.info("console_signed_in", address=address)
        return _redirect(request, following if _is_ours(following) else "/")

    def _from_here(self, request: Request) -> bool:
        return same_origin(request, self._parts.settings.public_url)

    async def _form(
        self,
        request: Request,
        *,
        following: str,
        status: int = 200,
        problem: str = "",
        wait: int = 0,
        headers: dict[str, str] | None = None,
    ) -> Response:
        return await page(
            "sign-in.html",
            request,
            status=status,
            headers=headers,
            following=following if _is_ours(following) else "",
            problem=problem,
            wait=wait,
            open=self.access.open,
            names=any(one.name for one in self.access.logins),
            password=bool(self.access.logins),
        )

    async def _enter(self, ticket: str, request: Request) -> Response:
        """Sign in whoever was given a ticket."""
        held = await self.access.redeem(ticket)
        if held is None:
            return await self._form(request, following="", status=403, problem="ticket")
        request.state.cookie = held
        return _redirect(request, "/")

    async def _ticket(self, request: Request) -> Response:
        """Make an address that signs somebody in once, for a program that holds the API token."""
        if not self.access.is_token(request):
            return Response(status_code=401, headers=HEADERS | {"www-authenticate": "Bearer"})
        ticket = await self.access.ticket()
        return Response(ticket, status_code=201, media_type="text/plain", headers=HEADERS)

    async def _sign_out(self, visitor: Visitor, request: Request) -> Response:
        form = dict(read_form(await self._bodies.read(request.receive, request.scope["headers"])))
        if not hmac.compare_digest(form.get("csrf", "").encode(), visitor.csrf.encode()):
            return await page("stale.html", request, status=403, visitor=visitor, now=self._parts.clock())
        await self.access.sign_out(visitor)
        request.state.cookie = ""
        return _redirect(request, "/sign-in")

    async def _turned_away(self, path: str, request: Request) -> Response:
        """The sign-in and nothing else, whether or not there is such a page."""
        if request.method in {"GET", "HEAD"} and "text/event-stream" not in request.headers.get("accept", ""):
            following = path + (f"?{request.url.query}" if request.url.query else "")
            return _redirect(request, f"/sign-in?next={quote(following[:2000], safe='')}")
        return await self._form(request, following="/", status=401, problem="ended")


def _is_ours(following: str) -> bool:
    """Whether an address is a path below the console, and nothing that leads out of it."""
    return following.startswith("/") and not re.search(r"[\\\x00-\x20\x7f]|//", following.partition("?")[0])


def _above(path: str) -> str:
    """The page that an action is asked for from: of a list or of one thing, it stands above the action."""
    return path.rpartition("/")[0] or "/"


def _below(request: Request, path: str) -> str:
    root = f"{request.scope.get('root_path') or ''}/console"
    target = quote(f"{root}{path}", safe="/?&=%:,;+~@!$'()*-._")
    return target.rstrip("/") if path == "/" else target


def _redirect(request: Request, path: str) -> Response:
    return Response(status_code=303, headers=HEADERS | {"location": _below(request, path)})


def _static(name: str, request: Request) -> Response:
    content = static(name)
    if content is None:
        return Response(status_code=404, headers=HEADERS)
    kept = request.query_params.get("v") == ask.version()
    cached = {"cache-control": "public, max-age=31536000, immutable" if kept else "no-cache"}
    return Response(content, headers=HEADERS | cached | {"content-type": _TYPES[name.rpartition(".")[2]]})
