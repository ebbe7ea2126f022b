"""Packages of npm are read as text: their typings list words, their scripts hold paths, and nothing of them is run."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from receiver.cli import main
from receiver.core.description.provider import describe
from receiver.core.errors import RequestError
from receiver.typings import words_in
from receiver.watch import compare

from .test_watch import DESCRIPTION

TYPINGS = r"""
// type State = 'no' | "comment";
/* export enum State { Not = 'this' } */
export type State = 'queued' | "done"
    | `broken`;
export declare enum Kind { A = "job", B = 'batch' }
export interface Base<T extends { x: "not" }> { state: string }
export interface Job extends Omit<Base, 'state'> {
    /** "said": in a comment with an 'apostrophe' that isn't closed */
    state?: 'queued' | 'running';
    nested: { kind: "inner", state: 'deep' };
    'data-x': "other"
    last: "z"
}
export interface Other { state: 'gone'; }
declare const codes: Enum<["ONE", "TWO"]>;
const isOver = (state: string) =>
  ["done", "broken"].includes(state)
const after = "https://not.example/a // b"
"""
SCRIPTS = """
import { x } from './x'
// '/v1/nothing'
export const create = (it) => post('/v1/jobs', it)
export const get = (id) => get(`${base}/v1/jobs/${id}?x=${y}`)
export const stop = (id) => post("/v1/jobs/" + id, `v1/jobs/${id}/cancel`)
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("State", {"queued", "done", "broken"}),
        ("Kind", {"job", "batch"}),
        ("Job.state", {"queued", "running", "deep"}),
        ("*.state", {"queued", "running", "deep", "gone"}),
        ("Job.last", {"z"}),
        ("Job.kind", {"inner"}),
        ("codes", {"ONE", "TWO"}),
        ("isOver", {"done", "broken"}),
        ("Nothing", set()),
        ("Job.nothing", set()),
    ],
)
def test_words_are_found_where_typings_list_them(name: str, words: set[str]) -> None:
    """In unions, enumerations, members and constants; not in comments, and not beyond the declaration."""
    assert words_in(TYPINGS, name) == words


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package of npm in the folder of a project."""
    package = tmp_path / "node_modules" / "@acme" / "sdk"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"version": "2.0.0", "scripts": {"install": "exit 1"}}')
    (package / "job.d.ts").write_text(TYPINGS)
    (package / "jobs.js").write_text(SCRIPTS)
    return tmp_path


SDK: dict[str, Any] = {
    "package": "@acme/sdk",
    "registry": "npm",
    "version": "2.0.0",
    "words": [{"shape": "job", "at": "job.d.ts:State"}],
    "paths": ["jobs.js"],
}


def test_a_package_of_npm_is_read_from_the_nearest_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As programs find it: in ``node_modules`` of this folder or of one above."""
    below = folder / "src" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    provider = describe({**DESCRIPTION, "sdk": [SDK]})
    found = compare(provider, provider.sdk[0])
    assert (found.version, found.problems) == ("2.0.0", ())
    more = {**SDK, "words": [*SDK["words"], {"shape": "job", "at": "job.d.ts:*.state", "ignore": ["d*"]}]}
    provider = describe({**DESCRIPTION, "sdk": [more]})
    (problem,) = compare(provider, provider.sdk[0]).problems
    assert "does not know 'gone'" in problem


def test_an_address_that_its_scripts_do_not_have_is_a_problem(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comments are no scripts."""
    monkeypatch.chdir(folder)
    cancel = {"url": "https://api.acme.example/v1/nothing"}
    provider = describe({**DESCRIPTION, "cancel": cancel, "sdk": [SDK]})
    (problem,) = compare(provider, provider.sdk[0]).problems
    assert problem.startswith("https://api.acme.example/v1/nothing is none of the paths")


def test_a_package_of_npm_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what installs it."""
    monkeypatch.chdir(tmp_path)
    provider = describe({**DESCRIPTION, "sdk": [SDK]})
    with pytest.raises(RequestError, match="npm install --ignore-scripts @acme/sdk") as refused:
        compare(provider, provider.sdk[0])
    assert refused.value.code == "sdk_missing"


def test_the_command_compares_with_node_modules(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """``receiver providers check --against-sdk`` on a user's machine, for a packaged description."""
    package = folder / "node_modules" / "runpod-sdk"
    package.mkdir()
    (package / "package.json").write_text(json.dumps({"version": "9.9.9"}))
    (package / "src").mkdir()
    source = 'const isCompleted = (status) =>\n  ["COMPLETED", "SHATTERED"].includes(status)\n'
    (package / "src" / "index.ts").write_text(source)
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(main, ["providers", "check", "--against-sdk", "runpod"])
    assert done.exit_code == 1
    assert "runpod-sdk 9.9.9: shapes.answer does not know 'SHATTERED'" in done.output
