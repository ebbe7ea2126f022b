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


def test_what_travels_inside_an_event_is_what_its_kind_can_take(tmp_path: Path) -> None:
    """SNS takes less than others do, unless somebody says how much."""
    toml = '[sinks.b]\nto = "sns://r/a/t"\nlargest = 7\n[sinks.c]\nto = "sqs://r/a/q"\n'
    found = load(settings(tmp_path, toml, RECEIVER_SINK_A="sns://r/a/t"))
    assert [one.largest for one in found] == [128 * 1024, 7, 256 * 1024]


def test_a_variable_may_come_from_a_file(tmp_path: Path) -> None:
    """An address with a password may lie in a file, as every secret may."""
    (tmp_path / "to").write_text("redis://:canary@host/0?stream=jobs\n")
    [one] = load(settings(tmp_path, RECEIVER_SINK_JOBS_FILE=str(tmp_path / "to")))
    assert one.to == "redis://:canary@host/0?stream=jobs"
    assert "canary" not in one.shown


@pytest.mark.parametrize(
    ("toml", "environ", "told"),
    [
        ("[sinks.a]\n", {}, "sinks.a, line 1: to: the table does not say where to send"),
        ('[sinks.a]\nto = "x:"\nnope = 1\n', {}, "sinks.a, line 3: nope: "),
        ("[sinks.a]\nto = 7\n", {}, "sinks.a, line 2: to: "),
        ('[sinks.a]\nto = "file:///x"\nstate = "done"\n', {}, "sinks.a, line 3: state: .*succeeded"),
        (
            '[sinks.a]\nto = "file:///x-{nope}"\n',
            {},
            r"sinks.a, line 2: to: there is no field \{nope\}; .*provider",
        ),
        (
            '[sinks.a]\nto = "file:///x"\nsecret = "hunter2"\n',
            {},
            "sinks.a, line 3: secret: it is a reference",
        ),
        (
            '[sinks.a]\nto = "file:///x"\nsecret = "env:hunter2-and-more"\n',
            {},
            "sinks.a, line 3: secret: it is a reference",
        ),
        (
            '["sinks".b]\nto = "file:///x"\n\n[ sinks."a" ]\n# no\nstate = "done"\nto = "x:"\n',
            {},
            "a, line 6: state: ",
        ),
        (
            '[sinks.a]\nto = "file:///x"\nattempts = 0\n',
            {},
            "sinks.a, line 3: attempts: it is a positive number.",
        ),
        (
            '[sinks.a]\nto = "file:///x"\ncompletions = false\n',
            {},
            "sinks.a, line 3: completions: .*alarms = true",
        ),
        (
            '[sinks.a]\nto = "file:///x"\nordered_by = "customer"\n',
            {},
            "sinks.a, line 3: ordered_by: Nobody can order",
        ),
        (
            '[sinks.a]\nto = "file:///x"\non_dead = "stop"\n',
            {},
            "sinks.a, line 1: ordered_by: on_dead is block or continue",
        ),
        ('[sinks.a]\nto = "file:///x"\nrate = -1\n', {}, "sinks.a, line 3: rate: "),
        ('[sinks.a]\nto = "file:///x"\ntimeout = nan\n', {}, "sinks.a, line 3: timeout: "),
        ('[sinks.a]\nto = "file:///x"\nfirst_wait = inf\n', {}, "sinks.a, line 3: first_wait: "),
        ('[sinks.a]\nto = "file:///x"\nmax_age = nan\n', {}, "sinks.a, line 3: max_age: .*or 0 for none"),
        ('[sinks.a]\nto = "file:///x-{provider"\n', {}, "sinks.a, line 2: to: a brace stands alone"),
        ('[sinks.a]\nto = "file:///x-{{job}}"\n', {}, "sinks.a, line 2: to: a brace stands alone"),
        ('[sinks.a]\nto = "nats://hunter2@h/x"\n', {}, "line 2: to: a password stands in the file"),
        ('[sinks.a]\nto = "file:///x"\nmetadata = 1\n', {}, "sinks.a, line 3: metadata: "),
        ('[sinks.A_b]\nto = "file:///x"\n', {}, "sinks.A_b, line 1: name"),
        (
            '[sinks.a]\nto = "amqp://u:hunter2@h/?routing_key=x"\n',
            {},
            r"line 2: to: a password .*write \{env:NAME\}",
        ),
        ("[other]\n", {}, "other: the file holds tables"),
        ("[sinks.a", {}, "not readable as TOML"),
        ('[sinks.a]\nto = "x:"\n[sinks.a]\nto = "y:"\n', {}, "not readable as TOML: .*twice .*line 3"),
        ('[sinks.a]\nto = "file:///x"\nlines = { to = 1 }\n', {}, "sinks.a, line 1: name: the table's own"),
        (
            '[sinks.a]\nto = "file:///x"\n',
            {"RECEIVER_SINK_A": "file:///y"},
            "RECEIVER_SINK_A: name: there is a sink 'a' already, in .*sinks.a",
        ),
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
    "variable", ["RECEIVER_SINK_", "RECEIVER_SINK_jobs", "RECEIVER_SINK_A-B", "receiver_sink_jobs"]
)
def test_a_variable_that_is_no_sinks_is_not_passed_over(tmp_path: Path, variable: str) -> None:
    """It is meant as one, and nothing would ever be sent there."""
    with pytest.raises(ConfigurationError, match=f"{variable}: name: write the name of the sink in capitals"):
        load(settings(tmp_path, **{variable: "stdout:"}))


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
        ("https://a b/x", "a space in it"),
        ("https://host:99999/x", "no address: Port out of range"),
        ("kafka://host:port/x", "'host:port' is no server"),
        ("redis://host/jobs?stream=a", "'jobs' is no database"),
        ("celery+redis://host/jobs?task=a", "'jobs' is no database"),
        ("celery://host/x?task=a", r"there is celery\+redis://"),
        ("arq+amqp://host/x?task=a", r"there is arq\+redis://, arq\+rediss://"),
        ("procrastinate+mysql://host/x?task=a", r"there is procrastinate\+postgresql://"),
        ("http+x://host/x", "there is http without a plus sign"),
        ("sqs://eu-west-1/1/queue?endpoint=here", "endpoint is an address"),
        ("taskiq:nowhere:broker?task=x", "cannot be loaded"),
        ("dramatiq+sqs://x?task=y", r"dramatiq\+redis://, .*dramatiq\+amqps://"),
        ("command:/bin/{provider}", "fields stand behind its path"),
        ("command:/bin/echo {env:NOT_SET_ANYWHERE}", "NOT_SET_ANYWHERE is not set"),
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


@pytest.mark.parametrize(
    "to",
    [
        "nats://{job}/x",
        "kafka://{job}:9092/x",
        "kafka://h:9092/x?mechanism={job}",
        "amqp://h/{job}?routing_key=x",
        "redis://h/0?stream=a&maxlen={job}",
        "sqs://{job}/1/queue",
        "postgresql://h/db?channel={job}",
        "celery+redis://h/0?task=a&queue={job}",
        "dramatiq+redis://h/0?task={job}",
        "arq+redis://h/0?task=a&queue={job}",
        "procrastinate+postgresql://h/db?task={job}",
        "taskiq:nowhere:broker?task={job}",
        "notify://{job}",
    ],
)
def test_a_field_that_nothing_fills_in_is_refused(tmp_path: Path, to: str) -> None:
    """It would be sent as it is written; the sentence says where fields are filled in."""
    found = settings(
        tmp_path, RECEIVER_SINK_A=to, RECEIVER_DATABASE_URL="postgresql://h/db" if "notify" in to else ""
    )
    with pytest.raises(ConfigurationError, match=r"nothing fills in \{job\} where it stands"):
        open_sink(load(found)[0], found, clock=lambda: NOW)


@pytest.mark.parametrize(
    "to",
    [
        "hunter2",
        "hunter2-{provider}",
        "nats://u:{hunter2}@h/x",
        "kafka://u:hunter2@h:9092/x",
        "kafka://u:hunter2/3@h:9092/x",
        "redis://:hunter2/3@h/0?stream=a",
        "redis://:x/hunter2@h/0?stream=a",
        "redis://:x?hunter2@h/0?stream=a",
        "redis://h/0?hunter2",
        "amqp://u:hunter2/3@h/?routing_key=a",
        "https://u:hunter2/3@h/",
        "postgresql://u:x@hunter2@h/db?channel=a",
        "nats://{env:hunter2-}@h/x",
        "celery+redis://:x/hunter2@h/0?task=a",
    ],
)
def test_a_secret_that_stands_wrong_is_not_repeated(tmp_path: Path, to: str) -> None:
    """The sentence says what is wrong, and nothing of what may be a password."""
    found = settings(tmp_path, RECEIVER_SINK_A=to)
    with pytest.raises(ConfigurationError) as raised:
        open_sink(load(found)[0], found, clock=lambda: NOW)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("to", "shown"),
    [
        ("nats://a-token@host/x", "nats://***@host/x"),
        ("nats://ada:secret@host/x", "nats://ada:***@host/x"),
        ("https://host/x?token=secret&colour=red", "https://host/x?token=***&colour=red"),
        ("amqp://host/?exchange=jobs&routing_key=x", "amqp://host/?exchange=jobs&routing_key=x"),
        (
            "https://{metadata.shop}.example:{metadata.port}/x",
            "https://{metadata.shop}.example:{metadata.port}/x",
        ),
    ],
)
def test_an_address_is_shown_without_what_signs_in(tmp_path: Path, to: str, shown: str) -> None:
    """With NATS a name without a password is a token, and in an address of somebody else's an option may be one."""
    found = settings(tmp_path, RECEIVER_SINK_A=to)
    [one] = load(found)
    assert one.shown == shown
    open_sink(one, found, clock=lambda: NOW)


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
