"""Whoever is not signed in: the sign-in, whatever they ask for, before anything of the record is looked at."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from receiver.asgi import _console
from receiver.console import access, live
from receiver.console.face import Face
from receiver.console.passwords import matches
from receiver.core.model import HOUR
from receiver.storage import audit
from tests.console.conftest import PASSWORD, Person, routes_of, visitor
from tests.web.conftest import TOKEN, Site

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from receiver.console.ask import Route
    from tests.web.conftest import OpenSite

#: What of the receiver may be looked at before anybody is known: it holds nothing of the record.
NOT_OF_THE_RECORD = {"settings", "clock", "ending"}
#: A hash of PASSWORD that takes a millisecond.
QUICK = (
    "scrypt$1024$8$1$YSBzYWx0IGZvciB0ZXN0cw==$"
    + base64.b64encode(
        hashlib.scrypt(PASSWORD.encode(), salt=b"a salt for tests", n=1024, r=8, p=1, dklen=32)
    ).decode()
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")


class Noting:
    """A part of a receiver that works as it does, and says what was asked of it."""

    def __init__(self, part: object, asked: list[str]) -> None:
        self._part = part
        self._asked = asked

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Whatever the part has."""
        self._asked.append(name)
        return getattr(self._part, name)

    def __call__(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401
        """Do what the part does."""
        self._asked.append("called")
        return self._part(*given, **named)  # type: ignore[operator]


def noting(site: Site) -> tuple[httpx.AsyncClient, list[str]]:
    """A client of the receiver's console, and what that asks of the rest of the receiver."""
    asked: list[str] = []
    parts = _console(site.receiver.running)._parts
    noted = {
        one.name: Noting(getattr(parts, one.name), asked)
        for one in fields(parts)
        if one.name not in NOT_OF_THE_RECORD
    }
    face = Face(replace(parts, **noted))  # type: ignore[arg-type]

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await face(scope["path"].removeprefix("/console"), scope, receive, send)

    asked.clear()
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=answer), base_url=site.url), asked


def named(route: Route, values: dict[str, str]) -> str:
    """The path of a route below the console, with *values* in it."""
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], route.path)


async def test_a_stranger_gets_the_same_answer_before_anything_is_looked_at(site: Site) -> None:
    """On every route, by every method, for what there is and for what there is not: byte for byte, without a question.

    What a browser holds that nobody knows is looked up once, the same for each.
    """
    job = (await site.ended("netnut"))["id"]
    callback = (await site.get("/v1/callbacks")).json()["callbacks"][0]["id"]
    routes = routes_of(site)
    client, asked = noting(site)

    async def told(method: str, path: str, cookie: str) -> tuple[int, dict[str, str], bytes]:
        """What is answered, but for the way back, which is the address that was asked for."""
        headers = {"cookie": f"receiver_console={cookie}"} if cookie else {}
        answer = await client.request(method, f"/console{path}", headers=headers)
        back = answer.headers.pop("location", None)
        assert back in {None, f"/console/sign-in?next={quote(path, safe='')}"}
        # By the one question who that is, if they say that they are somebody.
        assert asked == (["read"] if cookie else []), (method, path)
        asked.clear()
        return answer.status_code, dict(answer.headers), answer.content

    for route in routes:
        there = {"id": callback if route.path.startswith("/callbacks") else job, "number": "1"}
        missing = {"id": there["id"][:-32] + "0" * 32, "number": "9"}
        there |= {"name": "pulse", "action": "cancel"}
        missing |= {"name": "nobody", "action": "nothing"}
        for method in METHODS:
            for cookie in ("", "what-nobody-knows"):
                one = await told(method, named(route, there), cookie)
                assert one == await told(method, named(route, missing), cookie)
                assert one == await told(method, "/no/such/page", cookie)
                assert one[0] == (303 if method in {"GET", "HEAD"} else 401)
                assert b"Sign in</h1>" in one[2] or not one[2]
    assert len(routes) >= 40
    await client.aclose()


