"""What a composed cell tells its region's control of a slot: also what speaks against leaving it, or being left to it."""

from pathlib import Path

import msgspec
import pytest
from kit import OWNERS, opened, peer

from eisbach.bootstrap.cell import OpenCell
from eisbach.cell.moving import StandAside, StoodAside
from eisbach.cell.twin_digests import TwinDigests
from eisbach.testing.asgi_client import AsgiClient

SLOT = f"eu/de/main/{OWNERS['c1']['eu/de/main'][0]}"


async def told(cell: OpenCell) -> StoodAside:
    control = AsgiClient(cell.app, {"Authorization": "Bearer service-eu-central"})
    asked = msgspec.msgpack.encode(StandAside(slot=SLOT, epoch=0, peer=""))
    answer = await control.send("POST", "/moves/vectors", asked)
    return msgspec.msgpack.decode(answer.body, type=StoodAside)


async def test_control_is_told_in_which_regions_a_slot_is_known_to_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, peers=[peer("eu-west")], demo=False) as cell:
        assert (await told(cell)).differing == {}
        monkeypatch.setattr(TwinDigests, "differing", lambda _self, slot: [3] if slot == SLOT else [])
        assert (await told(cell)).differing == {"eu-west": [3]}
