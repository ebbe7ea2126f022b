"""Sinks are configured by a variable or a file, and a wrong one is refused at start with its place and reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from receiver.core.errors import ConfigurationError
from receiver.settings import Settings
from receiver.sinks.configuration import load
from receiver.sinks.opening import KINDS, open_sink
from tests.core.making import NOW

if TYPE_CHECKING:
    from pathlib import Path


def settings(tmp_path: Path, toml: str = "", **environ: str) -> Settings:
    """Settings with sinks in a file and in variables."""
    file = tmp_path / "sinks.toml"
    file.write_text(toml)
    return Settings.load({**environ, "RECEIVER_SINKS": str(file)})


def test_one_line_in_the_environment_makes_a_sink(tmp_path: Path) -> None:
    """A variable is a sink of its name in small letters, for every provider and every end."""
    [one] = load(settings(tmp_path, RECEIVER_SINK_NIGHT_JOBS="nats://host:4222/jobs.{provider}"))
    assert (one.name, one.handler, one.provider, one.state) == ("night-jobs", "sink:night-jobs", None, "any")


def test_a_file_says_more(tmp_path: Path) -> None:
    """A table of the file has what a handler has, and what a sink of its kind needs."""
    [one] = load(
        settings(
            tmp_path,
            '[sinks.jobs]\nto = "https://example.com/hook"\nprovider = "pulse"\nstate = "failed"\n'
            'secret = "env:HOOK_SECRET"\nattempts = 3\ntimeout = 5\nmetadata = { customer = "a" }\n'
            "rate = 2.5\nmax_age = 60\ncircuit = 0\n",
        )
    )
    assert (one.provider, one.state, one.attempts, one.timeout) == ("pulse", "failed", 3, 5.0)
    assert (one.metadata, one.rate, one.max_age, one.circuit) == ({"customer": "a"}, 2.5, 60.0, 0)


def test_a_variable_may_come_from_a_file(tmp_path: Path) -> None:
    """An address with a password may lie in a file, as every secret may."""
    (tmp_path / "to").write_text("redis://:canary@host/0?stream=jobs\n")
    [one] = load(settings(tmp_path, RECEIVER_SINK_JOBS_FILE=str(tmp_path / "to")))
    assert one.to == "redis://:canary@host/0?stream=jobs"
    assert "canary" not in one.shown


@pytest.mark.parametrize(
    ("toml", "environ", "told"),
    [
        ("[sinks.a]\n", {}, "sinks.a: .*to"),
        ('[sinks.a]\nto = "x:"\nnope = 1\n', {}, "sinks.a: .*nope"),
        ("[sinks.a]\nto = 7\n", {}, "sinks.a: to: "),
        ('[sinks.a]\nto = "file:///x"\nstate = "done"\n', {}, "sinks.a: state: .*succeeded"),
        ('[sinks.a]\nto = "file:///x-{nope}"\n', {}, r"sinks.a: to: there is no field \{nope\}; .*provider"),
        ('[sinks.a]\nto = "file:///x"\nsecret = "hunter2"\n', {}, "sinks.a: secret: it is a reference"),
        ('[sinks.a]\nto = "file:///x"\nattempts = 0\n', {}, "sinks.a: limits"),
        ('[sinks.a]\nto = "file:///x"\ncompletions = false\n', {}, "sinks.a: completions: .*alarms = true"),
        (
            '[sinks.a]\nto = "file:///x"\nordered_by = "customer"\n',
            {},
            "sinks.a: ordered_by: Nobody can order",
        ),
        (
            '[sinks.a]\nto = "file:///x"\non_dead = "stop"\n',
            {},
            "sinks.a: ordered_by: on_dead is block or continue",
        ),
        ('[sinks.a]\nto = "file:///x"\nrate = -1\n', {}, "sinks.a: rate: "),
        ('[sinks.a]\nto = "file:///x"\nmetadata = 1\n', {}, "sinks.a: metadata: "),
        ('[sinks.A_b]\nto = "file:///x"\n', {}, "sinks.A_b: name"),
        ('[sinks.a]\nto = "amqp://u:hunter2@h/?routing_key=x"\n', {}, r"write \{env:NAME\}"),
        ("[other]\n", {}, "other: the file holds tables"),
        ("[sinks.a", {}, "not readable as TOML"),
        ('[sinks.a]\nto = "file:///x"\n', {"RECEIVER_SINK_A": "file:///y"}, "there is a sink 'a' already"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, toml: str, environ: dict[str, str], told: str
) -> None:
    """The sentence names file or variable, key and reason, and no secret."""
    with pytest.raises(ConfigurationError, match=told) as raised:
        load(settings(tmp_path, toml, **environ))
    assert raised.value.code == "sink_invalid"
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("gopher://x", "no kind of sink 'gopher'; there are http"),
        ("nats://host:4222/", "names no subject"),
        ("nats://host:port/x", "no address"),
        ("redis://host/0", "needs the option stream"),
        ("redis://host/0?stream=a&colour=red", "no option 'colour'"),
        ("redis://host/0?stream=a&maxlen=many", "maxlen is a number"),
        ("kafka://host", "names servers and a topic"),
        ("amqp://host/", "needs the option routing_key"),
        ("sqs://eu-west-1/queue", "region/account/name"),
        ("file:relative", "whole path"),
        ("stdout:x", "nothing follows"),
        ("command:true", "whole path of a program"),
        ("command:/nowhere/at/all", "not there"),
        ("command:'", "no command"),
        ("https:///x", "names no host"),
        ("taskiq:nowhere:broker?task=x", "cannot be loaded"),
        ("dramatiq+sqs://x?task=y", "redis:// or amqp://"),
        ("redis://:{env:NOT_SET_ANYWHERE}@host/0?stream=a", "NOT_SET_ANYWHERE is not set"),
    ],
)
def test_an_address_that_does_not_fit_its_kind_is_refused_at_start(
    tmp_path: Path, to: str, told: str
) -> None:
    """Nothing is asked to find out; the sentence says what the kind expects."""
    found = settings(tmp_path, RECEIVER_SINK_A=to)
    with pytest.raises(ConfigurationError, match=told):
        open_sink(load(found)[0], found, clock=lambda: NOW)


def test_a_client_that_is_not_installed_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a kind's client is missing, the sentence says what to install."""
    monkeypatch.setattr("receiver.sinks.opening.find_spec", lambda _: None)
    found = settings(tmp_path, RECEIVER_SINK_A="nats://host/x")
    with pytest.raises(ConfigurationError, match=r"pip install '\.\[nats\]'"):
        open_sink(load(found)[0], found, clock=lambda: NOW)


def test_every_kind_has_its_module_and_class() -> None:
    """The table of kinds names what there is."""
    from importlib import import_module  # noqa: PLC0415

    for kind in set(KINDS.values()):
        assert hasattr(import_module(f"receiver.sinks.{kind.module}"), kind.name)
