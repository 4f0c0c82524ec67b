"""CPU of a region for what viewers do, through its edge and media origin, on running regions.

Counted is the user and system time of every process of the region (edge, origin, cells, spokes, hub), less what the
region uses idle in the same time; the client's own does not count. The other region applies the ops: it is counted
apart. Each figure is the median of ``ROUNDS`` rounds; every kind of call is made once in a round.
Baselines: a private read, the cheapest call that a cell answers; for what no cell sees, the cached home. Limits: a bare
nginx that sends the same bytes from a file; for calls, the cached home. Of the whole session: as many of these.
"""

import http.client
import json
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import uvloop
from bench.edge import bare_file_us
from bench.figures import Row, cpu_seconds, descendants
from tests.e2e.platform import Platform, call, running
from tests.e2e.viewer import Viewer

NETWORK = "127.0.58"
REGIONS = ("eu-central", "eu-west")
CENTRAL = REGIONS[0]
HOME = "/v1/de/free/web/18/home"
THREADS, VIEWERS, ROUNDS, IDLE_S, TRIES = 8, 10, 3, 5.0, 20
READS, WRITES = 4_000, 800
BEATS, DURABLE_EVERY, STEERS = 52, 4, 5
"""A session on demand by the workload model: the median of 26 minutes, a heartbeat every 30 s of which one in 2 minutes
is durable (and writes the progress), steering every 300 s, the media token and the end once each."""
SESSION_CALLS = 1 + BEATS + STEERS + 1 + 1

Request = tuple[str, str, Any]
"""(method, path, body)."""
Answered = Generator[Request, bytes, None]
Script = Callable[[Viewer], Answered]
"""The calls of one viewer, one after the other; each ``yield`` returns the answer's body."""


@dataclass
class Cost:
    """CPU in milliseconds a unit, a value a round: in the region that was asked, and in the other."""

    here: list[float] = field(default_factory=list)
    there: list[float] = field(default_factory=list)
    shed: int = 0
    """Answers 503 that were tried again, in all rounds."""

    @property
    def ms(self) -> float:
        return statistics.median(self.here)

    @property
    def note(self) -> str:
        spread = f"{min(self.here):.3g} to {max(self.here):.3g} in {len(self.here)} rounds"
        return f"{spread}; other region {statistics.median(self.there):.2f} ms; {self.shed} shed"


def region_cpu(platform: Platform) -> list[float]:
    """Seconds so far, per region."""
    processes, totals = platform.status()["processes"], []
    for region in REGIONS:
        roots = [p["pid"] for p in processes if p["region"] == region and p["pid"]]
        total = 0.0
        for pid in {child for root in roots for child in descendants(root)}:
            try:
                total += cpu_seconds(pid)
            except OSError:
                continue  # ended between the listing and the reading
        totals.append(total)
    return totals


class Load:
    """Eight connections, each with viewers of its own, who do one thing after the other."""

    def __init__(self, crowd: list[list[Viewer]]) -> None:
        self.crowd = crowd
        self.shed, self._wrong = 0, []

    def made(self, base: str, script: Script) -> None:
        """Until every viewer has done what the script says; any refusal is an error."""
        threads = [threading.Thread(target=self._thread, args=(base, script, viewers)) for viewers in self.crowd]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._wrong:
            raise RuntimeError(f"{len(self._wrong)} of {THREADS} connections met a refusal: {self._wrong[0]}")

    def _thread(self, base: str, script: Script, viewers: list[Viewer]) -> None:
        place = urlsplit(base)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
        try:
            for viewer in viewers:
                calls = script(viewer)
                request = next(calls, None)
                while request is not None:
                    content = self._one(connection, viewer, request)
                    try:
                        request = calls.send(content)
                    except StopIteration:
                        request = None
        except Exception as error:  # noqa: BLE001 - whatever ends a connection early makes the figure wrong
            self._wrong.append(f"{type(error).__name__}: {error}")
        finally:
            connection.close()

    def _one(self, connection: http.client.HTTPConnection, viewer: Viewer, request: Request) -> bytes:
        method, path, body = request
        headers = {"Authorization": f"Bearer {viewer.token}", "Eisbach-Slot": viewer.slot}
        if body is not None:
            headers |= {
                "Content-Type": "application/json",
                "Idempotency-Key": f"bench-{threading.get_ident()}-{time.monotonic_ns()}",
            }
        for left in range(TRIES, -1, -1):  # a busy cell sheds and says when to come back; the CPU of that counts, too
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status < 300:
                return content
            if answer.status != 503 or left == 0:
                break
            self.shed += 1
            time.sleep(0.1)
        raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")


