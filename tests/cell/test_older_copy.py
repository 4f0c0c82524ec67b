"""A store that was put back from an older copy of itself uses no number twice (P21)."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from kit import document, make_secrets, opened, peer, signed_in, until

from eisbach.bootstrap import older_copy
from eisbach.bootstrap.cell import OpenCell, open_cell
from eisbach.bootstrap.host import system_host
from eisbach.bootstrap.older_copy import backups_say, twin_says
from eisbach.cell.archiver import Archiver
from eisbach.cell.pull_messages import FAR_BEHIND
from eisbach.cell.puller import Batch, PullAnswer, PullRequest
from eisbach.control.evacuation import EvacuationRecord, SlotProof
from eisbach.control.moves import SlotRecord
from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.kernel.hlc import COUNTER_BITS
from eisbach.kernel.ops import ItemChange, Op
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.blobs import Blobs
from eisbach.ports.store import Transaction, Write

KEYS = make_secrets()
SLOT = Slot.parse("eu/de/main/2")


class Twin:
    """Another region; it answers who asks what it holds, and has nothing for a puller."""

    far_behind = FAR_BEHIND

    def __init__(self) -> None:
        self.heads: dict[str, Mark] = {}
        self.failed: dict[str, str] = {}
        self.moved: dict[str, str] = {}
        self.up, self.asked = True, 0
        self.ops: list[Op] = []
        self.told = 0

    async def owners(self) -> Mapping[str, Sequence[str]]:
        if not self.up:
            raise Unavailable("cut")
        return {"eu/de/main": ["c1"] * 4}

    async def pull(self, cell: str, request: PullRequest) -> PullAnswer:
        if not self.up:
            raise Unavailable("cut")
        if request.limit > 1:
            if self.told or not self.ops:
                await asyncio.Event().wait()
            self.told += 1
            heads = {"eu-west": Mark(1, len(self.ops))}
            return PullAnswer(batches={str(SLOT): Batch(self.ops, heads)}, moved={}, failed={}, wall_ms=0)
        assert (cell, request.region) == ("c1", "eu-central"), "residency is judged by who asks"
        self.asked += 1
        batches = {s: Batch([], {"eu-central": m}) for s, m in self.heads.items() if s in request.slots}
        return PullAnswer(batches=batches, moved=self.moved, failed=self.failed, wall_ms=0)

    async def aclose(self) -> None:
        pass


AWAY = SlotRecord(
    slot=str(SLOT), owner="c2", epoch=2, move=1, phase="settled", source="c1", target="c2", began_ms=0,
    outcome="committed", told=("c2",),
)  # fmt: skip


class Moves:
    """The region's coordinator of moves."""

    def __init__(self, *records: SlotRecord) -> None:
        self.kept = list(records)
        self.up, self.asked = True, 0
        self.given_up: list[str] = []
        self.last: EvacuationRecord | None = None

    async def records(self) -> Sequence[SlotRecord]:
        self.asked += 1
        if not self.up:
            raise Unavailable("it is dead")
        return self.kept

    async def evacuation(self) -> EvacuationRecord | None:
        return self.last

    async def abort(self, slot: Slot, reason: str) -> None:
        assert reason
        self.given_up.append(str(slot))
        self.kept = [
            msgspec.structs.replace(one, phase="settled", owner=one.source, epoch=one.epoch + 1, outcome="aborted")
            for one in self.kept
        ]


@asynccontextmanager
async def started(
    folder: Path, twin: Twin, *, boot: str = "", backups: Blobs | None = None, moves: Moves | None = None
) -> AsyncIterator[OpenCell]:
    """The cell on a machine; ``boot``: which one, empty for the one that this test runs on."""
    host = replace(system_host(), peer=lambda _door, _token: twin, backups=backups, moves=lambda _url, _token: moves)
    if boot:
        host = replace(host, place=lambda _path: boot)
    process = document(folder, peers=[peer("eu-west")], backups="")
    async with open_cell(process, KEYS["eu-central"], host=host) as cell:
        yield cell


async def write(cell: OpenCell) -> None:
    await cell.store.transact(Transaction(slot=SLOT, writes=[Write(ItemChange("a", "k", b"1"))]))


