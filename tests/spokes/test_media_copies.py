"""Media copies: what is placed is whole and verified, whatever the other side sends; what is missing is fetched again."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from eisbach.domain.catalog import Channel, Programme
from eisbach.engines.embedded.disk import inline
from eisbach.kernel.errors import DigestMismatch, EisbachError, Invalid, NotFound, Unavailable
from eisbach.media.package import list_files
from eisbach.spokes.media_copies import KnownAsset, MediaCopies
from eisbach.spokes.media_folder import MediaFolder
from eisbach.testing.manual_clock import ManualClock

T = TypeVar("T")

CHANNEL = Channel(
    id="demo", revision=1, number=1, names={"en": "Demo"}, markets=["de"], start_ms=0,
    loop=[Programme(title="wave", asset="wave", duration_ms=2000)],
)  # fmt: skip


class OtherRegion:
    """Its origin's files, and how it misbehaves."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, list[str]()
        self.spoil: dict[str, bytes | Exception] = {}

    def pack(self, asset: str = "wave", files: int = 12) -> str:
        root = self.folder / "vod" / asset
        for number in range(files):
            path = root / f"v{number % 2}" / f"{number}.m4s"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes([number]) * 10_000)
        return list_files(root)

    async def fetch(self, region: str, path: str) -> AsyncIterator[bytes]:
        self.asked.append(path)
        spoiled = self.spoil.get(path.rpartition("/")[2])
        if isinstance(spoiled, Exception):
            yield b"half"
            raise spoiled
        if not (self.folder / path).exists():
            raise NotFound(f"{path}: not there")
        yield spoiled if spoiled is not None else (self.folder / path).read_bytes()


class Shelf:
    """The region's studio, as far as the reconciler sees it: not a port of ours."""

    def __init__(self) -> None:
        self.assets: list[KnownAsset] = []
        self.told: list[tuple[str, str, str]] = []

    async def ready_assets(self) -> Sequence[KnownAsset]:
        return self.assets

    async def channels(self) -> Sequence[Channel]:
        return [CHANNEL]

    async def copied(self, asset: str, region: str, files_sha256: str) -> None:
        self.told.append((asset, region, files_sha256))


class Region:
    def __init__(self, folder: Path) -> None:
        self.blobs = folder / "blobs"
        self.other, self.shelf = OtherRegion(folder / "other"), Shelf()
        self.folder = MediaFolder(self.blobs, run=inline)
        self.copies = MediaCopies(
            self.folder, sources=self.other, studio=self.shelf, region="eu-west", clock=ManualClock()
        )

    def know(self, digest: str, *regions: str) -> None:
        self.shelf.assets = [KnownAsset(id="wave", files_sha256=digest, regions=list(regions) or ["eu-central"])]

    @property
    def media(self) -> Path:
        return self.blobs / "media" / "vod" / "wave"


@pytest.fixture
def region(tmp_path: Path) -> Region:
    return Region(tmp_path)


async def test_a_missing_asset_is_copied_announced_and_linked(region: Region) -> None:
    digest = region.other.pack()
    region.know(digest)

    await region.copies.reconcile()

    assert hashlib.sha256((region.media / "files.json").read_bytes()).hexdigest() == digest
    assert (region.media / "v1" / "11.m4s").read_bytes() == bytes([11]) * 10_000
    assert region.shelf.told == [("wave", "eu-west", digest)]
    link = region.blobs / "media" / "ch" / "demo" / "wave"
    assert (link.is_symlink(), (link / "v0" / "0.m4s").exists()) == (True, True)


async def test_what_is_there_is_not_copied_again(region: Region) -> None:
    region.know(region.other.pack(), "eu-central", "eu-west")
    await region.copies.reconcile()
    region.other.asked.clear()

    await region.copies.reconcile(every_file=True)

    assert (region.other.asked, region.shelf.told) == ([], [])


@pytest.mark.parametrize(
    ("spoiled", "expected"),
    [
        (b"\x07" * 9_999 + b"\x08", DigestMismatch),
        (b"\x07" * 9_999, DigestMismatch),
        (b"\x07" * 10_001, DigestMismatch),
        (Unavailable("cut mid-body"), Unavailable),
    ],
)
async def test_a_file_that_is_not_what_was_announced_is_never_placed(
    region: Region, spoiled: bytes | Exception, expected: type[EisbachError]
) -> None:
    region.know(region.other.pack())
    region.other.spoil["7.m4s"] = spoiled

    with pytest.raises(expected):
        await region.copies.reconcile()

    assert not region.media.exists()
    assert region.shelf.told == []