async def test_over_a_socket_the_answers_are_the_same_too(site: Site) -> None:
    """To the byte, but for the way back and the time of day."""
    job = (await site.ended("netnut"))["id"]
    host, _, port = site.url.removeprefix("http://").partition(":")

    async def told(method: str, path: str) -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"{method} /console{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return re.sub(rb"(?m)^(date|location): .*\r\n", b"", answer, flags=re.IGNORECASE)

    for method in METHODS:
        one = await told(method, f"/jobs/{job}")
        assert one == await told(method, "/jobs/job_" + "0" * 32)
        assert one == await told(method, "/nothing")
        assert job.encode() not in one


async def test_an_address_that_signs_in_once_is_looked_up_before_anything_is_written(site: Site) -> None:
    """A stranger who tries some costs reads, and holds no writer up."""
    client, asked = noting(site)
    assert (await client.get("/console/enter/wrong")).status_code == 403
    assert asked == ["read"]
    await client.aclose()


async def test_many_tries_at_once_are_bounded_as_some_in_a_row(open_site: OpenSite) -> None:
    """While eight are being compared, the ninth has to wait already: each is counted before it is compared."""
    async with open_site(RECEIVER_CONSOLE_PASSWORD=f"grace:{QUICK}") as site, visitor(site) as client:
        tries = (Person(http=client).sign_in("wrong", name="grace") for _ in range(30))
        found = [one.status_code for one in await asyncio.gather(*tries)]
    assert (found.count(401), found.count(429)) == (8, 22)


@pytest.mark.parametrize(
    ("entries", "each"),
    [
        (f"grace:{QUICK},ada:{QUICK}", 1),
        (f"{QUICK},grace:{QUICK}", 2),
        (f"grace:{QUICK},grace/viewer:{QUICK},ada:{QUICK},{QUICK}", 3),
    ],
    ids=["one each", "one for all too", "two of one"],
)
async def test_a_name_that_nobody_has_takes_as_long_as_one_that_somebody_has(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch, entries: str, each: int
) -> None:
    """A password is hashed as often for either, so the time tells nobody who has one."""
    hashed: list[bytes] = []

    def counted(given: bytes, entry: str) -> bool:
        hashed.append(given)
        return matches(given, entry)

    monkeypatch.setattr(access, "matches", counted)
    async with open_site(RECEIVER_CONSOLE_PASSWORD=entries) as site, visitor(site) as client:
        for name in ("grace", "ada", "nobody"):
            assert (await Person(http=client).sign_in("wrong", name=name)).status_code == 401
            assert len(hashed) == each, name
            hashed.clear()
        # The password of somebody else is none under a name that nobody has.
        one_for_all = each > 1
        told = await Person(http=client).sign_in(PASSWORD, name="nobody")
        assert told.status_code == (303 if one_for_all else 401)


async def test_behind_a_proxy_of_ours_tries_are_counted_by_who_sent_them(open_site: OpenSite) -> None:
    """One who is locked out locks nobody else out; what anybody may write in the header counts for nothing."""
    async with open_site(RECEIVER_TRUSTED_PROXIES="127.0.0.0/8") as site, visitor(site) as client:

        async def tried(sender: str, secret: str = "wrong") -> int:
            client.headers["x-forwarded-for"] = sender
            return (await Person(http=client).sign_in(secret)).status_code

        found = await asyncio.gather(*(tried(f"198.51.100.{n}, 203.0.113.7") for n in range(9)))
        assert sorted(found) == [*[401] * 8, 429]
        assert await tried("203.0.113.7", TOKEN) == 429
        assert await tried("203.0.113.8", TOKEN) == 303
    async with open_site() as site, visitor(site) as client:
        found = await asyncio.gather(*(tried(f"203.0.113.{n}") for n in range(9)))
        assert sorted(found) == [*[401] * 8, 429]


