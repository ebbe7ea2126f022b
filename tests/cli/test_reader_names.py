"""The name of a reader of the feed is looked at before anything else is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from receiver.client import Client
from receiver.core.errors import RequestError
from receiver.core.reader import reader_name

if TYPE_CHECKING:
    from .programs import Program

TOLD = "A reader's name begins with a letter or digit"
WRONG = ("", "a b", "../etc", "-x", "a/b", "é", "a" * 101, "a\n")


@pytest.mark.parametrize("name", WRONG)
def test_a_name_that_is_none_is_refused_with_its_field(name: str) -> None:
    """The error says what a name may have, and which part of the request it is."""
    with pytest.raises(RequestError, match=TOLD) as refused:
        reader_name(name)
    assert (refused.value.code, refused.value.field) == ("query_invalid", "name")


@pytest.mark.parametrize(
    "command",
    [
        ("completions", "--name", "a b"),
        ("tail", "--forward-to", "http://127.0.0.1:9/", "--name", "a b"),
    ],
    ids=["completions", "tail"],
)
def test_a_command_refuses_it_before_it_does_anything(alone: Program, command: tuple[str, ...]) -> None:
    """No database is opened, no secret made and nothing printed but the reason; exit code 2."""
    ran = alone.run(*command)
    assert (ran.code, ran.out) == (2, "")
    assert TOLD in ran.err
    assert "whsec_" not in ran.err
    assert not (alone.folder / "receiver.db").exists()


def test_a_client_refuses_it_without_a_request() -> None:
    """A name that would be another address is never sent."""
    with Client("http://127.0.0.1:9", token="x") as client, pytest.raises(RequestError, match=TOLD):
        next(client.completions(name="a/b"))
