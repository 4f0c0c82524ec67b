"""Run one job of a plan: resumable, idempotent, whole or not at all.

Promises: a job whose result is there is skipped; a job that was killed leaves a scratch folder and nothing else; two
workers that run the same job at once (a takeover from one that still breathes) both succeed with the same bytes;
parts whose job was done and whose files are gone are made anew by the package job.
Cancelling the task that awaits ``run_job`` kills its tools and removes its scratch before it returns.
May not know: leases, fences, the studio. The worker that holds the lease calls this and reports.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import structlog

from eisbach.domain.catalog import Asset
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.kernel.ids import parse_id
from eisbach.media.encode import Progress, encode_audio, encode_chunk, remux
from eisbach.media.package import PackageParts, is_whole, join_parts, package_asset
from eisbach.media.plan import PACKAGE, TRANSCODE, JobSpec, Plan, plan_jobs
from eisbach.media.probe import UNINDEXED
from eisbach.media.tools import MediaTools

__all__ = ["Workspace", "result_paths", "run_job"]

_logger = structlog.get_logger(__name__)


class Workspace:
    """The blob folder of a region: ``uploads/``, ``work/ASSET/``, ``media/vod/ASSET/``."""

    def __init__(self, blobs: Path) -> None:
        self._blobs = blobs.resolve()

    def blob(self, key: str) -> Path:
        """The file of a blob key.

        Raises:
            Invalid: the key leaves the blob folder.
        """
        path = (self._blobs / key).resolve()
        if not path.is_relative_to(self._blobs):
            raise Invalid(f"blob key {key[:80]!r} leads out of the blob folder")
        return path

    def work(self, asset: str) -> Path:
        """Chunks in work; made when absent."""
        folder = self._blobs / "work" / parse_id(asset, what="asset")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def media(self, asset: str) -> Path:
        """Where the packaged asset appears."""
        return self._blobs / "media" / "vod" / parse_id(asset, what="asset")

    def link_channel(self, channel: str, assets: Sequence[str]) -> None:
        """Make ``media/ch/CHANNEL/`` hold exactly a symlink per asset: what a channel's token reaches.

        Idempotent; a link may point at an asset whose copy has not arrived yet.
        """
        folder = self._blobs / "media" / "ch" / parse_id(channel, what="channel")
        folder.mkdir(parents=True, exist_ok=True)
        wanted = {parse_id(asset, what="asset") for asset in assets}
        present = {path.name for path in folder.iterdir()}
        for name in wanted - present:
            (folder / name).symlink_to(Path("..", "..", "vod", name))
        for name in present - wanted:
            (folder / name).unlink()

    @contextmanager
    def scratch(self, asset: str) -> Iterator[Path]:
        """An empty folder of this run alone, removed at its end; one left by a kill goes with the work folder."""
        folder = Path(tempfile.mkdtemp(prefix=".run-", dir=self.work(asset)))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _no_progress(_share: float) -> None:
    return


async def run_job(
    spec: JobSpec, workspace: Workspace, tools: MediaTools, progress: Callable[[float], None] = _no_progress
) -> Asset | None:
    """Run one job to its end.

    Args:
        spec: from ``plan_jobs``.
        workspace: the region's blob folder.
        tools: the binaries.
        progress: called with the share done, 0 to 1.

    Returns:
        The asset for a package job, None for a transcode job.

    Raises:
        Invalid: the source is to blame; reject the asset, do not repeat.
        ToolFailed, Unavailable: repeat, here or elsewhere.
    """
    try:
        if spec.kind == TRANSCODE:
            await _transcode(spec, workspace, tools, progress)
            return None
        if spec.kind == PACKAGE:
            return await _package(spec, workspace, tools, progress)
    except OSError as error:
        raise Unavailable(f"job {spec.asset}/{spec.part}: {error}; free the disk, then it goes on") from error
    raise Invalid(f"job kind {spec.kind!r} is not known; use {TRANSCODE!r} or {PACKAGE!r}")


async def _transcode(spec: JobSpec, workspace: Workspace, tools: MediaTools, progress: Progress) -> None:
    results = result_paths(spec, workspace)
    if all(path.exists() for path in results):
        progress(1.0)
        return
    source, plan = await _seekable(spec, workspace, tools)
    with workspace.scratch(spec.asset) as scratch:
        tracks = {track.id: track for track in plan.audio}
        if spec.part in tracks:
            track = tracks[spec.part]
            made = [await encode_audio(plan, track, source=source, folder=scratch, tools=tools, progress=progress)]
        else:
            number = int(spec.part.removeprefix("v"))
            made = await encode_chunk(plan, number, source=source, folder=scratch, tools=tools, progress=progress)
        for path, result in zip(made, results, strict=True):
            result.parent.mkdir(exist_ok=True)
            path.replace(result)
    progress(1.0)


async def _seekable(spec: JobSpec, workspace: Workspace, tools: MediaTools) -> tuple[Path, Plan]:
    """The upload, or its indexed copy, made by whichever job needs it first; two at once make the same."""
    source = workspace.blob(spec.plan.source)
    if spec.plan.container not in UNINDEXED:
        return source, spec.plan
    indexed = workspace.work(spec.asset) / "source.mkv"
    if not indexed.exists():
        with workspace.scratch(spec.asset) as scratch:
            (await remux(spec.plan, source=source, folder=scratch, tools=tools)).replace(indexed)
    return indexed, msgspec.structs.replace(spec.plan, container="matroska")


def result_paths(spec: JobSpec, workspace: Workspace) -> list[Path]:
    """The files that a transcode job makes.

    Raises:
        Invalid: its part is not in its plan.
    """
    work = workspace.work(spec.asset)
    if spec.part in {track.id for track in spec.plan.audio}:
        return [work / f"{spec.part}.mp4"]
    number = spec.part.removeprefix("v")
    if not number.isdecimal() or int(number) >= spec.plan.chunks:
        raise Invalid(f"job part {spec.part!r} is not in the plan of {spec.asset!r} ({spec.plan.chunks} chunks)")
    return [work / rung.id / f"{int(number):04d}.mp4" for rung in spec.plan.rungs]


async def _package(spec: JobSpec, workspace: Workspace, tools: MediaTools, progress: Progress) -> Asset:
    work, target = workspace.work(spec.asset), workspace.media(spec.asset)
    record = work / "asset.json"
    if record.exists() and is_whole(target):
        progress(1.0)
        return msgspec.json.decode(record.read_bytes(), type=Asset)
    plan = spec.plan
    await _remake_missing(spec, workspace, tools)
    with workspace.scratch(spec.asset) as scratch:
        video = []
        for place, rung in enumerate(plan.rungs):
            chunks = [work / rung.id / f"{number:04d}.mp4" for number in range(plan.chunks)]
            joined = scratch / f"{rung.id}.mp4"
            await join_parts(chunks, joined, tools=tools)
            video.append((rung, joined))
            progress(0.1 * (place + 1) / len(plan.rungs))
        audio = [(track, work / f"{track.id}.mp4") for track in plan.audio]
        text = [(source, workspace.blob(source.source)) for source in plan.text]
        parts = PackageParts(video=video, audio=audio, text=text)
        asset = await package_asset(spec.asset, plan, parts, scratch=scratch, target=target, tools=tools)
        draft = scratch / "asset.json"
        draft.write_bytes(msgspec.json.encode(asset))
        draft.replace(record)
    for leftover in work.iterdir():  # chunks are of no more use; scratch folders here belong to killed runs
        if leftover != record:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    progress(1.0)
    return asset


async def _remake_missing(spec: JobSpec, workspace: Workspace, tools: MediaTools) -> None:
    """A lost disk, or somebody who tidied up: the jobs of these parts say done, so nobody else would make them."""
    for job in plan_jobs(spec.plan, spec.asset):
        if job.kind == TRANSCODE and not all(path.exists() for path in result_paths(job, workspace)):
            _logger.warning("part_is_gone", asset=spec.asset, part=job.part)
            await _transcode(job, workspace, tools, _no_progress)
