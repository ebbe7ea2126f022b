"""The order in which tests run: what takes long begins early, at every process of pytest's.

Each process gets an equal row of tests at first, and whoever has done with his takes from the ends of others'. What
takes ten seconds must not stand there, where it would begin last and have all the others wait.
"""

from itertools import groupby

import pytest

#: Modules with tests that take many seconds each, most of it waiting.
_LONG = (
    "tests/chaos/",
    "tests/console/browser/",
    "tests/demo/",
    "tests/documentation/test_blocks.py",
    "tests/model/",
    "tests/path/test_allowances.py",
    "tests/path/test_every_",
    "tests/path/test_interruptions.py",
    "tests/path/test_standstill.py",
    "tests/path/test_stopping_midway.py",
    "tests/recipes/",
    "tests/sinks/test_kill",
    "tests/web/test_contract.py",
)

#: Modules whose tests share one RabbitMQ, which uses up six seconds of a processor before it listens.
_SHARING = (
    "tests/sinks/test_contract.py",
    "tests/sinks/test_refusals.py",
    "tests/sinks/test_tls.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Spread the long modules over the first halves of the rows; whatever belongs to a module stays together.

    What shares a server that starts slowly stands in one row, or each process of pytest's would start its own.
    """
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    long: list[list[pytest.Item]] = []
    short: list[pytest.Item] = []
    sharing: list[pytest.Item] = []
    for module, tests in groupby(items, key=lambda item: item.nodeid.partition("::")[0]):
        if module.startswith(_LONG):
            long.append(list(tests))
        elif module in _SHARING:
            sharing.extend(tests)
        else:
            short.extend(tests)
    short = sharing + short
    items.clear()
    total = len(short) + sum(map(len, long))
    for worker in range(workers):
        mine = long[worker::workers]
        room = max(total * (worker + 1) // workers - len(items) - sum(map(len, mine)), 0)
        row, short = short[:room], short[room:]
        # Most of them are several processes each: all at once they would be in one another's way.
        step = room // (2 * len(mine) + 1)
        for group in mine:
            items += [*group, *row[:step]]
            row = row[step:]
        items += row
    items += short
