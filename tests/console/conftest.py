"""A receiver with its console behind a real server, and people who visit it without a browser."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest

from receiver.asgi import _console
from receiver.console.face import Face
from tests.web.conftest import TOKEN, Site, open_site, serve, site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from receiver.console.ask import Route

__all__ = ["Person", "open_site", "serve", "site"]

PASSWORD = "correct horse battery staple"
#: As ``hash_password`` makes it of PASSWORD, which takes long on purpose.
HASHED = "scrypt$65536$8$2$YSBzYWx0IGZvciB0ZXN0cw==$pCq2dS9GIlTvu63uYinwRE5oUnICglod2FcjuE7+y4Y="


@dataclass(kw_only=True)
class Person:
    """Somebody with a cookie jar and no browser."""

    http: httpx.AsyncClient
    root: str = "/console"
    pages: list[str] = field(default_factory=list)

    async def sign_in(self, secret: str = TOKEN, **more: str) -> httpx.Response:
        """Send the form of the sign-in."""
        return await self.http.post(f"{self.root}/sign-in", data={"secret": secret, **more})

    async def see(self, path: str, *, status: int = 200) -> str:
        """The page at *path*, entities undone; fails where it is answered otherwise than with *status*."""
        answer = await self.http.get(f"{self.root}{path}")
        assert answer.status_code == status, (answer.status_code, answer.text[:2000])
        return answer.text

    async def do(self, path: str, *, csrf: str | None = None, **fields: str | list[str]) -> httpx.Response:
        """Send a form as the page at hand would."""
        if csrf is None:
            found = re.search(r'name="csrf" value="([0-9a-f]+)"', await self.see("/jobs"))
            assert found is not None
            csrf = found[1]
        return await self.http.post(f"{self.root}{path}", data={"csrf": csrf, **fields})


@pytest.fixture
async def person(site: Site) -> AsyncIterator[Person]:
    """Somebody who has not signed in."""
    async with visitor(site) as client:
        yield Person(http=client)


@pytest.fixture
async def operator(person: Person) -> Person:
    """Somebody who has signed in with the API token."""
    answer = await person.sign_in()
    assert answer.status_code == 303
    return person


def visitor(site: Site, **headers: str) -> httpx.AsyncClient:
    """A client without the API token."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=site.url, trust_env=False, headers=headers, limits=limits, timeout=60)


def routes_of(site: Site) -> list[Route]:
    """Every route of the console, as the receiver finds them."""
    return Face(_console(site.receiver.running)._parts).routes
