"""A region is left only to one that shows that it serves, and of two that are asked at once at most one goes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.applications import Starlette

from eisbach.bootstrap.control_calls import region_routes
from eisbach.cell.moving import StandAside, StoodAside
from eisbach.control.evacuation import Evacuation, EvacuationRecord, SlotFound, SlotProof
from eisbach.control.leaving import Leaving, Standing, missing, why_out, why_out_by_cells
from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.kernel.errors import Denied, Unavailable
from eisbach.kernel.versions import Mark
from eisbach.testing.asgi_client import AsgiClient
from eisbach.testing.manual_clock import ManualClock

OWNERS = {"eu/de/main/0": "c1", "eu/de/main/1": "c2"}
HELD = {"eu-central": Mark(1, 5)}


@dataclass
class Cells:
    """Of a region whose twin holds everything."""

    states: dict[str, str] = field(default_factory=lambda: dict.fromkeys(OWNERS, "active"))
    dead: set[str] = field(default_factory=set)
    hung: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    ahead: dict[str, str] = field(default_factory=dict)
    differing: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    async def vectors(self, cell: str, asked: StandAside) -> StoodAside:
        self.asked.append(cell)
        if cell in self.dead:
            raise Unavailable(f"{cell} is dead")
        if cell in self.hung:
            await asyncio.Event().wait()
        return StoodAside(
            state=self.states[asked.slot], epoch=1, vector=HELD, peer=HELD, listening=True,
            writes_stopped=self.ahead.get(cell, ""), differing=self.differing.get(asked.slot, {}),
        )  # fmt: skip

    async def stand_aside(self, cell: str, asked: StandAside) -> StoodAside:
        self.states[asked.slot] = "active" if asked.owner is None else "away"
        return await self.vectors(cell, asked)


class Region:
    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.cells, self.clock = name, Cells(), ManualClock()
        self.store = SqliteControlStore(folder / f"{name}.db")
        self.answers: Callable[[str], Awaitable[Standing]] | None = None
        self.told: list[bool] = []
        self.again()

    def again(self, owners: Mapping[str, str] = OWNERS) -> None:
        """A new control process over the same store."""
        self.evacuation = Evacuation(self.store, self.cells, region=self.name, owners=lambda: owners, clock=self.clock)
        self.leaving = Leaving(self.evacuation, region=self.name, ask=self._ask, clock=self.clock)

    async def _ask(self, other: str) -> Standing:
        if self.answers is None:
            raise Unavailable(f"{other} does not answer")
        return await self.answers(other)

    async def leave(self, other: str, *, force: bool = False, wait_ms: int = 0) -> EvacuationRecord:
        async def announce() -> None:
            self.told.append(False)

        return await self.leaving.leave(other, wait_ms=wait_ms, force=force, announce=announce)


@pytest.fixture
async def regions(tmp_path: Path) -> AsyncIterator[tuple[Region, Region]]:
    here, there = Region("eu-central", tmp_path), Region("eu-west", tmp_path)
    here.answers, there.answers = lambda _: there.leaving.standing(), lambda _: here.leaving.standing()
    yield here, there
    await here.store.aclose()
    await there.store.aclose()


def record(action: str, *proved: bool) -> EvacuationRecord:
    slots = {str(n): SlotProof(cell="c1", epoch=1, vector={}, other={}, proved=one) for n, one in enumerate(proved)}
    ended_ms = int(bool(proved) and all(proved))
    return EvacuationRecord(
        region="eu-west", other="eu-central", action=action, began_ms=1, ended_ms=ended_ms, slots=slots
    )


@pytest.mark.parametrize(
    ("leaving", "last", "wanted"),
    [
        ("", None, ""),
        ("", record("return", True, True), ""),
        ("eu-central", None, "it is being evacuated to eu-central at this moment"),
        ("eu-central", record("return", True), "it is being evacuated to eu-central at this moment"),
        ("", record("evacuate"), "it was evacuated to eu-central and has not returned"),
        ("", record("evacuate", True), "it was evacuated to eu-central and has not returned"),
        ("", record("return"), "it is on its way back from eu-central, 0 of 0 slots are proved"),
        ("", record("return", True, False), "it is on its way back from eu-central, 1 of 2 slots are proved"),
    ],
)
def test_what_a_control_knows_says_whether_its_region_serves(
    leaving: str, last: EvacuationRecord | None, wanted: str
) -> None:
    assert why_out(leaving, last) == wanted


@pytest.mark.parametrize(
    ("states", "wanted"),
    [
        ({"a": "active", "b": "frozen"}, ""),
        ({"a": "active", "b": ""}, ""),
        ({"a": "active", "b": "away"}, "1 of its 2 slots are left to another region, by its cells"),
        ({"a": "", "b": ""}, "none of the cells that have its 2 slots answers"),
        ({}, "none of the cells that have its 0 slots answers"),
    ],
)
def test_what_cells_say_counts_also_where_the_record_was_lost(states: dict[str, str], wanted: str) -> None:
    assert why_out_by_cells(states) == wanted


async def test_a_region_is_not_left_to_one_in_which_a_cell_does_not_answer(
    regions: tuple[Region, Region],
) -> None:
    """Its slots would have no writer and no reader in either."""
    here, there = regions
    there.cells.dead.add("c2")

    with pytest.raises(
        Denied, match=r"1 of its 2 slots have no cell that answers, eu/de/main/1 .*status.*--force"
    ) as no:
        await here.leave("eu-west")

    assert no.value.code == "other_region_out"
    assert set(here.cells.states.values()) == {"active"}
    assert (await here.leave("eu-west", force=True)).proved


MANY = {f"eu/de/main/{n}": "c1" if n % 2 else "c2" for n in range(40)}


@pytest.fixture
async def many(tmp_path: Path) -> AsyncIterator[Region]:
    """A region of many slots, of whose two cells one hangs."""
    region = Region("eu-central", tmp_path)
    region.cells = Cells(states=dict.fromkeys(MANY, "active"), hung={"c2"})
    region.again(MANY)
    yield region
    await region.store.aclose()


async def test_a_cell_that_hangs_is_waited_for_once_and_named(many: Region) -> None:
    """It was waited for at each of its slots anew, eight at a time: who asked had gone, and blamed control."""
    asking = asyncio.create_task(many.leaving.standing(answer_s=1.0))

    await many.clock.advance(1.0)

    found = asking.result()
    assert (found.silent, found.why_not) == (["c2"], "")
    assert found.missing == "20 of its 40 slots have no cell that answers, eu/de/main/0 first: cell c2 did not"
    assert many.cells.asked.count("c1") == 20
    assert many.cells.asked.count("c2") < 20


async def test_an_evacuation_leaves_what_it_can_and_does_not_wait_for_a_cell_that_hangs_at_each_of_its_slots(
    many: Region,
) -> None:
    leaving = asyncio.create_task(many.leave("eu-west", force=True, wait_ms=9_000))

    await many.clock.advance(4.0)

    record = leaving.result()
    assert {one.proved for one in record.slots.values() if one.cell == "c1"} == {True}
    assert {one.trouble for one in record.slots.values() if one.cell == "c2"} == {"cell c2 did not answer within 4 s"}
    assert not record.through


async def test_a_region_is_not_left_to_one_in_which_a_cell_answers_and_takes_no_writes(
    regions: tuple[Region, Region],
) -> None:
    """Its slots would have readers and no writer in either."""
    here, there = regions
    there.cells.ahead["c2"] = "this clock is 3000 ms ahead of region eu-central's; set the clocks"

    with pytest.raises(
        Denied, match=r"1 of its 2 slots have no writer, eu/de/main/1 first: cell c2 .*set the clocks"
    ) as no:
        await here.leave("eu-west")

    assert (no.value.code, "--force" in str(no.value)) == ("other_region_out", True)
    assert set(here.cells.states.values()) == {"active"}
    assert (await here.evacuation.last(), here.told) == (None, []), "nothing is written down, nobody is told"
    assert (await here.leave("eu-west", force=True)).proved


def test_of_silent_and_of_unwriting_cells_both_are_said_and_not_every_one_is_named() -> None:
    found = {
        "a": SlotFound("c1", ""),
        "b": SlotFound("c2", "active", "its clock"),
        "c": SlotFound("c3", "frozen", "its clock"),
        "d": SlotFound("c4", "active"),
    }

    assert missing(found) == (
        "1 of its 4 slots have no cell that answers, a first: cell c1 did not; 2 of its 4 slots have no writer, b first:"
        " cell c2 and 1 more cannot write though it answers: its clock"
    )


async def test_who_asks_beforehand_is_told_the_same_and_changes_nothing(regions: tuple[Region, Region]) -> None:
    here, there = regions

    await here.leaving.may_leave("eu-west")
    assert await there.leaving.why_out() == await here.leaving.why_out() == "", "asking is not leaving"
    there.cells.dead.add("c2")
    with pytest.raises(Denied, match="no cell that answers"):
        await here.leaving.may_leave("eu-west")

    assert set(here.cells.states.values()) == {"active"}


async def test_the_second_of_two_regions_is_not_left_and_nothing_of_it_stops(regions: tuple[Region, Region]) -> None:
    here, there = regions
    assert (await here.leave("eu-west")).proved

    with pytest.raises(Denied, match="it was evacuated to eu-west and has not returned") as refused:
        await there.leave("eu-central")

    assert refused.value.code == "other_region_out"
    assert set(there.cells.states.values()) == {"active"}
    assert (await there.evacuation.last(), there.told) == (None, []), "nothing is written down, nobody is told"


async def test_of_two_regions_that_are_asked_at_the_same_moment_at_most_one_goes(
    regions: tuple[Region, Region],
) -> None:
    """Both questions at once: without saying first that it leaves, each heard of the other that it serves."""
    both = asyncio.Barrier(2)

    def asking(other: Region) -> Callable[[str], Awaitable[Standing]]:
        async def ask(_: str) -> Standing:
            await both.wait()
            found = await other.leaving.standing()
            await both.wait()
            return found

        return ask

    for one, other in (regions, regions[::-1]):
        one.answers = asking(other)

    found = await asyncio.gather(regions[0].leave("eu-west"), regions[1].leave("eu-central"), return_exceptions=True)

    assert sum(isinstance(one, Denied) for one in found) >= 1, found
    assert any(set(one.cells.states.values()) == {"active"} for one in regions)
    regions[0].answers = lambda _: regions[1].leaving.standing()
    assert (await regions[0].leave("eu-west")).proved, "who stepped back is not taken for leaving"


async def test_a_region_whose_control_does_not_answer_is_not_taken_for_one_that_serves(
    regions: tuple[Region, Region],
) -> None:
    here, _ = regions

    async def silent(_: str) -> Standing:
        raise Unavailable("no route")

    here.answers = silent

    with pytest.raises(Denied, match="it cannot be asked: no route"):
        await here.leave("eu-west")

    assert set(here.cells.states.values()) == {"active"}
    assert (await here.leave("eu-west", force=True)).proved


@pytest.mark.parametrize("force", [False, True])
async def test_a_slot_that_only_the_other_regions_cell_knows_to_differ_is_not_called_proved(
    regions: tuple[Region, Region], force: bool
) -> None:
    """This region's cell began anew a moment ago, and its first comparisons are still to come."""
    here, there = regions
    there.cells.differing = {"eu/de/main/1": {"eu-central": [3]}, "eu/de/main/0": {"us-east": [1]}}

    found = await here.leave("eu-west", force=force)

    assert {slot: one.proved for slot, one in found.slots.items()} == {"eu/de/main/0": True, "eu/de/main/1": False}
    assert "differs from its twin in eu-west, as the cell in eu-west found" in found.slots["eu/de/main/1"].trouble
    assert here.cells.states == {"eu/de/main/0": "away", "eu/de/main/1": "away" if force else "active"}
    assert bool(here.evacuation.out()) is force
    back = await here.leaving.come_back("eu-west", wait_ms=0, force=force)
    assert [back.through, back.proved, await here.leaving.why_out() == ""] == [force, False, force]