@pytest.mark.parametrize("changed", ["token", "password", "role", "proxy"])
async def test_a_session_ends_with_what_it_was_begun_with(open_site: OpenSite, changed: str) -> None:
    """A token that leaked is changed, a password taken away, an operator made a viewer: who is in is out."""
    now = {
        "RECEIVER_API_TOKEN": TOKEN,
        "RECEIVER_CONSOLE_PASSWORD": f"grace:{QUICK}",
        "RECEIVER_CONSOLE_USER_HEADER": "X-User",
        "RECEIVER_CONSOLE_PROXY": "127.0.0.0/8",
        "RECEIVER_CONSOLE_OPERATORS": "ada",
    }
    then = (
        now
        | {
            "token": {"RECEIVER_API_TOKEN": "another token of the tests"},
            "password": {"RECEIVER_CONSOLE_PASSWORD": ""},
            "role": {"RECEIVER_CONSOLE_PASSWORD": f"grace/viewer:{QUICK}"},
            "proxy": {"RECEIVER_CONSOLE_USER_HEADER": "", "RECEIVER_CONSOLE_PROXY": ""},
        }[changed]
    )
    cookies = httpx.Cookies()
    async with open_site(**now) as site, visitor(site) as client:
        person = Person(http=client)
        if changed == "proxy":
            assert "ada" in (await client.get("/console/jobs", headers={"x-user": "ada"})).text
            # What its proxy no longer says of somebody does not hold any more.
            assert (await client.get("/console/jobs")).status_code == 303
        else:
            await person.sign_in(TOKEN if changed == "token" else PASSWORD, name="grace")
            assert "Jobs" in await person.see("/jobs")
        cookies.update(client.cookies)
    async with open_site(**now) as site, visitor(site) as client:
        client.cookies.update(cookies)
        headers = {"x-user": "ada"} if changed == "proxy" else {}
        assert (await client.get("/console/jobs", headers=headers)).status_code == 200
    async with open_site(**then) as site, visitor(site) as client:
        client.cookies.update(cookies)
        assert (await client.get("/console/jobs", headers={"x-user": "ada"})).status_code == (
            303 if changed == "proxy" else 200
        )
        assert (await client.get("/console/jobs")).status_code == 303


async def test_whom_a_proxy_names_may_do_what_is_set_now(open_site: OpenSite) -> None:
    """An operator who is none any more looks on with the same cookie, and does not act."""
    settings = {"RECEIVER_CONSOLE_USER_HEADER": "X-User", "RECEIVER_CONSOLE_PROXY": "127.0.0.0/8"}
    async with (
        open_site(**settings, RECEIVER_CONSOLE_OPERATORS="ada") as site,
        visitor(site, **{"x-user": "ada"}) as client,
    ):
        person = Person(http=client)
        assert (await person.do("/handlers/pause", handler="keep")).status_code == 303
        held = client.cookies
    async with open_site(**settings) as site, visitor(site, **{"x-user": "ada"}) as client:
        client.cookies.update(held)
        assert (await Person(http=client).do("/handlers/resume", handler="keep")).status_code == 403


async def test_a_page_that_goes_on_by_itself_keeps_no_session_alive(site: Site, operator: Person) -> None:
    """Two hours without a person end a session, though its page was open and asked all the time."""
    running = site.receiver.running

    def seen() -> int:
        with running.store.driver.write() as tx:
            before = running.clock() - HOUR
            found = tx.run("SELECT seen_at FROM console_session", {})[0][0]
            tx.run("UPDATE console_session SET seen_at = :before", {"before": before})
            return running.clock() - int(found)

    seen()
    await operator.http.get("/console/jobs", headers={"x-receiver-again": "1"})
    assert seen() >= HOUR
    await operator.http.get("/console/jobs")
    assert seen() < HOUR


