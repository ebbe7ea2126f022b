"""The way out: through a proxy that a setting names, and to private networks that a setting names; nowhere else."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from receiver import Settings
from receiver.core.description.provider import Provider
from receiver.core.errors import ConfigurationError, FetchRefusedError, NeverConnectedError, ProviderError
from receiver.keys import Keys
from receiver.outbound.client import Outbound
from tests.certificates import certificate
from tests.ports import free_port

from .stub import Asked, Reply, Stub, always, stub
from .test_outbound import SECRET, described, get

LOGIN = "user:p%40ss"
#: ``user:p@ss``
AUTHORIZATION = b"Basic dXNlcjpwQHNz"


class Proxy:
    """A proxy that makes tunnels, to where *leads* says or to where it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes | None]] = []
        self.answer = b"HTTP/1.1 200 Connection established\r\n\r\n"
        self.leads: dict[bytes, int] = {}
        self.port = 0
        self.sent = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one CONNECT."""
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        method, target, _ = first.split(b" ")
        assert method == b"CONNECT"
        fields = dict(line.split(b": ", 1) for line in lines)
        self.asked.append((target, fields.get(b"Proxy-Authorization")))
        writer.write(self.answer)
        if not self.answer.startswith(b"HTTP/1.1 2"):
            return
        port = self.leads.get(target) or int(target.rpartition(b":")[2])
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(self._pump(reader, inner_writer, note=True), self._pump(inner_reader, writer))

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, note: bool = False
    ) -> None:
        with suppress(OSError), closing(writer):
            while piece := await reader.read(65536):
                self.sent += piece if note else b""
                writer.write(piece)
                await writer.drain()


@asynccontextmanager
async def proxying(*, context: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """A proxy at a free port."""
    proxy = Proxy()
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(proxy.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # in which what was closed is


async def asked(
    provider: Provider,
    url: str,
    *others: Provider,
    anywhere: bool = False,
    **environ: Any,  # noqa: ANN401
) -> bytes:
    """What *provider* answers, with these settings."""
    settings = Settings.load({"OTHER_KEY": SECRET, **environ})
    client = Outbound(
        keys=Keys(settings), providers=[provider, *others], max_result=1000, patience=5, settings=settings
    )
    try:
        return (await client.send(provider, get(url, anywhere=anywhere))).body
    finally:
        await client.close()


def moved(target: Stub) -> Provider:
    """The provider, at *target*."""
    return described("https://api.example.com").at(target.url)


@pytest.mark.parametrize("login", ["", f"{LOGIN}@"])
@pytest.mark.parametrize("setting", ["RECEIVER_EGRESS_PROXY", "RECEIVER_OTHER_EGRESS_PROXY"])
async def test_a_provider_is_asked_through_the_proxy(setting: str, login: str) -> None:
    """By a tunnel to its name; the proxy's login goes to the proxy alone."""
    async with always(Reply(body=b"here")) as target, proxying() as proxy:
        environ: dict[str, Any] = {setting: f"http://{login}127.0.0.1:{proxy.port}"}
        assert await asked(moved(target), f"{target.url}/x", **environ) == b"here"
        assert proxy.asked == [(target.url[7:].encode(), AUTHORIZATION if login else None)]
        assert target.asked[0].header("proxy-authorization") is None
        assert target.asked[0].header("authorization") == f"Bearer {SECRET}"


async def test_tls_is_spoken_with_the_provider_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside the tunnel, and with the proxy too where it wants that; no credential is seen on the way."""
    file, context = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))

    async def answer(_asked: Asked) -> Reply:
        return Reply(body=b"here")

    async with stub(answer, context=context) as target, proxying(context=context) as proxy:
        url = f"https://{LOGIN}@localhost:{proxy.port}"
        assert await asked(moved(target), f"{target.url}/x", RECEIVER_EGRESS_PROXY=url) == b"here"
        assert proxy.asked == [(f"localhost:{target.port}".encode(), AUTHORIZATION)]
        assert SECRET.encode() not in proxy.sent


async def test_a_provider_of_its_own_way_needs_no_proxy() -> None:
    """``direct``; the others go on through it."""
    async with always(Reply(body=b"here")) as target, proxying() as proxy:
        environ: dict[str, Any] = {
            "RECEIVER_EGRESS_PROXY": f"http://127.0.0.1:{proxy.port}",
            "RECEIVER_OTHER_EGRESS_PROXY": "direct",
        }
        assert await asked(moved(target), f"{target.url}/x", **environ) == b"here"
        assert proxy.asked == []


async def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other programs are told is not ours."""
    async with always(Reply(body=b"here")) as target, proxying() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert await asked(moved(target), f"{target.url}/x") == b"here"
        assert proxy.asked == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "403"),
        (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", "502"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "makes no connection"),
        (b"HTTP/1.1 200 OK\r\n", "broke off"),
        (b"", "broke off"),
        (b"x" * 20_000, "broke off"),
    ],
)
async def test_a_proxy_that_refuses_is_named_without_its_login(answer: bytes, words: str) -> None:
    """The provider never heard the request, so it may be sent again; nothing that opens the proxy is told."""
    async with always(Reply()) as target, proxying() as proxy:
        proxy.answer = answer
        proxy.leads[target.url[7:].encode()] = 1  # nowhere
        with pytest.raises(NeverConnectedError, match=words) as caught:
            await asked(
                moved(target),
                f"{target.url}/x",
                RECEIVER_EGRESS_PROXY=f"http://{LOGIN}@127.0.0.1:{proxy.port}",
            )
        assert caught.value.code == "egress_refused"
        assert f"127.0.0.1:{proxy.port}" in str(caught.value)
        assert not {"user", "p@ss", "p%40ss"} & set(str(caught.value).split())
        assert target.asked == []


