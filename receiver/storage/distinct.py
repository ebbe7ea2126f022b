"""The different values of a column, found by one step in its index for each, without reading all rows."""


def distinct(column: str, table: str, where: str = "", *, after: str = "") -> str:
    """The statement for the values of *column* in *table*, of rows for which *where* holds, in their order.

    Where the parameter *after* is named it begins with the first value after that.
    """
    begin = " AND ".join(filter(None, (where, after and f"{column} > :{after}")))
    first = f"WHERE {begin}" if begin else ""
    more = f"{where} AND " if where else ""
    return (
        "WITH RECURSIVE each_one AS ("
        f"SELECT (SELECT min({column}) FROM {table} {first}) AS value "
        f"UNION ALL SELECT (SELECT min({column}) FROM {table} WHERE {more}{column} > each_one.value) FROM each_one "
        "WHERE each_one.value IS NOT NULL) SELECT value FROM each_one WHERE value IS NOT NULL"
    )
