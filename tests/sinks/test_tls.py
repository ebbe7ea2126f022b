"""Sinks over TLS: only a server whose certificate this machine trusts, and that carries its name, hears an event."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Producer

from receiver.core.errors import ConfigurationError
from receiver.sinks.sink import SinkAwayError, SinkFailedError
from tests.certificates import certificate
from tests.sinks import servers, sides
from tests.sinks.fronts import front, kafka
from tests.sinks.making import event, opened

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sinks.servers import Server


@pytest.fixture
def known(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for localhost that nobody trusts yet, and a server's context with it."""
    folder = tmp_path / "known"
    folder.mkdir()
    return certificate(folder)


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Valkey without TLS."""
    with servers.valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


async def holds(to: str, pem: Path, monkeypatch: pytest.MonkeyPatch, secret: str | None = None) -> None:
    """The event goes to HOST of *to* only under the name in its certificate, and once that is trusted."""
    environ = {"SECRET": secret} if secret else {}
    for host, trusted, words in (
        ("localhost", False, "its certificate does not hold (self-signed certificate)"),
        ("127.0.0.1", True, "its certificate does not hold (IP address mismatch"),
        ("localhost", True, ""),
    ):
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        sink = opened(to.replace("HOST", host), environ=environ, secret="env:SECRET" if secret else None)
        try:
            if words:
                with pytest.raises(SinkAwayError) as refused:
                    await sink.send(event())
                assert words in str(refused.value)
            else:
                assert await sink.send(event())
        finally:
            await sink.close()


@pytest.mark.parametrize(
    "to",
    [
        "rediss://HOST:PORT/0?stream=jobs",
        "arq+rediss://HOST:PORT/0?task=on_job",
        "dramatiq+rediss://HOST:PORT/0?task=on_job",
        "celery+rediss://HOST:PORT/0?task=on_job",
    ],
)
async def test_redis(
    to: str, valkey: Server, known: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clients ask for less by themselves: Celery's for no certificate, the others for anybody's."""
    async with front(valkey.port, known[1]) as port:
        await holds(to.replace("PORT", str(port)), known[0], monkeypatch)


@pytest.mark.parametrize(
    "to",
    [
        "amqps://guest:guest@HOST:PORT/?exchange=jobs&routing_key=jobs.acme",
        "dramatiq+amqps://guest:guest@HOST:PORT/?task=on_job",
        "celery+amqps://guest:guest@HOST:PORT//?task=on_job",
    ],
)
async def test_rabbitmq(
    to: str, rabbit_server: Server, known: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery's client asks for no certificate by itself."""
    await sides.Rabbit(rabbit_server).prepare()
    async with front(rabbit_server.port, known[1]) as port:
        await holds(to.replace("PORT", str(port)), known[0], monkeypatch)


async def test_http(
    http_side: sides.Http, known: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificates of a company are trusted where this machine trusts them."""
    async with front(urlsplit(http_side.to).port or 0, known[1]) as port:
        await holds(f"https://HOST:{port}/hook", known[0], monkeypatch)


async def test_nats(
    tmp_path: Path, known: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection whose certificate is not believed comes to an end, though its client does not see that."""
    pem = known[0]
    files = f'cert_file: "{pem}"\nkey_file: "{pem.with_suffix(".key")}"\n'
    streams = tmp_path / "streams"
    streams.mkdir()
    with servers.nats(streams, rules=f"tls {{\n{files}}}\n") as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        side = sides.Nats(server)
        side.at = f"tls://localhost:{server.port}"
        await side.prepare()
        monkeypatch.delenv("SSL_CERT_FILE")
        await holds(f"tls://HOST:{server.port}/jobs.acme.succeeded", pem, monkeypatch)


@pytest.fixture
def broker() -> Iterator[int]:
    """The port of one mock broker of Kafka's."""
    holder = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1})
    [found] = holder.list_topics(timeout=10).brokers.values()
    yield found.port
    del holder


async def test_kafka(
    broker: int, known: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a secret it signs in over TLS; a wrong password is told as that, and is no outage."""
    spoken = kafka(broker, user="ada", password="a: b")
    async with front(broker, known[1], spoken) as port:
        to = f"kafka://HOST:{port}/jobs"
        monkeypatch.setenv("SSL_CERT_FILE", str(known[0]))
        for password in ("wrong", "a: b"):
            environ = {"SECRET": f"ada:{password}"}
            sink = opened(to.replace("HOST", "localhost"), environ=environ, secret="env:SECRET")
            try:
                if password == "wrong":
                    with pytest.raises(SinkFailedError, match="refuse our name or password"):
                        await sink.send(event())
                else:
                    assert "jobs, partition" in await sink.send(event())
            finally:
                await sink.close()
        sink = opened(to.replace("HOST", "127.0.0.1"), environ=environ, secret="env:SECRET")
        with pytest.raises(SinkAwayError, match=r"its certificate does not hold \(IP address mismatch"):
            await sink.send(event())
        await sink.close()


@pytest.mark.parametrize("options", ["tls=yes", "tls=true", "tls=", "mechanism=plain", "mechanism=GSSAPI"])
def test_a_word_that_kafka_does_not_know_is_refused_before_a_password_travels(options: str) -> None:
    """What looks like "with TLS" is never taken for "without"."""
    with pytest.raises(ConfigurationError, match=f"{options.partition('=')[0]} is one of "):
        opened(f"kafka://host/jobs?{options}", environ={"S": "ada:b"}, secret="env:S")
    with pytest.raises(ConfigurationError, match="no secret"):
        opened("kafka://host/jobs?mechanism=PLAIN")