async def test_a_proxy_that_is_not_there_is_named() -> None:
    """It is our own trouble, and the request was never heard."""
    async with always(Reply()) as target:
        port = free_port()
        with pytest.raises(NeverConnectedError, match=f"127.0.0.1:{port} was not reached") as caught:
            await asked(moved(target), f"{target.url}/x", RECEIVER_EGRESS_PROXY=f"http://127.0.0.1:{port}")
        assert caught.value.code == "egress_unreachable"


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost/x",
        "https://127.0.0.1/x",
        "https://10.0.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://0x7f.1/x",
        "https://2130706433/x",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://metadata.internal.invalid/x",
    ],
)
async def test_a_proxy_opens_no_private_address(url: str) -> None:
    """What an answer names is vetted before the proxy hears of it; a name that nobody here knows is not asked for."""
    async with proxying() as proxy:
        provider = described("https://api.example.com")
        with pytest.raises((FetchRefusedError, NeverConnectedError)):
            await asked(provider, url, anywhere=True, RECEIVER_EGRESS_PROXY=f"http://127.0.0.1:{proxy.port}")
        assert proxy.asked == []


async def test_a_listed_name_that_only_the_proxy_knows_is_asked_for() -> None:
    """Many companies resolve nothing inside. Whoever answers must have the name's certificate to hear a request."""
    async with always(Reply(body=b"not TLS")) as target, proxying() as proxy:
        proxy.leads[b"api.nowhere.invalid:443"] = target.port
        provider = described("https://api.nowhere.invalid")
        with pytest.raises(ProviderError):
            await asked(
                provider,
                "https://api.nowhere.invalid/x",
                RECEIVER_EGRESS_PROXY=f"http://127.0.0.1:{proxy.port}",
            )
        assert proxy.asked == [(b"api.nowhere.invalid:443", None)]
        assert SECRET.encode() not in proxy.sent
        assert target.asked == []


@pytest.mark.parametrize(
    "text",
    [
        "proxy:3128",
        "socks5://proxy:1080",
        "http://",
        "http://user:secret@",
        "http://proxy:0x1",
        "http://proxy/path",
        "x",
    ],
)
def test_a_proxy_that_is_none_is_refused_at_the_start(text: str) -> None:
    """With the setting's name, and nothing of its value."""
    settings = Settings.load({"RECEIVER_EGRESS_PROXY": text})
    with pytest.raises(ConfigurationError, match="RECEIVER_EGRESS_PROXY") as caught:
        Outbound(
            keys=Keys(settings), providers=[described("https://a.example")], max_result=1, settings=settings
        )
    assert "secret" not in str(caught.value)


def mine(target: Stub) -> Provider:
    """A provider that one hosts oneself, described where it is."""
    return described(f"https://localhost:{target.port}")


