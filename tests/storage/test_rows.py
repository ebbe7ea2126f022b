"""Rows by the batch: whatever a driver is given comes back as it was, of every kind that the tables have."""

from collections.abc import Iterator

import pytest

from receiver.storage.driver import Driver, Row
from receiver.storage.opening import open_driver

COLUMNS = "id, part, label, number, content"
KEY = "id, part"
LONG = "\U0001f600 \u00e9\u4e2d\u202e'\"%:name {text} \\ $1" * 500
#: What texts, numbers and blobs may be at their extremes.
KINDS: list[tuple[str | None, int | None, bytes | None]] = [
    (None, None, None),
    ("", 0, b""),
    ("\U0001f600", 2**53, b"\x00"),
    (LONG, -(2**63), bytes(range(256)) * 40_960),
    ("%s :id {for_update}", 2**63 - 1, b"\\x00"),
    ("NULL", -1, b"\xff\xfe"),
]


@pytest.fixture
def driver(url: str) -> Iterator[Driver]:
    """A driver on a database with one table."""
    opened = open_driver(url)
    with opened.write() as tx:
        tx.run(
            "CREATE TABLE thing (id {text} NOT NULL, part {integer} NOT NULL, label {text}, number {integer}, "
            "content {blob}, PRIMARY KEY (id, part)) {hot}"
        )
    yield opened
    opened.close()


def things(many: int) -> list[Row]:
    """Rows of every kind."""
    kinds = (KINDS[n % len(KINDS)] if n < len(KINDS) else (f"label {n}", n, b"%d" % n) for n in range(many))
    return [(f"t{n:04}", n % 2, *kind) for n, kind in enumerate(kinds)]


def stored(driver: Driver) -> list[Row]:
    """What the table holds."""
    with driver.read() as tx:
        found = tx.run(f"SELECT {COLUMNS} FROM thing ORDER BY id, part")  # noqa: S608  (a list of columns)
    return [(*row[:4], None if row[4] is None else bytes(row[4])) for row in found]


@pytest.mark.parametrize("many", [0, 1, len(KINDS), 600])
def test_rows_are_written_changed_and_deleted_as_they_were_given(driver: Driver, many: int) -> None:
    """None at all, one, or hundreds in one statement: texts, numbers and blobs at their extremes."""
    rows = things(many)
    with driver.write() as tx:
        tx.insert("thing", COLUMNS, rows)
    assert stored(driver) == rows
    changed = [(*row[:2], *other[2:]) for row, other in zip(rows, reversed(rows), strict=True)]
    with driver.write() as tx:
        tx.update("thing", "label, number, content", [(*row[2:], *row[:2]) for row in changed], key=KEY)
    assert stored(driver) == changed
    with driver.write() as tx:
        tx.delete("thing", [row[:2] for row in changed[::2]], key=KEY)
    assert stored(driver) == changed[1::2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_parameter_is_what_it_was_given_as(
    driver: Driver, kind: tuple[str | None, int | None, bytes | None]
) -> None:
    """In a statement of our own, too; and no part of it is taken for a part of the statement."""
    label, number, content = kind
    with driver.write() as tx:
        ((told,),) = tx.run(
            "INSERT INTO thing (id, part, label, number, content) VALUES ('a', 1, :label, :number, :content) "
            "RETURNING number",
            {"label": label, "number": number, "content": content},
        )
    assert told == number
    assert stored(driver) == [("a", 1, label, number, content)]


def test_a_column_may_be_nothing_but_null(driver: Driver) -> None:
    """For every kind of column, in one row and in many."""
    rows: list[Row] = [(f"t{n}", n, None, None, None) for n in range(3)]
    with driver.write() as tx:
        tx.insert("thing", COLUMNS, rows[:1])
        tx.insert("thing", COLUMNS, rows[1:])
        tx.update("thing", "label, number, content", [(*row[2:], *row[:2]) for row in rows], key=KEY)
    assert stored(driver) == rows


def test_a_conflict_is_what_its_clause_says(driver: Driver) -> None:
    """Left as it was, or merged with what was given."""
    (row,) = things(1)
    with driver.write() as tx:
        tx.insert("thing", COLUMNS, [row])
        tx.insert("thing", COLUMNS, [(*row[:2], "other", *row[3:])], conflict="ON CONFLICT DO NOTHING")
    assert stored(driver) == [row]
    with driver.write() as tx:
        tx.insert(
            "thing",
            COLUMNS,
            [(*row[:2], "other", *row[3:])],
            conflict="ON CONFLICT (id, part) DO UPDATE SET label = excluded.label || coalesce(thing.label, '!')",
        )
    assert stored(driver) == [(*row[:2], "other!", *row[3:])]


@pytest.mark.parametrize("many", [0, 1, 3, 600])
def test_a_row_is_among_those_that_are_named(driver: Driver, many: int) -> None:
    """However many are named, also by names that are not there, or none."""
    rows = things(600)
    with driver.write() as tx:
        tx.insert("thing", COLUMNS, rows)
        where, params = tx.among("id", [row[0] for row in rows[:many]] + ["nobody"] * min(many, 1))
        sql = f"SELECT id FROM thing WHERE {where} ORDER BY id {{for_update}}"  # noqa: S608  (the driver's own)
        found = tx.run(sql, params)
    assert [row[0] for row in found] == [row[0] for row in rows[:many]]


def test_a_name_is_found_as_it_is_written(driver: Driver) -> None:
    """Whatever is in it that means something in SQL or JSON."""
    names = ["it's", '"', "\\", "\\u0041", "A", "a\nb", "\x7f", "\u00e4", "\U0001f600", "%", "[]", ""]
    with driver.write() as tx:
        tx.insert("thing", "id, part", [(name, 0) for name in names])
        for name in names:
            where, params = tx.among("id", [name])
            assert tx.run(f"SELECT id FROM thing WHERE {where}", params) == [(name,)]  # noqa: S608  (the driver's own)


def test_ids_are_in_the_order_of_their_bytes(driver: Driver) -> None:
    """Whatever language the database speaks: lists are paged by ids, and rows are locked in their order."""
    names = ["a", "B", "_", "b", "A", "\u00e4", "z", "0", "job_1", "job-1", "job_10"]
    with driver.write() as tx:
        tx.insert("thing", "id, part", [(name, 0) for name in names])
    assert [row[0] for row in stored(driver)] == sorted(names, key=str.encode)


def test_what_fails_changes_nothing(driver: Driver) -> None:
    """A transaction that raises is undone as a whole, and the next one finds everything as it was."""
    (row,) = things(1)

    def fail() -> None:
        with driver.write() as tx:
            tx.insert("thing", COLUMNS, [row])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert stored(driver) == []
    with driver.write() as tx:
        tx.insert("thing", COLUMNS, [row])
    assert stored(driver) == [row]


def test_a_reader_sees_one_state_and_writes_nothing(driver: Driver) -> None:
    """What is committed meanwhile is not in it, nor in the way of it."""
    rows = things(2)
    with driver.write() as tx:
        tx.insert("thing", COLUMNS, rows[:1])
    with driver.read() as reader:
        assert reader.run("SELECT count(*) FROM thing") == [(1,)]
        with driver.write() as tx:
            tx.insert("thing", COLUMNS, rows[1:])
        assert reader.run("SELECT count(*) FROM thing") == [(1,)]
    with pytest.raises(Exception, match=r"read-?only"), driver.read() as reader:
        reader.run("DELETE FROM thing")
    assert stored(driver) == rows
