"""Who gets in, what they may do, and what everybody else gets."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from receiver.console import attempts as tries
from receiver.console.access import check_settings
from receiver.console.attempts import MOST_ADDRESSES, TOGETHER, TRIES, Attempts, Locked, Together, network
from receiver.console.passwords import hash_password, matches
from receiver.core.errors import ConfigurationError
from receiver.core.model import HOUR, MINUTE, SECOND
from receiver.settings import Settings
from tests.console.conftest import HASHED, PASSWORD, Person, visitor
from tests.web.conftest import TOKEN, Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.web.conftest import OpenSite


@pytest.mark.parametrize(
    "path", ["", "/jobs", "/jobs/job_x", "/nothing", "/callbacks?provider=pulse", "/live"]
)
async def test_whoever_has_not_signed_in_gets_the_sign_in_and_nothing_else(person: Person, path: str) -> None:
    """Whether or not there is such a page: the same answer, which leads back after signing in."""
    answer = await person.http.get(f"/console{path}")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/console/sign-in?next=%2F")
    assert answer.content == b""
    form = await person.http.get(answer.headers["location"])
    assert "Sign in" in form.text
    assert "set-cookie" not in form.headers


async def test_an_action_without_a_session_is_refused(person: Person, site: Site) -> None:
    """A form that was left open after signing out changes nothing."""
    job = await site.ended("netnut")
    answer = await person.http.post(f"/console/jobs/{job['id']}/replay", data={"csrf": "0" * 64})
    assert answer.status_code == 401
    assert "signed out" in answer.text


async def test_the_api_token_signs_in_and_signing_out_ends_the_session(person: Person) -> None:
    """The cookie is the browser's only; once signed out, it is worth nothing even to who kept it."""
    answer = await person.sign_in(next="/jobs?state=open")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/jobs?state=open")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/console" in cookie
    assert "Secure" not in cookie  # the tests' public URL is plain http
    held = person.http.cookies["receiver_console"]
    assert "Jobs" in await person.see("/jobs")
    assert (await person.do("/sign-out")).headers["location"] == "/console/sign-in"
    person.http.cookies.set("receiver_console", held, path="/console")
    assert (await person.http.get("/console/jobs")).status_code == 303


async def test_a_cookie_is_secure_where_the_public_url_is_https(open_site: OpenSite) -> None:
    """It never travels in the clear where it need not."""
    async with open_site(RECEIVER_PUBLIC_URL="https://receiver.example") as site, visitor(site) as client:
        assert "; Secure" in (await Person(http=client).sign_in()).headers["set-cookie"]


@pytest.mark.parametrize(
    "following",
    ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nx: y"],
)
async def test_signing_in_leads_nowhere_else(person: Person, following: str) -> None:
    """The page to go on with is one of the console's, whatever the address of the sign-in says."""
    answer = await person.sign_in(next=following)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")


async def test_a_wrong_token_is_told_counted_and_slowed_down(person: Person) -> None:
    """After some tries the address has to wait, with the right token too."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    answer = await person.sign_in("wrong")
    assert answer.status_code == 401
    assert "That is not right" in answer.text
    assert loop.time() - begun > 0.19
    answers = await asyncio.gather(*(person.sign_in("wrong") for _ in range(TRIES - 1)))
    assert {one.status_code for one in answers} == {401}
    locked = await person.sign_in()
    assert locked.status_code == 429
    assert int(locked.headers["retry-after"]) > 500
    assert "Too many wrong tries" in locked.text


def test_attempts_are_forgotten_in_time_and_bounded() -> None:
    """An address waits ten minutes; many addresses do not fill the memory; IPv6 counts by network."""
    now = 0
    attempts = Attempts(lambda: now)
    for _ in range(TRIES):
        attempts.begin("2001:db8::1")
    with pytest.raises(Locked):
        attempts.begin("2001:db8::2")
    attempts.begin("2001:db8:0:1::1")
    now += 10 * MINUTE
    attempts.begin("2001:db8::1")
    for place in range(MOST_ADDRESSES + 10):
        attempts.begin(str(place))
    assert len(attempts._failed) == MOST_ADDRESSES
    # A right one takes back itself alone: a password of one's own does not help to guess another's.
    for _ in range(TRIES - 1):
        attempts.begin("192.0.2.1")
    attempts.begin("192.0.2.1")
    attempts.right("192.0.2.1")
    attempts.begin("192.0.2.1")
    with pytest.raises(Locked):
        attempts.begin("192.0.2.1")
    attempts.begin("192.0.2.2")
    attempts.right("192.0.2.2")
    assert "192.0.2.2" not in attempts._failed
    assert network("2001:db8::1") == network("2001:db8::2") != network("2001:db8:0:1::1")


def test_tries_from_everywhere_are_bounded_together() -> None:
    """Past the bound one is let through every 18 seconds, and an address that was signed in from always."""
    now = 1_000 * HOUR
    together = Together(lambda: now)
    together.begin("192.0.2.1")
    together.right("192.0.2.1")
    for place in range(TOGETHER):
        together.begin(str(place))
    with pytest.raises(Locked) as locked:
        together.begin("198.51.100.7")
    assert locked.value.wait == 18
    for _ in range(2 * TOGETHER):
        together.begin("192.0.2.1")
    for _ in range(3):
        now += 18 * SECOND
        together.begin("198.51.100.7")
        with pytest.raises(Locked):
            together.begin("203.0.113.9")
    now += HOUR
    for place in range(TOGETHER):
        together.begin(str(place))
    with pytest.raises(Locked):
        together.begin("203.0.113.9")
    for place in range(2_000):
        together.right(str(place))
    assert len(together._known) == 1_000


async def test_a_flood_of_tries_shuts_nobody_out_who_is_in(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has a session goes on, a ticket signs in, and so does the owner from where the sign-in was right before."""
    monkeypatch.setattr(tries, "TOGETHER", 3)
    async with open_site(RECEIVER_TRUSTED_PROXIES="127.0.0.1") as site, visitor(site) as client:
        person = Person(http=client)

        async def tried(secret: str, address: str) -> int:
            person.http.headers["x-forwarded-for"] = address
            return (await person.sign_in(secret)).status_code

        assert await tried(TOKEN, "192.0.2.1") == 303
        assert [await tried("wrong", f"198.51.100.{n}") for n in range(3)] == [401] * 3
        assert await tried(TOKEN, "203.0.113.9") == 429
        assert "Jobs" in await person.see("/jobs")
        assert await tried(TOKEN, "192.0.2.1") == 303


