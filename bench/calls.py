"""CPU of a region per call, through its edge, on running regions: start to play, cached home, private read, progress write.

Counted is the user and system time of every process of the region (edge, cells, spokes, hub), less what the region uses
idle in the same time; the client's own does not count. The other region applies the ops: it is counted apart.
Baseline: a private read, the cheapest call of a cell. Limit: the cached home, which no cell sees.
"""

import http.client
import json
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.figures import Row, cpu_seconds, descendants
from tests.e2e.platform import Platform, call, running
from tests.e2e.viewer import Viewer

NETWORK = "127.0.58"
CENTRAL, WEST = "eu-central", "eu-west"
THREADS, CALLS, IDLE_S, TRIES = 8, 800, 5.0, 10


@dataclass(frozen=True)
class Cost:
    """Milliseconds of CPU for one call, in the region that was asked and in the other."""

    here: float
    there: float


def region_cpu(platform: Platform, region: str) -> float:
    roots = [p["pid"] for p in platform.status()["processes"] if p["region"] == region and p["pid"]]
    total = 0.0
    for pid in {child for root in roots for child in descendants(root)}:
        try:
            total += cpu_seconds(pid)
        except OSError:
            continue  # ended between the listing and the reading
    return total


class Load:
    """One kind of call from eight connections, each with viewers of its own."""

    def __init__(self, edge: str, crowd: list[list[Viewer]]) -> None:
        self.place = urlsplit(edge)
        self.crowd = crowd

    def made(self, request: Callable[[Viewer, int], tuple[str, str, dict | None]], wanted: int) -> None:
        wrong: list[str] = []
        threads = [threading.Thread(target=self._one, args=(t, request, wanted, wrong)) for t in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if wrong:
            raise RuntimeError(f"{len(wrong)} of {CALLS} calls were not answered with {wanted}: {wrong[0]}")

    def _one(self, thread: int, request: Callable, wanted: int, wrong: list[str]) -> None:
        connection = http.client.HTTPConnection(self.place.hostname or "", self.place.port, timeout=10)
        for number in range(CALLS // THREADS):
            viewer = self.crowd[thread][number % len(self.crowd[thread])]
            method, path, body = request(viewer, number)
            headers = {"Authorization": f"Bearer {viewer.token}", "Eisbach-Slot": viewer.slot}
            if body is not None:
                headers |= {"Content-Type": "application/json", "Idempotency-Key": f"bench-{thread}-{number}"}
            for _ in range(TRIES):  # a busy cell sheds and says when to come back; the CPU of that is counted, too
                connection.request(method, path, json.dumps(body) if body is not None else None, headers)
                answer = connection.getresponse()
                content = answer.read()
                if answer.status != 503:
                    break
                time.sleep(0.1)
            if answer.status != wanted:
                wrong.append(f"{answer.status} {content[:200]!r}")
                return
        connection.close()


def per_call(platform: Platform, load: Callable[[], None]) -> Cost:
    idle = [region_cpu(platform, region) for region in (CENTRAL, WEST)]
    time.sleep(IDLE_S)
    idle = [(region_cpu(platform, r) - was) / IDLE_S for r, was in zip((CENTRAL, WEST), idle, strict=True)]
    before = [region_cpu(platform, region) for region in (CENTRAL, WEST)]
    began = time.monotonic()
    load()
    took = time.monotonic() - began
    used = [region_cpu(platform, r) - was for r, was in zip((CENTRAL, WEST), before, strict=True)]
    here, there = (max(0.0, u - i * took) / CALLS * 1000 for u, i in zip(used, idle, strict=True))
    return Cost(here, there)


def measured(platform: Platform) -> dict[str, Cost]:
    edge = next(r["edge"] for r in platform.status()["regions"] if r["name"] == CENTRAL)
    home = call("GET", f"{platform.front}/v1/de/free/web/18/home")[2]
    title = next(i["id"] for rail in home["rails"] for i in rail["items"] if i["kind"] == "title")
    crowd = [[Viewer(edge, f"dev-calls-{t}-{n}").sign_in() for n in range(10)] for t in range(THREADS)]
    load = Load(edge, crowd)

    def start(viewer: Viewer, _: int) -> tuple[str, str, dict | None]:
        device = {"id": viewer.device, "plat": "web"}
        body = {"asset": {"type": "vod", "id": title}, "profile": "main", "device": device, "intent": "user"}
        return "POST", "/v1/playback/sessions", body

    return {
        "private read": per_call(platform, lambda: load.made(lambda *_: ("GET", "/v1/me/rails", None), 200)),
        "home": per_call(platform, lambda: load.made(lambda *_: ("GET", "/v1/de/free/web/18/home", None), 200)),
        "progress": per_call(platform, lambda: load.made(
            lambda _, n: ("PUT", f"/v1/me/progress/t-{n % 50}", {"pos_s": n, "dur_s": 30_000}), 204)),
        "start": per_call(platform, lambda: load.made(start, 201)),
    }  # fmt: skip


def run() -> list[Row]:
    with (
        tempfile.TemporaryDirectory(prefix="eisbach-bench-calls-") as folder,
        running(Path(folder) / "data", stage="regions", network=NETWORK) as platform,
    ):
        platform.until("demo content", lambda: platform.status()["demo"]["state"] == "ready", 240)
        costs = measured(platform)
    names = {
        "start": "start to play (durable, replicated)", "progress": "progress write (durable, replicated)",
        "private read": "private read (rails)", "home": "cached home",
    }  # fmt: skip
    baseline, limit = (
        f"{costs['private read'].here:.2f} ms: a private read",
        f"{costs['home'].here:.2f} ms: cached home",
    )
    return [
        Row(figure=what, measured=costs[key].here, unit="ms CPU", baseline=baseline, limit=limit,
            note=f"other region {costs[key].there:.2f} ms; {CALLS} calls, {THREADS} connections")
        for key, what in names.items()
    ]  # fmt: skip
