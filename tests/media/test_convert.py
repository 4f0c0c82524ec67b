"""A picture encoded by MediaConvert, as far as it can be had here: a stand-in speaks its HTTP and encodes for real.

What is asked is held to botocore's model of the service; what MediaConvert itself makes of it was never seen.
"""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from botocore.model import ServiceModel, Shape
from botocore.session import get_session

from eisbach.engines.aws.clients import AwsPlace
from eisbach.engines.aws.media_convert import open_media_convert
from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.errors import Invalid, Unavailable
from eisbach.media.convert import ConvertWork, job_settings
from eisbach.media.plan import Plan, Rung, plan_jobs
from eisbach.media.tools import MediaTools
from eisbach.media.work import BlobWork
from eisbach.ports.converter import Converter

from .conftest import Packaged

ROLE = "arn:aws:iam::111122223333:role/eisbach-eu-central-mediaconvert"
PLAN = Plan(
    source="uploads/u-1",
    container="mov",
    fps=25,
    frames=150,
    rungs=[
        Rung(id="v720", width=1280, height=720, kbits=2400),
        Rung(id="v240", width=426, height=240, kbits=350),
    ],
    audio=[],
    whole=True,
)


class StandIn:
    """MediaConvert's three calls; a job is done by ffmpeg when it is first looked at, unless it is told to fail."""

    def __init__(self, blobs: Path, ffmpeg: Path) -> None:
        self._blobs, self._ffmpeg = blobs, ffmpeg
        self.jobs: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, str] = {}
        self.fails = 0
        self.looks_running = 1
        self.cancelled: list[str] = []

    def routes(self) -> list[web.RouteDef]:
        jobs = "/2017-08-29/jobs"
        return [web.post(jobs, self.create), web.get(jobs + "/{id}", self.get), web.delete(jobs + "/{id}", self.cancel)]

    async def create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        assert asked["role"] == ROLE
        job = self.tokens.setdefault(asked["clientRequestToken"], f"job-{len(self.jobs) + 1}")
        fails = self.fails > 0
        self.fails -= fails
        self.jobs.setdefault(job, {"settings": asked["settings"], "status": "SUBMITTED", "looks": 0, "fails": fails})
        return web.json_response(self._told(job), status=201)

    async def get(self, request: web.Request) -> web.Response:
        job = request.match_info["id"]
        if job not in self.jobs:
            return web.json_response({"message": "no job"}, status=404, headers={"x-amzn-ErrorType": "NotFoundException"})  # fmt: skip
        kept = self.jobs[job]
        kept["looks"] += 1
        if kept["status"] in ("SUBMITTED", "PROGRESSING"):
            kept["status"] = "PROGRESSING"
            if kept["looks"] > self.looks_running:
                kept["status"] = "ERROR" if kept["fails"] else "COMPLETE"
                if not kept["fails"]:
                    await asyncio.to_thread(self._encode, kept["settings"])
        return web.json_response(self._told(job))

    async def cancel(self, request: web.Request) -> web.Response:
        self.cancelled.append(request.match_info["id"])
        self.jobs[request.match_info["id"]]["status"] = "CANCELED"
        return web.json_response({}, status=202)

    def _told(self, job: str) -> dict[str, Any]:
        kept = self.jobs[job]
        wrong = {"errorCode": 1404, "errorMessage": "unable to open input"} if kept["status"] == "ERROR" else {}
        return {"job": {"id": job, "status": kept["status"], "jobPercentComplete": 40, "role": ROLE, "settings": {}, **wrong}}  # fmt: skip

    def _encode(self, settings: dict[str, Any]) -> None:
        source = self._path(settings["inputs"][0]["fileInput"])
        for group in settings["outputGroups"]:
            made = self._path(group["outputGroupSettings"]["fileGroupSettings"]["destination"] + ".mp4")
            video = group["outputs"][0]["videoDescription"]
            h264 = video["codecSettings"]["h264Settings"]
            made.parent.mkdir(parents=True, exist_ok=True)
            gop, rate = str(int(h264["gopSize"])), h264["framerateNumerator"]
            subprocess.run(
                [self._ffmpeg, "-v", "error", "-nostdin", "-y", "-i", source, "-an", "-sn", "-dn",
                 "-vf", f"fps={rate},scale={video['width']}:{video['height']},setsar=1", "-c:v", "libx264",
                 "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-profile:v", "main", "-g", gop, "-keyint_min", gop, "-sc_threshold", "0",
                 "-flags:v", "+cgop", "-maxrate", str(h264["maxBitrate"]), "-bufsize", str(h264["hrdBufferSize"]), made],
                check=True,
            )  # fmt: skip

    def _path(self, uri: str) -> Path:
        assert uri.startswith("s3://eb-media/")
        return self._blobs / uri.removeprefix("s3://eb-media/")


