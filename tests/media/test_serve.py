"""Media over HTTP for single and hub: paths, tokens, ranges; and ffmpeg as a client that plays all of it."""

import asyncio
import itertools
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from eisbach.bootstrap.tools import Tools
from eisbach.domain.catalog import Asset, Channel, Programme
from eisbach.kernel.tokens import mint_media_token
from eisbach.media.hls import Pathway
from eisbach.media.jobs import Workspace
from eisbach.media.manifests import Manifests, manifest_routes
from eisbach.media.serve import media_routes

from .asgi import ask
from .conftest import KEYS, START_MS, ManualClock, Packaged

pytestmark = pytest.mark.processes


@dataclass(frozen=True)
class Snapshot:
    assets: Mapping[str, Asset]
    channels: Mapping[str, Channel]


@dataclass(frozen=True)
class Served:
    app: ASGIApp
    clock: ManualClock
    workspace: Workspace


def token(scope: str) -> str:
    return mint_media_token(KEYS["k1"], kid="k1", expiry=START_MS // 1000 + 10_000_000, scope=scope)


def serve(packaged: Packaged, origin: str = "http://127.0.22.3:9") -> Served:
    """The packaged film alone, and a channel that shows its first 6 s, then its first 4 s, for ever."""
    loop = [Programme(title="t", asset="film", duration_ms=6000), Programme(title="t", asset="film", duration_ms=4000)]
    channel = Channel(id="one", revision=1, number=1, names={}, markets=[], start_ms=START_MS, loop=loop)
    snapshot = Snapshot({"film": packaged.asset}, {"one": channel})
    clock = ManualClock(START_MS + 60_000)
    manifests = Manifests(lambda: snapshot, clock=clock, keys=lambda: KEYS, pathways=[Pathway("eu-central", origin)])
    packaged.workspace.link_channel("one", ["film"])
    routes = [*media_routes(packaged.blobs / "media", manifests), *manifest_routes(manifests)]
    return Served(Starlette(routes=list(routes)), clock, packaged.workspace)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/t/{film}/vod/film/master.m3u8", "application/vnd.apple.mpegurl"),
        ("/t/{film}/vod/film/manifest.mpd", "application/dash+xml"),
        ("/t/{film}/vod/film/v240.m3u8", "application/vnd.apple.mpegurl"),
        ("/t/{film}/vod/film/v240/init.mp4", "video/mp4"),
        ("/t/{film}/vod/film/v240/13.m4s", "video/iso.segment"),
        ("/t/{film}/vod/film/t-de.vtt", "text/vtt"),
        ("/t/{one}/ch/one/master.m3u8", "application/vnd.apple.mpegurl"),
        ("/t/{one}/ch/one/manifest.mpd", "application/dash+xml"),
        ("/t/{one}/ch/one/a-de.m3u8", "application/vnd.apple.mpegurl"),
        ("/t/{one}/ch/one/film/a-de/1.m4s", "video/iso.segment"),
        ("/img/film/poster.jpg", "image/jpeg"),
        ("/img/film/thumbs.vtt", "text/vtt"),
    ],
)
async def test_every_media_path_of_the_contract_is_served(packaged: Packaged, path: str, kind: str) -> None:
    answer = await ask(serve(packaged).app, path.format(film=token("film"), one=token("one")))

    assert (answer.status, answer.headers["content-type"].split(";")[0]) == (200, kind)
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/t/{other}/vod/film/v240/1.m4s", 403),
        ("/t/{one}/vod/film/v240/1.m4s", 403),
        ("/t/{film}/ch/one/film/v240/1.m4s", 403),
        ("/t/{film}x/vod/film/v240/1.m4s", 403),
        ("/t//vod/film/v240/1.m4s", 404),
        ("/t/{film}/vod/film/v240/14.m4s", 404),
        ("/t/{film}/vod/film/v240/01.m4s", 404),
        ("/t/{film}/vod/film/v240/0.m4s", 404),
        ("/t/{film}/vod/film/files.json", 404),
        ("/t/{film}/vod/film/v240", 404),
        ("/t/{film}/vod/film/../film/v240/1.m4s", 404),
        ("/t/{all}/vod/film/v240/1.m4s", 403),
        ("/t/{film}/vod/../../uploads/u-1", 403),
        ("/t/{film}/vod/film/%2e%2e/x.m3u8", 404),
        ("/t/{one}/ch/one/other/v240/1.m4s", 404),
        ("/img/film/../film/v240.m3u8", 404),
        ("/img/film/files.json", 404),
    ],
)
async def test_anything_else_is_refused(packaged: Packaged, path: str, status: int) -> None:
    names = {name: token(name) for name in ("film", "one", "other", "all")}

    answer = await ask(serve(packaged).app, path.format(**names))

    assert answer.status == status


