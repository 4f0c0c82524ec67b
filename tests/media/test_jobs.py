"""Jobs: resumable, idempotent, byte-identical; and what the packaged asset is."""

import asyncio
import hashlib
import itertools
import os
import shutil
import signal
import subprocess
from pathlib import Path

import msgspec
import pytest

from eisbach.bootstrap.tools import Tools
from eisbach.kernel.errors import Invalid
from eisbach.media.jobs import Workspace, run_job
from eisbach.media.package import FileEntry
from eisbach.media.plan import plan_asset, plan_jobs
from eisbach.media.probe import probe_source
from eisbach.media.sandbox import ToolFailed
from eisbach.media.tools import MediaTools

from .conftest import Packaged

pytestmark = pytest.mark.processes


def tree(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


def tool_processes(mark: str) -> list[int]:
    """ffmpeg processes that write below ``mark``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in line and line.split(b"\0")[0].endswith(b"ffmpeg-linux-x64"):
                found.append(int(entry.name))
    return found


def fresh(packaged: Packaged, blobs: Path) -> Workspace:
    shutil.copytree(packaged.blobs / "uploads", blobs / "uploads")
    return Workspace(blobs)


async def test_an_asset_is_laid_out_as_the_contract_says(packaged: Packaged) -> None:
    folder = packaged.workspace.media("film")

    assert sorted(p.name for p in folder.iterdir()) == [
        "a-de", "a-de.m3u8", "a-en", "a-en.m3u8", "files.json", "img", "t-de.m3u8", "t-de.vtt", "v240", "v240.m3u8",
        "v480", "v480.m3u8",
    ]  # fmt: skip
    assert sorted(p.name for p in (folder / "img").iterdir()) == ["poster.jpg", "sprite.jpg", "thumbs.vtt"]
    assert sorted(p.name for p in (folder / "v480").iterdir()) == sorted(
        ["init.mp4", *(f"{n}.m4s" for n in range(1, 14))]
    )


async def test_files_json_lists_every_file_with_its_digest_and_the_asset_seals_it(packaged: Packaged) -> None:
    folder = packaged.workspace.media("film")
    raw = (folder / "files.json").read_bytes()

    entries = msgspec.json.decode(raw, type=list[FileEntry])

    assert {e.path: e.sha256 for e in entries} == {k: v for k, v in tree(folder).items() if k != "files.json"}
    assert packaged.asset.files_sha256 == hashlib.sha256(raw).hexdigest()


async def test_durations_are_exact_and_add_up_to_the_picture(packaged: Packaged) -> None:
    lengths = {t.id: sum(d * n for d, n in t.segments) / t.timescale for t in packaged.asset.tracks}

    assert packaged.asset.duration_ms == 26_000
    assert lengths == {"v480": 26.0, "v240": 26.0, "a-de": 26.0, "a-en": 26.0}
    assert [t.segments for t in packaged.asset.tracks if t.kind == "video"] == [[(25600, 13)]] * 2


async def test_every_segment_starts_with_a_key_picture_where_the_asset_says(
    packaged: Packaged, all_tools: Tools
) -> None:
    folder = packaged.workspace.media("film") / "v240"
    for number in (1, 6, 7, 13):
        joined = (folder / "init.mp4").read_bytes() + (folder / f"{number}.m4s").read_bytes()
        argv = [all_tools.ffprobe, "-v", "error", "-show_entries", "packet=pts_time,flags", "-of", "csv=p=0", "-"]
        rows = subprocess.run(argv, input=joined, capture_output=True, check=True).stdout.decode().split()
        pictures = sorted((float(row.split(",")[0]), "K" in row.split(",")[1]) for row in rows)
        assert pictures[0] == (2.0 * (number - 1), True)
        assert [key for _, key in pictures].count(True) == 1
        assert len(pictures) == 50


async def test_the_picture_runs_through_the_seams_of_chunks(packaged: Packaged, all_tools: Tools) -> None:
    """Decode the whole rendition: every picture there, evenly spaced, and each differs from the one before."""
    folder = packaged.workspace.media("film") / "v240"
    joined = b"".join([(folder / "init.mp4").read_bytes(), *((folder / f"{n}.m4s").read_bytes() for n in range(1, 14))])
    argv = [all_tools.ffmpeg, "-v", "error", "-i", "-", "-map", "0:v", "-f", "framehash", "-hash", "md5", "-"]

    done = subprocess.run(argv, input=joined, capture_output=True, check=True)

    rows = [r.replace(" ", "").split(",") for r in done.stdout.decode().splitlines() if not r.startswith("#")]
    stamps = [int(r[2]) for r in rows]
    assert len(rows) == 650
    assert {after - before for before, after in itertools.pairwise(stamps)} == {1}
    assert done.stderr == b""
    assert len({r[5] for r in rows}) > 600


async def test_a_rerun_skips_what_is_there_and_answers_the_same(packaged: Packaged, tools: MediaTools) -> None:
    before = tree(packaged.blobs)
    package = plan_jobs(packaged.plan, "film")[-1]

    again = await run_job(package, packaged.workspace, tools)

    assert again == packaged.asset
    assert tree(packaged.blobs) == before


async def test_a_second_run_elsewhere_makes_the_same_bytes(
    packaged: Packaged, tools: MediaTools, tmp_path: Path
) -> None:
    workspace = fresh(packaged, tmp_path / "blobs")

    results = [await run_job(job, workspace, tools) for job in plan_jobs(packaged.plan, "film")]

    assert results[-1] == packaged.asset
    assert tree(workspace.media("film")) == tree(packaged.workspace.media("film"))


async def test_ffmpeg_killed_in_the_middle_leaves_nothing_and_the_repeat_makes_the_same_bytes(
    packaged: Packaged, tools: MediaTools, tmp_path: Path
) -> None:
    blobs = tmp_path / "blobs"
    workspace = fresh(packaged, blobs)
    jobs = plan_jobs(packaged.plan, "film")
    chunk = next(job for job in jobs if job.part == "v0000")
    seen: list[float] = []
    running = asyncio.create_task(run_job(chunk, workspace, tools, seen.append))
    async with asyncio.timeout(20):
        while not (found := tool_processes(str(blobs))) or not any(p.stat().st_size for p in blobs.rglob("v*.mp4")):
            await asyncio.sleep(0.01)

    os.kill(found[0], signal.SIGKILL)
    with pytest.raises(ToolFailed, match="SIGKILL"):
        await running

    assert list(workspace.work("film").iterdir()) == []
    results = [await run_job(job, workspace, tools) for job in jobs]
    assert results[-1] == packaged.asset
    assert tree(workspace.media("film")) == tree(packaged.workspace.media("film"))


async def test_a_worker_killed_with_minus_nine_is_taken_over_with_the_same_bytes(
    packaged: Packaged, tools: MediaTools, tmp_path: Path
) -> None:
    """The whole worker dies: its ffmpeg dies with it, and another worker finishes among the leftovers."""
    blobs = tmp_path / "blobs"
    workspace = fresh(packaged, blobs)
    jobs = plan_jobs(packaged.plan, "film")
    (tmp_path / "job.json").write_bytes(msgspec.json.encode(jobs[2]))
    script = (
        "import asyncio, sys, msgspec\nfrom pathlib import Path\n"
        "from eisbach.bootstrap.tools import locate_tools\nfrom eisbach.settings import Settings\n"
        "from eisbach.media.jobs import Workspace, run_job\nfrom eisbach.media.plan import JobSpec\n"
        "job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=JobSpec)\n"
        "asyncio.run(run_job(job, Workspace(Path(sys.argv[2])), locate_tools(Settings()).media))\n"
    )
    import sys

    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", script, tmp_path / "job.json", blobs)
    async with asyncio.timeout(30):
        while not tool_processes(str(blobs)):
            await asyncio.sleep(0.01)

    worker.kill()
    await worker.wait()
    async with asyncio.timeout(5):
        while tool_processes(str(blobs)):
            await asyncio.sleep(0.01)

    results = [await run_job(job, workspace, tools) for job in jobs]
    assert results[-1] == packaged.asset
    assert tree(workspace.media("film")) == tree(packaged.workspace.media("film"))
    assert [p.name for p in workspace.work("film").iterdir()] == ["asset.json"]


async def test_cancelling_a_job_kills_its_tool_and_clears_its_scratch(
    packaged: Packaged, tools: MediaTools, tmp_path: Path
) -> None:
    blobs = tmp_path / "blobs"
    workspace = fresh(packaged, blobs)
    running = asyncio.create_task(run_job(plan_jobs(packaged.plan, "film")[2], workspace, tools))
    async with asyncio.timeout(20):
        while not tool_processes(str(blobs)):
            await asyncio.sleep(0.01)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert tool_processes(str(blobs)) == []
    assert list(workspace.work("film").iterdir()) == []


async def test_two_workers_on_one_job_both_succeed(packaged: Packaged, tools: MediaTools, tmp_path: Path) -> None:
    workspace = fresh(packaged, tmp_path / "blobs")
    audio = plan_jobs(packaged.plan, "film")[0]

    await asyncio.gather(run_job(audio, workspace, tools), run_job(audio, workspace, tools))

    assert [p.name for p in workspace.work("film").iterdir()] == ["a-de.mp4"]


async def test_progress_rises_to_one(packaged: Packaged, tools: MediaTools, tmp_path: Path) -> None:
    seen: list[float] = []

    await run_job(plan_jobs(packaged.plan, "film")[2], fresh(packaged, tmp_path / "blobs"), tools, seen.append)

    assert seen == sorted(seen)
    assert seen[-1] == 1.0


async def test_parts_whose_files_are_gone_are_made_anew_by_the_package_job_with_the_same_bytes(
    packaged: Packaged, tools: MediaTools, tmp_path: Path
) -> None:
    workspace = fresh(packaged, tmp_path / "blobs")

    await run_job(plan_jobs(packaged.plan, "film")[-1], workspace, tools)

    assert tree(workspace.media("film")) == tree(packaged.workspace.media("film"))


async def test_an_asset_that_lost_a_file_is_packaged_anew(
    packaged: Packaged, tools: MediaTools, tmp_path: Path
) -> None:
    workspace = fresh(packaged, tmp_path / "blobs")
    shutil.copytree(packaged.workspace.media("film"), workspace.media("film"))
    shutil.copy(packaged.workspace.work("film") / "asset.json", workspace.work("film") / "asset.json")
    (workspace.media("film") / "v240" / "1.m4s").unlink()

    await run_job(plan_jobs(packaged.plan, "film")[-1], workspace, tools)

    assert tree(workspace.media("film")) == tree(packaged.workspace.media("film"))


async def test_a_source_that_ends_before_its_header_says_is_refused_by_the_chunk(
    packaged: Packaged, tools: MediaTools, tmp_path: Path
) -> None:
    longer = msgspec.structs.replace(packaged.plan, frames=packaged.plan.frames + 1000)
    job = next(j for j in plan_jobs(longer, "film") if j.part == "v0004")

    with pytest.raises(Invalid, match="no picture from 48 s on"):
        await run_job(job, fresh(packaged, tmp_path / "blobs"), tools)


@pytest.mark.parametrize("part", ["v9999", "../../x", "a-xx", "v-1", "vx"])
async def test_a_part_that_is_not_in_the_plan_is_refused(
    part: str, packaged: Packaged, tools: MediaTools, tmp_path: Path
) -> None:
    job = msgspec.structs.replace(plan_jobs(packaged.plan, "film")[0], part=part)

    with pytest.raises(Invalid, match="not in the plan"):
        await run_job(job, Workspace(tmp_path), tools)


async def test_a_source_key_that_leaves_the_blob_folder_is_refused(
    packaged: Packaged, tools: MediaTools, tmp_path: Path
) -> None:
    plan = msgspec.structs.replace(packaged.plan, source="../../etc/passwd")

    with pytest.raises(Invalid, match="leads out"):
        await run_job(plan_jobs(plan, "film")[0], Workspace(tmp_path), tools)


@pytest.mark.parametrize("content", [b"not WebVTT", b"\xff\xfeWEBVTT"])
async def test_subtitles_that_are_not_webvtt_are_refused(
    content: bytes, packaged: Packaged, tools: MediaTools, tmp_path: Path
) -> None:
    from eisbach.media.package import _add_text
    from eisbach.media.plan import TextSource

    (tmp_path / "s.vtt").write_bytes(content)

    with pytest.raises(Invalid, match=r"s\.vtt"):
        _add_text(TextSource(language="de", source="s.vtt"), tmp_path / "s.vtt", tmp_path, 1000)


@pytest.mark.parametrize("rate", ["30000/1001", "15", "60"])
@pytest.mark.parametrize("container", ["matroska", "mpegts"])
async def test_odd_rates_and_containers_give_whole_chunks(
    rate: str, container: str, tools: MediaTools, tmp_path: Path
) -> None:
    blobs = tmp_path / "blobs"
    (blobs / "uploads").mkdir(parents=True)
    upload = blobs / "uploads" / "u"
    argv = [tools.ffmpeg, "-v", "error", "-filter_complex", f"testsrc=s=160x120:r={rate}:d=13[v];sine=d=13[a]"]
    argv += ["-map", "[v]", "-map", "[a]", "-c:v", "libx264", "-preset", "ultrafast", "-f", container, upload]
    subprocess.run(argv, check=True)
    plan = plan_asset(await probe_source(upload, tools), source="uploads/u")

    results = [await run_job(job, Workspace(blobs), tools) for job in plan_jobs(plan, "odd")]

    asset = results[-1]
    assert asset is not None
    assert plan.fps in (30, 60)
    assert asset.tracks[0].segments[0] == (plan.fps * 512 * 2, 6)
    assert abs(asset.duration_ms - 13_000) < 100
