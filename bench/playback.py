"""What a viewer waits for, in headless Chromium on running regions: first frame, and gaps when a region is lost.

Baseline of a gap: a player without a second region stands for good after what was buffered (10 s). Limit: no gap at all.
``BENCH_REPEATS`` (10) says how often each failure is made, ``BENCH_FAILURES`` (all) which kinds, with
commas between, ``BENCH_FRAMES`` (10) how many first frames of each kind: a slice of a few minutes on a shared machine.
"""

import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.figures import Row
from playwright.sync_api import Browser
from tests.e2e.browser import Watching, chromium, device_at_home_in, watching
from tests.e2e.platform import Platform, call, running

NETWORK = "127.0.57"
CENTRAL = "eu-central"
FAILURES = {"refused": "down", "hanging": "hang", "503": "error", "cut": "truncate"}
BUFFER_S, BEYOND_S, GAP_MS = 10, 15, 300


def asked(name: str) -> int:
    """How often something is done, 0 to 100."""
    return max(0, min(100, int(os.environ.get(name, "10"))))


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


STEPS = {"session": "/v1/playback/sessions", "manifest": "/master.m3u8", "playlist": ".m3u8", "segment": ".m4s"}
"""What a start waits for, by the end of the address; of each the first answer counts."""
TIMINGS = """asked => performance.getEntriesByType('resource').filter(r => r.startTime >= asked)
    .map(r => [r.name.split('?')[0], r.responseEnd - asked])"""


def first_frame(browser: Browser, front: str, address: str, name: str) -> dict[str, float]:
    """Step -> milliseconds from the navigation inside the app, calls included, to the first frame; a new browser profile."""
    with watching(browser, name=name, front=front, query="muted", device=f"dev-bench-{name}") as page:
        page.go("")
        page.until("signed in", lambda s: s["sdk"], 20)
        page.page.wait_for_timeout(500)
        asked_at = page.page.evaluate(f"(location.hash = '#/{address}', performance.now())")
        frame_ms = float(page.playing(30)["firstFrameMs"])
        steps: dict[str, float] = {}
        for url, ms in page.page.evaluate(TIMINGS, asked_at):
            step = next((s for s, end in STEPS.items() if url.endswith(end)), None)
            if step:
                steps[step] = min(ms, steps.get(step, ms))
        return steps | {"frame": frame_ms}


def first_frames(browser: Browser, front: str, what: str, address: str, count: int) -> Row:
    """The median of ``count`` starts, with where the time goes."""
    busy = os.getloadavg()[0]
    found = [first_frame(browser, front, address, f"{what[:2]}-{n}") for n in range(count)]
    took = [each["frame"] for each in found]
    print(f"  {what}: {[round(ms) for ms in took]} ms", flush=True)  # minutes of work: what is known is said
    p50 = statistics.median(took)
    steps = {s: statistics.median(each[s] for each in found if s in each) for s in (*STEPS, "frame")}
    return Row(
        figure=f"first frame, {what}, p50 of {count}", measured=p50 / 1000, unit="s", goal="<= 0.5 s", met=p50 <= 500,
        note=f"{min(took) / 1000:.2f} to {max(took) / 1000:.2f} s; answered after, p50: "
        f"{', '.join(f'{step} {ms:.0f}' for step, ms in steps.items())} ms; load {busy:.1f}",
    )  # fmt: skip


def gaps(browser: Browser, platform: Platform, failure: str, number: int) -> dict[str, float]:
    """Kind -> longest stall in milliseconds that began with the buffer run out, from the fault to 15 s beyond the buffer.

    Two pages at once, a live channel and a title, both at home in the region that is lost and served by it before.
    """
    edge = next(r["edge"] for r in platform.status()["regions"] if r["name"] == CENTRAL)
    title, channel = shown(platform)
    query = f"player=hls&protocol=hls&buffer={BUFFER_S}&muted"
    with ExitStack() as stack:
        pages: dict[str, Watching] = {}
        for kind, address in (("live", f"live/{channel}"), ("on demand", f"watch/{title}")):
            device = device_at_home_in(CENTRAL, edge, f"dev-gap-{failure}-{kind[:2]}-{number}")
            name = f"{failure} {kind} {number}"
            page = stack.enter_context(watching(browser, name=name, front=platform.front, query=query, device=device))
            page.go(address)
            page.playing()
            pages[kind] = page
        for page in pages.values():
            before = page.until("a buffer", lambda s: s["bufferedEnd"] - s["currentTime"] > 3, 30)
            if before["region"] != CENTRAL:
                raise RuntimeError(f"{page.name}: served by {before['region']}; losing {CENTRAL} would show nothing")
        gone_ms = time.time() * 1000
        platform.fault(FAILURES[failure], f"region/{CENTRAL}")
        ends = {kind: page.stats()["bufferedEnd"] for kind, page in pages.items()}
        longest = {kind: longest_gap(beyond(page, ends[kind]), gone_ms) for kind, page in pages.items()}
    platform.heal()
    return longest


def longest_gap(stats: dict, since_ms: float) -> float:
    return max((s["ms"] for s in stats["stalls"] if s["at"] + s["ms"] >= since_ms and s["ahead"] < 1), default=0.0)


def beyond(page: Watching, end: float) -> dict:
    """When it has played on past everything that was buffered; what cannot within a minute more is an error, not a gap."""
    return page.until("beyond the buffer", lambda s: s["currentTime"] > end + BEYOND_S, BUFFER_S + BEYOND_S + 60)


def run() -> list[Row]:
    count, frames = asked("BENCH_REPEATS"), asked("BENCH_FRAMES")
    rows = []
    with (
        chromium() as browser,  # first: without one nothing of this can be measured
        tempfile.TemporaryDirectory(prefix="eisbach-bench-playback-") as folder,
        running(Path(folder) / "data", stage="regions", network=NETWORK) as platform,
    ):
        platform.until("demo content", lambda: platform.status()["demo"]["state"] == "ready", 240)
        platform.until("copies in both regions", platform.copied, 120)  # one that copies is another figure
        title, channel = shown(platform)
        if frames:
            front = platform.front
            rows.append(first_frames(browser, front, "live", f"live/{channel}", frames))
            rows.append(first_frames(browser, front, "on demand", f"watch/{title}", frames))
        for failure in failures() if count else ():
            found = [gaps(browser, platform, failure, n) for n in range(count)]
            for kind in found[0]:
                longest = [each[kind] for each in found]
                print(f"  {failure}, {kind}: longest gaps {[round(ms) for ms in longest]} ms", flush=True)
                seen = sum(ms >= GAP_MS for ms in longest)
                rows.append(Row(
                    figure=f"gaps, region {failure}, {kind}, {count} times", measured=max(longest), unit="ms longest",
                    baseline=f"{BUFFER_S} s buffered, then nothing", limit="0 ms", goal=f"none >= {GAP_MS} ms",
                    met=seen == 0, note=f"{seen} of {count} had one; load {os.getloadavg()[0]:.1f}",
                ))  # fmt: skip
    return rows
