"""Viewers with an SDK: preferred region first, tries again, hedges after 400 ms under the same key, deadlines.

Each viewer does one thing after another; what is wanted and what was told goes into the history. The order of regions
is what sign-in answered. May not know: faults, stores.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeVar

import msgspec

from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, decode_position, encode_position, merged
from eisbach.testing.asgi_client import AsgiAnswer
from eisbach.testing.world.edge import Edge, Request, World
from eisbach.testing.world.genesis import REGIONS, TITLES
from eisbach.testing.world.history import Ack, Intent, Kind, Read
from eisbach.testing.world.network import Refused, Silent

__all__ = ["Viewer"]

T = TypeVar("T")
HEDGE_S: Final = 0.4
_TRY_S: Final = 2.0
_TRIES: Final = 4
_AWAY: Final = 0.4
"""Share of reads that first go to the region that the viewer does not write in."""
_Reads = Literal["", "home", "away"]
"""With the position of what the viewer has seen, and in which region first; empty: no read."""
_LEAVES_SHARE: Final = 0.1
"""Of viewers, who have their account erased and begin anew, on another device."""
_PLAYING_ON: Final = object()
"""Body of a position: where the viewer is when it is sent."""
_DEFINITE: Final = ("overloaded", "unavailable", "slot_frozen", "slot_moved", "epoch_stale")
"""Problem codes that promise that nothing was written."""


class Viewer:
    """One account on one device; see ``network.Endpoint``."""

    up = True

    def __init__(self, number: int, device: str, world: World, chance: random.Random) -> None:
        self.name, self.region = f"viewer-{number}", f"viewer-{number}"
        self._number, self._device, self._world, self._chance = number, device, world, chance
        self._order = list(REGIONS) if number % 2 == 0 else list(reversed(REGIONS))
        self._headers: dict[str, str] = {}
        self._slot = self._account = ""
        self._position: dict[str, Mark] = {}
        self._last: dict[str, tuple[str, Mark]] = {}
        self._sessions: list[dict[str, Any]] = []
        self._keys: list[str] = []
        self._beats = 0
        self._leaves = chance.uniform(0.2, 0.9) if chance.random() < _LEAVES_SHARE else 2.0
        """The part of its time after which it has its account erased."""

    async def awake(self) -> None:
        """Never stopped."""

    def spawn(self, work: Awaitable[T]) -> "asyncio.Task[T]":
        """See ``Endpoint``."""
        return asyncio.ensure_future(work)

    def enter(self, phase: str) -> None:
        """Viewers have no phases."""

    def leave(self, phase: str) -> None:
        """Viewers have no phases."""

    async def watch(self, until_s: float) -> None:
        """Sign in, then do things until ``until_s``."""
        loop, chance = asyncio.get_running_loop(), self._chance
        acts: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (48, self._progress), (12, self._read), (12, self._save), (8, self._unsave), (10, self._play),
            (6, self._pause), (4, self._play_twice),
        ]  # fmt: skip
        weights, choices = [weight for weight, _ in acts], [act for _, act in acts]
        while loop.time() < until_s:
            if not self._slot:
                await self.sign_in()
                continue
            if loop.time() > self._leaves * until_s:
                await self._erase()
                continue
            # Sometimes several at once, as apps do: that is what makes groups of writes, and conflicts inside them.
            several = chance.choices(choices, weights, k=chance.choice((1, 1, 1, 2, 3)))
            await asyncio.gather(*(act() for act in several))
            await asyncio.sleep(chance.uniform(0.02, 0.35))

    def _intent(self, kind: Kind, item: str) -> Intent:
        intents = self._world.history.intents
        now = asyncio.get_running_loop().time()
        intent = Intent(len(intents) + 1, self._number, kind, self._account, item, now)
        intents.append(intent)
        return intent

    async def sign_in(self) -> None:
        """Once; what it was told is in the history."""
        intent = self._intent("sign_in", self._device)
        answer = await self._do(intent, "POST", "/v1/auth/anonymous", {"device_id": self._device, "mkt": "de"})
        if answer is None or answer.status != 200:
            await asyncio.sleep(0.2)
            return
        granted = answer.json()
        self._account, self._slot = granted["account"], granted["slot"]
        intent.account = self._account
        self._order = [endpoint["region"] for endpoint in granted["endpoints"]]
        self._headers = {"authorization": f"Bearer {granted['access']}", "eisbach-slot": self._slot}

    async def _erase(self) -> None:
        """Whatever it is told: an account that may be erased is not used again."""
        await self._do(self._intent("erase", self._account), "DELETE", "/v1/me", None)
        self._leaves, self._device = 2.0, f"{self._device}-again"
        self._slot = self._account = ""
        self._headers = {}
        self._position, self._last, self._sessions, self._keys = {}, {}, [], []

    async def _progress(self) -> None:
        title = self._chance.choice(TITLES)
        intent = self._intent("progress", title)
        await self._do(intent, "PUT", f"/v1/me/progress/{title}", _PLAYING_ON)

    async def _save(self) -> None:
        title = self._chance.choice(TITLES)
        await self._do(self._intent("save", title), "PUT", f"/v1/me/watchlist/{title}", None)

    async def _unsave(self) -> None:
        title = self._chance.choice(TITLES)
        await self._do(self._intent("unsave", title), "DELETE", f"/v1/me/watchlist/{title}", None)

    async def _read(self) -> None:
        title = self._chance.choice(TITLES)
        intent = self._intent("read", title)
        after = self._last.get(title)
        # Sometimes at the other region first, as after a failover: what was just written here has to be known there.
        reads: _Reads = "away" if self._chance.random() < _AWAY else "home"
        answer = await self._do(intent, "GET", f"/v1/me/progress/{title}", None, reads=reads)
        if answer is not None and answer.status in (200, 404):
            pos_s = int(answer.json()["pos_s"]) if answer.status == 200 else None
            intent.reads.append(Read(pos_s, after, "eisbach-age-ms" in answer.headers))

    async def _play(self) -> None:
        if self._keys and self._chance.random() < 0.4:
            key = self._chance.choice(self._keys)  # the app was restarted and asks again
        else:
            key = f"key-{self._number}-{len(self._keys)}"
            self._keys.append(key)
        title = self._chance.choice(TITLES) if key not in self._keys[:-1] else TITLES[0]
        intent = self._intent("play", key)
        body = {"asset": {"type": "vod", "id": title}, "takeover": []}
        await self._do(intent, "POST", "/v1/playback/sessions", body, key=key)

    async def _play_twice(self) -> None:
        """Two tabs at once: both starts read the account's places before either is written."""
        await asyncio.gather(self._play(), self._play())

    async def _pause(self) -> None:
        if not self._sessions:
            return
        session = self._chance.choice(self._sessions)
        self._beats += 1
        body = {"seq": self._beats, "pos_s": 1, "state": "paused", "session": session["session"]}
        intent = self._intent("pause", session["sid"])
        await self._do(intent, "POST", f"/v1/playback/sessions/{session['sid']}/heartbeat", body)

    async def _do(
        self, intent: Intent, method: str, target: str, body: object, *, key: str = "", reads: "_Reads" = ""
    ) -> AsgiAnswer | None:
        """Try until it is answered; the answer that counts, None when the deadline came first."""
        headers = dict(self._headers)
        if key:
            headers["idempotency-key"] = key
        if reads:
            headers["eisbach-position"] = encode_position(self._position)
        loop = asyncio.get_running_loop()
        answer = None
        try:
            for number in range(_TRIES):
                value = intent.number * _TRIES + number
                sent = {"pos_s": value, "dur_s": 40_000} if body is _PLAYING_ON else body
                raw = b"" if body is None else msgspec.json.encode(sent)
                headers["eisbach-request-id"] = f"try-{value}"
                request = Request(method=method, target=target, body=raw, headers=dict(headers))
                first = (number + (reads == "away")) % 2
                regions = self._order[first:] + self._order[:first]
                begun_s = loop.time()
                answer = await self._hedged(intent, request, value, regions if key else regions[:1])
                intent.tries.append((value, begun_s, loop.time()))
                if answer is not None and answer.status not in (421, 429, 502, 503, 504):
                    return answer
                await asyncio.sleep(self._chance.uniform(0.02, 0.1) * 2**number)
            return answer
        finally:
            intent.ended_s = loop.time()

    async def _hedged(self, intent: Intent, request: Request, value: int, regions: list[str]) -> AsgiAnswer | None:
        """The first useful answer of one region, and after 400 ms of another; all answers go into the history."""
        tries: list[asyncio.Task[AsgiAnswer | None]] = []
        for region in regions:
            tries.append(asyncio.create_task(self._ask(intent, request, value, self._world.edges[region])))
            await asyncio.wait(tries, timeout=HEDGE_S, return_when=asyncio.FIRST_COMPLETED)
            if any(task.done() and _useful(task.result()) for task in tries):
                break
        answers = await asyncio.gather(*tries)  # the others are waited for, so that the history knows their word
        return next((a for a in answers if _useful(a)), next((a for a in answers if a is not None), None))

    async def _ask(self, intent: Intent, request: Request, value: int, edge: Edge) -> AsgiAnswer | None:
        try:
            answer = await self._world.network.call(self, edge, "edge", lambda: edge.handle(request), seconds=_TRY_S)
        except Silent:
            intent.doubts += 1
            return None
        except Refused:
            return None  # the region is gone
        self._note(intent, value, answer)
        return answer

    def _note(self, intent: Intent, value: int, answer: AsgiAnswer) -> None:
        now = asyncio.get_running_loop().time()
        if answer.status >= 400:
            code = answer.json().get("code", "") if answer.body[:1] == b"{" else ""
            if code in _DEFINITE:
                intent.refusals.append((code, value))
            elif answer.status >= 500:
                intent.doubts += 1
            return
        region = answer.headers.get("eisbach-region", "")
        if intent.kind == "play":
            session = answer.json()
            self._sessions.append(session)
            intent.sids.append((region, session["sid"], session["start_pos_s"]))
        position = answer.headers.get("eisbach-position")
        if position is None or intent.kind == "read":
            return
        told = decode_position(position)
        self._position = merged(self._position, told)
        if intent.kind == "progress":
            self._last[intent.item] = (region, told[region])
        slot = self._slot or (answer.json()["slot"] if intent.kind == "sign_in" else "")
        Slot.parse(slot)
        # After a move or a followed 421 the write may be another cell's of the region: the highest of them bounds it.
        ceiling = max(node.ceiling_ms() for node in self._world.cells.values() if node.region == region)
        peer = answer.headers.get("eisbach-durability") == "peer"
        intent.acks.append(Ack(region, slot, told[region], now, ceiling, value, peer))


def _useful(answer: AsgiAnswer | None) -> bool:
    return answer is not None and answer.status not in (421, 429, 502, 503, 504)