async def test_a_copy_that_was_cut_off_goes_on_with_what_it_has(region: Region) -> None:
    region.know(region.other.pack())
    region.other.spoil["11.m4s"] = Unavailable("the link is cut")
    with pytest.raises(Unavailable):
        await region.copies.reconcile()
    before = len(region.other.asked)

    region.other.spoil.clear()
    await region.copies.reconcile()

    assert len(region.other.asked) - before < before
    assert (region.media / "v1" / "11.m4s").exists()


class HeldDisk:
    """As ``DiskThread``: in order, and cancelling the wait does not cancel the work; but it begins when told."""

    def __init__(self) -> None:
        self.go, self.handed, self.failed = asyncio.Event(), asyncio.Event(), list[Exception]()
        self.go.set()
        self._turn = asyncio.Lock()

    async def __call__(self, work: Callable[[], T]) -> T:
        return await asyncio.shield(asyncio.create_task(self._do(work)))

    async def _do(self, work: Callable[[], T]) -> T:
        async with self._turn:
            if not self.go.is_set():
                self.handed.set()
            await self.go.wait()
            try:
                return work()
            except Exception as error:
                self.failed.append(error)
                raise


async def test_a_copy_that_fails_leaves_no_work_behind_that_fails_later(tmp_path: Path) -> None:
    """What was handed to the disk for the other files runs to its end, in files that are still open."""
    disk, other = HeldDisk(), OtherRegion(tmp_path / "other")
    folder, digest = MediaFolder(tmp_path / "blobs", run=disk), other.pack(files=2)
    begun = asyncio.Event()

    async def fetch(path: str) -> AsyncIterator[bytes]:
        if path == "v1/1.m4s":
            begun.set()
            await disk.handed.wait()
            raise Unavailable("the link is cut")
        if path == "v0/0.m4s":
            await begun.wait()
            disk.go.clear()
        async for piece in other.fetch("eu-central", f"vod/wave/{path}"):
            yield piece

    copying = asyncio.create_task(folder.copy("wave", digest, fetch))
    await disk.handed.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    disk.go.set()
    with pytest.raises(Unavailable, match="the link is cut"):
        await copying
    await disk(lambda: None)

    assert disk.failed == []


async def test_nothing_is_placed_whose_names_are_not_on_disk(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is synced under a name that is not is gone after a power cut."""
    region.know(region.other.pack())
    synced = list[str]()
    real = os.fsync

    def fsync(opened: int) -> None:
        synced.append(Path(f"/proc/self/fd/{opened}").readlink().name)
        real(opened)

    monkeypatch.setattr(os, "fsync", fsync)
    await region.copies.reconcile()

    placed = synced.index("files.json")
    assert sorted(synced[placed:]) == sorted(["files.json", "v0", "v1", ".copy-wave", "vod"])
    assert sorted(synced[:placed]) == sorted(f".{number}.m4s.part" for number in range(12))


async def test_a_list_of_another_asset_is_refused(region: Region) -> None:
    region.other.pack()
    region.know("ab" * 32)

    with pytest.raises(DigestMismatch):
        await region.copies.reconcile()


@pytest.mark.parametrize("path", ["../../evil", "/etc/passwd", "a/../../b", "files.json", ".hidden", "a//b", ""])
async def test_a_list_that_leads_out_of_the_folder_is_refused(region: Region, path: str) -> None:
    raw = msgspec.json.encode([{"path": path, "bytes": 1, "sha256": "00" * 32}])
    root = region.other.folder / "vod" / "wave"
    root.mkdir(parents=True)
    (root / "files.json").write_bytes(raw)
    region.know(hashlib.sha256(raw).hexdigest())

    with pytest.raises(Invalid):
        await region.copies.reconcile()

    assert region.other.asked == ["vod/wave/files.json"]


async def test_a_lost_or_shortened_file_is_noticed_and_brought_back(region: Region) -> None:
    region.know(region.other.pack())
    await region.copies.reconcile()
    (region.media / "v0" / "0.m4s").write_bytes(b"short")

    await region.copies.reconcile(every_file=True)
    (region.media / "files.json").unlink()
    await region.copies.reconcile()

    assert (region.media / "v0" / "0.m4s").read_bytes() == bytes(10_000)
    assert await region.folder.holds("wave", region.shelf.assets[0].files_sha256, every_file=True)


async def test_an_asset_that_nobody_else_has_is_said_to_be_lost_and_others_go_on(region: Region) -> None:
    digest = region.other.pack()
    lost = KnownAsset(id="lost", files_sha256="ab" * 32, regions=["eu-west"])
    region.shelf.assets = [lost, KnownAsset(id="wave", files_sha256=digest, regions=["eu-central"])]

    with pytest.raises(Unavailable, match="lost here and no other region has it"):
        await region.copies.reconcile()

    assert region.media.exists()
    assert region.copies.statistics().missing == 1
