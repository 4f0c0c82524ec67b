"""Viewers in a steady state, open loop, in real time: nobody waits for anybody, and nothing is sped up.

As ``workload.md`` has them: sessions of 26 minutes, a heartbeat every 30 s, steering every 5 minutes, an access token
a minute before it ends (the cell says when, 12 to 18 minutes), a media token a session, 70 % of the ends told; whoever
ends begins the next session. At first everybody joins within two minutes, and each is somewhere in the session. May not
know: where calls go.
"""

import asyncio
import heapq
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

SESSION_S, BEAT_S, STEER_S = 1560.0, 30.0, 300.0
REFRESH_BEFORE_S = 60.0
"""How long before its end an access token is renewed; the cell says its end, and spreads it over 12 to 18 minutes."""
CLEAN_END, RAILS, HOME = 0.7, 0.75, 0.03
JOIN_WITHIN_S = 120.0

Send = Callable[[str, str, Any, dict[str, str]], Awaitable[tuple[int, Any, int, int]]]
"""(method, path, body, headers) -> (status, answer, bytes in, bytes out)."""


class Viewer:
    """One, who plays."""

    def __init__(self, device: str) -> None:
        self.device, self.headers, self.refresh = device, dict[str, str](), ""
        self.session: dict[str, Any] = {}
        self.seq = self.number = 0


