"""Provider descriptions: what is refused, and how the folder of a user joins in."""

import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest

from receiver.catalog import Catalog, in_folder, load_file
from receiver.core.description.provider import Duration, describe, origin_of
from receiver.core.errors import DescriptionError
from receiver.core.model import DAY, HOUR, MINUTE, SECOND
from receiver.settings import Settings
from tests.core.making import SIGNED, SYSTEMS, acme, description, packaged

GOOD = (files("receiver.providers") / "pulse.toml").read_text()


def written(folder: Path, name: str, text: str) -> Path:
    """A description file."""
    file = folder / f"{name}.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ('name = "pulse"', 'name = "Pulse"', "the description", "lower-case"),
        ('name = "pulse"', 'name = "impulse"', "name", "must agree"),
        ('name = "pulse"', "", "the description", "the key `name` is missing"),
        ('name = "pulse"', "name = 7", "name", "Expected `string`, got `integer`"),
        ('title = "', 'titel = "', "the description", "there is no key `titel`; did you mean title?"),
        ('scheme = "hmac"', 'scheme = "hmca"', "verify.scheme", "did you mean hmac? There are basic, "),
        ('read = "2026-11-20"', "read = 2026-11-20", "sources[0].read", "Expected `string`"),
        ('deadline = "6h"', 'deadline = "6 hours"', "deadline", "not a duration"),
        ('deadline = "6h"', "deadline = 21600", "deadline", "not a duration"),
        ('deadline = "6h"', 'deadline = "-6h"', "deadline", "not a duration"),
        ('deadline = "6h"', 'deadline = "\uff16h"', "deadline", "not a duration"),
        ('"https://api.runpulse.com"]', '"http://api.runpulse.com"]', "the description", "not https"),
        ('"https://api.runpulse.com"]', '"https://api.runpulse.com/"]', "the description", "not https"),
        ('"https://api.runpulse.com"]', '"https://u@api.runpulse.com"]', "the description", "not https"),
        ('"https://api.runpulse.com"]', '"https://*.runpulse.com"]', "the description", "not https"),
        (
            "https://api.runpulse.com/extract",
            "https://api.runpulse.com.evil.example/x",
            "the description",
            "outside origins",
        ),
        (
            "https://api.runpulse.com/split",
            "https://evil.example/split",
            "the description",
            "outside origins",
        ),
        (
            '"https://api.runpulse.com/job/{id}"]',
            '"https://evil.example/{id}"]',
            "the description",
            "outside origins",
        ),
        (
            'url = "https://api.runpulse.com/job/{id}"\n',
            'url = "http://api.runpulse.com/{id}"\n',
            "the description",
            "outside origins",
        ),
        ('secret = "env:PULSE_API_KEY"', 'secret = "sk-live-123"', "credentials[0]", "not a reference"),
        ('secret = "env:PULSE_API_KEY"', 'secret = "env:"', "credentials[0]", "not a reference"),
        ('secret = "env:PULSE_API_KEY"', "", "credentials[0]", "one of secret, basic"),
        ('secret = "env:PULSE_WEBHOOK_SECRET"', 'secret = "whsec_abc"', "key", "not a reference"),
        ('source = "settings"', 'source = "per-job"', "key", "settings"),
        ('source = "settings"\nsecret', 'source = "vault"\nsecret', "key.source", "vault"),
        ('content = "multipart"', 'content = "xml"', "submit.content", "xml"),
        ('answer = "answer"', 'answer = "nothing"', "the description", "shapes.nothing"),
        ('where = "registered"', 'where = "body"', "callback", "needs path"),
        ('where = "registered"', 'where = "carrier pigeon"', "callback.where", "pigeon"),
        ('delivers = "notification"', 'delivers = "result"', "the description", "shapes.result"),
        ("factor = 1.5", "factor = 0.5", "poll.factor", ">= 1.0"),
        ("factor = 1.5", "factor = 1e300", "poll.factor", "<= 10.0"),
        ("factor = 1.5", "factor = nan", "poll.factor", ">= 1.0"),
        ("factor = 1.5", "pause = 1.5", "poll", "pause"),
        ("[fetch]", "[limits]\nrate = 0\n[fetch]", "limits.rate", "> 0.0"),
        ("[fetch]", "[limits]\nconcurrency = 0\n[fetch]", "limits.concurrency", ">= 1"),
        ("single_use = true", 'single_use = "yes"', "fetch.single_use", "Expected `boolean`"),
        ('pending = "submitted"', 'pending = "waiting"', "shapes.answer", "waiting"),
        ('pending = "submitted"', 'pending = "fetching"', "shapes.answer", "own"),
        ('pending = "submitted"', 'pending = "timed_out"', "shapes.answer", "own"),
        ('\nstatus = "status"\nstates', "\nstates", "shapes.answer", "states needs status"),
        ('id = ["job_id"]', 'id = "job_id"', "shapes.answer.id", "Expected `array`"),
        ('shape = "answer"', 'shape = "reply"', "the description", "shapes.reply"),
        (
            '"https://api.runpulse.com/job/{id}"]',
            '"https://api.runpulse.com/job/{ids}"]',
            "poll.url",
            "fills in {ids}",
        ),
        (
            '"https://api.runpulse.com/job/{id}"]',
            '"https://api.runpulse.com/{request:x}"]',
            "poll.url",
            "{request:x}",
        ),
        (
            '"https://api.runpulse.com/job/{id}"]',
            '"https://api.runpulse.com/{id"]',
            "poll.url",
            "brace stands alone",
        ),
        ("https://api.runpulse.com/extract", "https://api.runpulse.com/{id}", "submit.url", "fills in {id}"),
        ('deadline = "6h"', 'deadline = "0h"', "deadline", "longer than nothing"),
        ('deadline = "6h"', 'deadline = "9999999d"', "deadline", "longer than ten years"),
        ('read = "2026-11-20"', 'read = "yesterday"', "sources[0]", "no day"),
        ("[fetch]", "[fetch]\nfailed = [429]", "fetch", "429 is no job's own failure"),
        ("[fetch]", "[fetch]\nfailed = [200]", "fetch", "200 is no job's own failure"),
        ("[fetch]", '[headers]\n"X Y" = "1"\n[fetch]', "the description", "'X Y' is no name of a header"),
        ("factor = 1.5", 'factor = 1.5\nheaders = { X = "a\\nb" }', "poll", "cannot be printed"),
        ('secret = "env:PULSE_API_KEY"', 'secret = "env:X"\nprefix = "a\\n"', "credentials[0]", "be printed"),
        ("[fetch]", '[operations."a b"]\n[fetch]', "operations", "no word of letters"),
        ('pending = "submitted"', '"1..5" = "failed", "3..9" = "running"', "shapes.answer", "in common"),
        ('result_url = "result.url"', 'result_url = ""', "shapes.answer.result_url", "it is empty"),
        ('id = ["job_id"]', "id = []", "shapes.answer.id", "it is empty"),
        ('id = ["job_id"]', 'id = ["job_id", " "]', "shapes.answer.id[1]", "it is empty"),
        ('title = "Pulse document extraction"', 'title = ""', "title", "it is empty"),
        (
            'url = "https://docs.runpulse.com/api-reference/async-processing"',
            'url = ""',
            "sources[0].url",
            "it is empty",
        ),
        ("[fetch]", "[fetch]\nfailed = []", "fetch.failed", "it is empty"),
        ("[fetch]", "[fetch", "not readable as TOML", ""),
        ('title = "', 'title = "\xff', "not readable as TOML", ""),
    ],
)
def test_a_wrong_description_is_refused_with_file_key_and_reason(
    tmp_path: Path, old: str, new: str, key: str, reason: str
) -> None:
    """Whoever wrote it reads which file, which key and why, and no secret."""
    assert old in GOOD
    file = tmp_path / "pulse.toml"
    file.write_bytes(GOOD.replace(old, new, 1).encode("latin-1" if "\xff" in new else "utf-8"))
    with pytest.raises(DescriptionError) as refused:
        load_file(file)
    assert str(refused.value).startswith("pulse.toml: ")
    assert key in str(refused.value)
    assert reason in str(refused.value)


