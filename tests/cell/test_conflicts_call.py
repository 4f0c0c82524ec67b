"""Operators see what lost; nobody else does (P9)."""

from pathlib import Path

from kit import opened, signed_in

from eisbach.kernel.hlc import COUNTER_BITS
from eisbach.kernel.ops import ItemChange, Op
from eisbach.testing.asgi_client import AsgiClient

OPERATOR = {"Authorization": "Bearer operator"}


async def test_an_operator_sees_the_loser_with_its_value_and_a_viewer_does_not(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)
        put = await viewer.send("PUT", "/v1/me/progress/tears", {"pos_s": 11, "dur_s": 100})
        assert put.status == 204
        slot = cell.ownership.slot(viewer.headers["Eisbach-Slot"])
        mine = (await cell.store.ops_after(slot, {}, limit=99)).ops[-1]
        assert mine.change is not None
        change = ItemChange(mine.change.pk, mine.change.sk, b"theirs")
        older = (mine.hlc >> COUNTER_BITS) - 5 << COUNTER_BITS
        await cell.store.apply(slot, [Op(str(slot), "eu-west", 1, 1, older, change, None)])

        found = await AsgiClient(cell.app).send("GET", "/conflicts?limit=5", headers=OPERATOR)
        refused = await viewer.send("GET", "/conflicts")
        wrong = await AsgiClient(cell.app).send("GET", "/conflicts?limit=0", headers=OPERATOR)

    (one,) = found.json()["conflicts"]
    assert (one["slot"], one["sk"], one["value"]) == (str(slot), mine.change.sk, "dGhlaXJz")
    assert one["loser"].startswith("eu-west:")
    assert one["winner"].startswith("eu-central:")
    assert refused.status == 401
    assert wrong.status == 400