def repeated(count: int, request: Callable[[int], Request]) -> Script:
    """Each viewer's share of ``count`` calls of one kind."""

    def script(_: Viewer) -> Answered:
        for number in range(count // (THREADS * VIEWERS)):
            yield request(number)

    return script


def started(title: str) -> Callable[[Viewer], Request]:
    def request(viewer: Viewer) -> Request:
        device = {"id": viewer.device, "plat": "web"}
        body = {"asset": {"type": "vod", "id": title}, "profile": "main", "device": device, "intent": "user"}
        return "POST", "/v1/playback/sessions", body

    return request


def starting(start: Callable[[Viewer], Request]) -> Script:
    """Starts, each of which ends the one before it on the same device."""

    def script(viewer: Viewer) -> Answered:
        for _ in range(WRITES // (THREADS * VIEWERS)):
            yield start(viewer)

    return script


def whole_session(start: Callable[[Viewer], Request]) -> Script:
    """What a viewer's player sends from the start to the end of a session."""

    def script(viewer: Viewer) -> Answered:
        session = json.loads((yield start(viewer)))
        path, signed = f"/v1/playback/sessions/{session['sid']}", session["session"]
        for seq in range(1, BEATS + 1):
            # Two minutes pass by the wall clock only; a seek is written by the same code, at once.
            state = "seeking" if seq % DURABLE_EVERY == 0 else "playing"
            yield "POST", f"{path}/heartbeat", {"seq": seq, "pos_s": seq * 10, "state": state, "session": signed}
            if seq % (BEATS // STEERS) == 0:
                yield "GET", f"/steer?mkt=de&sid={session['sid']}", None
        yield "POST", f"{path}/token", {"session": signed}
        yield "DELETE", path, {"pos_s": BEATS * 10, "session": signed}

    return script


def beating(sessions: dict[str, dict[str, Any]], state: Callable[[int], str], count: int) -> Script:
    """Heartbeats of sessions that began before."""

    def script(viewer: Viewer) -> Answered:
        session = sessions[viewer.device]
        for _ in range(count // (THREADS * VIEWERS)):
            session["seq"] = seq = session.get("seq", 0) + 1
            body = {"seq": seq, "pos_s": seq, "state": state(seq), "session": session["session"]}
            yield "POST", f"/v1/playback/sessions/{session['sid']}/heartbeat", body

    return script


def segment_of(session: dict[str, Any]) -> str:
    """URL of a segment of picture, as a player finds it."""
    master = session["manifests"]["hls"]
    playlist = urljoin(master, next(line for line in lines_of(master) if line and not line.startswith("#")))
    return urljoin(playlist, [line for line in lines_of(playlist) if line.endswith(".m4s")][1])


def lines_of(url: str) -> list[str]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read(), "utf-8").splitlines()


class Bench:
    """The kinds of call, and what they cost."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.edge = next(r["edge"] for r in platform.status()["regions"] if r["name"] == CENTRAL)
        home = call("GET", f"{platform.front}{HOME}")[2]
        self.title = next(i["id"] for rail in home["rails"] for i in rail["items"] if i["kind"] == "title")
        self.crowd = [
            [Viewer(self.edge, f"dev-calls-{t}-{n}").sign_in() for n in range(VIEWERS)] for t in range(THREADS)
        ]
        self.segment = segment_of(self.begun(self.crowd[0][0]))
        self.costs: dict[str, Cost] = {}

    def begun(self, viewer: Viewer) -> dict[str, Any]:
        method, path, body = started(self.title)(viewer)
        status, _, answer = viewer.ask(method, path, body, Idempotency_Key=f"begin-{time.monotonic_ns()}")
        if status != 201:
            raise RuntimeError(f"no playback session: {status} {answer}")
        return dict(answer)

    def rounds(self) -> None:
        start, place = started(self.title), urlsplit(self.segment)
        origin = f"{place.scheme}://{place.netloc}"
        sessions: dict[str, dict[str, Any]] = {}
        kinds: dict[str, tuple[str, Script, int]] = {
            "home": (self.edge, repeated(READS, lambda _: ("GET", HOME, None)), READS),
            "segment": (origin, repeated(READS, lambda _: ("GET", place.path, None)), READS),
            "read": (self.edge, repeated(READS, lambda _: ("GET", "/v1/me/rails", None)), READS),
            "beat": (self.edge, beating(sessions, lambda _: "playing", READS), READS),
            "durable beat": (self.edge, beating(sessions, lambda n: ("seeking", "paused")[n % 2], WRITES), WRITES),
            "progress": (self.edge, repeated(WRITES, lambda n: (
                "PUT", f"/v1/me/progress/t-{n}", {"pos_s": n, "dur_s": 30_000})), WRITES),
            "start": (self.edge, starting(start), WRITES),
            "session": (self.edge, whole_session(start), THREADS * VIEWERS),
        }  # fmt: skip
        for number in range(ROUNDS):
            # A later start of the same device ends the one before it: beats are of sessions that play.
            sessions.update({v.device: self.begun(v) for viewers in self.crowd for v in viewers})
            idle = self.spent(lambda: time.sleep(IDLE_S))
            for name, (base, script, count) in kinds.items():
                cost, load = self.costs.setdefault(name, Cost()), Load(self.crowd)
                used = self.spent(lambda load=load, base=base, script=script: load.made(base, script))
                here, there = ((u - i) * used[2] / count * 1000 for u, i in zip(used[:2], idle[:2], strict=True))
                cost.here.append(here)
                cost.there.append(there)
                cost.shed += load.shed
            print(
                f"  round {number + 1}: {', '.join(f'{n} {c.here[-1]:.3f}' for n, c in self.costs.items())} ms",
                flush=True,
            )

    def spent(self, what: Callable[[], object]) -> tuple[float, float, float]:
        """CPU seconds a second in each region while this was done, and how many seconds that took."""
        before, began = region_cpu(self.platform), time.monotonic()
        what()
        took = time.monotonic() - began
        here, there = ((now - was) / took for now, was in zip(region_cpu(self.platform), before, strict=True))
        return here, there, took


def run() -> list[Row]:
    with (
        tempfile.TemporaryDirectory(prefix="eisbach-bench-calls-") as folder,
        running(Path(folder) / "data", stage="regions", network=NETWORK) as platform,
    ):
        platform.until("demo content", lambda: platform.status()["demo"]["state"] == "ready", 240)
        platform.until("copies in both regions", platform.copied, 120)  # one that copies is another figure
        bench = Bench(platform)
        bench.rounds()
        segment = urllib.request.urlopen(bench.segment, timeout=10).read()
        home = urllib.request.urlopen(bench.edge + HOME, timeout=10).read()
    bare = {name: uvloop.run(bare_file_us(body)) / 1000 for name, body in (("home", home), ("segment", segment))}
    return rows(bench.costs, bare, sizes={"home": len(home), "segment": len(segment)})


def rows(costs: dict[str, Cost], bare: dict[str, float], *, sizes: dict[str, int]) -> list[Row]:
    home, read = costs["home"].ms, costs["read"].ms
    a_home, a_read = f"{home:.3f} ms: cached home", f"{read:.3f} ms: a private read"

    def row(name: str, figure: str, baseline: str = a_read, limit: str = a_home) -> Row:
        return Row(
            figure=figure, measured=costs[name].ms, unit="ms CPU", baseline=baseline, limit=limit, note=costs[name].note
        )

    return [
        row("segment", f"segment served ({sizes['segment'] // 1000} kB)", a_home, f"{bare['segment']:.3f} ms: a bare nginx, same file"),
        row("home", f"cached home ({sizes['home'] / 1000:.1f} kB)", a_read, f"{bare['home']:.3f} ms: a bare nginx, same bytes"),
        row("read", "private read (rails)", a_home, f"{bare['home']:.3f} ms: a bare nginx, home's bytes"),
        row("beat", "heartbeat, remembered"),
        row("durable beat", "heartbeat, durable and replicated"),
        row("progress", "progress write, durable and replicated"),
        row("start", "session start, durable and replicated"),
        row("session", f"whole playback session, {SESSION_CALLS} calls",
            f"{read * SESSION_CALLS:.1f} ms: {SESSION_CALLS} private reads", f"{home * SESSION_CALLS:.1f} ms: {SESSION_CALLS} cached homes"),
    ]  # fmt: skip
