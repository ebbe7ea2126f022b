"""Ids."""

import os
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core.identity import CALLBACK, JOB, from_bytes, is_id, made_at, new_id, to_bytes
from tests.core.making import NOW


@given(st.integers(0, 2**48 - 2), st.integers(1, 10**9))
def test_ids_sort_by_the_time_they_were_made(now: int, later: int) -> None:
    """The later id is the greater text, and each tells its own time."""
    after = min(now + later, 2**48 - 1)
    assert new_id(JOB, now) < new_id(JOB, after)
    assert made_at(new_id(JOB, now)) == now


def test_an_id_is_a_prefixed_uuid_of_version_7() -> None:
    """Any tool that knows UUIDs reads ours."""
    made = new_id(CALLBACK, NOW)
    assert made.startswith("cb_")
    parsed = uuid.UUID(made.removeprefix("cb_"))
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)


def test_ids_of_one_millisecond_differ() -> None:
    """Ids are unique, however many are made at once."""
    assert len({new_id(JOB, NOW) for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize("before", [1, 2_000, 2_047, 2_048, 4_095, 4_096])
def test_ids_of_one_millisecond_are_in_the_order_in_which_they_were_made(before: int) -> None:
    """However many were made before it: a second attempt stands after the first, also if both took no time."""
    for _ in range(before):
        new_id(JOB, NOW)
    made = [new_id(JOB, NOW + 1) for _ in range(2_000)]
    assert made == sorted(made)


def test_bytes_and_back() -> None:
    """Sixteen bytes name the same job again."""
    made = new_id(JOB, NOW)
    assert len(to_bytes(made)) == 16
    assert from_bytes(JOB, to_bytes(made)) == made


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (new_id(JOB, NOW), True),
        (new_id(CALLBACK, NOW), False),
        (new_id(JOB, NOW) + "\n", False),
        (new_id(JOB, NOW).upper(), False),
        (new_id(JOB, NOW)[:-1], False),
        ("job_", False),
        ("", False),
        ("job_" + "\uff10" * 32, False),
    ],
    ids=["whole", "another kind", "line break", "upper case", "short", "prefix only", "empty", "wide digits"],
)
def test_only_whole_ids_of_the_right_kind_count(text: str, good: bool) -> None:  # noqa: FBT001
    """A prefix, another kind or a look-alike is not an id."""
    assert is_id(text, JOB) is good


def test_threads_take_none_twice() -> None:
    """Many make ids at once, also while the random digits run out."""
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: [new_id(JOB, NOW) for _ in range(3_000)], range(8)))
    assert len({one for many in made for one in many}) == 24_000


def test_a_child_shares_none_with_its_parent() -> None:
    """What the parent put aside is not used by both after a fork."""
    new_id(JOB, NOW)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, "\n".join(new_id(JOB, NOW) for _ in range(300)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as theirs:
        made = theirs.read().split()
    os.waitpid(child, 0)
    assert len(made) == 300
    assert not {new_id(JOB, NOW) for _ in range(300)} & set(made)
