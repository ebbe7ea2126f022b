"""The watch: what a vendor's package says and a description does not is found, by reading and without running it."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from receiver.cli import main
from receiver.core.description.provider import Provider, describe
from receiver.core.errors import RequestError
from receiver.watch import compare, words_in

JOB = '''
import os
os.abort()  # nothing in a package is run
from typing import Literal, Optional, TypeAlias
import enum

Status: TypeAlias = Literal["queued", "done"]
TERMINAL = ("done", "broken")

class State(str, enum.Enum):
    """All of them."""
    QUEUED = "queued"
    DONE = "done"

class Job:
    state: Optional[Literal["queued", "running", "done", "broken"]] = None
    """A state."""
    kind: Literal["job"]

class Other:
    state: "Literal['queued']"
'''
PATHS = """
class Jobs:
    def create(self):
        return self._post("/v1/jobs", body=1)
    def get(self, job_id, other):
        return self._get(f"/v1/jobs/{job_id}?x={other}")
    def cancel(self, id):
        return self._post(path_template("v1/jobs/{id}/cancel", id=id))
"""
DESCRIPTION: dict[str, Any] = {
    "name": "acme",
    "title": "Acme",
    "sources": [{"url": "https://pypi.org/project/acme-sdk/1.0/", "read": "2026-11-29"}],
    "origins": ["https://api.acme.example"],
    "submit": {"url": "https://api.acme.example/v1/jobs", "answer": "job"},
    "poll": {"url": ["https://api.acme.example/v1/jobs/{id}"], "answer": "job"},
    "cancel": {"url": "https://api.acme.example/v1/jobs/{id}/cancel"},
    "shapes": {
        "job": {
            "id": ["id"],
            "status": "state",
            "states": {"queued": "submitted", "running": "running", "done": "succeeded", "broken": "failed"},
        }
    },
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with the vendor's package in it, as pip leaves it."""
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "job.py").write_text(JOB, encoding="utf-8")
    (tmp_path / "acme" / "jobs.py").write_text(PATHS, encoding="utf-8")
    model = {"shapes": {"JobStatus": {"type": "string", "enum": ["queued", "done", "PARTIAL"]}}}
    (tmp_path / "acme" / "model.json.gz").write_bytes(gzip.compress(json.dumps(model).encode()))
    info = tmp_path / "acme_sdk-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-sdk\nVersion: 1.0\n", encoding="utf-8")
    return tmp_path


def described(*, states: dict[str, str] | None = None, **sdk: Any) -> Provider:  # noqa: ANN401
    """The description, with other states if given, and what it says of the package."""
    shape = DESCRIPTION["shapes"]["job"] | ({} if states is None else {"states": states})
    table = {"package": "acme-sdk", "version": "1.0", **sdk}
    return describe(DESCRIPTION | {"shapes": {"job": shape}, "sdk": [table]})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Status", {"queued", "done"}),
        ("TERMINAL", {"done", "broken"}),
        ("State", {"queued", "done"}),
        ("Job.state", {"queued", "running", "done", "broken"}),
        ("*.kind", {"job"}),
        ("Nothing", set()),
    ],
)
def test_words_are_found_where_packages_list_them(name: str, words: set[str]) -> None:
    """An alias, a tuple, an enumeration, a member of one class or of any."""
    assert words_in(JOB, name) == words


def test_a_description_that_knows_every_word_and_path_is_right(package: Path) -> None:
    """Nothing is missing, and the version that was read is told."""
    provider = described(words=[{"shape": "job", "at": "acme/job.py:Job.state"}], paths=["acme/jobs.py"])
    found = compare(provider, provider.sdk[0], folder=package)
    assert (found.version, found.problems, found.notes) == ("1.0", (), ())
    assert len(provider.addresses) == 3


def test_a_word_that_the_description_lacks_is_a_problem_and_one_that_it_has_alone_a_note(
    package: Path,
) -> None:
    """``broken`` would run until its deadline; ``stopped`` does no harm."""
    provider = described(
        states={"queued": "submitted", "running": "running", "done": "succeeded", "stopped": "canceled"},
        words=[{"shape": "job", "at": "acme/job.py:Job.state"}],
    )
    found = compare(provider, provider.sdk[0], folder=package)
    assert found.problems == ("shapes.job does not know 'broken', which acme/job.py:Job.state has",)
    assert found.notes == ("shapes.job has 'stopped', which the package does not know",)