@pytest.fixture
def trusting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A certificate for localhost that is trusted."""
    file, context = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return context


async def _here(_asked: Asked) -> Reply:
    return Reply(body=b"here")


async def test_a_provider_of_ones_own_is_asked_where_it_is(trusting: ssl.SSLContext) -> None:
    """Its description lists an origin in a private network, and the setting names that network."""
    async with stub(_here, context=trusting) as target:
        url = f"{target.url}/x"
        assert await asked(mine(target), url, RECEIVER_OTHER_ALLOW_PRIVATE="127.0.0.0/8,::1") == b"here"
        with pytest.raises(FetchRefusedError):
            await asked(mine(target), url)
        with pytest.raises(FetchRefusedError):
            await asked(mine(target), url, RECEIVER_OTHER_ALLOW_PRIVATE="10.0.0.0/8")
        with pytest.raises(FetchRefusedError):
            await asked(mine(target), url, RECEIVER_ANOTHER_ALLOW_PRIVATE="127.0.0.0/8")


async def test_everything_else_stays_refused(trusting: ssl.SSLContext) -> None:
    """An address that only an answer names, and the origins of another provider, are as private as before."""
    async with stub(_here, context=trusting) as target:
        environ = {"RECEIVER_OTHER_ALLOW_PRIVATE": "127.0.0.0/8,10.0.0.0/8"}
        for url in (f"https://127.0.0.1:{target.port}/x", "https://10.0.0.1/x"):
            with pytest.raises(FetchRefusedError):
                await asked(mine(target), url, anywhere=True, **environ)
        stranger = described("https://api.example.com")
        with pytest.raises(FetchRefusedError):
            await asked(
                _named(stranger, "stranger"), f"{target.url}/x", mine(target), anywhere=True, **environ
            )
        assert target.asked == []


@pytest.mark.parametrize("answers", [["127.0.0.2", "127.0.0.1"], ["127.0.0.2 127.0.0.1"]])
async def test_a_name_whose_addresses_change_leads_nowhere_else(
    trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, answers: list[str]
) -> None:
    """What was vetted is dialled: no second answer is asked for, and one private address among several is a no."""
    given = iter([*answers, *answers[-1:] * 9])
    told: list[str] = []

    def resolve(_host: str, port: int, **_: Any) -> list[Any]:  # noqa: ANN401
        told.append(next(given))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in told[-1].split()]

    async with stub(_here, context=trusting) as target:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        with pytest.raises(NeverConnectedError if len(answers) > 1 else FetchRefusedError):
            # Nobody listens at the address that may be asked, and the target at the other one.
            await asked(mine(target), f"{target.url}/x", RECEIVER_OTHER_ALLOW_PRIVATE="127.0.0.2")
        assert (target.asked, told) == ([], answers[:1])


async def test_one_address_that_does_not_answer_is_not_all_of_them(
    trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a name with several addresses, one that says nothing among them, the next one is dialled."""
    # Nothing is ever heard from the first (RFC 6666), and nobody listens at the second.
    addresses = ["100::1", "127.0.0.2", "127.0.0.1"]

    def resolve(_host: str, port: int, **_: Any) -> list[Any]:  # noqa: ANN401
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in addresses
        ]

    async with stub(_here, context=trusting) as target:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        allowed = "127.0.0.0/8,100::/64"
        found = await asked(mine(target), f"{target.url}/x", RECEIVER_OTHER_ALLOW_PRIVATE=allowed)
        assert found == b"here"
        addresses[:] = ["127.0.0.2"]
        with pytest.raises(NeverConnectedError):
            await asked(mine(target), f"{target.url}/x", RECEIVER_OTHER_ALLOW_PRIVATE=allowed)


def _named(provider: Provider, name: str) -> Provider:
    changed: dict[str, Any] = {field: getattr(provider, field) for field in provider.__struct_fields__}
    return Provider(**changed | {"name": name})


async def test_plain_http_leads_into_the_named_networks_and_nowhere_else() -> None:
    """Credentials leave without TLS only to where the operator said that they may."""
    settings = Settings.load(
        {"RECEIVER_OTHER_BASE_URL": "http://192.0.2.7:3002", "RECEIVER_OTHER_ALLOW_PRIVATE": "10.0.0.0/8"}
    )
    url = settings.base_url("other")
    assert url == "http://192.0.2.7:3002"
    provider = described("https://api.example.com").at(url)
    with pytest.raises(FetchRefusedError, match="without TLS"):
        await asked(provider, f"{url}/x", RECEIVER_OTHER_ALLOW_PRIVATE="10.0.0.0/8")
    with pytest.raises(FetchRefusedError, match="without TLS"):
        await asked(
            provider,
            f"{url}/x",
            RECEIVER_OTHER_ALLOW_PRIVATE="10.0.0.0/8",
            RECEIVER_EGRESS_PROXY="http://127.0.0.1:9",
        )


@pytest.mark.parametrize("url", ["http://firecrawl.internal:3002", "http://10.0.0.5:3002"])
def test_plain_http_needs_the_opt_in(url: str) -> None:
    """Without it a base URL is https, or loopback."""
    with pytest.raises(ConfigurationError, match="RECEIVER_OTHER_BASE_URL"):
        Settings.load({"RECEIVER_OTHER_BASE_URL": url}).base_url("other")
    environ = {"RECEIVER_OTHER_BASE_URL": url, "RECEIVER_OTHER_ALLOW_PRIVATE": "10.0.0.0/8"}
    assert Settings.load(environ).base_url("other") == url


@pytest.mark.parametrize("text", ["10.0.0.0/40", "internal", "10.0.0.1/8"])
def test_what_is_no_network_is_refused_at_the_start(text: str) -> None:
    """With the setting's name."""
    settings = Settings.load({"RECEIVER_OTHER_ALLOW_PRIVATE": text})
    with pytest.raises(ConfigurationError, match="RECEIVER_OTHER_ALLOW_PRIVATE"):
        Outbound(
            keys=Keys(settings), providers=[described("https://a.example")], max_result=1, settings=settings
        )
