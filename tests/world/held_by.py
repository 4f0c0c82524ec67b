"""A pytest plugin: runs each test as it is, then with each bug planted that ``HELD_BY`` says it holds.

Loaded with ``-p held_by`` by ``test_mutants_held``; what was seen is written as JSON to ``EISBACH_HELD``. A file of its
own, since a pytest inside another one's process crashed the interpreter now and then.
"""

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from eisbach.testing.world.mutants import planted
from eisbach.testing.world.mutants_held import HELD_BY

MUTANTS_OF: defaultdict[str, list[str]] = defaultdict(list)
for _name, _test in HELD_BY.items():
    MUTANTS_OF[_test].append(_name)
seen: dict[str, list[str]] = {"ran": [], "left_out": [], "broken": [], "held": []}


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    test = _test_of(item)
    seen["ran"].append(test)
    if _fails(item, nextitem):
        seen["broken"].append(item.nodeid)
    for name in MUTANTS_OF[test]:
        with planted(name):
            if _fails(item, nextitem):
                seen["held"].append(name)
    return True


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    seen["left_out"] += [_test_of(item) for item in items]


def pytest_sessionfinish() -> None:
    Path(os.environ["EISBACH_HELD"]).write_text(json.dumps(seen))


def _test_of(item: pytest.Item) -> str:
    return item.nodeid if item.nodeid in MUTANTS_OF else item.nodeid.partition("[")[0]


def _fails(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    return any(report.failed for report in runtestprotocol(item, log=False, nextitem=nextitem))
