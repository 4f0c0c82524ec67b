"""Shared by the media tests: the binaries, a source that takes no time to make, and a clock turned by hand."""

import asyncio
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from eisbach.bootstrap.tools import Tools, locate_footage, locate_tools
from eisbach.domain.catalog import Asset, Channel, Image, Programme, TextTrack, Track
from eisbach.media.hls import Pathway
from eisbach.media.jobs import Workspace, run_job
from eisbach.media.plan import Plan, TextSource, plan_asset, plan_jobs
from eisbach.media.probe import probe_source
from eisbach.media.tools import MediaTools
from eisbach.settings import Settings

START_MS = 1_735_689_600_000
PATHWAYS = [Pathway("eu-central", "http://127.0.22.1:8081"), Pathway("eu-west", "http://127.0.22.2:8081")]
STEERING = "http://127.0.22.1:8000/v1/steer"
KEYS = {"k1": b"0" * 32, "k2": b"1" * 32}


class ManualClock:
    """Time as a port, standing still."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic_ms(self) -> int:
        return self.now_ms

    async def sleep(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)


@pytest.fixture(scope="session")
def all_tools() -> Tools:
    return locate_tools(Settings())


@pytest.fixture(scope="session")
def tools(all_tools: Tools) -> MediaTools:
    return all_tools.media


@pytest.fixture(scope="session")
def footage() -> Path:
    found = locate_footage()
    assert found is not None, "install eisbach[laptop]"
    return found


@pytest.fixture(scope="session")
def source(tools: MediaTools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """26 s of a moving test picture at 640 x 480 with a German and an English tone: three chunks, one of them short."""
    path = tmp_path_factory.mktemp("source") / "source.mp4"
    graph = "testsrc=s=640x480:r=25:d=26[v];sine=f=440:d=26:r=48000[a];sine=f=660:d=26:r=48000[b]"
    argv = [tools.ffmpeg, "-v", "error", "-nostdin", "-y", "-filter_complex", graph]
    argv += ["-map", "[v]", "-map", "[a]", "-map", "[b]", "-metadata:s:a:0", "language=ger"]
    argv += [
        "-metadata:s:a:1",
        "language=eng",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-g",
        "250",
        "-c:a",
        "aac",
        path,
    ]
    subprocess.run(argv, check=True)
    return path


def video_track(side: int, *, seconds: int, bandwidth: int) -> Track:
    return Track(
        id=f"v{side}", kind="video", codecs="avc1.4d401f", bandwidth=bandwidth, timescale=12800,
        segments=[(25600, seconds // 2)], width=side * 16 // 9 // 2 * 2, height=side, fps=25.0,
    )  # fmt: skip


def audio_track(name: str, language: str, *, role: str = "main") -> Track:
    return Track(
        id=name, kind="audio", codecs="mp4a.40.2", bandwidth=96000, timescale=48000,
        segments=[(96256, 2), (95488, 1)], channels=2, language=language, role=role,
    )  # fmt: skip


@pytest.fixture
def asset() -> Asset:
    """Six seconds: three segments of each track, sound drifting against the picture."""
    return Asset(
        id="film",
        duration_ms=6000,
        tracks=[
            video_track(720, seconds=6, bandwidth=2_400_000),
            video_track(240, seconds=6, bandwidth=400_000),
            audio_track("a-de", "de"),
            audio_track("a-de-ad", "de", role="description"),
            audio_track("a-en", "en"),
        ],
        text=[TextTrack(id="t-de", language="de"), TextTrack(id="t-en", language="en", kind="captions")],
        sprite=Image(columns=3, rows=1, tile_width=160, tile_height=90, every_ms=2000),
        files_sha256="0" * 64,
    )


@pytest.fixture
def short() -> Asset:
    """Four seconds; it has no description, so the channel has none."""
    return Asset(
        id="short",
        duration_ms=4000,
        tracks=[
            video_track(720, seconds=4, bandwidth=2_500_000),
            video_track(240, seconds=4, bandwidth=300_000),
            short_audio("a-de", "de"),
            short_audio("a-en", "en"),
        ],
    )


def short_audio(name: str, language: str) -> Track:
    return Track(
        id=name, kind="audio", codecs="mp4a.40.2", bandwidth=96000, timescale=48000,
        segments=[(96256, 1), (95744, 1)], channels=2, language=language,
    )  # fmt: skip


@pytest.fixture
def channel() -> Channel:
    loop = [
        Programme(title="t1", asset="film", duration_ms=6000),
        Programme(title="t2", asset="short", duration_ms=4000),
    ]
    return Channel(
        id="one", revision=1, number=1, names={"en": "One"}, markets=["de"], start_ms=START_MS, loop=loop
    )  # fmt: skip


@dataclass(frozen=True)
class Packaged:
    """An asset that went through every job, and the folder it went through."""

    workspace: Workspace
    blobs: Path
    plan: Plan
    asset: Asset


async def run_all(blobs: Path, source: Path, tools: MediaTools, *, asset: str = "film") -> Packaged:
    (blobs / "uploads").mkdir(parents=True, exist_ok=True)
    shutil.copy(source, blobs / "uploads" / "u-1")
    (blobs / "uploads" / "u-1.de.vtt").write_text("WEBVTT\n\n00:00:01.000 --> 00:00:03.000\nHallo\n")
    workspace = Workspace(blobs)
    facts = await probe_source(blobs / "uploads" / "u-1", tools)
    plan = plan_asset(
        facts, source="uploads/u-1", text=[TextSource(language="de", source="uploads/u-1.de.vtt")], preset="ultrafast"
    )
    results = [await run_job(job, workspace, tools) for job in plan_jobs(plan, asset)]
    made = results[-1]
    assert made is not None
    return Packaged(workspace, blobs, plan, made)


@pytest.fixture(scope="session")
def packaged(source: Path, tools: MediaTools, tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    return asyncio.run(run_all(tmp_path_factory.mktemp("blobs"), source, tools))
