"""Where the files of a job are: in the region's blob folder, or in blobs that have none, with a folder of the worker's.

Promises of ``BlobWork``: ``run_job`` itself is the same; what a job needs is brought and verified before it, what it
made is stored after it, and only then is it done. ``files.json`` comes after all that it lists, ``asset.json`` last: a
job that was cut off anywhere is begun again and finds what is whole. One job at a time, and between jobs the folder
holds at most one source. May not know: leases, what engine the blobs are.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Collection, Coroutine, Iterable
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from eisbach.domain.catalog import Asset
from eisbach.kernel.errors import NotFound, Unavailable
from eisbach.kernel.ids import parse_id
from eisbach.media.jobs import Workspace, result_paths, run_job
from eisbach.media.package import FileEntry
from eisbach.media.plan import PACKAGE, TRANSCODE, JobSpec, plan_jobs
from eisbach.media.probe import UNINDEXED
from eisbach.media.tools import MediaTools
from eisbach.ports.blobs import Blobs

__all__ = ["BlobWork", "FolderWork", "MediaWork", "whole_asset"]

_AT_ONCE: Final = 4


class MediaWork(Protocol):
    """What a worker does jobs with."""

    @property
    def whole(self) -> bool:
        """Whether a picture is encoded in one piece: so it is planned."""
        ...

    async def source(self, key: str) -> Path:
        """The file of an upload, to be looked at.

        Raises:
            NotFound, Invalid: there is none, or the key leads elsewhere.
        """
        ...

    async def run(self, spec: JobSpec, tools: MediaTools, progress: Callable[[float], None]) -> Asset | None:
        """See ``run_job``."""
        ...


async def whole_asset(blobs: Blobs, asset: str) -> Asset | None:
    """The document of an asset that was packaged into ``blobs`` and whose files are all there.

    Each file is there whole or not at all.
    """
    media = f"media/vod/{parse_id(asset, what='asset')}/"
    try:
        raw = await blobs.read(f"{media}files.json")
        entries = msgspec.json.decode(raw, type=list[FileEntry])
        document = msgspec.json.decode(await blobs.read(f"work/{asset}/asset.json"), type=Asset)
    except (NotFound, msgspec.DecodeError, UnicodeDecodeError):
        return None
    present = set(await blobs.keys(media))
    return document if present.issuperset(f"{media}{entry.path}" for entry in entries) else None


class FolderWork:
    """The blobs are files: jobs work where they lie."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    @property
    def whole(self) -> bool:
        """See ``MediaWork``: in chunks, by as many workers as there are."""
        return False

    async def source(self, key: str) -> Path:
        """See ``MediaWork``."""
        return self._workspace.blob(key)

    async def run(self, spec: JobSpec, tools: MediaTools, progress: Callable[[float], None]) -> Asset | None:
        """See ``MediaWork``."""
        return await run_job(spec, self._workspace, tools, progress)


