"""A control store that was lost begins from the map that the region's edge keeps; an older copy, and damage, say so."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from eisbach.bootstrap.control import open_control
from eisbach.bootstrap.control_calls import viewers_slots
from eisbach.bootstrap.tools import locate_tools
from eisbach.cell.move_http import HttpCells
from eisbach.control.slot_map import Placement, SlotMapReconciler, first_groups
from eisbach.control.slot_record import SlotRecord
from eisbach.deploy.laptop.documents import Documents
from eisbach.deploy.laptop.lost_stores import lost_stores
from eisbach.edge.agent import MAP_FILE
from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.kernel.errors import Corrupt, FileDamaged, Invalid
from eisbach.kernel.slotmap import decode_signed, judge
from eisbach.settings import Settings
from eisbach.testing.manual_clock import ManualClock

KEY = b"k" * 32
GROUPS = {"eu/de/main": 8}
PLACEMENT = Placement(
    region="eu-central",
    cells={"c1": "h:1", "c2": "h:2"},
    groups=first_groups(GROUPS, {"c1": {"eu/de/main": [0, 1, 2, 3]}, "c2": {"eu/de/main": [4, 5, 6, 7]}}),
    preferred={"eu/de/main": ["eu-central"] * 8},
)


class Region:
    """Control stores that come and go, and what the edge keeps."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.opened = folder, list[SqliteControlStore]()

    def control(self, name: str, *, key: bytes = KEY) -> SlotMapReconciler:
        store = SqliteControlStore(self.folder / f"{name}.db")
        self.opened.append(store)
        return SlotMapReconciler(store, PLACEMENT, clock=ManualClock(), key=key)


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Region]:
    found = Region(tmp_path)
    yield found
    for store in found.opened:
        await store.aclose()


async def moved_once(region: Region) -> bytes:
    control = region.control("first")
    await control.activate()
    await control.assign({"eu/de/main/3": "c2"})
    assert control.document is not None
    return control.document


async def test_a_lost_store_goes_on_from_the_edges_map_and_the_edge_takes_what_it_publishes(region: Region) -> None:
    kept = await moved_once(region)
    control = region.control("empty")

    assert await control.take_up(kept, where="map.json")
    await control.activate()

    assert (control.version, control.groups["eu/de/main"][3]) == (1002, "c2"), (
        "neither laid out anew, nor a version given again"
    )
    await control.assign({"eu/de/main/0": "c2"})
    news = decode_signed(control.document or b"", KEY)
    assert news.version == 1003
    judge(news, decode_signed(kept, KEY), region="eu-central", slot_counts=GROUPS)


async def test_without_it_the_edge_would_refuse_what_a_new_store_publishes_for_good(region: Region) -> None:
    """What happened before, and why: the story that the next versions tell contradicts the map in force."""
    kept = decode_signed(await moved_once(region), KEY)
    control = region.control("empty")
    await control.activate()
    for number in (0, 1, 2):
        await control.assign({f"eu/de/main/{number}": "c2"})

    with pytest.raises(
        Invalid, match=r"slot eu/de/main/0 is said to be c2's since version 2,.* in force gave it to c1"
    ):
        judge(decode_signed(control.document or b"", KEY), kept, region="eu-central", slot_counts=GROUPS)


async def test_a_crash_before_the_map_was_published_costs_nothing(region: Region) -> None:
    kept = await moved_once(region)
    control = region.control("empty")
    await control._wanted()  # as at a first start

    assert await control.take_up(kept, where="map.json")
    await control.activate()

    assert (control.version, control.groups["eu/de/main"][3]) == (1002, "c2")


async def test_a_store_that_is_an_older_copy_says_so_and_changes_nothing(region: Region) -> None:
    older = region.control("older")
    await older.activate()
    before = older.document

    with pytest.raises(
        Corrupt,
        match=r"older copy: it has slot map 1, and its edge took map 2 .*Do eisbach fault down control/eu-central, move"
        r" control\.db away with its -wal and -shm, then eisbach heal control/eu-central: control then begins",
    ) as refused:
        await older.take_up(await moved_once(region), where="map.json")

    assert len(str(refused.value)) < 400, "two paths come on top, and the supervisor shows 500 characters"
    await older.activate()
    assert older.document == before


async def test_a_store_that_is_as_new_as_the_edges_map_goes_on(region: Region) -> None:
    kept = await moved_once(region)
    assert not await region.control("first").take_up(kept, where="map.json")
    assert not await region.control("first").take_up(b"torn", where="map.json"), "the edge's affair"


async def test_an_empty_store_and_a_map_that_cannot_be_read_are_no_first_start(region: Region) -> None:
    kept = await moved_once(region)

    for control, document in (
        (region.control("a"), kept[:-9]),
        (region.control("b", key=b"x" * 32), kept),
    ):
        with pytest.raises(
            Corrupt,
            match=r"is empty, and the slot map that its edge keeps in map\.json cannot be read.*fault down control/eu-c"
            r".*move map\.json away, too, then eisbach heal",
        ):
            await control.take_up(document, where="map.json")
        assert control.document is None


