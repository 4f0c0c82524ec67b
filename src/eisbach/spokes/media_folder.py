"""A region's packaged media on disk: verified copies, placed whole; channels as symlinks to them.

Promises: ``media/vod/ASSET`` appears by one rename after every file was verified against ``files.json``, and
``files.json`` against the digest that the asset's document names; a copy that was cut off goes on with the files it
has. May not know: where the bytes come from, events.
"""

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import IO, Final, Protocol, TypeVar

import msgspec

from eisbach.domain.catalog import Asset
from eisbach.domain.ingest import plain_id
from eisbach.hub.failures import told_to_end
from eisbach.kernel.errors import DigestMismatch, Invalid, Unavailable
from eisbach.kernel.limits import MIB, UPLOAD_BYTES_MAX
from eisbach.media.package import FileEntry, is_whole, sync_folder, sync_folders

__all__ = ["Fetch", "MediaFolder", "Run"]

T = TypeVar("T")

_LIST_BYTES_MAX: Final = 16 * MIB
_FILES_MAX: Final = 200_000
_AT_ONCE: Final = 4
_PART: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", re.ASCII)
_LIST: Final = "files.json"

Fetch = Callable[[str], AsyncIterator[bytes]]
"""The content of ``vod/ASSET/{path}`` at the region that has it; raises Unavailable or NotFound."""


