"""The embedded store keeps what moves need, with the writer inside the event loop and in a thread of its own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from eisbach.engines.embedded.disk import Disk, inline
from eisbach.engines.embedded.store import SqliteStore, open_store
from eisbach.kernel.limits import ITEM_BYTES_MAX
from eisbach.ports.moves import COPY_BYTES_MAX, KEYS_END, CopyCursor
from eisbach.ports.store import IdempotencyKey, Lease, Transaction
from eisbach.testing.manual_clock import ManualClock
from eisbach.testing.store_host import SLOT, an_op, put, write
from eisbach.testing.store_move_clock_promises import MoveClockPromises
from eisbach.testing.store_move_promises import MovePromises


class Cells:
    """Stores of one region; the one called ``twin`` is of the other."""

    def __init__(self, folder: Path, *, disk: Disk | None = inline) -> None:
        self.clock, self.folder, self._disk = ManualClock(), folder, disk
        self._open: dict[str, tuple[SqliteStore, AsyncExitStack]] = {}

    async def open(self, cell: str) -> SqliteStore:
        if cell not in self._open:
            stack = AsyncExitStack()
            region = "eu-west" if cell == "twin" else "eu-central"
            opening = open_store(
                self.folder / f"{cell}.db", region=region, clock=self.clock, cell=cell, disk=self._disk
            )
            self._open[cell] = (await stack.enter_async_context(opening), stack)
        return self._open[cell][0]

    async def restart(self, cell: str) -> SqliteStore:
        _, stack = self._open.pop(cell)
        await stack.aclose()
        return await self.open(cell)

    async def aclose(self) -> None:
        for _, stack in self._open.values():
            await stack.aclose()


class TestSqliteMoves(MovePromises, MoveClockPromises):
    @pytest.fixture(params=["thread", "inline"])
    async def cells(self, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Cells]:
        cells = Cells(tmp_path, disk=inline if request.param == "inline" else None)
        yield cells
        await cells.aclose()


@pytest.fixture
async def cells(tmp_path: Path) -> AsyncIterator[Cells]:
    cells = Cells(tmp_path)
    yield cells
    await cells.aclose()


async def _large(cells: Cells) -> SqliteStore:
    """A slot with 60 values and 60 answers of 64 KiB each, and 60 values that have lost."""
    one, value = await cells.open("c1"), bytes(ITEM_BYTES_MAX - 100)
    await one.set_lease(SLOT, expected=None, lease=Lease(1, "active", 0))
    for n in range(60):
        key = IdempotencyKey("a", f"{n}")
        await one.transact(Transaction(slot=SLOT, writes=[put(f"k{n}", value)], key=key, answer=value))
    for n in range(60):
        await one.apply(SLOT, [an_op(n + 1, value, sk=f"k{n}", at_ms=cells.clock.wall_ms() - 9_000)])
    return one


@pytest.mark.parametrize("bytes_max", [COPY_BYTES_MAX, 100_000, 1])
async def test_a_piece_is_bounded_in_bytes_whatever_is_in_it_and_all_of_it_comes(cells: Cells, bytes_max: int) -> None:
    one, two = await _large(cells), await cells.open("c2")
    assert len(await one.conflicts(limit=100)) == 60
    await two.begin_import(SLOT, move=1, epoch=1)
    cursor, sizes, more = CopyCursor(), [], True
    while more:
        chunk = await one.export(SLOT, cursor, bytes_max)
        await two.import_chunk(SLOT, chunk, move=1)
        sizes.append(len(msgspec.msgpack.encode(chunk)))
        cursor, more = chunk.cursor, chunk.more

    four_kinds = 4 * ITEM_BYTES_MAX
    assert max(sizes) <= bytes_max + four_kinds + 4_096
    assert len(sizes) <= 250
    assert await two.digest(SLOT) == await one.digest(SLOT)
    assert await two.vector(SLOT) == await one.vector(SLOT)
    assert len(await two.conflicts(limit=100)) == 60
    await two.settle(SLOT, move=1, epoch=2, owner=None)
    for n in range(60):
        again = Transaction(slot=SLOT, writes=[put("x")], key=IdempotencyKey("a", f"{n}"), answer=b"other")
        assert (await two.transact(again)).repeated, f"key {n}"


async def test_a_piece_without_keys_takes_no_room_for_them(cells: Cells) -> None:
    one = await _large(cells)
    cursor, pieces, more = CopyCursor(key=KEYS_END), 0, True
    while more:
        chunk = await one.export(SLOT, cursor)
        assert not chunk.keys
        cursor, pieces, more = msgspec.structs.replace(chunk.cursor, key=KEYS_END), pieces + 1, chunk.more
    assert pieces <= 8


async def test_a_piece_ends_with_a_whole_transaction(cells: Cells) -> None:
    one = await cells.open("c1")
    await one.set_lease(SLOT, expected=None, lease=Lease(1, "active", 0))
    for n in range(3):
        await write(one, *(put(f"k{n}-{m}", bytes(1_000)) for m in range(5)))
    for bytes_max, ops in ((1, 5), (9_000, 5), (12_000, 10), (90_000, 15)):
        chunk = await one.export(SLOT, CopyCursor(), bytes_max)
        assert len(chunk.ops) == ops, bytes_max