def test_what_is_the_providers_own_may_be_empty(tmp_path: Path) -> None:
    """A field that is sent, a value that is compared, a sample, a text that stands before another."""
    text = GOOD.replace("set = { async = true }", 'set = { async = true, tags = [], note = "" }')
    text = text.replace('{ path = "result.is_url", is = true }', '{ path = "result.is_url", not = "" }')
    text = text.replace('prefix = "v1,"', 'prefix = ""')
    submit = load_file(written(tmp_path, "pulse", text)).submit
    assert submit is not None
    assert submit.set["tags"] == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"callback": None}, "verify needs callback"),
        ({"callback": None, "verify": None, "poll": None}, "never finish"),
        ({"verify": None}, "callback needs verify"),
        ({"verify": SIGNED["verify"]}, "verify needs key"),
        ({"callback": {"where": "registered"}}, "must be signed"),
        ({**SIGNED, "key": {"source": "per-job"}}, "belong together"),
        ({**SIGNED, "callback": {"where": "body", "path": "a", "secret_path": "b"}}, "belong together"),
        ({"shapes": {}}, "used but not described"),
        ({"sources": []}, "it is empty; fill it in or leave it out - at `$.sources`"),
        ({"poll": {"url": ["{response_url}", "https://evil.example/{response_url}"]}}, "outside origins"),
    ],
)
def test_a_description_must_hang_together(changes: dict[str, Any], reason: str) -> None:
    """Parts that need one another are refused alone."""
    with pytest.raises(msgspec.ValidationError, match=re.escape(reason)):
        describe(description(**changes))


