"""An empty store under a known name is a lost disk, and never begins anew at epoch 1 (P21)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from kit import document, make_secrets, opened, peer, signed_in
from starlette.applications import Starlette

from eisbach.bootstrap.cell import open_cell
from eisbach.bootstrap.control_calls import begin_routes
from eisbach.bootstrap.first_start import twin_knows
from eisbach.bootstrap.serve import serve
from eisbach.cell.puller import Batch, PullAnswer, PullRequest
from eisbach.control.beginnings import Begin, Beginnings
from eisbach.engines.embedded.clock import SystemClock
from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.kernel.errors import Denied, Invalid, Unavailable
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.testing.asgi_client import AsgiClient
from eisbach.testing.manual_clock import ManualClock

SLOTS = [Slot.parse(f"eu/de/main/{n}") for n in range(4)]
HOST, PORT = "127.0.21.1", 8121
KEYS = make_secrets()


@asynccontextmanager
async def control(folder: Path) -> AsyncIterator[str]:
    """The part of a control process that is asked, on a real port."""
    store = SqliteControlStore(folder / "control.db")
    app = Starlette(routes=begin_routes(Beginnings(store, clock=SystemClock()), tokens=("service-eu-central",)))
    serving = asyncio.create_task(serve(app, host=HOST, port=PORT))
    try:
        yield f"http://{HOST}:{PORT}"
    finally:
        serving.cancel()
        await asyncio.wait([serving])
        await store.aclose()


def lose_the_disk(folder: Path) -> None:
    for path in (folder / "eu-central" / "c1").glob("store.db*"):
        path.unlink()


async def test_a_cell_begins_once_and_starts_again_on_its_own_store(tmp_path: Path) -> None:
    async with control(tmp_path) as url:
        for _ in range(2):
            async with opened(tmp_path, keys=KEYS, control=url, backups="") as cell:
                assert len(cell.ownership.owned()) == 4


async def test_a_cell_whose_disk_is_gone_is_refused_by_what_control_knows_and_says_what_to_do(tmp_path: Path) -> None:
    async with control(tmp_path) as url:
        async with opened(tmp_path, keys=KEYS, control=url, backups=""):
            pass
        lose_the_disk(tmp_path)

        with pytest.raises(
            Invalid, match=r"began with another store.*eisbach fault down cell/eu-central/c1, eisbach restore"
        ):
            async with open_cell(document(tmp_path, control=url, backups=""), KEYS["eu-central"]):
                pass


async def test_a_store_that_holds_slots_is_taken_note_of_after_an_upgrade_or_a_restore(tmp_path: Path) -> None:
    store = SqliteControlStore(tmp_path / "control.db")
    beginnings = Beginnings(store, clock=ManualClock())
    await beginnings.begin(Begin(cell="c1", identity="first"))
    await beginnings.begin(Begin(cell="c1", identity="restored", holds=True))

    await beginnings.begin(Begin(cell="c1", identity="restored"))
    for lost in ("first", "third"):
        with pytest.raises(Denied):
            await beginnings.begin(Begin(cell="c1", identity=lost))
    await store.aclose()


async def test_a_cell_whose_disk_is_gone_is_refused_by_what_its_backups_hold(tmp_path: Path) -> None:
    async with opened(tmp_path, keys=KEYS) as cell:
        await signed_in(cell)
        operator = AsgiClient(cell.app, {"Authorization": "Bearer operator"})
        assert (await operator.send("POST", "/ops/backup", {})).status == 200
    lose_the_disk(tmp_path)

    async with control(tmp_path) as url:  # its disk is gone too: it knows nothing
        with pytest.raises(Invalid, match="backups of it are in"):
            async with open_cell(document(tmp_path, control=url), KEYS["eu-central"]):
                pass


class Twin:
    """Another region that answers for its slots."""

    def __init__(self, heads: Mapping[str, dict[str, Mark]]) -> None:
        self.heads, self.up = heads, True
        self.failed: dict[str, str] = {}

    async def owners(self) -> Mapping[str, Sequence[str]]:
        if not self.up:
            raise Unavailable("cut")
        return {"eu/de/main": ["c1"] * 4}

    async def pull(self, cell: str, request: PullRequest) -> PullAnswer:
        assert (cell, request.region) == ("c1", "eu-central"), "or by residency nothing would be said"
        (slot,) = request.slots
        found = {slot: Batch([], self.heads[slot])} if slot in self.heads else {}
        failed = {slot: self.failed[slot]} if slot in self.failed else {}
        return PullAnswer(batches=found, moved={}, wall_ms=0, failed=failed)


async def test_a_twin_that_holds_an_op_of_this_region_speaks_against_a_first_start() -> None:
    theirs = {"eu/de/main/2": {"eu-west": Mark(1, 9)}}
    ours = {**theirs, "eu/de/main/3": {"eu-central": Mark(3, 7), "eu-west": Mark(1, 1)}}

    assert await twin_knows(Twin({}), SLOTS, region="eu-central", twin="eu-west") == ""
    assert await twin_knows(Twin(theirs), SLOTS, region="eu-central", twin="eu-west") == ""
    found = await twin_knows(Twin(ours), SLOTS, region="eu-central", twin="eu-west")
    assert found == "region eu-west holds its op 3.7 in slot eu/de/main/3"
    pruned = Twin({})
    pruned.failed = {"eu/de/main/1": "log_gap"}
    assert "has long had ops" in await twin_knows(pruned, SLOTS, region="eu-central", twin="eu-west")


@pytest.mark.parametrize("code", ["unavailable", "corrupt"])
async def test_a_twin_that_cannot_tell_of_one_slot_is_no_word_for_a_first_start(code: str) -> None:
    unsure = Twin({})
    unsure.failed = {"eu/de/main/2": code}

    with pytest.raises(Unavailable, match=f"eu-west does not tell of slot eu/de/main/2 now: {code}"):
        await twin_knows(unsure, SLOTS, region="eu-central", twin="eu-west")


async def test_a_twin_that_cannot_tell_of_one_slot_still_speaks_of_the_others() -> None:
    """Where no other region is known to have begun, its silence on one slot let the cell number its ops anew."""
    knows = Twin({"eu/de/main/3": {"eu-central": Mark(3, 7)}})
    knows.failed = {"eu/de/main/1": "unavailable"}

    found = await twin_knows(knows, SLOTS, region="eu-central", twin="eu-west")

    assert found == "region eu-west holds its op 3.7 in slot eu/de/main/3"


async def test_where_another_region_has_begun_an_empty_store_waits_for_its_word(tmp_path: Path) -> None:
    """All of a region was removed, control and backups too: its cells began under epoch 1 before the twin was up."""
    async with control(tmp_path) as url:
        alone = document(tmp_path, control=url, backups="", peers=[peer("eu-west")])
        with pytest.raises(
            Unavailable,
            match=r"known to region eu-west alone, which does not answer \(.*eisbach restore cell/eu-central/c1",
        ):
            async with open_cell(msgspec.structs.replace(alone, others_began=True), KEYS["eu-central"]):
                pass
        async with open_cell(alone, KEYS["eu-central"]) as cell:
            assert len(cell.ownership.owned()) == 4
