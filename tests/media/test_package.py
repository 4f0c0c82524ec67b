"""Packages on disk: what is announced is there after a power cut."""

import os
from pathlib import Path

import pytest

from eisbach.media.package import list_files


def test_all_that_a_package_lists_is_on_disk_when_its_digest_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digest is announced, and what it was made from may be thrown away."""
    (tmp_path / "v1").mkdir()
    for name in ("v1/1.m4s", "v1/2.m4s", "master.m3u8"):
        (tmp_path / name).write_bytes(b"x")
    synced = set[str]()
    real = os.fsync

    def fsync(opened: int) -> None:
        synced.add(Path(f"/proc/self/fd/{opened}").readlink().name)
        real(opened)

    monkeypatch.setattr(os, "fsync", fsync)
    list_files(tmp_path)

    assert synced == {"1.m4s", "2.m4s", "master.m3u8", "files.json", "v1", tmp_path.name}