async def test_passwords_sign_in_with_their_roles(open_site: OpenSite) -> None:
    """A viewer looks and does not act; the name goes with the password; each hash is its own."""
    entries = f"{HASHED},grace/viewer:{hash_password(b'ada', salt=b'another salt')}"
    async with open_site(RECEIVER_CONSOLE_PASSWORD=entries) as site:
        job = await site.ended("netnut")
        async with visitor(site) as client:
            person = Person(http=client)
            assert (await person.sign_in("ada", name="somebody")).status_code == 401
            assert (await person.sign_in("ada", name="grace")).status_code == 303
            assert "grace" in await person.see("/jobs")
            page = await person.see(f"/jobs/{job['id']}")
            assert "Replay" not in page
            refused = await person.do(f"/jobs/{job['id']}/replay")
            assert refused.status_code == 403
            assert "look, not act" in refused.text
        async with visitor(site) as client:
            person = Person(http=client)
            assert (await person.sign_in(PASSWORD)).status_code == 303
            assert (await person.do(f"/jobs/{job['id']}/replay")).status_code == 303


def test_a_password_is_hashed_by_a_command() -> None:
    """``receiver keygen --password`` reads it from standard input and prints an entry that matches."""
    ran = subprocess.run(
        [sys.executable, "-m", "receiver", "keygen", "--password"],
        input=b"a password\n",
        capture_output=True,
        check=True,
    )
    hashed = ran.stdout.decode().strip()
    assert matches(b"a password", hashed)
    assert not matches(b"another", hashed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RECEIVER_CONSOLE_PASSWORD", "in the clear"),
        ("RECEIVER_CONSOLE_PASSWORD", "scrypt$99999999$8$1$c2FsdHNhbHQ=$c2FsdHNhbHRzYWx0c2FsdA=="),
        ("RECEIVER_CONSOLE_PASSWORD", f"grace/root:{HASHED}"),
        ("RECEIVER_CONSOLE_USER_HEADER", "X-User"),
        ("RECEIVER_CONSOLE_PROXY", "10.0.0.1"),
        ("RECEIVER_CONSOLE_PROXY", "the proxy"),
    ],
)
def test_a_wrong_setting_is_named_when_it_starts(name: str, value: str) -> None:
    """Nobody finds out at the sign-in that the password was never a hash."""
    with pytest.raises(ConfigurationError, match="RECEIVER_CONSOLE"):
        check_settings(Settings.load({name: value}))


async def test_a_proxy_that_authenticates_signs_people_in(open_site: OpenSite) -> None:
    """Its header is believed from its address only, and only operators act."""
    settings = {
        "RECEIVER_CONSOLE_USER_HEADER": "X-Forwarded-User",
        "RECEIVER_CONSOLE_PROXY": "127.0.0.0/8",
        "RECEIVER_CONSOLE_OPERATORS": "ada, alan",
    }
    async with open_site(**settings) as site:
        job = await site.ended("netnut")
        for who, status in (("ada", 303), ("grace", 403)):
            async with visitor(site, **{"X-Forwarded-User": who}) as client:
                person = Person(http=client)
                assert who in await person.see("/jobs")
                assert (await person.do(f"/jobs/{job['id']}/replay")).status_code == status
        async with visitor(site) as client:
            assert (await client.get("/console/jobs")).status_code == 303
    async with (
        open_site(**settings | {"RECEIVER_CONSOLE_PROXY": "10.1.2.3"}) as site,
        visitor(site, **{"X-Forwarded-User": "ada"}) as client,
    ):
        assert (await client.get("/console/jobs")).status_code == 303