class Hurried(SystemClock):
    """Looks again at once."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Rig:
    def __init__(self, folder: Path, service: StandIn, converter: Converter) -> None:
        self.folder, self.service, self.converter = folder, service, converter
        self.blobs = FileBlobs(folder / "blobs")

    def worker(self, name: str) -> ConvertWork:
        own = self.folder / name
        own.mkdir()
        inner = BlobWork(FileBlobs(self.folder / "blobs"), own)
        return ConvertWork(inner, self.blobs, self.converter, root="s3://eb-media", clock=Hurried())


@pytest.fixture
async def rig(tmp_path: Path, tools: MediaTools, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    service = StandIn(tmp_path / "blobs", tools.ffmpeg)
    app = web.Application()
    app.add_routes(service.routes())
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    async with open_media_convert(AwsPlace(region="eu-central-1", endpoint=f"http://127.0.0.1:{port}"), role=ROLE) as c:
        yield Rig(tmp_path, service, c)
    await runner.cleanup()


def quiet(_: float) -> None:
    return


# --- what is asked -----------------------------------------------------------------------------------------------------


def problems(value: Any, shape: Shape, at: str) -> list[str]:
    """What botocore's model says against it: unknown members, types, enumerations, ranges, patterns."""
    if shape.type_name == "structure":
        members = shape.members  # type: ignore[attr-defined]
        unknown = [f"{at}.{name} is unknown" for name in value if name not in members]
        return unknown + [p for n, v in value.items() if n in members for p in problems(v, members[n], f"{at}.{n}")]
    if shape.type_name == "list":
        return [p for n, v in enumerate(value) for p in problems(v, shape.member, f"{at}[{n}]")]  # type: ignore[attr-defined]
    kinds: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "double": (float,), "boolean": (bool,)}
    if not isinstance(value, kinds[shape.type_name]):
        return [f"{at} is no {shape.type_name}"]
    told = shape.metadata
    wrong = bool("enum" in told and value not in told["enum"])
    if shape.type_name in ("integer", "double"):
        wrong |= not told.get("min", value) <= value <= told.get("max", value)
    if "pattern" in told:
        wrong |= re.search(told["pattern"].replace("(?i)", ""), value, re.IGNORECASE) is None
    return [f"{at}: {value!r} is not allowed"] if wrong else []


def settings_shape() -> Shape:
    described = get_session().get_component("data_loader").load_service_model("mediaconvert", "service-2")
    model = ServiceModel(described)
    return model.operation_model("CreateJob").input_shape.members["Settings"]  # type: ignore[no-any-return]


def test_every_word_of_a_job_is_one_that_the_service_knows() -> None:
    assert problems(job_settings(PLAN, "film", root="s3://eb-media"), settings_shape(), "Settings") == []


def test_a_job_that_the_service_would_refuse_is_found() -> None:
    settings = job_settings(PLAN, "film", root="s3://eb-media")
    h264 = settings["OutputGroups"][0]["Outputs"][0]["VideoDescription"]["CodecSettings"]["H264Settings"]
    h264 |= {"RateControlMode": "CRF", "QvbrSettings": {"QvbrQualityLevel": 11}, "Preset": "fast"}

    assert len(problems(settings, settings_shape(), "Settings")) == 3


