"""What the judge lets pass, and no more: a refusal counts unless the call may have reached a second cell."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

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
    history.delivered["try-4"] = 2

    assert [breach[:2] for breach in judge(history, [NOTHING])] == ["P6"]


@pytest.mark.parametrize(("first", "doubtful"), [(Refused("down"), 0), (Silent("hangs"), 1)], ids=["refused", "silent"])
async def test_a_second_hop_is_not_believed_only_when_the_first_may_have_written(
    first: Exception, doubtful: int
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
        Request(method="PUT", target="/v1/me/progress/tears", body=b"{}", headers=headers)
    )

    assert answer is unavailable
    assert world.history.delivered["try-4"] == doubtful
