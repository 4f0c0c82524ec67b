"""A file that is removed, or replaced, under its process: nothing is said to be kept that nobody will find."""

import shutil
from pathlib import Path

import pytest

from eisbach.engines.embedded import presence
from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.engines.embedded.projection_store import SqliteProjectionStore
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.kernel.errors import FileDamaged
from eisbach.ports.projection_store import Kept
from eisbach.ports.spoke_store import Settlement


def replace(path: Path) -> None:
    path.rename(path.with_name("aside"))
    path.touch()


def put_in_place(copy: Path, path: Path) -> None:
    """As who knows SQLite does: a write-ahead log goes with its file alone."""
    copy.replace(path)
    path.with_name(f"{path.name}-wal").unlink()


@pytest.mark.parametrize("how", [Path.unlink, replace])
async def test_control_keeps_and_reads_nothing_in_a_file_that_lost_its_name(tmp_path: Path, how) -> None:
    store = SqliteControlStore(tmp_path / "control.db")
    revision = await store.put("a", b"1", expected=0)
    how(tmp_path / "control.db")

    with pytest.raises(FileDamaged, match=r"control\.db was removed or replaced while control had it open"):
        await store.put("a", b"2", expected=revision)
    with pytest.raises(FileDamaged, match="writes no more"):
        await store.get("a")
    await store.aclose()


@pytest.mark.parametrize("name", ["spokes.db", "spokes.db-wal"])
async def test_spokes_settle_nothing_in_a_file_that_lost_its_name(tmp_path: Path, name: str) -> None:
    store = await SqliteSpokeStore(tmp_path / "spokes.db").open()
    one = Settlement(spoke="one", event_id="e", subject="s", state={"k": b"1"})
    await store.settle(one)
    (tmp_path / name).unlink()

    with pytest.raises(FileDamaged, match=rf"{name} was removed or replaced while the spokes' host"):
        await store.settle(one)
    with pytest.raises(FileDamaged, match="writes no more"):
        await store.counts()
    await store.aclose()


async def test_a_spokes_store_whose_file_was_replaced_while_it_ran_knows_so_when_it_is_opened_again(
    tmp_path: Path,
) -> None:
    """Its end in good order was noted for the copy that lay there by then, which was believed."""
    path = tmp_path / "spokes.db"
    await (await SqliteSpokeStore(path).open()).aclose()
    shutil.copy2(path, tmp_path / "copy")
    store = await SqliteSpokeStore(path).open()
    await store.settle(Settlement(spoke="one", event_id="e", subject="s", state={"k": b"1"}))
    put_in_place(tmp_path / "copy", path)
    await store.aclose()

    again = await SqliteSpokeStore(path).open()

    assert "is not known to be the file that was opened here last" in again.lost
    assert again.lost == await again.doubt("one")
    await again.aclose()


async def test_a_projection_whose_file_was_replaced_while_it_ran_knows_so_when_it_is_opened_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "projection.db"
    await SqliteProjectionStore(path).aclose()
    shutil.copy2(path, tmp_path / "copy")
    store = SqliteProjectionStore(path)
    assert await store.doubt() == ""
    await store.keep([Kept("title", "t", (1, 1, "eu-central", 1), b"{}")])
    put_in_place(tmp_path / "copy", path)
    await store.aclose()

    again = SqliteProjectionStore(path)

    assert "is not known to be the file that was opened here last" in await again.doubt()
    await again.aclose()


async def test_a_folder_that_may_not_be_looked_into_says_nothing_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told as removed, and every cell of a region ended for a moment's chmod."""
    store = SqliteControlStore(tmp_path / "control.db")

    def refused(name: str) -> None:
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr(presence.os, "stat", refused)
    assert await store.put("a", b"1", expected=0) == 1
    monkeypatch.undo()
    (tmp_path / "control.db").unlink()
    with pytest.raises(FileDamaged):
        await store.get("a")
    await store.aclose()
