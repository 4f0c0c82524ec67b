"""The chunked pipeline against plain ffmpeg on the same cores, and how soon the demo content is there.

Baseline: one ffmpeg that makes the same ladder from the same source with the same x264 settings and as many threads as
there are cores. Limit: none known. Each ratio is the median of pairs run back to back, so that load meets both alike.
"""

import asyncio
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench.figures import Row

from eisbach.bootstrap.tools import locate_footage, locate_tools
from eisbach.media.demo import make_demo
from eisbach.media.encode import video_codec
from eisbach.media.jobs import Workspace, run_job
from eisbach.media.plan import TRANSCODE, Plan, plan_asset, plan_jobs
from eisbach.media.probe import probe_source
from eisbach.media.tools import MediaTools
from eisbach.settings import Settings

PAIRS = 3
SECONDS = 60


def child_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run() -> list[Row]:
    tools = locate_tools(Settings()).media
    footage = locate_footage()
    if footage is None:
        return [Row(figure="transcode", measured=None, unit="", note="no footage: install eisbach[laptop]")]
    with tempfile.TemporaryDirectory(prefix="eisbach-bench-") as name:
        folder = Path(name)
        pairs = [asyncio.run(one_pair(folder / str(n), footage, tools)) for n in range(PAIRS)]
        demo_s = asyncio.run(demo(folder / "demo", footage, tools))
    plain_s = statistics.median(p[0] for p in pairs)
    ratio = statistics.median(plain / chunked for plain, chunked, _, _ in pairs)
    cpu = statistics.median(chunked_cpu / plain_cpu for _, _, plain_cpu, chunked_cpu in pairs)
    spread = ", ".join(f"{plain / chunked:.2f}" for plain, chunked, _, _ in pairs)
    return [
        Row(figure="plain ffmpeg", measured=SECONDS / plain_s, unit="x realtime", note="720/480/240, superfast"),
        Row(
            figure="chunked against plain, speed",
            measured=ratio,
            unit="x",
            baseline="plain ffmpeg, same cores",
            goal=">= 0.95",
            met=ratio >= 0.95,
            note=f"pairs: {spread}",
        ),
        Row(figure="chunked against plain, CPU", measured=cpu, unit="x", baseline="plain ffmpeg, user + system"),
        Row(figure="demo content complete", measured=demo_s, unit="s", goal="<= 60 s", met=demo_s <= 60),
    ]


def looped(folder: Path, footage: Path, tools: MediaTools) -> Path:
    """The footage again and again, without encoding, up to the length in use."""
    (folder / "uploads").mkdir(parents=True)
    upload = folder / "uploads" / "u"
    argv = [tools.ffmpeg, "-v", "error", "-nostdin", "-stream_loop", "-1", "-i", footage, "-t", str(SECONDS)]
    subprocess.run([*argv, "-c", "copy", "-f", "mp4", upload], check=True)
    return upload


async def one_pair(folder: Path, footage: Path, tools: MediaTools) -> tuple[float, float, float, float]:
    """(plain wall, chunked wall, plain CPU, chunked CPU), in seconds."""
    upload = looped(folder, footage, tools)
    plan = plan_asset(await probe_source(upload, tools), source="uploads/u")
    before, cpu = time.monotonic(), child_cpu_s()
    plain(plan, upload, folder, tools)
    plain_s, plain_cpu = time.monotonic() - before, child_cpu_s() - cpu
    before, cpu = time.monotonic(), child_cpu_s()
    await chunked(plan, folder, tools)
    result = plain_s, time.monotonic() - before, plain_cpu, child_cpu_s() - cpu
    shutil.rmtree(folder)
    return result


def plain(plan: Plan, upload: Path, folder: Path, tools: MediaTools) -> None:
    count = len(plan.rungs)
    graph = f"[0:V:0]split={count}" + "".join(f"[s{n}]" for n in range(count))
    for n, rung in enumerate(plan.rungs):
        graph += f";[s{n}]scale={rung.width}:{rung.height}:flags=bicubic,setsar=1[o{n}]"
    argv = [tools.ffmpeg, "-v", "error", "-nostdin", "-y", "-i", upload, "-filter_complex", graph]
    for n, rung in enumerate(plan.rungs):
        codec = video_codec(plan, rung.kbits)
        codec[codec.index("-threads") + 1] = str(os.cpu_count() or 1)
        argv += ["-map", f"[o{n}]", *codec, folder / f"plain-{rung.id}.mp4"]
    audio = plan.audio[0]
    argv += ["-map", f"0:a:{audio.index}", "-c:a", "aac", "-b:a", f"{audio.kbits}k", "-ac", "2", folder / "plain-a.mp4"]
    subprocess.run(argv, check=True)


async def chunked(plan: Plan, folder: Path, tools: MediaTools) -> None:
    """Every transcode job, as many at once as there are cores, as that many workers would lease them."""
    jobs = [job for job in plan_jobs(plan, "bench") if job.kind == TRANSCODE]
    gate = asyncio.Semaphore(os.cpu_count() or 1)
    workspace = Workspace(folder)

    async def leased(number: int) -> None:
        async with gate:
            await run_job(jobs[number], workspace, tools)

    await asyncio.gather(*(leased(number) for number in range(len(jobs))))


async def demo(folder: Path, footage: Path, tools: MediaTools) -> float:
    before = time.monotonic()
    await make_demo(Workspace(folder), tools, footage, lambda _done, _total, _what: None)
    return time.monotonic() - before