def _waits_at_the_question(region: Region, other: Region) -> tuple[asyncio.Event, asyncio.Event]:
    """(It asks the other region for the first time, which may answer)."""
    asks, may = asyncio.Event(), asyncio.Event()

    async def ask(_: str) -> Standing:
        if not asks.is_set():
            asks.set()
            await may.wait()
        return await other.leaving.standing()

    region.answers = ask
    return asks, may


@pytest.mark.parametrize("force", [False, True])
async def test_while_a_region_is_being_left_it_is_not_returned_and_the_other_way_round(
    regions: tuple[Region, Region], force: bool
) -> None:
    """Each undid what the other had just proved, and the record of whichever ended last was a story that is not true."""
    here, there = regions
    asks, may = _waits_at_the_question(here, there)
    leaving = asyncio.create_task(here.leave("eu-west", force=force))
    await asks.wait()

    with pytest.raises(Denied, match=r"is being evacuated to eu-west.*Nothing was changed.*try again") as refused:
        await here.leaving.come_back("eu-west", wait_ms=0, force=force)
    may.set()

    assert refused.value.code == "region_under_way"
    assert (await leaving).proved
    asks, may = _waits_at_the_question(here, there)
    returning = asyncio.create_task(here.leaving.come_back("eu-west", wait_ms=0, force=force))
    await asks.wait()
    here.told.clear()
    with pytest.raises(Denied, match=r"is being returned from eu-west.*Nothing was changed"):
        await here.leaving.may_leave("eu-west")
    with pytest.raises(Denied, match=r"is being returned from eu-west.*Nothing was changed"):
        await here.leave("eu-west", force=force)
    may.set()

    assert (await returning).proved
    assert (set(here.cells.states.values()), here.told) == ({"active"}, [])
    assert (await here.leave("eu-west", force=force)).proved, "once that is over it may be left again"