async def test_whoever_signs_out_hears_nothing_more(
    site: Site, operator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that is open ends with its session; connecting again is refused."""
    monkeypatch.setattr(live, "_STAYS", 0)
    async with asyncio.timeout(40), operator.http.stream("GET", "/console/live/events") as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        await operator.do("/sign-out")
        async for _ in lines:
            pass
    assert (await operator.http.get("/console/live/events")).status_code == 303


async def test_what_an_action_was_sent_to_leads_to_the_page_above(site: Site, operator: Person) -> None:
    """Its address stands in the browser afterwards: whoever opens that anew does not read that nothing is there."""
    found = routes_of(site)
    shown = {one.path for one in found if one.method == "GET"}
    for path in (one.path for one in found if one.method == "POST" and one.path not in shown):
        answer = await operator.http.get(f"/console{path.format(id='x', name='pulse')}")
        above = path.format(id="x", name="pulse").rpartition("/")[0]
        assert (answer.status_code, answer.headers.get("location")) == (303, f"/console{above}"), path


async def test_a_proxy_that_signs_people_in_is_known_by_its_ipv4_address_however_it_is_written(
    open_site: OpenSite,
) -> None:
    """Who listens on ``::`` sees IPv4 addresses mapped into IPv6."""
    settings = {"RECEIVER_CONSOLE_USER_HEADER": "X-User", "RECEIVER_CONSOLE_PROXY": "10.1.2.3"}
    async with open_site(**settings) as site:
        for peer, status in (("::ffff:10.1.2.3", 200), ("::ffff:10.1.2.4", 303)):
            transport = httpx.ASGITransport(site.receiver.asgi, client=(peer, 9))
            async with httpx.AsyncClient(transport=transport, base_url=site.url) as client:
                answer = await client.get("/console/jobs", headers={"x-user": "ada"})
            assert answer.status_code == status


async def test_a_name_that_comes_with_a_shared_secret_never_stands_alone(open_site: OpenSite) -> None:
    """On record it cannot be taken for the person who has a password of their own."""
    async with open_site(RECEIVER_CONSOLE_PASSWORD=f"grace:{QUICK}") as site, visitor(site) as client:
        assert (await Person(http=client).sign_in(TOKEN, name="grace")).status_code == 303
        assert "grace (API token)" in await Person(http=client).see("/jobs")


async def test_no_action_is_done_for_a_viewer_or_without_its_token(open_site: OpenSite) -> None:
    """On every route that acts: who only looks is told so, and a form of no page of ours changes nothing."""
    entries = f"grace/viewer:{QUICK}"
    async with open_site(RECEIVER_CONSOLE_PASSWORD=entries) as site:
        job = (await site.ended("netnut"))["id"]
        callback = (await site.get("/v1/callbacks")).json()["callbacks"][0]["id"]
        routes = [one for one in routes_of(site) if one.acts or one.method != "GET"]
        assert all(one.acts for one in routes)
        assert len(routes) > 15
        async with visitor(site) as viewer, visitor(site) as client:
            person = Person(http=viewer)
            await person.sign_in(PASSWORD, name="grace")
            csrf = re.search(r'name="csrf" value="(\w+)"', await person.see("/jobs"))
            assert csrf is not None
            await Person(http=client).sign_in()
            for route in routes:
                subject = callback if route.path.startswith("/callbacks") else job
                values = {"id": subject, "name": "pulse", "action": "cancel"}
                path = f"/console{named(route, values)}"
                form = {"csrf": csrf[1], "handler": "keep", "action": "replay", "all": "1", "url": site.url}
                answer = await viewer.request(route.method, path, data=form)
                assert (answer.status_code, "look, not act" in answer.text) == (403, True), route
                if route.method == "GET":
                    continue
                for wrong in ({}, {"csrf": ""}, {"csrf": csrf[1]}, {"csrf": "0" * 64}):
                    answer = await client.post(path, data=form | {"csrf": ""} | wrong)
                    assert answer.status_code == 403, route
        assert await site.receiver.running.store.read(audit.trail, limit=10) == []
