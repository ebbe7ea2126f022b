"""One request to the console: who sent it, what it holds, and the ways to answer."""

import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from receiver.console import shown
from receiver.console.access import Visitor
from receiver.console.parts import Parts
from receiver.steps.deed import Actor, deed
from receiver.threads import off_loop
from receiver.wire.web import PRIVATE

#: Nothing from elsewhere, nothing inline, in nobody's frame.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; font-src 'none'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = PRIVATE | {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Addresses name jobs; elsewhere they are nobody's business, but a form of ours may say where it stood.
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
SAID: Final = "receiver_said"
_LONGEST_SAID: Final = 400
#: As many as are acted on at once, by their ids, and what else a form holds.
_MOST_FIELDS: Final = 1_100


class Route(NamedTuple):
    """What answers at an address below ``/console``; ``{name}`` stands for one part of it."""

    method: str
    path: str
    endpoint: "Callable[[Ask], Awaitable[Response]]"
    #: Whether only operators may.
    acts: bool = False


class Ask:
    """One request of somebody who is signed in."""

    def __init__(
        self,
        request: Request,
        visitor: Visitor,
        *,
        parts: Parts,
        named: Mapping[str, str],
        form: Sequence[tuple[str, str]] = (),
        dead: int = 0,
        stays: Callable[[Visitor], Awaitable[bool]],
    ) -> None:
        self.request = request
        self.visitor = visitor
        self.parts = parts
        self.named = named
        self.form = form
        self.now = parts.clock()
        self._dead = dead
        self._stays = stays

    @property
    def root(self) -> str:
        """Where the console is, from the browser's point of view."""
        return f"{self.request.scope.get('root_path') or ''}/console"

    async def stays(self) -> bool:
        """Whether whoever asks is signed in still, for an answer that takes long."""
        return await self._stays(self.visitor)

    def field(self, name: str) -> str:
        """The last value of a field of the form; empty where it has none."""
        return next((value for key, value in reversed(self.form) if key == name), "")

    def fields(self, name: str) -> list[str]:
        """All values of a field of the form."""
        return [value for key, value in self.form if key == name]

    async def page(self, template: str, *, status: int = 200, **context: Any) -> Response:  # noqa: ANN401
        """Answer with a page."""
        said = _read_said(self.request.cookies.get(SAID, ""))
        response = await page(
            template,
            self.request,
            status=status,
            visitor=self.visitor,
            now=self.now,
            said=said,
            dead=self._dead,
            **context,
        )
        if said:
            response.headers.append(
                "set-cookie", f"{SAID}=; Path={self.root}; Max-Age=0; HttpOnly; SameSite=Lax"
            )
        return response

    def redirect(self, path: str, *, said: str = "") -> Response:
        """Send the browser to *path* below the console, where *said* is shown once."""
        response = Response(status_code=303, headers=HEADERS | {"location": f"{self.root}{path}"})
        if said:
            text = base64.urlsafe_b64encode(said[:_LONGEST_SAID].encode()).decode()
            response.headers.append(
                "set-cookie", f"{SAID}={text}; Path={self.root}; Max-Age=60; HttpOnly; SameSite=Lax"
            )
        return response

    def deed(
        self,
        action: str,
        *,
        subject: str = "",
        job_id: str | None = None,
        **detail: Any,  # noqa: ANN401
    ) -> AbstractAsyncContextManager[dict[str, Any]]:
        """Put on record what is done while the block runs; see ``steps/deed.py``."""
        actor = Actor(who=self.visitor.who, role=self.visitor.role)
        return deed(self.parts.store, actor, action, now=self.now, subject=subject, job_id=job_id, **detail)


async def page(
    template: str,
    request: Request,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,  # noqa: ANN401
) -> Response:
    """A page; *context* is what its template needs besides what every one of them does."""
    root = f"{request.scope.get('root_path') or ''}/console"
    base = {
        "root": root,
        "mount": request.scope.get("root_path") or "",
        "visitor": None,
        "said": "",
        "dead": 0,
        "version": version(),
    }
    made = shown.environment().get_template(template)
    # A long list takes some milliseconds, in which callbacks would wait.
    text = await off_loop(made.render, base | context)
    return Response(text, status_code=status, media_type="text/html", headers=HEADERS | dict(headers or {}))


def read_form(body: bytes) -> list[tuple[str, str]]:
    """The fields of a form; none where it is not one."""
    try:
        return parse_qsl(
            body.decode("ascii", "replace"),
            keep_blank_values=True,
            max_num_fields=_MOST_FIELDS,
            errors="replace",
        )
    except ValueError:
        return []


@cache
def version() -> str:
    """What changes whenever one of the static files does."""
    found = hashlib.sha256()
    for name in ("console.css", "console.js"):
        found.update(static(name) or b"")
    return found.hexdigest()[:12]


@cache
def static(name: str) -> bytes | None:
    """A static file by its name."""
    if name not in {"console.css", "console.js", "icon.svg"}:
        return None
    return files("receiver.console").joinpath("static", name).read_bytes()


def _read_said(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text.encode())[: 4 * _LONGEST_SAID].decode()
    except (ValueError, binascii.Error, UnicodeError):
        return ""
