"""A store that lost its write-ahead log, or was written over, is an older copy of itself in its own place (P21)."""

import asyncio
from pathlib import Path

from kit import signed_in, until
from test_older_copy import Twin, started, store_of, twin, writes_once_the_twin_has_said

__all__ = ["twin"]


async def test_a_store_whose_log_is_gone_writes_nothing_until_the_others_say_that_they_hold_no_more(
    tmp_path: Path, twin: Twin
) -> None:
    (store_of(tmp_path) / "store.db-opened").write_text("the log of somebody")

    await writes_once_the_twin_has_said(tmp_path, twin)


async def test_a_file_that_was_written_over_in_place_is_told_by_the_hub(tmp_path: Path, twin: Twin) -> None:
    older = (store_of(tmp_path) / "store.db").read_bytes()
    async with started(tmp_path, twin) as cell:
        await signed_in(cell)
        await until(lambda: cell.status()["relays"]["c1"]["behind"] == 0)
    (store_of(tmp_path) / "store.db").write_bytes(older)
    twin.up = False

    async with started(tmp_path, twin) as cell, asyncio.timeout(5):
        while not (why := await cell.store.not_ours()):
            await asyncio.sleep(0.01)

    assert "the hub has its events up to lsn" in why
    assert twin.asked == 0