class Fleet:
    """All of them."""

    def __init__(self, send: Send, devices: list[str], *, seed: int = 1) -> None:
        self._send, self._rng = send, random.Random(seed)
        self.viewers = [Viewer(device) for device in devices]
        self.calls: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.durable = self.bytes_in = self.bytes_out = 0
        self.late_ms: list[float] = []
        """How much later than planned calls were begun."""
        self.took_ms: dict[str, list[float]] = {}
        self._agenda: list[tuple[float, int, Viewer, str, int]] = []
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def forget(self) -> None:
        """Begin to count."""
        self.calls, self.refused = Counter(), Counter()
        self.durable = self.bytes_in = self.bytes_out = 0
        self.late_ms, self.took_ms = [], {}

    async def run(
        self,
        marks: list[tuple[float, Callable[[], Awaitable[None]]]],
        *,
        pauses: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        """Until the last of ``marks`` (seconds from the start, what to do then); ``pauses``: those of them during which
        time stands still for the viewers.
        """
        begun = time.monotonic()
        for place, viewer in enumerate(self.viewers):
            self._plan(begun + place * JOIN_WITHIN_S / len(self.viewers), viewer, "join")
        for at, do in marks:
            while (now := time.monotonic()) < begun + at:
                due = self._agenda[0][0] if self._agenda else begun + at
                if due > now:
                    await asyncio.sleep(min(due, begun + at) - now)
                    continue
                planned, _, viewer, kind, number = heapq.heappop(self._agenda)
                self.late_ms.append((now - planned) * 1000)
                self._go(viewer, kind, number)
            if do not in pauses:
                await do()
                continue
            paused = time.monotonic()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await do()
            begun += time.monotonic() - paused
            self._shift(time.monotonic() - paused)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _shift(self, seconds: float) -> None:
        """Nothing was asked for so long, and nothing is late for it; but a token ends when it ends."""
        self._agenda = [
            (at + (kind != "refresh") * seconds, count, viewer, kind, number)
            for at, count, viewer, kind, number in self._agenda
        ]
        heapq.heapify(self._agenda)

    def _go(self, viewer: Viewer, kind: str, number: int) -> None:
        if kind not in ("join", "refresh") and number != viewer.number:
            return  # of a session that ended; a token outlives it
        task = asyncio.create_task(getattr(self, f"_{kind}")(viewer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _plan(self, at: float, viewer: Viewer, kind: str) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (at, self._count, viewer, kind, viewer.number))

    async def _ask(self, name: str, viewer: Viewer, method: str, path: str, body: Any = None, **more: str) -> Any:
        self.calls[name] += 1
        begun = time.monotonic()
        status, answer, in_, out = await self._send(method, path, body, {**viewer.headers, **more})
        self.took_ms.setdefault(name, []).append((time.monotonic() - begun) * 1000)
        self.bytes_in, self.bytes_out = self.bytes_in + in_, self.bytes_out + out
        if status >= 300:
            self.refused[f"{name} {status}"] += 1
            return None
        return answer

    async def _join(self, viewer: Viewer) -> None:
        now, first = time.monotonic(), not viewer.headers
        if first:
            body = {"device_id": viewer.device, "mkt": "de"}
            told = await self._ask("sign-in", viewer, "POST", "/v1/auth/anonymous", body)
            if told is None:
                return self._plan(now + 1, viewer, "join")
            viewer.headers = {"Authorization": f"Bearer {told['access']}", "Eisbach-Slot": told["slot"]}
            viewer.refresh = told["refresh"]
            # In a steady state tokens are of any age; one that ends is renewed before, whatever the draw.
            self._plan(now + self._rng.uniform(0, _valid_s(told)), viewer, "refresh")
        if self._rng.random() < RAILS:
            await self._ask("rails", viewer, "GET", "/v1/me/rails")
        if self._rng.random() < HOME:
            await self._ask("home", viewer, "GET", "/v1/de/free/web/12/home")
        viewer.number, viewer.seq = viewer.number + 1, 0
        body = {"asset": {"type": "vod", "id": "tears"}}
        key = f"{viewer.device}-{viewer.number}"
        told = await self._ask("start", viewer, "POST", "/v1/playback/sessions", body, **{"Idempotency-Key": key})
        if told is None:
            return self._plan(now + 1, viewer, "join")
        viewer.session, now = told, time.monotonic()
        await self._steer(viewer)
        left = self._rng.uniform(0, SESSION_S) if first else SESSION_S
        self._plan(now + BEAT_S, viewer, "beat")
        self._plan(now + left, viewer, "end")
        renew = self._rng.uniform(0, SESSION_S)
        if renew < left:
            self._plan(now + renew, viewer, "renew")
        return None

    async def _beat(self, viewer: Viewer) -> None:
        self._plan(time.monotonic() + BEAT_S, viewer, "beat")
        viewer.seq += 1
        body = {
            "seq": viewer.seq,
            "pos_s": viewer.seq % 90 + 1,
            "state": "playing",
            "session": viewer.session["session"],
        }
        path = f"/v1/playback/sessions/{viewer.session['sid']}/heartbeat"
        told = await self._ask("heartbeat", viewer, "POST", path, body)
        self.durable += bool(told and told.get("durable"))

    async def _steer(self, viewer: Viewer) -> None:
        self._plan(time.monotonic() + STEER_S, viewer, "steer")
        await self._ask("steering", viewer, "GET", f"/steer?mkt=de&sid={viewer.session['sid']}")

    async def _renew(self, viewer: Viewer) -> None:
        path = f"/v1/playback/sessions/{viewer.session['sid']}/token"
        await self._ask("media token", viewer, "POST", path, {"session": viewer.session["session"]})

    async def _refresh(self, viewer: Viewer) -> None:
        asked = time.monotonic()
        told = await self._ask("access token", viewer, "POST", "/v1/auth/token", {"refresh": viewer.refresh})
        if told is None:
            return self._plan(asked + 1, viewer, "refresh")
        viewer.headers["Authorization"] = f"Bearer {told['access']}"
        return self._plan(asked + _valid_s(told), viewer, "refresh")

    async def _end(self, viewer: Viewer) -> None:
        if self._rng.random() < CLEAN_END:
            body = {"pos_s": 30, "session": viewer.session["session"]}
            await self._ask("stop", viewer, "DELETE", f"/v1/playback/sessions/{viewer.session['sid']}", body)
        viewer.number += 1  # nothing of the old session goes on
        await self._join(viewer)


def _valid_s(told: Any) -> float:
    """Seconds until an access token is to be renewed."""
    return max(1.0, float(told["expires_in"]) - REFRESH_BEFORE_S)
