"""``{env:NAME}`` in the address of a sink: a value stays what it stands for, whatever is in it."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core.errors import ConfigurationError
from receiver.settings import Settings
from receiver.sinks.configuration import SinkConfig
from receiver.sinks.sink import Place

#: What stands around a value was copied along with it, and is left out.
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
    lambda text: text == text.strip()
)
HOST = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,6})?", fullmatch=True)
SERVER = st.one_of(
    HOST, st.builds("{}:{}".format, HOST, st.integers(1, 65535)), st.just("[2001:db8::1]:4222")
)


def resolved(to: str, **environ: str) -> str:
    """The address *to*, filled in."""
    config = SinkConfig(name="test", to=to, origin="a test")
    return config.resolved(Settings(environ=environ)).to


@given(server=SERVER)
def test_a_server_may_come_with_its_port(server: str) -> None:
    """``host:port`` in one variable is a host and a port, beside a user as without one."""
    for user in ("", "u:p@"):
        found = urlsplit(resolved(f"redis://{user}{{env:AT}}/0?stream=a", AT=server))
        assert found.netloc == f"{user}{server}"
        assert (found.path, found.query) == ("/0", "stream=a")


@given(server=ANY)
def test_what_is_no_server_never_changes_the_address(server: str) -> None:
    """Beside a server nothing can be slipped in: no user, no path, no option, no other scheme."""
    to = "redis://u:p@{env:AT}/0?stream=a"
    try:
        found = resolved(to, AT=server)
    except ConfigurationError as error:
        assert "AT stands where a server does" in str(error)  # noqa: PT017  (most are refused, and some are not)
        return
    value = found.removeprefix("redis://u:p@").removesuffix("/0?stream=a")
    assert value == server
    assert not set(value) & set("/?#@\\ ")


@given(user=ANY, password=ANY)
def test_who_signs_in_may_have_any_character(user: str, password: str) -> None:
    """A user and a password come out as they are set, and the server stays the same."""
    found = urlsplit(resolved("redis://{env:USER}:{env:PW}@host:6379/0?stream=a", USER=user, PW=password))
    assert (unquote(found.username or ""), unquote(found.password or "")) == (user, password)
    assert (found.hostname, found.port, found.path) == ("host", 6379, "/0")


@given(value=ANY)
def test_an_option_and_a_path_may_have_any_character(value: str) -> None:
    """They come out as they are set, and are taken neither for more of the address nor for a field."""
    to = resolved("nats://host:4222/a.{env:V}.{state}?x={env:V}", V=value)
    assert parse_qs(urlsplit(to).query)["x"] == [value]
    place = Place(SinkConfig(name="test", to=to, origin="a test"), optional=("x",))
    assert place.path({"state": "done", "job": "leaked"}) == f"a.{value}.done"


def test_several_servers_may_come_from_one_variable() -> None:
    """Kafka's servers are told together."""
    to = resolved("kafka://{env:SERVERS}/jobs", SERVERS="a:9092,b:9092")
    from receiver.sinks.kafka import KafkaSink

    sink = KafkaSink(SinkConfig(name="test", to=to, origin="a test"), secret=None)
    assert sink._servers == "a:9092,b:9092"


def test_a_folder_and_a_channel_are_taken_as_they_are() -> None:
    """Where the address is no URL nothing is encoded; the folder of a socket has no other form."""
    assert (
        resolved("file://{env:DIR}/jobs.jsonl", DIR="/var/log/my jobs")
        == "file:///var/log/my jobs/jobs.jsonl"
    )
    assert resolved("notify://{env:C}", C="jobs:all") == "notify://jobs:all"
    assert resolved("postgresql://{env:H}/b?channel=x", H="/run/pg") == "postgresql://%2Frun%2Fpg/b?channel=x"
    assert resolved("taskiq:app:broker?task={env:T}", T="a&b") == "taskiq:app:broker?task=a%26b"


@pytest.mark.parametrize(
    ("to", "value", "told"),
    [
        ("nats://{env:AT}/jobs", "h/../x", "AT stands where a server does"),
        ("nats://{env:AT}/jobs", "me:pw@h", "AT stands where a server does"),
        ("file://{env:AT}/x", "/a/{job}", "AT has a brace"),
        ("redis://:{env:NOT_SET_ANYWHERE}@host/0?stream=a", "x", "NOT_SET_ANYWHERE is not set"),
    ],
)
def test_a_value_that_cannot_stand_there_is_refused_by_name(to: str, value: str, told: str) -> None:
    """The sentence names the variable, and never says what is in it."""
    with pytest.raises(ConfigurationError, match=told) as refused:
        resolved(to, AT=value)
    assert value not in str(refused.value)
