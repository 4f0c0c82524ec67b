"""The simulated disks (`eisbach.testing.world.disks`)."""

import sys
from types import SimpleNamespace
from typing import Any

import apsw
import pytest

from eisbach.testing.world.disks import VFS_NAME, Volumes


def test_a_power_cut_that_sqlite_passes_over_prints_nothing_and_other_errors_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand seeds with no failure printed traces of it."""
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    volumes, gone = Volumes(), 0

    for fuse in range(8):
        volume = volumes.make({})
        volume.fuse = fuse
        try:
            database = apsw.Connection(f"{volume.folder}/a.db", vfs=VFS_NAME)
            database.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        except apsw.Error:
            gone += 1
        gone += volume.dead
    assert gone > 3
    assert told == []

    other = SimpleNamespace(exc_value=ValueError("a bug"))
    sys.unraisablehook(other)
    assert told == [other]
    volumes.close()
    assert sys.unraisablehook == told.append