async def test_an_asset_that_is_not_on_the_channel_is_not_reached_through_it(
    packaged: Packaged, tmp_path: Path
) -> None:
    served = serve(packaged)
    link = packaged.blobs / "media" / "ch" / "one" / "film"
    link.unlink()

    answer = await ask(served.app, f"/t/{token('one')}/ch/one/film/v240/1.m4s")
    packaged.workspace.link_channel("one", ["film"])

    assert answer.status == 404


async def test_linking_a_channel_makes_its_folder_match_its_loop(packaged: Packaged) -> None:
    folder = packaged.blobs / "media" / "ch" / "two"

    packaged.workspace.link_channel("two", ["film", "old"])
    packaged.workspace.link_channel("two", ["film"])
    packaged.workspace.link_channel("two", ["film"])

    assert {p.name: str(p.readlink()) for p in folder.iterdir()} == {"film": "../../vod/film"}


async def test_a_range_is_answered_with_exactly_those_bytes(packaged: Packaged) -> None:
    path = f"/t/{token('film')}/vod/film/v240/1.m4s"
    whole = await ask(serve(packaged).app, path)

    part = await ask(serve(packaged).app, path, headers={"Range": "bytes=100-299"})
    tail = await ask(serve(packaged).app, path, headers={"Range": "bytes=-7"})
    beyond = await ask(serve(packaged).app, path, headers={"Range": "bytes=99999999-"})

    assert (part.status, part.body) == (206, whole.body[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(whole.body)}"
    assert tail.body == whole.body[-7:]
    assert beyond.status == 416


async def test_a_preflight_is_answered_for_a_day(packaged: Packaged) -> None:
    answer = await ask(serve(packaged).app, f"/t/{token('film')}/vod/film/v240/1.m4s", method="OPTIONS")

    assert (answer.status, answer.headers["access-control-max-age"]) == (204, "86400")


@asynccontextmanager
async def listening(app: ASGIApp, host: str) -> AsyncIterator[uvicorn.Server]:
    config = uvicorn.Config(app, host=host, port=8081, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:
            await asyncio.sleep(0.01)
    try:
        yield server
    finally:
        server.should_exit = True
        await task


async def packets(tools: Tools, url: str, *options: str) -> dict[int, list[float]]:
    """Every packet's time per stream, as ffprobe reads it through the network."""
    argv = [
        tools.ffprobe,
        "-v",
        "error",
        *options,
        "-show_entries",
        "packet=stream_index,pts_time",
        "-of",
        "csv=p=0",
        url,
    ]
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = await asyncio.wait_for(process.communicate(), 40)
    assert (process.returncode, errors) == (0, b"")
    found: dict[int, list[float]] = {}
    for row in output.decode().split():
        stream, time = row.rstrip(",").split(",")[:2]
        found.setdefault(int(stream), []).append(float(time))
    return found


def assert_gapless(times: list[float], step: float) -> None:
    gaps = [after - before for before, after in itertools.pairwise(sorted(times))]
    assert max(abs(gap - step) for gap in gaps) < 0.002


async def test_ffmpeg_plays_a_title_over_hls_without_a_gap(packaged: Packaged, all_tools: Tools) -> None:
    origin = "http://127.0.22.4:8081"
    async with listening(serve(packaged, origin).app, "127.0.22.4"):
        found = await packets(all_tools, f"{origin}/t/{token('film')}/vod/film/master.m3u8")

    pictures = [times for times in found.values() if len(times) == 650]
    sounds = [times for times in found.values() if 1217 <= len(times) <= 1222]
    assert (len(pictures), len(sounds)) == (2, 2)
    for times in pictures:
        assert_gapless(times, 0.04)
    for times in sounds:
        assert_gapless(times[:-1], 1024 / 48000)


DASH = "{urn:mpeg:dash:schema:mpd:2011}"


async def dash_tracks(app: ASGIApp, target: str) -> dict[str, tuple[bytes, list[float]]]:
    """A DASH client of twenty lines: per representation its bytes, and the seconds at which segments should start.

    The ffmpeg of the wheel is built without libxml2 and so without a DASH demuxer; it still plays what we fetch.
    """
    root = ET.fromstring((await ask(app, target)).text)
    base = urlsplit(root.findtext(f"{DASH}BaseURL") or "").path
    found: dict[str, tuple[bytes, list[float]]] = {}
    for representation in root.iter(f"{DASH}Representation"):
        template = representation.find(f"{DASH}SegmentTemplate")
        if template is None:
            continue
        name, scale = representation.attrib["id"], int(template.attrib["timescale"])
        number, at = int(template.attrib["startNumber"]), 0
        body = (await ask(app, base + template.attrib["initialization"].replace("$RepresentationID$", name))).body
        starts = []
        for entry in template.iter(f"{DASH}S"):
            at = int(entry.get("t", at))
            for _ in range(int(entry.get("r", "0")) + 1):
                path = template.attrib["media"].replace("$RepresentationID$", name).replace("$Number$", str(number))
                answer = await ask(app, base + path)
                assert answer.status == 200
                body, number = body + answer.body, number + 1
                starts.append(at / scale)
                at += int(entry.attrib["d"])
        found[name] = (body, starts)
    return found


async def test_ffmpeg_plays_what_the_dash_manifest_lists_without_a_gap(packaged: Packaged, all_tools: Tools) -> None:
    tracks = await dash_tracks(serve(packaged).app, f"/t/{token('film')}/vod/film/manifest.mpd")

    assert list(tracks) == ["v480", "v240", "a-de", "a-en"]
    for name, (body, starts) in tracks.items():
        argv = [all_tools.ffprobe, "-v", "error", "-show_entries", "packet=pts_time", "-of", "csv=p=0", "-"]
        output = subprocess.run(argv, input=body, capture_output=True, check=True).stdout.decode().split()
        times = sorted(float(row.rstrip(",")) for row in output)
        assert_gapless(times[:-1], 0.04 if name.startswith("v") else 1024 / 48000)
        if name.startswith("v"):
            assert len(times) == 650
            assert set(starts) <= set(times)


async def test_ffmpeg_plays_the_channel_across_programmes(packaged: Packaged, all_tools: Tools) -> None:
    """The clock runs ten times as fast: ffmpeg reloads, meets discontinuities and gets every segment once."""
    origin = "http://127.0.22.5:8081"
    served = serve(packaged, origin)
    seen: list[str] = []

    async def noting(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        seen.append(scope.get("path", ""))
        await served.app(scope, receive, send)

    async def run_clock() -> None:
        while True:
            await asyncio.sleep(0.1)
            served.clock.now_ms += 1000

    async with listening(noting, "127.0.22.5"):
        running = asyncio.create_task(run_clock())
        url = f"{origin}/t/{token('one')}/ch/one/v240.m3u8"
        argv = [all_tools.ffmpeg, "-v", "warning", "-live_start_index", "0", "-i", url, "-map", "0:v", "-c", "copy"]
        argv += ["-frames:v", "1500", "-f", "framehash", "-hash", "md5", "-"]
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        output, errors = await asyncio.wait_for(process.communicate(), 50)
        running.cancel()

    rows = [r.replace(" ", "").split(",") for r in output.decode().splitlines() if not r.startswith("#")]
    segments = [p.rsplit("/", 1)[1] for p in seen if p.endswith(".m4s")]
    assert process.returncode == 0, errors
    assert len(rows) == 1500
    loop = ["1.m4s", "2.m4s", "3.m4s", "1.m4s", "2.m4s"]
    start = next(n for n in range(5) if (loop * 2)[n : n + 5] == segments[:5])
    assert segments[:30] == (loop * 8)[start : start + 30]