class BlobWork:
    """The blobs are elsewhere: what a job needs is brought to ``folder``, what it made is put back."""

    def __init__(self, blobs: Blobs, folder: Path) -> None:
        self._blobs, self._folder = blobs, folder.resolve()
        self._workspace = Workspace(folder)

    @property
    def whole(self) -> bool:
        """See ``MediaWork``: in chunks, by as many workers as there are."""
        return False

    async def source(self, key: str) -> Path:
        """See ``MediaWork``. The source of the job before is given up: the disk of a worker has room for one."""
        uploads = self._folder / "uploads"
        for other in list(uploads.iterdir()) if uploads.is_dir() else []:
            if other != self._folder / key:
                other.unlink()
        return await self._bring(key)

    async def run(self, spec: JobSpec, tools: MediaTools, progress: Callable[[float], None]) -> Asset | None:
        """See ``MediaWork``; nothing of the asset stays here but its source."""
        asset = parse_id(spec.asset, what="asset")
        self._clear(asset)
        try:
            if spec.kind == PACKAGE:
                return await self._package(spec, tools, progress)
            if spec.kind == TRANSCODE:
                await self._transcode(spec, tools, progress)
                return None
            return await run_job(spec, self._workspace, tools, progress)  # which refuses it
        except OSError as error:
            raise Unavailable(f"job {spec.asset}/{spec.part}: {error}; free the disk, then it goes on") from error
        finally:
            self._clear(asset)

    async def _transcode(self, spec: JobSpec, tools: MediaTools, progress: Callable[[float], None]) -> None:
        there = await self._present(spec.asset)
        made = [self._key(path) for path in result_paths(spec, self._workspace)]
        if there.issuperset(made):
            progress(1.0)
            return
        await self._bring_source(spec, there)
        await run_job(spec, self._workspace, tools, progress)
        await self._keep_index(spec, there)
        await self._store(made)

    async def _package(self, spec: JobSpec, tools: MediaTools, progress: Callable[[float], None]) -> Asset | None:
        work, media = f"work/{spec.asset}/", f"media/vod/{spec.asset}/"
        there, record = await self._present(spec.asset), f"{work}asset.json"
        if record in there and (done := await whole_asset(self._blobs, spec.asset)) is not None:
            progress(1.0)
            return done
        parts = [job for job in plan_jobs(spec.plan, spec.asset) if job.kind == TRANSCODE]
        needed = {self._key(path) for job in parts for path in result_paths(job, self._workspace)}
        if not there.issuperset(needed):
            await self._bring_source(spec, there)  # run_job makes anew what somebody tidied up
        await self._bring_all([*sorted(needed & there), *(text.source for text in spec.plan.text)])
        asset = await run_job(spec, self._workspace, tools, progress)
        files = {self._key(path) for path in (self._folder / media).rglob("*") if path.is_file()}
        await self._store(sorted(files - {f"{media}files.json"}))
        await self._store([f"{media}files.json"])
        await self._store([record])
        for leftover in sorted({_top(key, work) for key in there if key != record}):
            await self._blobs.delete(leftover)
        return asset

    async def _bring_source(self, spec: JobSpec, there: Collection[str]) -> None:
        """The upload, or its indexed copy where somebody has made it."""
        indexed = f"work/{spec.asset}/source.mkv"
        if spec.plan.container in UNINDEXED and indexed in there:
            await self._bring(indexed)
        else:
            await self.source(spec.plan.source)

    async def _keep_index(self, spec: JobSpec, there: Collection[str]) -> None:
        """The other parts need it too."""
        indexed = f"work/{spec.asset}/source.mkv"
        if indexed not in there and (self._folder / indexed).exists():
            await self._store([indexed])

    async def _present(self, asset: str) -> set[str]:
        return set(await self._blobs.keys(f"work/{asset}/"))

    async def _bring_all(self, keys: Iterable[str]) -> None:
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(key: str) -> None:
            async with room:
                await self._bring(key)

        await _together(one(key) for key in keys)

    async def _bring(self, key: str) -> Path:
        """A blob under its key in the folder."""
        found, target = await self._blobs.local_path(key), self._workspace.blob(key)
        if found != target:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            try:
                os.link(found, target)
            except OSError:  # another disk
                await asyncio.to_thread(shutil.copyfile, found, target)
        return target

    async def _store(self, keys: Iterable[str]) -> None:
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(key: str) -> None:
            async with room:
                await self._blobs.put_file(key, self._folder / key)

        await _together(one(key) for key in keys)

    def _key(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _clear(self, asset: str) -> None:
        for folder in (self._folder / "work" / asset, self._folder / "media" / "vod" / asset):
            shutil.rmtree(folder, ignore_errors=True)


async def _together(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed


def _top(key: str, work: str) -> str:
    """``work/ASSET/v720/0001.mp4`` -> ``work/ASSET/v720/``; a file is itself."""
    name, slash, _ = key.removeprefix(work).partition("/")
    return f"{work}{name}{slash}"
