"""Layouts: how a noun lies in the rows of a table: a column for each field of its struct, unless said otherwise."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar, cast

from receiver.storage.driver import Row

N = TypeVar("N")


class _Struct(Protocol):
    __struct_fields__: tuple[str, ...]


class Otherwise(NamedTuple):
    """How a field is kept that is not kept as it is.

    Attributes:
        write: Makes what is written from the field's value: one value, or one for each of *columns*.
        read: Makes the field's value from what was written.
        columns: The names of its columns, where it has several.
    """

    write: Callable[[Any], Any]
    read: Callable[..., Any]
    columns: tuple[str, ...] = ()


#: A truth as a number, which both databases know.
TRUTH: Final = Otherwise(write=int, read=bool)


class Layout(Generic[N]):
    """The columns of a noun, in the order of its fields, and how it is written to them and read back.

    Args:
        noun: The struct.
        otherwise: How fields are kept that are not kept as they are.
        absent: The fields that have no column.
    """

    def __init__(
        self, noun: type[N], *, otherwise: Mapping[str, Otherwise] | None = None, absent: tuple[str, ...] = ()
    ) -> None:
        self._noun = noun
        fields = [name for name in cast("_Struct", noun).__struct_fields__ if name not in absent]
        self._fields = tuple(fields)
        self._values = attrgetter(*fields)
        columns: list[str] = []
        #: Last first, so that those before keep their places while a field becomes several columns.
        self._wide: list[tuple[slice, slice, Otherwise]] = []
        self._narrow: list[tuple[int, int, Otherwise]] = []
        for place, name in enumerate(fields):
            other = (otherwise or {}).get(name)
            at = len(columns)
            columns += [name] if other is None or not other.columns else other.columns
            if other is None:
                continue
            if other.columns:
                self._wide.insert(0, (slice(place, place + 1), slice(at, len(columns)), other))
            else:
                self._narrow.append((place, at, other))
        self.names = tuple(columns)
        self.columns = ", ".join(columns)

    def row(self, noun: N) -> Row:
        """*noun* as a row of these columns."""
        values = list(self._values(noun))
        for place, _, other in self._narrow:
            values[place] = other.write(values[place])
        for field, _, other in self._wide:
            values[field] = other.write(values[field.start])
        return tuple(values)

    def values(self, row: Row) -> list[Any]:
        """The values of the noun's fields, in their order, from a row of these columns."""
        values = list(row)
        for _, at, other in self._narrow:
            values[at] = other.read(values[at])
        for _, columns, other in self._wide:
            values[columns] = [other.read(*values[columns])]
        return values

    def noun(self, row: Row) -> N:
        """The noun that was written as *row*."""
        return self._noun(**dict(zip(self._fields, self.values(row), strict=True)))