async def test_a_form_from_elsewhere_changes_nothing(operator: Person, site: Site) -> None:
    """Without the session's token, or sent by another site, an action is refused."""
    job = await site.ended("netnut")
    path = f"/jobs/{job['id']}/replay"
    assert (await operator.do(path, csrf="")).status_code == 403
    assert (await operator.do(path, csrf="0" * 64)).status_code == 403
    operator.http.headers["sec-fetch-site"] = "cross-site"
    assert (await operator.do(path)).status_code == 403
    del operator.http.headers["sec-fetch-site"]
    operator.http.headers["origin"] = "https://evil.example"
    assert (await operator.do(path)).status_code == 403
    record = await site.get(f"/v1/jobs/{job['id']}")
    assert not [one for one in record.json()["timeline"] if one.get("step") == "replay"]


async def test_a_ticket_signs_in_once(site: Site, person: Person) -> None:
    """A program that holds the API token gets an address that signs somebody in; a second time it does not."""
    assert (await person.http.post("/console/tickets")).status_code == 401
    ticket = (await site.http.post("/console/tickets")).text
    assert (await person.http.get(f"/console/enter/{ticket}")).status_code == 303
    assert "Jobs" in await person.see("/jobs")
    async with visitor(site) as client:
        again = await client.get(f"/console/enter/{ticket}")
        assert again.status_code == 403
        assert "signs in once" in again.text
        assert (await client.get("/console/jobs")).status_code == 303


@pytest.mark.parametrize(("idle", "age"), [(2 * HOUR + SECOND, 0), (0, 24 * HOUR + SECOND)])
async def test_a_session_ends_by_itself(site: Site, operator: Person, idle: int, age: int) -> None:
    """Two hours without use, or a day in all."""
    store = site.receiver.running.store
    clock: Callable[[], int] = site.receiver.running.clock

    def older(tx, items):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        tx.run(
            "UPDATE console_session SET seen_at = :seen, created_at = :created",
            {"seen": clock() - idle, "created": clock() - age},
        )
        return [None] * len(items)

    assert "Jobs" in await operator.see("/jobs")
    await store.write(older, None)
    assert (await operator.http.get("/console/jobs")).status_code == 303


async def test_without_any_way_to_sign_in_the_page_says_what_is_missing(open_site: OpenSite) -> None:
    """No token, no password, no proxy: nobody gets in, with an empty token neither."""
    async with open_site(RECEIVER_API_TOKEN="") as site, visitor(site) as client:
        person = Person(http=client)
        assert "RECEIVER_API_TOKEN" in (await client.get("/console/sign-in")).text
        assert (await person.sign_in("")).status_code == 401


async def test_the_console_can_be_left_out(open_site: OpenSite) -> None:
    """RECEIVER_CONSOLE=0: there is nothing at its address."""
    async with open_site(RECEIVER_CONSOLE="0") as site:
        answer = await site.get("/console")
        assert (answer.status_code, answer.content) == (404, b"")


async def test_every_answer_forbids_what_a_page_does_not_need(operator: Person) -> None:
    """Nothing inline, nothing from elsewhere, in nobody's frame, kept by no cache; static files by their version."""
    for path in ("/jobs", "/jobs/job_x", "/sign-in", "/static/console.css", "/jobs?since=nonsense"):
        answer = await operator.http.get(f"/console{path}")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        if "static" not in path:
            assert answer.headers["cache-control"] == "no-store"
            assert " style=" not in answer.text
            assert "<script>" not in answer.text
            assert " onclick" not in answer.text
    versioned = await operator.http.get("/console/static/console.js", params={"v": "other"})
    assert versioned.headers["cache-control"] == "no-cache"
    assert (await operator.http.get("/console/static/../face.py")).status_code in {303, 404}


def test_nothing_of_it_is_loaded_before_somebody_asks() -> None:
    """``receiver --help``, ``receiver serve`` and an application without the console load no template engine."""
    program = (
        "import sys, receiver.asgi, receiver.cli.serve; "
        "sys.exit('jinja2' in sys.modules or 'sse_starlette' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_a_token_in_a_header_opens_no_page(site: Site) -> None:
    """The API's token is for ``/v1``; a page is for who signed in."""
    answer = await site.http.get("/console/jobs", headers={"authorization": f"Bearer {TOKEN}"})
    assert isinstance(answer, httpx.Response)
    assert answer.status_code == 303