async def writes_once_the_twin_has_said(folder: Path, twin: Twin, *, boot: str = "") -> None:
    """The cell writes nothing until its twin says that it holds no more, and from its next start on asks nobody."""
    twin.up = False
    async with started(folder, twin, boot=boot) as cell:
        with pytest.raises(Unavailable, match="older copy"):
            await write(cell)
        twin.up = True
        await until(lambda: not cell.store.unproved)  # type: ignore[attr-defined]
        await write(cell)

    twin.up = False
    async with started(folder, twin, boot=boot) as cell:
        await write(cell)


def store_of(folder: Path) -> Path:
    return folder / "eu-central" / "c1"


def copy(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    for path in store_of(folder).glob("store.db*"):
        shutil.copy(path, folder / name / path.name)


def put_back(folder: Path, name: str) -> None:
    """As new files, which have the numbers of the old ones on most file systems; what is written over cannot be told."""
    for path in store_of(folder).glob("store.db*"):
        path.unlink()
    for path in (folder / name).iterdir():
        shutil.copy(path, store_of(folder) / path.name)


@pytest.fixture
async def twin(tmp_path: Path) -> Twin:
    """The cell has had a viewer; a copy of its store lies beside, and it has had another one since."""
    async with opened(tmp_path, keys=KEYS, backups=""):
        pass
    twin = Twin()
    async with started(tmp_path, twin) as cell:
        await write(cell)
    copy(tmp_path, "older")
    return twin


async def test_a_process_that_starts_anew_on_the_same_machine_asks_nobody_and_writes_at_once(
    tmp_path: Path, twin: Twin
) -> None:
    twin.up = False

    async with started(tmp_path, twin) as cell:
        await write(cell)

    assert twin.asked == 0


async def test_an_older_copy_writes_nothing_although_it_is_the_twin_alone_who_knows_and_is_condemned_for_good(
    tmp_path: Path, twin: Twin
) -> None:
    put_back(tmp_path, "older")
    twin.heads[str(SLOT)] = Mark(1, 9)

    async with started(tmp_path, twin) as cell:
        slots = {slot: await cell.store.vector(slot) for slot in cell.ownership.owned()}
        with pytest.raises(Unavailable, match="older copy"):
            await write(cell)
        await until(lambda: twin.asked)
        async with asyncio.timeout(5):
            while not await cell.store.not_ours():
                await asyncio.sleep(0.01)
        assert {slot: await cell.store.vector(slot) for slot in slots} == slots

    for twin.heads in ({str(SLOT): Mark(1, 9)}, {}):
        with pytest.raises(
            Invalid, match=r"older copy of its store: region eu-west holds its op 1.9 .* eisbach restore"
        ):
            async with started(tmp_path, twin):
                pass


async def test_an_older_copy_is_told_by_the_hub_alone(tmp_path: Path, twin: Twin) -> None:
    async with started(tmp_path, twin) as cell:
        await signed_in(cell)  # with an event: of the others the hub hears nothing
        await until(lambda: cell.status()["relays"]["c1"]["behind"] == 0)
    put_back(tmp_path, "older")

    async with started(tmp_path, twin) as cell:
        async with asyncio.timeout(5):
            while not (why := await cell.store.not_ours()):
                await asyncio.sleep(0.01)

    assert "the hub has its events up to lsn" in why


async def test_an_older_copy_is_told_by_its_backups_alone(tmp_path: Path, twin: Twin) -> None:
    backups = FileBlobs(tmp_path / "backups")
    async with started(tmp_path, twin) as cell:
        await write(cell)
        archiver = Archiver(cell.store, backups, cell="c1", kek=bytes(32), clock=SystemClock())
        await archiver.archive()
        held = {SLOT: await cell.store.vector(SLOT)}

    async def say(held: Mapping[Slot, Mapping[str, Mark]]) -> str:
        return await backups_say(backups, held, cell="c1", now_ms=SystemClock().wall_ms())

    assert await say(held) == ""
    assert await say({}) == "", "of slots that have moved away they say nothing"
    assert await say({SLOT: {}}) == "its backups have op 1.1 of eu-central in slot eu/de/main/2, and it ends at 0.0"
    assert await backups_say(FileBlobs(tmp_path / "none"), {SLOT: {}}, cell="c1", now_ms=0) == ""

    put_back(tmp_path, "older")
    with pytest.raises(Invalid, match="its backups have op"):
        async with started(tmp_path, twin, backups=backups) as cell, asyncio.timeout(5):
            while not (why := await cell.store.not_ours()):
                await asyncio.sleep(0.01)
            raise Invalid(why)


async def test_a_machine_that_was_started_anew_writes_as_soon_as_the_others_say_that_they_hold_no_more(
    tmp_path: Path, twin: Twin
) -> None:
    await writes_once_the_twin_has_said(tmp_path, twin, boot="second")


async def test_until_then_it_takes_nothing_of_its_twin_which_would_hide_that_its_log_is_shorter_than_the_hub_says(
    tmp_path: Path, twin: Twin
) -> None:
    """Seed 262511: killed between the twin's ops and the hub's word, it began anew with as many lsns as the hub had."""
    write_of_west = ItemChange("acc-1", "film", b"2", None)
    twin.ops = [Op(str(SLOT), "eu-west", 1, 1, SystemClock().wall_ms() << COUNTER_BITS, write_of_west, None)]
    twin.moved = {str(SLOT): ""}

    async with started(tmp_path, twin, boot="second") as cell:
        before = cell.store.statistics().last_lsn
        await until(lambda: twin.told and twin.asked >= 4)
        assert cell.store.statistics().last_lsn == before
        twin.moved = {}
        await until(lambda: cell.store.statistics().last_lsn > before)
        assert (await cell.store.vector(SLOT))["eu-west"] == Mark(1, 1)

    assert twin.told == 1, "what waited was applied, and not asked for again"


async def test_a_slot_on_its_way_is_waited_for_until_the_records_say_whose_it_is(tmp_path: Path, twin: Twin) -> None:
    """Its new owner writes, and the twin has it: that speaks against nothing."""
    twin.heads[str(SLOT)] = Mark(2, 1)
    async with started(tmp_path, twin) as cell:
        await cell.store.freeze(SLOT, move=1, epoch=1)
    moves = Moves(AWAY)
    moves.up = False

    async with started(tmp_path, twin, boot="second", moves=moves) as cell:
        await until(lambda: twin.asked >= 2)
        assert await cell.store.not_ours() == ""
        with pytest.raises(Unavailable, match="older copy"):
            await cell.store.settle(SLOT, move=1, epoch=2, owner="c2")
        moves.up = True
        await until(lambda: not cell.store.unproved)  # type: ignore[attr-defined]
        await cell.store.settle(SLOT, move=1, epoch=2, owner="c2")


async def test_an_older_copy_from_before_a_slot_left_is_told_by_the_records_alone(tmp_path: Path, twin: Twin) -> None:
    """Seeds 33 and 819 of a world that put back machines where slots move: nobody has written there since."""
    async with started(tmp_path, twin, moves=Moves(AWAY)) as cell:
        await cell.store.freeze(SLOT, move=1, epoch=1)
        await cell.store.settle(SLOT, move=1, epoch=2, owner="c2")
    async with started(tmp_path, twin, boot="second", moves=Moves(AWAY)) as cell:
        await until(lambda: not cell.store.unproved)  # type: ignore[attr-defined]
    put_back(tmp_path, "older")

    async with started(tmp_path, twin, moves=Moves(AWAY)) as cell, asyncio.timeout(5):
        while not (why := await cell.store.not_ours()):
            await asyncio.sleep(0.01)

    assert f"slot {SLOT} is c2's under epoch 2 since move 1, and it has it active under epoch 1" in why


async def test_an_older_copy_from_before_a_return_is_told_by_its_record_alone(tmp_path: Path, twin: Twin) -> None:
    """Seed 6177 of a world that put back machines where slots move: it stayed away, though its region had returned."""
    moves = Moves()
    proof = SlotProof(cell="c1", epoch=3, vector={}, other={}, proved=True)
    moves.last = EvacuationRecord(
        region="eu-central", other="eu-west", action="return", began_ms=0, slots={str(SLOT): proof}
    )

    async with started(tmp_path, twin, boot="second", moves=moves) as cell, asyncio.timeout(5):
        while not (why := await cell.store.not_ours()):
            await asyncio.sleep(0.01)

    assert f"slot {SLOT} was under epoch 3 in the last return, and it has 1" in why


async def test_a_move_of_the_cell_is_given_up_before_it_is_proved_and_none_begins_meanwhile(
    tmp_path: Path, twin: Twin
) -> None:
    moving = msgspec.structs.replace(AWAY, owner="c1", epoch=1, phase="moving", told=())
    moves = Moves(moving)
    twin.up = False

    async with started(tmp_path, twin, boot="second", moves=moves) as cell:
        await until(lambda: moves.given_up)
        for call in (
            cell.store.freeze(SLOT, move=1, epoch=1),
            cell.store.begin_import(Slot.parse("eu/de/main/9"), move=1, epoch=1),
            cell.store.stand_aside(SLOT, epoch=2, owner="eu-west"),
        ):
            with pytest.raises(Unavailable, match="older copy"):
                await call
        twin.up = True
        await until(lambda: not cell.store.unproved)  # type: ignore[attr-defined]
        await write(cell)

    assert moves.given_up == [str(SLOT)]


async def test_a_dead_control_process_keeps_no_cell_from_coming_back(
    tmp_path: Path, twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same machine it is not even asked; after a reboot it is waited for as long as everybody else."""
    moves = Moves()
    moves.up = False
    async with started(tmp_path, twin, moves=moves) as cell:
        await write(cell)
    assert moves.asked == 0

    monkeypatch.setattr(older_copy, "WORD_MAX_S", 0.3)
    async with started(tmp_path, twin, boot="second", moves=moves) as cell:
        with pytest.raises(Unavailable, match="older copy"):
            await write(cell)
        await until(lambda: not cell.store.unproved)  # type: ignore[attr-defined]
        await write(cell)
    assert moves.asked


async def test_a_region_that_does_not_answer_is_not_waited_for_for_ever(
    tmp_path: Path, twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(older_copy, "WORD_MAX_S", 0.3)
    twin.up = False

    async with started(tmp_path, twin, boot="second") as cell:
        await until(lambda: not cell.store.unproved)  # type: ignore[attr-defined]
        await write(cell)


async def test_a_twin_says_so_of_one_slot_and_not_before_it_answers_for_all() -> None:
    twin, held = Twin(), {SLOT: {"eu-central": Mark(1, 5)}, Slot.parse("eu/de/main/3"): {}}

    async def says() -> str:
        return "".join((await twin_says(twin, held, region="eu-central", twin="eu-west")).values())

    twin.heads[str(SLOT)] = Mark(1, 5)
    assert await says() == ""
    twin.heads[str(SLOT)] = Mark(2, 1)
    assert await says() == "holds its op 2.1 in slot eu/de/main/2, and it ends at 1.5"
    twin.heads.clear()
    twin.failed = {str(SLOT): "residency"}
    assert await says() == "", "a region that may hold none of it holds none"
    twin.failed = {str(SLOT): "log_gap"}
    assert "has forgotten ops of slot eu/de/main/2" in await says()
    twin.failed, twin.moved = {}, {str(SLOT): "c2"}
    with pytest.raises(Unavailable, match="does not answer for slot eu/de/main/2"):
        await says()


async def test_a_twin_whose_answer_was_full_is_asked_again_for_the_slots_that_it_left_out() -> None:
    """Else a store would take itself for whole because the first of a thousand slots had large ops."""
    other = Slot.parse("eu/de/main/3")

    class Full(Twin):
        async def pull(self, cell: str, request: PullRequest) -> PullAnswer:
            answer = await super().pull(cell, request)
            first = dict(list(answer.batches.items())[:1])
            return msgspec.structs.replace(answer, batches=first, full=len(answer.batches) > 1)

    twin, held = Full(), {SLOT: {"eu-central": Mark(1, 5)}, other: {"eu-central": Mark(1, 5)}}
    twin.heads = {str(SLOT): Mark(1, 5), str(other): Mark(1, 6)}

    found = await twin_says(twin, held, region="eu-central", twin="eu-west")

    assert list(found) == [other]