async def test_force_goes_though_the_other_region_is_out(regions: tuple[Region, Region]) -> None:
    here, there = regions
    await here.leave("eu-west")

    assert (await there.leave("eu-central", force=True)).proved
    assert there.told == [False]


async def test_an_evacuated_region_whose_control_store_was_lost_is_known_by_its_cells(
    regions: tuple[Region, Region], tmp_path: Path
) -> None:
    here, there = regions
    await here.leave("eu-west")
    await here.store.aclose()
    here.store = SqliteControlStore(tmp_path / "new.db")
    here.again()

    with pytest.raises(Denied, match="2 of its 2 slots are left to another region, by its cells"):
        await there.leave("eu-central")


async def test_control_itself_refuses_over_http_and_shows_its_standing_to_peers_alone(
    regions: tuple[Region, Region],
) -> None:
    here, there = regions
    await there.leave("eu-central")

    async def announce(serves: bool) -> None:
        here.told.append(serves)

    app = Starlette(
        routes=region_routes(
            here.evacuation, here.leaving, region="eu-central", announce=announce, tokens=("op",), peer_token="peer"
        )
    )
    operator = AsgiClient(app, {"Authorization": "Bearer op"})
    peer = AsgiClient(app, {"Authorization": "Bearer peer"})
    body = {"other": "eu-west", "wait_ms": 0}

    told = await operator.send("GET", "/region/leave?to=eu-west")
    assert (told.status, b'"code":"other_region_out"' in told.body, here.told) == (409, True, [])
    assert (await peer.send("GET", "/region/leave?to=eu-west")).status == 401
    refused = await operator.send("POST", "/region/evacuate", body)
    assert (refused.status, b'"code":"other_region_out"' in refused.body, here.told) == (409, True, [])
    assert (
        await peer.send("GET", "/region/standing")
    ).body == b'{"region":"eu-central","why_not":"","missing":"","differing":{},"silent":[]}'
    assert (await AsgiClient(app).send("GET", "/region/standing")).status == 401
    assert (await peer.send("POST", "/region/evacuate", body)).status == 401
    assert (await peer.send("GET", "/region")).status == 401
    assert (await operator.send("POST", "/region/evacuate", {**body, "force": True})).status == 200
    assert here.told == [False]