def test_a_word_that_is_left_out_on_purpose_is_none(package: Path) -> None:
    """Amazon's models are read too, and what the description ignores is not missed."""
    at = "acme/model.json.gz:JobStatus"
    for ignored, problems in (({}, 1), ({"ignore": ["PARTIAL"]}, 0)):
        provider = described(words=[{"shape": "job", "at": at, **ignored}])
        assert len(compare(provider, provider.sdk[0], folder=package).problems) == problems


def test_an_address_that_the_package_does_not_have_is_a_problem(package: Path) -> None:
    """A path that was renamed is found; one that the package has no call for may be named."""
    moved = DESCRIPTION | {"cancel": {"url": "https://api.acme.example/v1/jobs/{id}/stop"}}
    for ignored, problems in ({}, 1), ({"ignore": ["https://api.acme.example/v1/jobs/{id}/stop"]}, 0):
        table = {"package": "acme-sdk", "version": "1.0", "paths": ["acme/jobs.py"], **ignored}
        provider = describe(moved | {"sdk": [table]})
        assert len(compare(provider, provider.sdk[0], folder=package).problems) == problems


def test_blanks_alone_make_no_two_paths_the_same(package: Path) -> None:
    """A path of other words and blanks is none of ours; a base address in front is passed by."""
    (package / "acme" / "paths.py").write_text(
        'A = "/orgs/{org}"\nB = f"{base}/v1/jobs/{id}"\nC = f"{base}/v1/jobs/{id}/stop"\n'
    )
    provider = described(paths=["acme/paths.py"])
    found = compare(provider, provider.sdk[0], folder=package)
    assert [one.rpartition(" is none")[0] for one in found.problems] == [
        "https://api.acme.example/v1/jobs",
        "https://api.acme.example/v1/jobs/{id}/cancel",
    ]


@pytest.mark.parametrize(
    ("at", "word"),
    [
        ("acme/gone.py:Job.state", "is not in acme-sdk 1.0 any more"),
        ("acme/job.py:Job.gone", "lists no words any more"),
    ],
)
def test_a_place_that_is_gone_is_told(package: Path, at: str, word: str) -> None:
    """A package that was laid out anew is no silence."""
    provider = described(words=[{"shape": "job", "at": at}])
    assert any(word in sentence for sentence in compare(provider, provider.sdk[0], folder=package).problems)


def test_a_package_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The sentence says what to install."""
    provider = described()
    with pytest.raises(RequestError, match="pip install acme-sdk") as refused:
        compare(provider, provider.sdk[0], folder=tmp_path)
    assert refused.value.code == "sdk_missing"


def test_the_command_compares_with_what_is_installed(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It exits 0 where the description is right and 1 where it is not, in words and in JSON."""
    monkeypatch.syspath_prepend(str(package))
    folder = package / "descriptions"
    folder.mkdir()
    monkeypatch.setenv("RECEIVER_PROVIDERS_DIR", str(folder))
    text = """
name = "acme"
title = "Acme"
origins = ["https://api.acme.example"]
sources = [{ url = "https://pypi.org/project/acme-sdk/1.0/", read = "2026-11-29" }]
[submit]
url = "https://api.acme.example/v1/jobs"
[poll]
url = ["https://api.acme.example/v1/jobs/{id}"]
[shapes.answer]
id = ["id"]
status = "state"
states = { queued = "submitted", done = "succeeded" }
[[sdk]]
package = "acme-sdk"
version = "1.0"
words = [{ shape = "answer", at = "acme/job.py:NAME" }]
"""
    for name, code in (("Status", 0), ("Job.state", 1)):
        (folder / "acme.toml").write_text(text.replace("NAME", name), encoding="utf-8")
        answer = CliRunner().invoke(main, ["providers", "check", "--against-sdk", "acme"])
        assert answer.exit_code == code, answer.output
        assert "acme-sdk 1.0: " in answer.output
        told = json.loads(
            CliRunner().invoke(main, ["providers", "check", "--against-sdk", "acme", "--json"]).stdout
        )
        assert told["ok"] is (code == 0)
    answer = CliRunner().invoke(main, ["providers", "check", "--against-sdk", "netnut"])
    assert answer.exit_code == 2
    assert "sdk_missing" in answer.output
