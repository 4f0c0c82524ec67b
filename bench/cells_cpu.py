"""One cell against the monolith and against the limit of its own server: CPU per progress write, heartbeat and start.

Baselines: ``bench/monolith``, plain and batched (tuned as its README says). Limit: the same server that parses the same
body and answers in the same form; for a start, the same answer made and signed from memory.
CPU is user and system time of every process that takes part (cell or monolith, database, hub), read from /proc, less
what they use idle; a row beside it counts the region's edge as well; a write counts when it is on disk and its event is in the hub. Medians of rounds in which the sides
take turns. The client's own CPU does not count.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from bench.figures import Row
from bench.load import Outcome, percentile, request, send_all
from bench.sides import SIDES, Side, edge_before, process_running, running, wait_for

HOST = f"127.63.{os.getpid() % 250 + 1}."
VIEWERS, CONNECTIONS, ROUNDS = 1024, 64, 5
CALLS = {"progress": 6_400, "heartbeat": 12_800, "start": 1_600}
DRAIN_S, IDLE_S = 0.4, 2.0
TITLES = 50


@dataclass(slots=True)
class Viewer:
    """Somebody who is signed in and plays."""

    headers: list[tuple[str, str]]
    refresh: str = ""
    sid: str = ""
    session: str = ""
    seq: int = 0


@dataclass(slots=True)
class Measured:
    """A kind of call on a side: microseconds of CPU a call by part, a row a round; latencies of all rounds."""

    parts: list[dict[str, float]] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    refused: int = 0

    def add(self, parts: dict[str, float], outcome: Outcome) -> None:
        self.parts.append(parts)
        self.latencies_s += outcome.latencies_s
        self.rates.append(outcome.rate)
        self.refused += outcome.refused

    @property
    def us(self) -> float:
        return statistics.median(sum(parts.values()) for parts in self.parts)

    @property
    def split(self) -> str:
        return " + ".join(
            f"{part} {statistics.median(parts[part] for parts in self.parts):.0f}" for part in self.parts[0]
        )

    @property
    def p99_ms(self) -> float:
        return percentile(self.latencies_s, 0.99) * 1000


class Crowd:
    """The viewers of a side and the requests that they send."""

    def __init__(self, side: Side, *, viewers: int = VIEWERS) -> None:
        self.side, self.count = side, viewers
        made = self._anyone if side.name == "limit" else self._signed_in
        self.viewers = [made(number) for number in range(viewers)]
        self._runs = itertools.count()

    def _call(self, method: str, path: str, body: object, headers: list[tuple[str, str]]) -> dict:
        call = urllib.request.Request(
            f"{self.side.base}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", **dict(headers)},
            method=method,
        )
        with urllib.request.urlopen(call, timeout=20) as answer:
            return json.load(answer)

    def _signed_in(self, number: int) -> Viewer:
        device = f"{self.side.name}-device-{number:06d}"
        found = self._call("POST", "/v1/auth/anonymous", {"device_id": device, "mkt": "de"}, [])
        viewer = Viewer(
            [("Authorization", f"Bearer {found['access']}"), ("Eisbach-Slot", found["slot"])], found["refresh"]
        )
        body = {"asset": {"type": "vod", "id": "tears"}}
        session = self._call("POST", "/v1/playback/sessions", body, [*viewer.headers, ("Idempotency-Key", "bench-0")])
        viewer.sid, viewer.session = session["sid"], session["session"]
        return viewer

    def _anyone(self, number: int) -> Viewer:
        """For the limit, which looks at nobody: the same bytes."""
        headers = [("Authorization", "Bearer " + "x" * 480), ("Eisbach-Slot", "eu/de/main/17")]
        return Viewer(headers, "", f"s-{number:016x}", "s1." + "y" * 220 + "." + "z" * 43)

    def progress(self, count: int) -> Iterator[bytes]:
        """Positions of many titles."""
        for number in range(count):
            viewer = self.viewers[number % self.count]
            body = b'{"pos_s":%d.5,"dur_s":5400}' % (number % 5400)
            yield request("PUT", f"/v1/me/progress/title-{number // self.count % TITLES}", body, viewer.headers)

    def heartbeat(self, count: int) -> Iterator[bytes]:
        """The next of each session; none is due to be written."""
        for number in range(count):
            viewer = self.viewers[number % self.count]
            viewer.seq += 1
            body = json.dumps(
                {"seq": viewer.seq, "pos_s": 30.5, "state": "playing", "session": viewer.session}
            ).encode()
            yield request("POST", f"/v1/playback/sessions/{viewer.sid}/heartbeat", body)

    def start(self, count: int) -> Iterator[bytes]:
        """A new session each; the device takes the place of its own older one."""
        run = next(self._runs)
        body = b'{"asset":{"type":"vod","id":"tears"},"device":{"id":"tv-1","plat":"tv","codecs":["avc1","hvc1"],"max_h":1080}}'
        for number in range(count):
            viewer = self.viewers[number % self.count]
            yield request(
                "POST", "/v1/playback/sessions", body, [*viewer.headers, ("Idempotency-Key", f"b-{run}-{number}")]
            )


OF = {"edge": "cell"}
"""Whose hub gets what is written through the edge."""
WANTED = {"progress": 204, "heartbeat": 200, "start": 201}


def once(crowd: Crowd, kind: str, idle: dict[str, float]) -> tuple[dict[str, float], Outcome]:
    """One round: microseconds of CPU a call by part, and what came back."""
    side, count = crowd.side, CALLS[kind]
    requests = list(getattr(crowd, kind)(count))  # made before the clock runs
    before, began = side.cpu(), time.monotonic()
    outcome = uvloop.run(send_all(side.host, side.port, iter(requests), connections=CONNECTIONS, wanted=WANTED[kind]))
    time.sleep(DRAIN_S)  # until the last events are in the hub
    took = time.monotonic() - began
    used = {part: after - before[part] - idle[part] * took for part, after in side.cpu().items()}
    return {part: max(0.0, seconds) / count * 1e6 for part, seconds in used.items()}, outcome


def idle_rate(side: Side) -> dict[str, float]:
    """CPU seconds a second of each part when nobody calls."""
    before = side.cpu()
    time.sleep(IDLE_S)
    return {part: (after - before[part]) / IDLE_S for part, after in side.cpu().items()}


@contextmanager
def limit_running(host: str, secrets: Path) -> Iterator[Side]:
    """The limits' process as a side."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [sys.executable, "-m", "bench.limits", host, "8101", secrets]
        with process_running(command, log, stdin=subprocess.DEVNULL) as child:
            side = Side("limit", host, 8101, {"limit": child.pid})
            wait_for(f"{side.base}/", child, log)
            yield side


