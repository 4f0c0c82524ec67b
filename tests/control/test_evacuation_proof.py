"""What the record of a return says was proved is what was looked at, whatever the other region writes meanwhile."""

import msgspec

from eisbach.cell.moving import StandAside, StoodAside
from eisbach.control.evacuation import Evacuation
from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.kernel.versions import Mark, covers
from eisbach.testing.manual_clock import ManualClock


class BusyOtherRegion:
    """A cell whose slot is away; the other region acknowledges one more write while it is taken back."""

    def __init__(self) -> None:
        self.held, self.there = {"eu-west": Mark(1, 26)}, {"eu-west": Mark(1, 26)}

    async def vectors(self, cell: str, asked: StandAside) -> StoodAside:
        return StoodAside(state="away", epoch=2, vector=self.held, peer=self.there, listening=True)

    async def stand_aside(self, cell: str, asked: StandAside) -> StoodAside:
        self.there = {"eu-west": Mark(1, 27)}
        return msgspec.structs.replace(await self.vectors(cell, asked), state="active", epoch=asked.epoch)


async def test_a_return_records_the_vectors_that_proved_it(tmp_path) -> None:  # type: ignore[no-untyped-def]
    store = SqliteControlStore(tmp_path / "control.db")
    evacuation = Evacuation(
        store, BusyOtherRegion(), region="eu-central", owners=lambda: {"eu/de/main/0": "c1"}, clock=ManualClock()
    )

    record = await evacuation.perform("return", "eu-west", wait_ms=0)

    proof = record.slots["eu/de/main/0"]
    assert proof.proved
    assert proof.epoch == 3
    assert covers(proof.vector, proof.other)
    await store.aclose()