class Run(Protocol):
    """Runs what blocks on the disk; ``engines.embedded.disk.Disk`` does."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]:
        """Run it."""
        ...


class MediaFolder:
    """The blob folder of a region, as far as packaged media go."""

    def __init__(self, blobs: Path, *, run: Run) -> None:
        self._vod, self._channels, self._work = blobs / "media" / "vod", blobs / "media" / "ch", blobs / "work"
        self._run = run

    async def holds(self, asset: str, files_sha256: str, *, every_file: bool = False) -> bool:
        """Whether the asset is here, with the list of files that its document names.

        ``every_file``: also that each is there in its size; digests were checked when it was placed.
        """
        folder = self._vod / plain_id(asset, what="asset")

        def work() -> bool:
            try:
                raw = (folder / _LIST).read_bytes()
                if hashlib.sha256(raw).hexdigest() != files_sha256:
                    return False
                return not every_file or all(
                    (folder / entry.path).stat().st_size == entry.bytes for entry in _entries(asset, raw)
                )
            except FileNotFoundError:
                return False

        return await self._run(work)

    async def packaged(self, asset: str) -> Asset | None:
        """The document of an asset that was packaged in this region and whose files are whole."""
        name = plain_id(asset, what="asset")

        def work() -> Asset | None:
            try:
                document = msgspec.json.decode((self._work / name / "asset.json").read_bytes(), type=Asset)
            except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
                return None
            return document if is_whole(self._vod / name) else None

        return await self._run(work)

    async def copy(self, asset: str, files_sha256: str, fetch: Fetch) -> int:
        """Bring the asset here; the bytes that were fetched for it.

        Raises:
            DigestMismatch: the other side has something else; nothing was placed.
            Unavailable: it cannot be read there, or not written here; what was verified is kept for the next try.
        """
        staging = self._work / f".copy-{plain_id(asset, what='asset')}"
        try:
            raw = await _small(fetch(_LIST))
            if (found := hashlib.sha256(raw).hexdigest()) != files_sha256:
                raise DigestMismatch(f"{_LIST} of asset {asset!r}: sha256 is {found}, its document says {files_sha256}")
            fetched = await self._fill(staging, _entries(asset, raw), fetch)
            await self._run(lambda: self._place(asset, staging, raw))
        except OSError as error:
            raise Unavailable(f"asset {asset!r} cannot be copied: {error}; free the disk, then it goes on") from error
        return fetched

    async def link(self, channel: str, assets: Sequence[str]) -> list[str]:
        """Have a channel contain those of the assets that are here; the ones that are not yet.

        Links of assets that left the schedule stay: players may be a minute behind.
        """
        folder = self._channels / plain_id(channel, what="channel")
        names = [plain_id(asset, what="asset") for asset in dict.fromkeys(assets)]

        def work() -> list[str]:
            folder.mkdir(parents=True, exist_ok=True)
            missing = []
            for name in names:
                if not (self._vod / name).is_dir():
                    missing.append(name)
                elif not (folder / name).is_symlink():
                    (folder / name).symlink_to(Path("..") / ".." / "vod" / name)
            return missing

        return await self._run(work)

    async def _fill(self, staging: Path, entries: Sequence[FileEntry], fetch: Fetch) -> int:
        slots = asyncio.Semaphore(_AT_ONCE)
        fetched = 0

        async def one(entry: FileEntry) -> None:
            nonlocal fetched
            async with slots:
                if not await self._run(lambda: _is_whole(staging / entry.path, entry)):
                    await self._fetch_file(staging / entry.path, entry, fetch)
                    fetched += entry.bytes

        try:
            async with asyncio.TaskGroup() as tasks:
                if works := [tasks.create_task(one(entry)) for entry in entries]:
                    await asyncio.wait(works)  # here, see ``told_to_end``
        except BaseExceptionGroup as group:
            raise asyncio.CancelledError if told_to_end() else group.exceptions[0] from group
        return fetched

    async def _fetch_file(self, target: Path, entry: FileEntry, fetch: Fetch) -> None:
        part = target.with_name(f".{target.name}.part")
        digest, size = hashlib.sha256(), 0
        await self._run(lambda: target.parent.mkdir(parents=True, exist_ok=True))
        file = await self._run(lambda: part.open("wb"))
        try:
            async for piece in fetch(entry.path):
                digest.update(piece)
                size += len(piece)
                if size > entry.bytes:
                    break
                await self._run(lambda piece=piece: file.write(piece))  # type: ignore[misc]
            await self._run(lambda: _sync(file))
        finally:
            # In its turn: when another file's failure ends this wait, what was handed in for this one still runs.
            await self._run(file.close)
        if (size, digest.hexdigest()) != (entry.bytes, entry.sha256):
            await self._run(part.unlink)
            raise DigestMismatch(
                f"{entry.path}: {size} bytes with sha256 {digest.hexdigest()},"
                f" announced {entry.bytes} and {entry.sha256}"
            )
        await self._run(lambda: part.replace(target))

    def _place(self, asset: str, staging: Path, raw: bytes) -> None:
        with (staging / _LIST).open("wb") as file:
            file.write(raw)
            _sync(file)
        sync_folders(staging)
        target = self._vod / asset
        target.parent.mkdir(parents=True, exist_ok=True)
        replaced = staging.with_name(f".replaced-{asset}")
        if target.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            target.rename(replaced)
        staging.rename(target)
        sync_folder(target.parent)
        shutil.rmtree(replaced, ignore_errors=True)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _entries(asset: str, raw: bytes) -> list[FileEntry]:
    """The list, once nothing in it leads out of the folder.

    Raises:
        Invalid: it is not such a list.
    """
    try:
        entries = msgspec.json.decode(raw, type=list[FileEntry])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{_LIST} of asset {asset!r} is not a list of files: {error}") from error
    if len(entries) > _FILES_MAX or sum(entry.bytes for entry in entries) > 2 * UPLOAD_BYTES_MAX:
        raise Invalid(f"{_LIST} of asset {asset!r} lists {len(entries)} files, more than an asset may have")
    for entry in entries:
        parts = entry.path.split("/")
        if len(entry.path) > 255 or not all(_PART.fullmatch(part) for part in parts) or entry.path == _LIST:
            raise Invalid(f"{_LIST} of asset {asset!r} lists {entry.path[:80]!r}, which is not a safe path")
    return entries


def _is_whole(path: Path, entry: FileEntry) -> bool:
    try:
        if path.stat().st_size != entry.bytes:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
    except FileNotFoundError:
        return False


async def _small(content: AsyncIterator[bytes]) -> bytes:
    raw = b""
    async for piece in content:
        raw += piece
        if len(raw) > _LIST_BYTES_MAX:
            raise Invalid(f"{_LIST} is over {_LIST_BYTES_MAX} bytes")
    return raw
