"""A composed cell forgets its op log only when hub, backups and the other region have it: the wiring, not the keeper.

The cell is opened, writes, and is opened again eight days later; a minute on, its keeper has looked once. Disks are
inline and time is turned by hand.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from kit import document, make_secrets, peer, signed_in

from eisbach.bootstrap.cell import OpenCell, open_cell
from eisbach.bootstrap.host import Host, system_host
from eisbach.cell.pull_messages import FAR_BEHIND
from eisbach.engines.embedded.disk import inline
from eisbach.engines.embedded.event_log import SqliteEventLog
from eisbach.kernel.errors import LogGap, Unavailable
from eisbach.kernel.slots import Slot
from eisbach.settings import Secrets
from eisbach.testing.manual_clock import ManualClock

T = TypeVar("T")
START_MS, DAY_MS = 1_800_000_000_000, 86_400_000
WRITES = 5


class Inline:
    """A disk without a thread; a full one refuses."""

    def __init__(self, *, full: bool = False) -> None:
        self._full = full

    async def __call__(self, work: Callable[[], T]) -> T:
        if self._full:
            raise Unavailable("the disk of the backups is full")
        return await inline(work)

    def close(self) -> None: ...


class Away:
    """The other region: nobody answers, nobody asks."""

    far_behind = FAR_BEHIND

    async def pull(self, *_: Any, **__: Any) -> Any:
        raise Unavailable("the other region is away")

    def __getattr__(self, name: str) -> Any:
        return self.pull

    async def aclose(self) -> None: ...


class Deaf(SqliteEventLog):
    """A hub that takes nothing."""

    async def append(self, *_: Any, **__: Any) -> Any:
        raise Unavailable("the hub is down")


class Life:
    """A cell over its restarts."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self._folder, self._more = folder, more
        self._secrets: Secrets = make_secrets()["eu-central"]

    async def opened(
        self, at_ms: int, work: Callable[[OpenCell, ManualClock], Any], *, full: str = "", deaf: bool = False
    ) -> Any:
        clock = ManualClock(wall_ms=at_ms)
        host: Host = replace(
            system_host(), clock=clock, disk=lambda name: Inline(full=name == full), peer=lambda _door, _token: Away()
        )
        kind = Deaf if deaf else SqliteEventLog
        log = await kind(self._folder / "hub.db", clock=clock, disk=Inline()).open()
        try:
            async with open_cell(document(self._folder, **self._more), self._secrets, host=host, event_log=log) as cell:
                return await work(cell, clock)
        finally:
            await log.aclose()


async def writes(cell: OpenCell, clock: ManualClock) -> Slot:
    viewer = await signed_in(cell)
    for n in range(WRITES):
        answer = await viewer.send("PUT", "/v1/me/progress/tears", {"pos_s": n, "dur_s": 100})
        assert answer.status == 204
    await clock.advance(5)
    return Slot.parse(viewer.headers["Eisbach-Slot"])


async def kept_after(life: Life, slot: Slot, days: int, **more: Any) -> bool:
    """Whether the whole log of the slot is still there when the keeper has looked."""

    async def look(cell: OpenCell, clock: ManualClock) -> bool:
        await clock.advance(62)
        assert "log-keeper" not in cell.status()["restarts"], "it has looked, and has not died of it"
        try:
            await cell.store.ops_after(slot, {}, limit=100)
        except LogGap:
            assert cell.status()["log_forgotten"] >= WRITES
            return False
        assert cell.status()["log_forgotten"] == 0
        return True

    return bool(await life.opened(START_MS + days * DAY_MS, look, **more))


async def test_a_cell_whose_log_everybody_has_forgets_it_after_seven_days(tmp_path: Path) -> None:
    life = Life(tmp_path)
    slot = await life.opened(START_MS, writes)

    assert await kept_after(life, slot, 6)
    assert not await kept_after(life, slot, 8)


@pytest.mark.parametrize("lacking", ["backups", "hub"])
async def test_a_cell_keeps_what_its_backups_or_its_hub_do_not_have_however_old(tmp_path: Path, lacking: str) -> None:
    life = Life(tmp_path)
    trouble: dict[str, Any] = {"full": "backups"} if lacking == "backups" else {"deaf": True}
    slot = await life.opened(START_MS, writes, **trouble)

    assert await kept_after(life, slot, 40, **trouble)
    assert not await kept_after(life, slot, 41), "nothing else kept it"


async def test_a_cell_keeps_for_the_other_region_what_that_has_not_said_to_have_however_old(tmp_path: Path) -> None:
    life = Life(tmp_path, peers=[peer("eu-west")])
    slot = await life.opened(START_MS, writes)

    assert await kept_after(life, slot, 40)
    assert not await kept_after(Life(tmp_path), slot, 41), "nothing else kept it"
