"""P17: playback beyond the buffer survives the loss of a region - refused, hanging, 503, cut mid-body.

Pairs are (failure x player x live or on demand). ``make test`` runs half of them, by rotation with the number of commits;
``make soak`` runs all. A pair's page has its buffer capped at 10 s and plays 60 s beyond what was buffered when the region
went, asserted by the page's own gap detector and by segment requests in the surviving origin's log.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import imageio_ffmpeg
import pytest
from playwright.sync_api import Browser

from .browser import Watching, chromium, device_at_home_in, watching
from .platform import ROOT, Platform, call, running
from .viewer import Viewer

pytestmark = pytest.mark.browser

CENTRAL, WEST = "eu-central", "eu-west"
FAILURES = {"refused": "down", "hanging": "hang", "503": "error", "cut mid-body": "truncate"}
PLAYERS = ("hls", "shaka")
KINDS = ("live", "vod")
BUFFER_S, BEYOND_S, GAP_MS = 10, 60, 300
STARVED_S, MACHINE_MS = 1.0, 1500
"""A picture that stands with more than a second buffered waits for this machine (two cores decode, encode and serve), not
for a region; that is told apart by what was buffered when it stopped, and even then it may not stand for long."""
SOAK = bool(os.environ.get("SOAK"))


def rotation() -> int:
    """0 or 1, from the number of commits: consecutive landings run different halves; ``ROTATION`` asks for one."""
    if asked := os.environ.get("ROTATION"):
        return int(asked) % 2
    done = subprocess.run(["git", "rev-list", "--count", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(done.stdout or 0) % 2


def pairs(failure: str) -> list[tuple[str, str]]:
    """The (player, kind) pairs to run with a failure."""
    everything = [(player, kind) for player in PLAYERS for kind in KINDS]
    if SOAK:
        return everything
    diagonal = (rotation() + list(FAILURES).index(failure)) % 2
    return [p for p in everything if (PLAYERS.index(p[0]) + KINDS.index(p[1])) % 2 == diagonal]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    data = tmp_path_factory.mktemp("failover") / "data"
    with running(data, stage="regions", network="127.0.46") as started:
        started.until("demo content", lambda: started.status()["demo"]["state"] == "ready", 240)
        started.until("copies in both regions", started.copied, 60)
        yield started


@pytest.fixture(autouse=True)
def _healed(platform: Platform) -> Iterator[None]:
    """A test that failed in the middle must not take the next one with it."""
    yield
    if platform.status().get("faults"):
        platform.heal()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def titles(platform: Platform) -> list[str]:
    """Titles on offer, by the home page."""
    _, _, home = call("GET", f"{platform.front}/v1/de/free/web/18/home")
    return list(dict.fromkeys(i["id"] for rail in home["rails"] for i in rail["items"] if i["kind"] == "title"))


def channel(platform: Platform) -> str:
    _, _, config = call("GET", f"{platform.front}/demo/config")
    return str(config["channel"])


def segments_after(platform: Platform, region: str, ms: float) -> list[dict[str, Any]]:
    return [
        line
        for line in platform.origin_log(region)
        if line["path"].endswith(".m4s") and line["status"] == 200 and float(line["t"]) * 1000 >= ms
    ]


@pytest.mark.parametrize("failure", FAILURES)
def test_playback_survives_the_loss_of_a_region(platform: Platform, browser: Browser, failure: str) -> None:
    edge = next(r["edge"] for r in platform.status()["regions"] if r["name"] == CENTRAL)
    offered, live = titles(platform), channel(platform)
    with ExitStack() as stack:
        pages: list[tuple[Watching, str]] = []
        for player, kind in pairs(failure):
            protocol = "dash" if player == "shaka" and kind == "vod" else "hls"
            page = stack.enter_context(
                watching(
                    browser, name=f"{failure}/{player}/{kind}", front=platform.front,
                    query=f"player={player}&protocol={protocol}&buffer={BUFFER_S}&muted",
                    device=device_at_home_in(CENTRAL, edge, f"dev-{FAILURES[failure]}-{player}-{kind}"),
                )
            )  # fmt: skip
            page.go(f"live/{live}" if kind == "live" else f"watch/{offered[0]}")
            page.playing()
            pages.append((page, kind))
        at_start = [
            page.until("a full buffer", lambda s: s["bufferedEnd"] - s["currentTime"] > 3, 30) for page, _ in pages
        ]
        assert {s["region"] for s in at_start} == {CENTRAL}, "the preferred region serves before the fault"

        gone_ms = time.time() * 1000
        platform.fault(FAILURES[failure], f"region/{CENTRAL}")
        lost_ms = (
            time.time() * 1000
        )  # the command takes a while to start on a busy machine; from here on it is in effect
        ends = [page.stats()["bufferedEnd"] for page, _ in pages]
        assert all(s["bufferedEnd"] - s["currentTime"] <= BUFFER_S + 4 for s in (page.stats() for page, _ in pages))
        for (page, _), end in zip(pages, ends, strict=True):
            page.until(
                f"{BEYOND_S} s beyond the buffer",
                lambda s, end=end: s["currentTime"] > end + BEYOND_S,
                BEYOND_S + BUFFER_S + 30,
            )

        for page, _ in pages:
            stats = page.stats()
            gaps = [s for s in stats["stalls"] if s["at"] + s["ms"] >= gone_ms and is_gap(s)]
            longest = max((s["ms"] for s in stats["stalls"] if s["at"] + s["ms"] >= gone_ms), default=0)
            print(f"{page.name}: longest pause of the picture after the loss {longest:.0f} ms")
            assert gaps == [], f"{page.name}: {gaps}"
            assert stats["region"] == WEST, page.name
        # Gapless is not enough: the survivor must have served about a segment of picture every two seconds.
        served = segments_after(platform, WEST, gone_ms)
        assert len(served) >= len(pages) * BEYOND_S / 2 * 0.8, len(served)
        assert segments_after(platform, CENTRAL, lost_ms + 1000) == [], "the lost origin served: it was not lost"

        for page, kind in pages:
            goes_on(page, kind, offered, live)
    platform.heal()


def is_gap(stall: dict[str, Any]) -> bool:
    """Whether viewers would have seen it because of the fault."""
    return stall["ms"] >= (GAP_MS if stall["ahead"] < STARVED_S else MACHINE_MS)


def goes_on(page: Watching, kind: str, offered: list[str], live: str) -> None:
    """Seek to what is not buffered, reload, and pick another title, all with the region away."""
    if kind == "vod":
        page.page.evaluate("document.querySelector('video').currentTime = 420")
        page.until("playing after a seek", lambda s: s["state"] == "playing" and s["currentTime"] > 420.5, 15)
    page.page.reload()
    page.playing(15)
    page.go(f"watch/{offered[1]}")
    page.playing(15)
    page.go(f"live/{live}")
    page.playing(15)


@pytest.mark.parametrize("gone", ["", CENTRAL])
@pytest.mark.parametrize("kind", KINDS)
def test_plain_ffmpeg_plays_hls_and_dash_through_the_front_also_with_a_region_down(
    platform: Platform, kind: str, gone: str
) -> None:
    if gone:
        platform.fault("down", f"region/{gone}")
    asset = {"type": kind, "id": channel(platform) if kind == "live" else titles(platform)[0]}
    viewer = Viewer(platform.front, f"dev-ffmpeg-{kind}-{gone}").sign_in()
    body = {"asset": asset, "profile": "main", "device": {"id": viewer.device, "plat": "web"}, "intent": "user"}
    status, _, session = viewer.ask(
        "POST", "/v1/playback/sessions", body, Idempotency_Key=f"ffmpeg-{kind}-{gone or 'both'}"
    )
    assert status == 201, session

    seconds = {
        protocol: decoded(f"{platform.front}/t/{session['manifests'][protocol].split('/t/', 1)[1]}")
        for protocol in ("hls", "dash")
    }

    assert all(5.9 <= found <= 6.1 for found in seconds.values()), seconds


def decoded(url: str) -> float:
    """Seconds of picture that a plain ffmpeg shows of the first six."""
    argv = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-i", url, "-map", "0:v:0", "-t", "6"]
    done = subprocess.run(
        [*argv, "-progress", "pipe:1", "-f", "null", "-"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{url.partition('/t/')[0]}: {done.returncode}\n{done.stderr[-2000:]}"
    return max(int(line.partition("=")[2]) for line in done.stdout.splitlines() if line.startswith("out_time_us")) / 1e6


def test_starting_with_one_region_hanging_shows_the_first_frame_within_two_seconds(
    platform: Platform, browser: Browser
) -> None:
    edge = next(r["edge"] for r in platform.status()["regions"] if r["name"] == CENTRAL)
    device = device_at_home_in(CENTRAL, edge, "dev-start")
    with watching(browser, name="start", front=platform.front, query="muted", device=device) as page:
        page.go("")
        page.until("signed in", lambda s: s["sdk"], 15)
        page.page.wait_for_timeout(500)
        platform.fault("hang", f"region/{CENTRAL}")
        page.page.evaluate(f"location.hash = '#/watch/{titles(platform)[0]}'")
        stats = page.playing(15)

    platform.heal()
    assert stats["firstFrameMs"] <= 2000, stats["firstFrameMs"]
