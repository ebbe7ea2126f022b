"""What runs together in one process of the tests, and what is begun first.

Nine thousand tests are given out in groups. What takes ten seconds must not come last, where all the others would have
to wait for it; nor do all of these run at once, because most of them are several processes each, or wait for a time
that must not pass unseen. So there are two rows, and half of the processes begin with either.
"""

from collections.abc import Iterable
from itertools import groupby

import pytest

#: Modules with tests that take many seconds each, most of it waiting: each test is a group.
_LONG = (
    "tests/chaos/",
    "tests/demo/",
    "tests/documentation/test_blocks.py",
    "tests/model/",
    "tests/path/test_allowances.py",
    "tests/path/test_every_",
    "tests/path/test_given_once.py",
    "tests/path/test_interruptions.py",
    "tests/path/test_nodes.py",
    "tests/path/test_standstill.py",
    "tests/path/test_stopping_midway.py",
    "tests/recipes/",
    "tests/sinks/test_kill",
    "tests/wire/test_farewell.py",
)

#: Modules that share what is started once in a process and starts slowly: a browser, a program and its simulator, a
#: RabbitMQ, which uses up six seconds of a processor before it listens.
_SHARING = (
    ("tests/console/browser/",),
    ("tests/cli/",),
    ("tests/sinks/test_contract.py", "tests/sinks/test_refusals.py", "tests/sinks/test_tls.py"),
)

#: How many short tests of a module are one group: enough that what the module shares is seldom made twice.
_MANY = 24


def rows(items: Iterable[pytest.Item]) -> tuple[list[list[pytest.Item]], list[list[pytest.Item]]]:
    """The groups that take long, and the others; within a group the tests stay as they are."""
    sharing: list[list[pytest.Item]] = [[] for _ in _SHARING]
    long: list[list[pytest.Item]] = []
    short: list[list[pytest.Item]] = []
    for module, found in groupby(items, key=lambda item: item.nodeid.partition("::")[0]):
        tests = list(found)
        together = next((at for at, names in enumerate(_SHARING) if module.startswith(names)), None)
        if together is not None:
            sharing[together] += tests
        elif module.startswith(_LONG):
            long += [[test] for test in tests]
        else:
            short += [tests[at : at + _MANY] for at in range(0, len(tests), _MANY)]
    return [*filter(None, sharing), *long], short