def compare(kinds: tuple[str, ...] = tuple(CALLS), names: tuple[str, ...] = SIDES) -> dict[str, dict[str, Measured]]:
    """kind -> side -> what was measured."""
    found: dict[str, dict[str, Measured]] = {kind: {} for kind in kinds}
    with ExitStack() as stack:
        sides = [stack.enter_context(running(name, f"{HOST}{n + 1}")) for n, name in enumerate(names)]
        if "cell" in names:
            sides.append(stack.enter_context(edge_before(sides[names.index("cell")])))
        sides.append(stack.enter_context(limit_running(f"{HOST}9", sides[0].folder / "secrets.json")))
        crowds = [Crowd(side) for side in sides]
        idle = [idle_rate(side) for side in sides]
        written = dict.fromkeys(names, 0)
        for kind in kinds:
            for number in range(ROUNDS + 1):
                for crowd, rest in zip(crowds, idle, strict=True):
                    parts, outcome = once(crowd, kind, rest)
                    if kind == "progress" and crowd.side.name != "limit":
                        written[OF.get(crowd.side.name, crowd.side.name)] += CALLS[kind]
                    if number:  # the first warms caches up
                        found[kind].setdefault(crowd.side.name, Measured()).add(parts, outcome)
        for side in sides[: len(names)]:
            _check_published(side, written[side.name])
    return found


def _check_published(side: Side, acknowledged: int) -> None:
    """No figure for a side that lost an event on the way."""
    recorded = [e for e in side.events() if e["type"] == "tv.playback.progress.recorded.v1"]
    # Not those of heartbeats: on a slow machine the two minutes are over after which one is written.
    told = [e["id"] for e in recorded if e["data"]["title"].startswith("title-")]
    if len(set(told)) != acknowledged:
        raise RuntimeError(f"{side.name}: {acknowledged} writes acknowledged, {len(set(told))} events in the hub")


def run() -> list[Row]:
    return rows(compare())


def rows(found: dict[str, dict[str, Measured]]) -> list[Row]:
    """The table: goals are issue 3's."""
    shown: list[Row] = []
    for kind, sides in found.items():
        cell, limit = sides["cell"], sides["limit"]
        against = {name: cell.us / side.us for name, side in sides.items() if name not in ("cell", "edge", "limit")}
        share = limit.us / cell.us
        goal, met = GOALS[kind](against, share, cell)
        baseline = "; ".join(
            f"{name} {side.us:.0f} us ({side.split}; p99 {side.p99_ms:.0f} ms)"
            for name, side in sides.items()
            if name in against
        )
        note = f"{cell.split}; " + ", ".join(f"1/{1 / ratio:.1f} of {name}" for name, ratio in against.items())
        note += f", {share:.0%} of the limit; p99 {cell.p99_ms:.1f} ms at {CONNECTIONS} connections, {statistics.median(cell.rates):,.0f}/s"
        if cell.refused:
            note += f"; {cell.refused} refused and sent again"
        shown.append(
            Row(figure=f"CPU per {NAMES[kind]}", measured=cell.us, unit="us", baseline=baseline,
                limit=f"{limit.us:.1f} us: {LIMITS[kind]}", goal=goal, met=met, note=note)
        )  # fmt: skip
        if (edge := sides.get("edge")) is not None:
            most = ", ".join(f"1/{side.us / edge.us:.1f} of {name}" for name, side in sides.items() if name in against)
            shown.append(
                Row(figure="  the same through the region's edge, its nginx counted", measured=edge.us, unit="us",
                    note=f"{edge.split}; {most} (which have no proxy before them); p99 {edge.p99_ms:.1f} ms")
            )  # fmt: skip
    return shown


Goal = Callable[[dict[str, float], float, Measured], tuple[str, bool]]
NAMES = {"progress": "durable progress write", "heartbeat": "heartbeat", "start": "playback start"}
LIMITS = {
    "progress": "parse the same body", "heartbeat": "parse the same body", "start": "the same answer from memory, signed"
}  # fmt: skip
GOALS: dict[str, Goal] = {
    "progress": lambda against, share, cell: (
        "<= 1/7 of plain, <= 1/2.5 of batched, >= 35 % of the limit, p99 <= 25 ms",
        against["monolith"] <= 1 / 7 and against["batched"] <= 1 / 2.5 and share >= 0.35 and cell.p99_ms <= 25,
    ),
    "heartbeat": lambda _, share, __: (">= 60 % of the limit", share >= 0.6),
    "start": lambda against, share, _: (
        "<= 1/6 of the monolith, >= 50 % of the limit", against["monolith"] <= 1 / 6 and share >= 0.5,
    ),
}  # fmt: skip