@pytest.mark.parametrize(
    "rule",
    [
        {"path": "a", "state": "failed"},
        {"path": "a", "is": 1, "not": 2, "state": "failed"},
        {"path": "a", "exists": True, "is": 1, "state": "failed"},
        {"path": "a", "is": 1, "state": "submitting"},
        {"path": "a", "equals": 1, "state": "failed"},
    ],
)
def test_a_rule_has_one_condition(rule: dict[str, Any]) -> None:
    """None, two, an unknown one or a state of our own are refused."""
    with pytest.raises(msgspec.ValidationError):
        acme(shapes={**description()["shapes"], "answer": {"rules": [rule]}})


def test_durations() -> None:
    """A number and a unit."""
    assert [Duration.parse(t) for t in ("0s", "10s", "5m", "2h", "3d")] == [
        0,
        10 * SECOND,
        5 * MINUTE,
        2 * HOUR,
        3 * DAY,
    ]


def test_the_five_systems_are_packaged() -> None:
    """Each in a file of its name, with its source and the day it was read."""
    catalog = Catalog.load(Settings())
    assert set(SYSTEMS) <= set(catalog)
    for name in SYSTEMS:
        assert all(cited.url.startswith("https://") and cited.read for cited in catalog[name].sources)


def test_a_users_own_folder_wins(tmp_path: Path) -> None:
    """A file of a packaged name replaces that description, a new name joins; other files are ignored."""
    written(tmp_path, "pulse", GOOD.replace("Pulse document extraction", "My Pulse"))
    written(tmp_path, "mine", GOOD.replace('name = "pulse"', 'name = "mine"'))
    (tmp_path / "notes.txt").write_text("not a description")
    catalog = Catalog.load(Settings(providers_dir=str(tmp_path)))
    assert catalog["pulse"].title == "My Pulse"
    assert set(catalog) == set(Catalog.load(Settings())) | {"mine"}


def test_one_wrong_file_of_a_users_folder_stops_the_start(tmp_path: Path) -> None:
    """No description is skipped in silence, and a missing folder is said."""
    written(tmp_path, "broken", "name = 1")
    with pytest.raises(DescriptionError, match=r"^broken\.toml: name: "):
        Catalog.load(Settings(providers_dir=str(tmp_path)))
    with pytest.raises(DescriptionError, match="is not a folder"):
        in_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1:8099", "http://127.0.0.1:8099/", "https://proxy.example/a/b"]
)
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_base_url_moves_every_origin(name: str, base: str) -> None:
    """Every address of the description leads to the new place, which alone is allowed then."""
    moved = packaged(name).at(base)
    assert moved.relocated
    assert moved.origins == (origin_of(base.rstrip("/")),)
    for part in (moved.submit, moved.operations, moved.poll, moved.cancel):
        assert not [one for one in packaged(name).origins if one in repr(part)]
    raw = tomllib.loads((files("receiver.providers") / f"{name}.toml").read_text())
    assert moved.submit is not None
    origin = next(one for one in packaged(name).origins if raw["submit"]["url"].startswith(one))
    assert moved.submit.url == base.rstrip("/") + raw["submit"]["url"].removeprefix(origin)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.example.com/x", "https://api.example.com"),
        ("HTTPS://API.Example.COM/x", "https://api.example.com"),
        ("https://api.example.com:443/x", "https://api.example.com"),
        ("https://api.example.com:8443?x", "https://api.example.com:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://[::1]:9/x", "https://[::1]:9"),
        ("https://api.example.com@evil.example/x", ""),
        ("https://user@api.example.com/x", ""),
        ("https://api.example.com\\@evil.example/x", ""),
        ("https://api.example.com\\.evil.example/x", ""),
        ("https://api.example.com:80:80/x", ""),
        ("https://api.example.com:x/", ""),
        ("https:///api.example.com/x", ""),
        ("https:api.example.com/x", ""),
        (" https://api.example.com/x", ""),
        ("https://api.example.com\t/x", ""),
        ("https://\u0430pi.example.com/x", ""),
        ("//api.example.com/x", ""),
        ("", ""),
    ],
)
def test_an_origin_is_what_every_parser_would_call_it(url: str, origin: str) -> None:
    """Credentials go by it: what two parsers might understand differently has none, and is listed nowhere."""
    assert origin_of(url) == origin
    provider = acme(origins=["https://api.acme.example"])
    assert provider.lists("https://API.acme.example:443/jobs")
    assert not provider.lists(url)
