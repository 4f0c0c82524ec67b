"""What a viewer waits for, in headless Chromium on running regions: first frame, and gaps when a region is lost.

Baseline of a gap: a player without a second region stands for good after what was buffered (10 s). Limit: no gap at all.
``BENCH_REPEATS`` (10) says how often each failure is made, ``BENCH_FAILURES`` (all) which kinds, with
commas between: a slice of a few minutes on a shared machine.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

from bench.figures import Row
from playwright.sync_api import Browser
from tests.e2e.browser import Watching, chromium, device_at_home_in, watching
from tests.e2e.platform import Platform, call, running

NETWORK = "127.0.57"
CENTRAL = "eu-central"
FAILURES = {"refused": "down", "hanging": "hang", "503": "error", "cut": "truncate"}
BUFFER_S, BEYOND_S, GAP_MS, FRAMES = 10, 15, 300, 10


def repeats() -> int:
    return max(1, min(100, int(os.environ.get("BENCH_REPEATS", "10"))))


def failures() -> list[str]:
    wanted = [name for name in os.environ.get("BENCH_FAILURES", ",".join(FAILURES)).split(",") if name]
    unknown = [name for name in wanted if name not in FAILURES]
    if unknown:
        raise SystemExit(f"BENCH_FAILURES: {unknown} unknown; known are {', '.join(FAILURES)}")
    return wanted


def shown(platform: Platform) -> tuple[str, str]:
    """(a title, the channel) on offer."""
    home = call("GET", f"{platform.front}/v1/de/free/web/18/home")[2]
    title = next(i["id"] for rail in home["rails"] for i in rail["items"] if i["kind"] == "title")
    return str(title), str(call("GET", f"{platform.front}/demo/config")[2]["channel"])


def first_frame(browser: Browser, front: str, address: str, name: str) -> float:
    """Milliseconds from the navigation inside the app, calls included, to the first frame; a new browser profile."""
    with watching(browser, name=name, front=front, query="muted", device=f"dev-bench-{name}") as page:
        page.go("")
        page.until("signed in", lambda s: s["sdk"], 20)
        page.page.wait_for_timeout(500)
        page.page.evaluate(f"location.hash = '#/{address}'")
        return float(page.playing(30)["firstFrameMs"])


def gap(browser: Browser, platform: Platform, failure: str, number: int) -> float:
    """The longest stall in milliseconds that began with the buffer run out, from the fault to 15 s beyond the buffer."""
    edge = next(r["edge"] for r in platform.status()["regions"] if r["name"] == CENTRAL)
    device = device_at_home_in(CENTRAL, edge, f"dev-gap-{failure}-{number}")
    query = f"player=hls&protocol=hls&buffer={BUFFER_S}&muted"
    with watching(browser, name=f"{failure} {number}", front=platform.front, query=query, device=device) as page:
        kind = ("live", "watch")[number % 2]
        page.go(f"{kind}/{shown(platform)[kind == 'live']}")
        page.playing()
        page.until("a buffer", lambda s: s["bufferedEnd"] - s["currentTime"] > 3, 30)
        gone_ms = time.time() * 1000
        platform.fault(FAILURES[failure], f"region/{CENTRAL}")
        stats = beyond(page)
    platform.heal()
    return max((s["ms"] for s in stats["stalls"] if s["at"] + s["ms"] >= gone_ms and s["ahead"] < 1), default=0.0)


def beyond(page: Watching) -> dict:
    """When it has played on past everything that was buffered; what cannot within a minute more is an error, not a gap."""
    end = page.stats()["bufferedEnd"]
    return page.until("beyond the buffer", lambda s: s["currentTime"] > end + BEYOND_S, BUFFER_S + BEYOND_S + 60)


def run() -> list[Row]:
    count, busy = repeats(), os.getloadavg()[0]
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="eisbach-bench-playback-") as folder,
        running(Path(folder) / "data", stage="regions", network=NETWORK) as platform,
        chromium() as browser,
    ):
        platform.until("demo content", lambda: platform.status()["demo"]["state"] == "ready", 240)
        title, channel = shown(platform)
        for what, address in (("live", f"live/{channel}"), ("on demand", f"watch/{title}")):
            took = [first_frame(browser, platform.front, address, f"{what[:2]}-{n}") for n in range(FRAMES)]
            print(f"  {what}: {[round(ms) for ms in took]} ms", flush=True)  # minutes of work: what is known is said
            p50 = statistics.median(took)
            rows.append(Row(
                figure=f"first frame, {what}, p50 of {FRAMES}", measured=p50 / 1000, unit="s", goal="<= 0.5 s", met=p50 <= 500,
                note=f"from {min(took) / 1000:.2f} to {max(took) / 1000:.2f} s; load {busy:.1f}",
            ))  # fmt: skip
        for failure in failures():
            gaps = [gap(browser, platform, failure, n) for n in range(count)]
            print(f"  {failure}: longest gaps {[round(ms) for ms in gaps]} ms", flush=True)
            seen = sum(ms >= GAP_MS for ms in gaps)
            rows.append(Row(
                figure=f"gaps, region {failure}, {count} times", measured=max(gaps), unit="ms longest",
                baseline=f"{BUFFER_S} s buffered, then nothing", limit="0 ms", goal=f"none >= {GAP_MS} ms", met=seen == 0,
                note=f"{seen} of {count} had one; live and on demand by turns; load {os.getloadavg()[0]:.1f}",
            ))  # fmt: skip
    return rows