async def test_a_control_process_over_an_empty_store_begins_from_what_the_edge_keeps(region: Region) -> None:
    kept = await moved_once(region)
    store = SqliteControlStore(region.folder / "empty.db")
    region.opened.append(store)
    cells = HttpCells({}, token="service")

    opened = await open_control(store, cells, PLACEMENT, clock=ManualClock(), key=KEY, kept=("map.json", kept))

    assert (opened.reconciler.version, viewers_slots(opened.reconciler)["eu/de/main/3"]) == (1002, "c2")


def test_the_map_that_control_looks_for_is_the_one_that_the_agent_keeps(tmp_path: Path) -> None:
    settings = Settings()
    documents = Documents(
        settings=settings, root=tmp_path, regions=("eu-central",), tools=locate_tools(settings), operator_token="op"
    )

    assert documents.control("eu-central").edge_map == f"{documents.agent('eu-central').folder}/edge/{MAP_FILE}"


@pytest.mark.parametrize("spoil", ["no database", "torn page"])
async def test_a_damaged_store_says_what_to_do(spoil: str, tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    store = SqliteControlStore(path)
    for n in range(40):
        await store.put(f"moves/{n}", b"x" * 2000, expected=0)
    await store.aclose()
    raw = bytearray(path.read_bytes())
    raw[0 if spoil == "no database" else 4096 : 12288] = b"?" * (12288 if spoil == "no database" else 8192)
    path.write_bytes(raw)

    with pytest.raises(
        FileDamaged,
        match=r"control\.db: the file is damaged .*fault down control/eu-central, .*move it away .*heal control/eu-central: .*begins from the",
    ) as refused:
        SqliteControlStore(path, target="control/eu-central")
    assert len(str(refused.value)) - len(str(path)) < 440, "the supervisor shows 500 characters"


async def test_that_the_store_was_lost_and_how_its_moves_ended_is_told_for_a_day_and_by_a_successor(
    region: Region, tmp_path: Path
) -> None:
    kept, clock, store = await moved_once(region), ManualClock(), SqliteControlStore(tmp_path / "again.db")
    region.opened.append(store)
    place = Placement(region="eu-central", cells={}, groups=PLACEMENT.groups, preferred=PLACEMENT.preferred)
    cells = HttpCells({}, token="t")
    at, words = clock.wall_ms(), "the record was lost; so say all cells"
    first = await open_control(store, cells, place, clock=clock, key=KEY, kept=("map.json", kept))
    for slot, reason in (("eu/de/main/3", words), ("eu/de/main/4", "an operator gave it up")):
        record = SlotRecord(
            slot=slot, owner="c1", epoch=4, move=2, phase="settled", source="c1", target="c2", began_ms=1,
            outcome="aborted", reason=reason,
        )  # fmt: skip
        await store.put(f"moves/{slot}", msgspec.json.encode(record), expected=0)

    again = await open_control(store, cells, place, clock=clock, key=KEY, kept=("map.json", kept))

    await again.mover.activate()

    assert first.store_lost() == {"at_ms": at, "from": "map.json", "moves": {}, "count": 0}
    told = again.store_lost()
    assert (told["at_ms"], told["moves"], told["count"]) == (at, {"eu/de/main/3": "aborted, c1 has it"}, 1)
    (said,) = lost_stores({"control/eu-central": {"store_lost": told}, "control/eu-west": {"store_lost": {}}})
    assert "control store of eu-central was lost, control began from the map of its edge at 2027-01-15" in said.sentence
    assert said.sentence.endswith("was asked of the cells: eu/de/main/3 (aborted, c1 has it).")
    assert said.next == "eisbach cells list --region eu-central"
    clock.shift_wall(25 * 3600 * 1000)
    assert again.store_lost() == {}
    await cells.aclose()


async def test_control_whose_file_is_removed_while_it_runs_ends_with_the_sentence_and_not_with_a_group(
    region: Region,
) -> None:
    """Its log ended in forty lines of nested groups, around what an operator has to know."""
    clock = ManualClock()
    store = SqliteControlStore(region.folder / "control.db")
    region.opened.append(store)
    control = await open_control(store, HttpCells({}, token="service"), PLACEMENT, clock=clock, key=KEY)

    async def serves_nobody() -> None:
        await asyncio.Event().wait()

    running = asyncio.create_task(control.run(serves_nobody()))
    await clock.advance(1)
    (region.folder / "control.db").unlink()
    await clock.advance(5)

    async with asyncio.timeout(5):
        with pytest.raises(FileDamaged, match=r"control\.db was removed or replaced while control had it open"):
            await running