def test_every_rendition_is_where_the_packager_looks_and_has_key_pictures_on_the_grid() -> None:
    groups = job_settings(PLAN, "film", root="s3://eb-media")["OutputGroups"]
    found = {}
    for group in groups:
        video = group["Outputs"][0]["VideoDescription"]
        h264 = video["CodecSettings"]["H264Settings"]
        assert (h264["GopSize"], h264["GopSizeUnits"], h264["GopClosedCadence"], h264["SceneChangeDetect"]) == (50.0, "FRAMES", 1, "DISABLED")  # fmt: skip
        where = group["OutputGroupSettings"]["FileGroupSettings"]["Destination"]
        found[where] = (video["Width"], video["Height"], h264["MaxBitrate"], h264["FramerateNumerator"])

    assert found == {
        "s3://eb-media/work/film/v720/0000": (1280, 720, 2_400_000, 25),
        "s3://eb-media/work/film/v240/0000": (426, 240, 350_000, 25),
    }
    assert [job.part for job in plan_jobs(PLAN, "film")] == ["v0000", "package"]


def test_an_asset_whose_name_leads_elsewhere_is_refused() -> None:
    with pytest.raises(Invalid):
        job_settings(PLAN, "../other", root="s3://eb-media")


# --- what becomes of it ------------------------------------------------------------------------------------------------


@pytest.mark.processes
async def test_an_asset_is_packaged_whole_from_a_picture_that_was_encoded_elsewhere(
    rig: Rig, packaged: Packaged, tools: MediaTools
) -> None:
    for name in ("uploads/u-1", "uploads/u-1.de.vtt"):
        await rig.blobs.put_file(name, packaged.blobs / name)
    plan = msgspec.structs.replace(packaged.plan, whole=True)
    jobs = plan_jobs(plan, "film")

    made = [await rig.worker(job.part).run(job, tools, quiet) for job in jobs]

    asset = made[-1]
    assert asset is not None
    assert {t.id: t.segments for t in asset.tracks} == {t.id: t.segments for t in packaged.asset.tracks}, "same grid"
    assert asset.duration_ms == packaged.asset.duration_ms
    assert len(rig.service.jobs) == 1
    assert await rig.blobs.keys("work/") == ["work/film/asset.json"]


@pytest.fixture
async def part(rig: Rig, packaged: Packaged) -> Any:
    await rig.blobs.put_file("uploads/u-1", packaged.blobs / "uploads/u-1")
    plan = msgspec.structs.replace(packaged.plan, whole=True)
    return next(job for job in plan_jobs(plan, "film") if job.part == "v0000")


@pytest.mark.processes
async def test_a_worker_that_takes_over_waits_for_the_job_that_another_began(
    rig: Rig, part: Any, tools: MediaTools
) -> None:
    rig.service.looks_running = 1_000_000
    first = asyncio.create_task(rig.worker("one").run(part, tools, quiet))
    while not rig.service.jobs or rig.service.jobs["job-1"]["looks"] < 2:
        await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    rig.service.looks_running = 0
    shares: list[float] = []
    await rig.worker("another").run(part, tools, shares.append)
    await rig.worker("a third").run(part, tools, shares.append)

    assert (len(rig.service.jobs), rig.service.cancelled, shares[-1]) == (1, [], 1.0)


@pytest.mark.processes
@pytest.mark.parametrize(("fails", "jobs"), [(1, 2), (2, 3)])
async def test_a_job_that_ended_badly_is_begun_anew(
    rig: Rig, part: Any, tools: MediaTools, fails: int, jobs: int
) -> None:
    rig.service.fails = fails
    await rig.worker("one").run(part, tools, quiet)

    assert len(rig.service.jobs) == jobs


@pytest.mark.processes
async def test_a_picture_that_is_never_encoded_is_told_with_the_services_words_and_costs_no_fourth_job(
    rig: Rig, part: Any, tools: MediaTools
) -> None:
    rig.service.fails = 9
    with pytest.raises(Unavailable, match=r"not encoded in 3 tries: job job-3 is ERROR: 1404 unable to open input"):
        await rig.worker("one").run(part, tools, quiet)

    assert len(rig.service.jobs) == 3


async def test_a_job_that_the_service_has_forgotten_and_one_that_is_ended_twice_are_no_errors(rig: Rig) -> None:
    assert (await rig.converter.look("job-9")).state == "gone"
    job = await rig.converter.start(job_settings(PLAN, "film", root="s3://eb-media"), token="t" * 64)
    assert await rig.converter.start(job_settings(PLAN, "film", root="s3://eb-media"), token="t" * 64) == job
    await rig.converter.cancel(job)

    assert (await rig.converter.look(job)).state == "gone"
