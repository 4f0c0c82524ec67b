"""What the judge lets pass, and no more: a refusal counts unless the call went on several ways."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from eisbach.domain.progress import PROGRESS_PREFIX
from eisbach.kernel.ops import ItemChange, Op
from eisbach.kernel.versions import Mark
from eisbach.testing.asgi_client import AsgiAnswer
from eisbach.testing.world.checks import _read_your_writes, judge
from eisbach.testing.world.edge import Edge, Request, World
from eisbach.testing.world.evidence import Evidence
from eisbach.testing.world.genesis import GROUP, shape_of
from eisbach.testing.world.history import History, Intent, PutBack, Read
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


def _stopped_at(seq: int, pos_s: int, *, account: str = "account") -> Op:
    change = ItemChange(pk=account, sk=f"{PROGRESS_PREFIX}tears", value=b'{"pos_s":%d,"dur_s":9}' % pos_s, base=None)
    return Op(f"{GROUP}/1", "eu-central", 1, seq, seq, change, None)


@pytest.mark.parametrize("shown", ["the newest, since lost", "the one before", "another account's"])
def test_what_a_read_shows_is_the_latest_of_that_position_of_that_account_lost_ones_included(shown: str) -> None:
    """Seed 334343: every pause stops at second 1, and a disk that was put back had lost the newest."""
    history = History()
    intent = Intent(1, 0, "read", "account", "tears", 0.0)
    intent.reads.append(Read(pos_s=1, after=("eu-central", Mark(1, 2)), aged=False))
    history.intents.append(intent)
    before, newest = _stopped_at(1, 1), _stopped_at(3, 1)
    if shown == "the newest, since lost":
        history.put_back.append(PutBack("eu-central", 9.0, {(newest.slot, "eu-central", 1, 3): newest}))
    elif shown == "another account's":
        before = _stopped_at(1, 1, account="another")
    evidence = replace(NOTHING, ops=[before, _stopped_at(2, 152)])

    breaches = list(_read_your_writes(history, [evidence]))

    assert [breach.split()[0] for breach in breaches] == ([] if shown == "the newest, since lost" else ["RYW"])
