"""What the judge lets pass, and no more: a refusal counts unless the call went on several ways."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from eisbach.domain.progress import PROGRESS_PREFIX
from eisbach.kernel.ops import ItemChange, Op
from eisbach.testing.asgi_client import AsgiAnswer
from eisbach.testing.world.checks import judge
from eisbach.testing.world.edge import Edge, Request, World
from eisbach.testing.world.evidence import Evidence
from eisbach.testing.world.genesis import GROUP, shape_of
from eisbach.testing.world.history import History, Intent
from eisbach.testing.world.network import Refused, Silent

NOTHING = Evidence(
    region="eu-central", ops=[], logs={}, items={}, conflicts=[], conflicts_left=[], digests={}, handled={}, outwaited=0
)


class Hops:
    """A network whose calls end as they are told, one after the other."""

    def __init__(self, *outcomes: AsgiAnswer | Exception) -> None:
        self._outcomes = list(outcomes)

    async def call(
        self, _source: Any, _target: Any, _phase: str, _work: Callable[[], Awaitable[Any]], *, seconds: float
    ) -> AsgiAnswer:
        assert seconds > 0
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def test_a_read_that_a_freeze_refused_is_a_breach_however_many_cells_it_reached() -> None:
    history = History()
    history.intents.append(Intent(1, 0, "read", "tears", "account", 0.0, refusals=[("slot_frozen", 4)]))
    history.copies["try-4"] = 2

    assert [breach[:2] for breach in judge(history, [NOTHING])] == ["P6"]


@pytest.mark.parametrize(
    ("method", "first", "told"),
    [
        ("PUT", Refused("down"), (503, "unavailable")),
        ("PUT", Silent("hangs"), (504, "outcome_unknown")),
        ("GET", Silent("hangs"), (503, "unavailable")),
    ],
    ids=["refused", "silent", "silent-read"],
)
async def test_a_second_hop_is_not_believed_only_when_the_first_may_have_written(
    method: str, first: Exception, told: tuple[int, str]
) -> None:
    """From a cell that refused the connection nothing can have come: the twin's word is the word of the call."""
    unavailable = AsgiAnswer(503, {}, b'{"code":"unavailable"}')
    network: Any = Hops(first, unavailable)
    world = World(network=network, history=History())
    shape = shape_of(0)
    edges = {region: Edge(region, shape, world, None) for region in shape.cells}
    world.edges.update(edges)
    cell: Any = None
    world.cells.update({f"eu-central/{name}": cell for name in shape.cells["eu-central"]})
    headers = {"eisbach-slot": f"{GROUP}/1", "eisbach-request-id": "try-4"}

    answer = await edges["eu-central"].handle(
        Request(method=method, target="/v1/me/progress/tears", body=b"{}", headers=headers)
    )

    assert (answer.status, answer.json()["code"]) == told
    assert world.history.copies["try-4"] == 1, "one way: what the edge says of it is judged"


@pytest.mark.parametrize(("copies", "counts"), [(1, True), (2, False)])
def test_a_refusal_is_judged_unless_the_call_went_on_several_ways(copies: int, counts: bool) -> None:
    history = History()
    history.intents.append(Intent(1, 0, "progress", "account", "tears", 0.0, refusals=[("unavailable", 4)]))
    history.copies["try-4"] = copies
    change = ItemChange(pk="account", sk=f"{PROGRESS_PREFIX}tears", value=b'{"pos_s":4,"dur_s":9}', base=None)
    op = Op(f"{GROUP}/1", "eu-central", 1, 1, 1, change, None)

    breaches = judge(history, [replace(NOTHING, ops=[op])])

    assert any("refused as not written (unavailable), and its 4 was written" in b for b in breaches) == counts
