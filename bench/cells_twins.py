"""How far a twin is behind over a link of 20 ms one way, and how long it needs after a cut of ten minutes.

The whole stage ``regions``, its link delayed and cut through the link's own control. Lag: from the acknowledgement in
one region to the answer of a read in the other that carries the write's position, so a call through an edge is in it;
100 writes a second go on beside. Limit: the 20 ms. The cut is as long as its backlog: ten minutes of one cell's 420
durable writes a second (workload model), written as fast as the cell takes them; then the link heals, and the time runs
until the twin has applied as many ops.
"""

import asyncio
import json
import statistics
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import uvloop
from bench.figures import Row
from bench.load import Arrival, OpenLoop, percentile, request, send_all
from tests.e2e.platform import Platform, running

from eisbach.domain.accounts import account_of
from eisbach.kernel.slots import Group, slot_of

NETWORK = "127.0.59"
CENTRAL, WEST = "eu-central", "eu-west"
GROUP, SLOTS, VIEWERS, CONNECTIONS = "eu/de/main", 64, 64, 64
DELAY_MS, PROBES, BESIDE_PER_S = 20, 400, 100
BACKLOG = 420 * 600
CATCH_UP_WITHIN_S = 120.0


def ask(
    method: str, url: str, body: object = None, headers: dict[str, str] | None = None
) -> tuple[Any, dict[str, str]]:
    call = urllib.request.Request(
        url, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})},
        method=method,
    )  # fmt: skip
    with urllib.request.urlopen(call, timeout=20) as answer:
        raw = answer.read()
        return (json.loads(raw) if raw[:1] in (b"{", b"[") else raw), {k.lower(): v for k, v in answer.headers.items()}


class Regions:
    """The running platform, as this benchmark needs it."""

    def __init__(self, platform: Platform) -> None:
        self.edges = {r["name"]: r["edge"] for r in platform.status()["regions"]}
        self.operator = {"Authorization": f"Bearer {(platform.data / 'secrets/operator-token').read_text().strip()}"}
        self.viewers = [self._signed_in(f"twin-device-{n:05d}") for n in self._on_c1()]

    def _on_c1(self) -> list[int]:
        """Numbers of devices whose accounts live in the lower half of the slots."""
        group = Group.parse(GROUP)
        numbers = (
            n for n in range(100_000) if slot_of(account_of(f"twin-device-{n:05d}", group), group, SLOTS).number < 32
        )
        return [next(numbers) for _ in range(VIEWERS)]

    def _signed_in(self, device: str) -> dict[str, str]:
        granted, _ = ask("POST", f"{self.edges[CENTRAL]}/v1/auth/anonymous", {"device_id": device, "mkt": "de"})
        return {"Authorization": f"Bearer {granted['access']}", "Eisbach-Slot": granted["slot"]}

    def link(self, state: str) -> None:
        for source, target in ((CENTRAL, WEST), (WEST, CENTRAL)):
            body = {"state": state, "delay_ms": DELAY_MS}
            ask("PUT", f"http://{NETWORK}.1:8005/links/{source}/{target}", body, self.operator)

    def applied(self) -> int:
        """Ops of the other region that west's c1 has applied since its start."""
        status, _ = ask("GET", f"http://{NETWORK}.2:8101/status", None, self.operator)
        return next(one["ops"] for one in status["replication"] if one["from"] == CENTRAL)

    def write(self, number: int, title: str) -> bytes:
        body = b'{"pos_s":%d,"dur_s":40000}' % (number % 40_000)
        return request("PUT", f"/v1/me/progress/{title}", body, list(self.viewers[number % VIEWERS].items()))


def lag_ms(regions: Regions) -> tuple[list[float], int]:
    """(milliseconds of each probe, probes that were shown older data)."""
    host, _, port = regions.edges[CENTRAL].removeprefix("http://").partition(":")
    beside = [
        Arrival(n / BESIDE_PER_S, "write", regions.write(n, f"beside-{n % 20}"), 204) for n in range(BESIDE_PER_S * 600)
    ]
    found: list[float] = []
    late = 0

    async def probe() -> None:
        load = asyncio.create_task(OpenLoop(host, int(port), beside, connections=16).run(within_s=600))
        nonlocal late
        for number in range(PROBES):
            headers = regions.viewers[number % VIEWERS]
            path, body = f"/v1/me/progress/probe-{number}", {"pos_s": number, "dur_s": 40_000}
            took, aged = await asyncio.to_thread(_one, regions, headers, path, body)
            found.append(took)
            late += aged
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)

    uvloop.run(probe())
    return found, late


def _one(regions: Regions, headers: dict[str, str], path: str, body: dict[str, int]) -> tuple[float, bool]:
    _, answered = ask("PUT", f"{regions.edges[CENTRAL]}{path}", body, headers)
    began = time.perf_counter()
    position = {"Eisbach-Position": answered["eisbach-position"]}
    try:
        _, answered = ask("GET", f"{regions.edges[WEST]}{path}", None, {**headers, **position})
        served = answered.get("eisbach-region") == WEST and "eisbach-age-ms" not in answered
    except urllib.error.HTTPError:
        served = False
    return (time.perf_counter() - began) * 1000, not served


def catch_up(regions: Regions) -> tuple[float, float]:
    """(seconds until the twin has all, seconds that writing took)."""
    before = regions.applied()
    regions.link("cut")
    began = time.monotonic()
    requests = (regions.write(n, f"cut-{n // VIEWERS % 500}") for n in range(BACKLOG))
    uvloop.run(send_all(f"{NETWORK}.1", 8101, requests, connections=CONNECTIONS, wanted=204, within_s=400))
    wrote = time.monotonic() - began
    regions.link("up")
    began = time.monotonic()
    while regions.applied() - before < BACKLOG:
        if time.monotonic() - began > CATCH_UP_WITHIN_S:
            raise RuntimeError(
                f"after {CATCH_UP_WITHIN_S} s the twin has {regions.applied() - before} of {BACKLOG} ops"
            )
        time.sleep(0.1)
    return time.monotonic() - began, wrote


def run() -> list[Row]:
    with (
        tempfile.TemporaryDirectory(prefix="eisbach-bench-twins-") as folder,
        running(Path(folder) / "data", stage="regions", network=NETWORK, arguments=("--no-demo",)) as platform,
    ):
        regions = Regions(platform)
        regions.link("up")
        lags, late = lag_ms(regions)
        seconds, wrote = catch_up(regions)
    p99 = percentile(lags, 0.99)
    return [
        Row(figure=f"twin lag, link of {DELAY_MS} ms one way: p99, a read through the edge included", measured=p99, unit="ms",
            limit=f"{DELAY_MS} ms", goal="p99 <= 60 ms", met=p99 <= 60,
            note=f"median {statistics.median(lags):.0f} ms of {PROBES}; {late} not there within 100 ms"),
        Row(figure=f"catch-up after a cut of ten minutes ({BACKLOG:,} writes)", measured=seconds, unit="s",
            goal="<= 8 s", met=seconds <= 8, note=f"{BACKLOG / seconds:,.0f} ops/s; written in {wrote:.0f} s"),
    ]  # fmt: skip
