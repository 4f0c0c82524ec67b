"""One cell's tested maximum: the mix of 50,000 viewers at prime time (workload model, S0) on one core, open loop.

A cell with NATS as its hub, all of its threads on one core; client and hub on the other. Every viewer's session beats
once in 30 s; each is due to be written every two minutes, so 420 beats a second are durable. Joins are 55 a second,
with the calls of a join that reach a cell; 70 % of the ends are clean. What the edge caches does not come here.
Limit: the core. Targets are the workload model's: start p99 <= 150 ms, heartbeat p99 <= 50 ms, none refused.
"""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvloop
from bench.cells_cpu import HOST, Crowd
from bench.figures import Row
from bench.load import Arrival, OpenLoop, percentile, request
from bench.sides import SLOTS, Side, running

from eisbach.kernel.slots import Group, slot_of
from eisbach.kernel.tokens import SignedSession, seal_session

VIEWERS, SECONDS, CONNECTIONS = 50_000, 30, 200
JOINS_PER_S, CLEAN = 55.0, 0.7
PER_JOIN = {"start": 1.15, "rails": 0.75, "refresh": 0.7, "home": 0.03, "title": 0.018, "config": 0.01}
REFRESH_PER_S = VIEWERS / 900
FACTORS = (1.0, 2.0, 4.0)
TARGETS_MS = {"start": 150.0, "heartbeat": 50.0}


def pin(pid: int, cores: set[int]) -> None:
    """Every thread of a process, those that come later included."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)


class Mix:
    """The requests of a run."""

    def __init__(self, side: Side, crowd: Crowd, *, seed: int) -> None:
        self.crowd, self.chance, self.seed = crowd, random.Random(seed), seed
        keys = json.loads((side.folder / "secrets.json").read_text())["session_keys"]
        self.kid, key = next(iter(keys.items()))
        self.key, self.group = bytes.fromhex(key), Group.parse("eu/de/main")

    def session(self, number: int) -> SignedSession:
        """Of a viewer who plays already; a cell that has never heard of it adopts it."""
        account = f"a-{self.seed:04d}{number:012d}"
        slot = slot_of(account, self.group, SLOTS)
        return SignedSession(
            sid=f"s-{self.seed:04d}{number:012d}", account=account, profile="p1", slot=str(slot), asset="vod:tears",
            device=f"device-{number:08d}", started_ms=1_790_000_000_000, expires_ms=4_000_000_000_000,
        )  # fmt: skip

    def beats(self, factor: float) -> Iterator[Arrival]:
        count = int(VIEWERS * factor)
        for number in range(count):
            found = self.session(number)
            sealed = seal_session(found, self.key, kid=self.kid)
            body = msgspec.json.encode({"seq": 7, "pos_s": 30.5, "state": "playing", "session": sealed})
            path = f"/v1/playback/sessions/{found.sid}"
            at_s = self.chance.random() * SECONDS
            yield Arrival(at_s, "heartbeat", request("POST", f"{path}/heartbeat", body), 200)
            if number < JOINS_PER_S * CLEAN * SECONDS * factor and at_s < SECONDS - 1:
                body = msgspec.json.encode({"session": sealed, "pos_s": 31, "reason": "user"})
                yield Arrival(at_s + 1, "stop", request("DELETE", path, body), 204)

    def joins(self, factor: float) -> Iterator[Arrival]:
        rates = {kind: JOINS_PER_S * share for kind, share in PER_JOIN.items()}
        rates["refresh"] += REFRESH_PER_S
        for kind, rate in rates.items():
            for number in range(int(rate * SECONDS * factor)):
                yield Arrival(self.chance.random() * SECONDS, kind, *self._call(kind, number))

    def _call(self, kind: str, number: int) -> tuple[bytes, int]:
        viewer = self.chance.choice(self.crowd.viewers)
        match kind:
            case "start":
                key = [*viewer.headers, ("Idempotency-Key", f"m-{self.seed}-{number}")]
                return request("POST", "/v1/playback/sessions", b'{"asset":{"type":"vod","id":"tears"}}', key), 201
            case "rails":
                return request("GET", "/v1/me/rails", b"", viewer.headers), 200
            case "refresh":
                body = json.dumps({"grant_type": "refresh", "refresh": viewer.refresh}).encode()
                return request("POST", "/v1/auth/token", body), 200
            case "home":
                return request("GET", "/v1/de/free/tv/12/home", b""), 200
            case "title":
                return request("GET", "/v1/de/titles/tears", b""), 200
            case _:
                return request("GET", "/v1/de/free/tv/config", b""), 200


def one(side: Side, crowd: Crowd, factor: float, *, seed: int) -> tuple[OpenLoop, float]:
    """A run, and the cell's share of its core."""
    mix = Mix(side, crowd, seed=seed)
    arrivals = sorted([*mix.beats(factor), *mix.joins(factor)], key=lambda arrival: arrival.at_s)
    load = OpenLoop(side.host, side.port, arrivals, connections=CONNECTIONS)
    before = side.cpu()["cell"]
    uvloop.run(load.run(within_s=SECONDS * 3))
    return load, (side.cpu()["cell"] - before) / SECONDS


def run() -> list[Row]:
    rows: list[Row] = []
    own = os.sched_getaffinity(0)
    with running("cell", f"{HOST}21") as side:
        pin(side.roots["cell"], {max(own)})
        pin(side.roots["hub"], {min(own)})
        os.sched_setaffinity(0, {min(own)})
        try:
            crowd = Crowd(side)
            for seed, factor in enumerate(FACTORS):
                load, share = one(side, crowd, factor, seed=seed)
                rows.append(_row(load, share, factor))
                if not rows[-1].met:
                    break  # the maximum lies between the last two
        finally:
            os.sched_setaffinity(0, own)
    return rows


def _row(load: OpenLoop, share: float, factor: float) -> Row:
    calls = {kind: len(found) for kind, found in load.latencies_s.items()}
    p99 = {kind: percentile(found, 0.99) * 1000 for kind, found in load.latencies_s.items()}
    met = not load.wrong and all(p99[kind] <= most for kind, most in TARGETS_MS.items())
    return Row(
        figure=f"{int(VIEWERS * factor):,} viewers' mix on one core: its share of the core", measured=share * 100, unit="%",
        limit="100 %", goal="start p99 <= 150 ms, heartbeat p99 <= 50 ms, none refused" if factor == 1 else "",
        met=met if factor == 1 or not met else True,
        note=f"{sum(calls.values()) / SECONDS:,.0f} calls/s; p99 "
        + ", ".join(f"{kind} {ms:.1f} ms" for kind, ms in sorted(p99.items()))
        + (f"; not as wanted: {load.wrong}" if load.wrong else ""),
    )  # fmt: skip
