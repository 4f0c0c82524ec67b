"""The load: viewers who write, start to play and read back, as the SDK does, and remember each acknowledgement by id.

A write's request id is its title: every title is written once, with a value of its own. A call that was not answered,
or answered with an outage, is repeated at the other region under the same id.
"""

import asyncio
import contextlib
import itertools
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

_TRIES = 4
_TIMEOUT = aiohttp.ClientTimeout(total=2.5)
_AGAIN_AT = {421, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class Ack:
    """A write that was answered."""

    account: str
    slot: str
    region: str
    """Where it was written."""
    mark: tuple[int, int]
    """(epoch, seq) there."""
    title: str
    """Of a position; empty for a playback session."""
    pos_s: float
    sid: str = ""
    key: str = ""


@dataclass(slots=True)
class Book:
    """What viewers were told."""

    acks: list[Ack] = field(default_factory=list)
    sids: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """(account, key) -> sessions that it was answered with."""
    breaches: list[str] = field(default_factory=list)
    """What no answer may be."""
    refused: dict[str, int] = field(default_factory=dict)
    """Status or error -> how often."""
    reads: int = 0


class Viewer:
    """One device. Calls go to ``edges`` in turn, the first first."""

    def __init__(
        self, number: int, edges: list[str], session: aiohttp.ClientSession, book: Book, *, market: str
    ) -> None:
        self._number, self._edges, self._http, self._book, self._market = number, edges, session, book, market
        self._rng = random.Random(f"viewer {number}")
        self._numbers = itertools.count(1)
        self._headers: dict[str, str] = {}
        self.account = self.slot = ""
        self._position: dict[str, str] = {}
        self.hold = asyncio.Event()
        """Viewers act while it is set."""
        self.busy = asyncio.Lock()

    async def sign_in(self) -> None:
        body = {"device_id": f"rounds-{self._market}-{self._number}", "mkt": self._market}
        async with asyncio.timeout(30):
            while (found := await self._ask("POST", "/v1/auth/anonymous", body))[0] != 200:
                await asyncio.sleep(0.2)
        answer = found[2]
        self.account, self.slot = answer["account"], answer["slot"]
        self._headers = {"Authorization": f"Bearer {answer['access']}", "Eisbach-Slot": self.slot}

    async def act_for_ever(self) -> None:
        while True:
            await self.hold.wait()
            async with self.busy:
                dice = self._rng.random()
                if dice < 0.15:
                    await self._play()
                else:
                    await self._write(read_back=dice > 0.8)
            await asyncio.sleep(self._rng.uniform(0.01, 0.06))

    async def _write(self, *, read_back: bool) -> None:
        number = next(self._numbers)
        title, pos_s = f"t{self._number}-{number}", float(number % 30_000) + 0.5
        status, headers, _ = await self._ask("PUT", f"/v1/me/progress/{title}", {"pos_s": pos_s, "dur_s": 43_200})
        if status != 204:
            return
        ack = self._noted(headers, title=title, pos_s=pos_s)
        if ack is None or not read_back:
            return
        position = {"Eisbach-Position": headers["eisbach-position"]}
        status, headers, answer = await self._ask("GET", f"/v1/me/progress/{title}", None, **position)
        self._book.reads += 1
        aged = "eisbach-age-ms" in headers
        if (status == 200 and answer["pos_s"] != pos_s and not aged) or (status == 404 and not aged):
            told = f"{status} {answer} from {headers.get('eisbach-region')}/{headers.get('eisbach-cell')}"
            self._book.breaches.append(f"read your writes: {title} of {self.account} after {ack}: {told}")

    async def _play(self) -> None:
        """Start under a key, and stop: the key's session is the same whoever answers."""
        key = f"k{self._number}-{next(self._numbers)}"
        body: dict[str, Any] = {"asset": {"type": "vod", "id": "rounds"}}
        status, headers, answer = await self._ask("POST", "/v1/playback/sessions", body, **{"Idempotency-Key": key})
        if status != 201:
            return
        self._book.sids.setdefault((self.account, key), set()).add(answer["sid"])
        if "eisbach-position" in headers:
            self._noted(headers, sid=answer["sid"], key=key)
        stop = {"session": answer["session"], "pos_s": 1}
        await self._ask("DELETE", f"/v1/playback/sessions/{answer['sid']}", stop)

    def _noted(self, headers: dict[str, str], **what: Any) -> Ack | None:
        region = headers["eisbach-region"]
        mark = msgspec.json.decode(headers["eisbach-position"])[region]
        given = {"title": "", "pos_s": 0.0, **what}
        ack = Ack(account=self.account, slot=self.slot, region=region, mark=tuple(mark), **given)
        self._book.acks.append(ack)
        return ack

    async def _ask(self, method: str, path: str, body: Any, **more: str) -> tuple[int, dict[str, str], Any]:
        """The last answer; status 0 when there was none."""
        found: tuple[int, dict[str, str], Any] = (0, {}, None)
        for turn in range(_TRIES):
            url = f"{self._edges[turn % len(self._edges)]}{path}"
            try:
                async with self._http.request(
                    method, url, json=body, headers={**self._headers, **more}, timeout=_TIMEOUT
                ) as answer:
                    raw = await answer.read()
                    headers = {name.lower(): value for name, value in answer.headers.items()}
                    found = answer.status, headers, msgspec.json.decode(raw) if raw else None
            except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
                found = 0, {}, None
                self._count(type(error).__name__)
            else:
                if found[0] < 300:
                    return found
                self._count(f"{found[0]} {(found[2] or {}).get('code', '')}")
                if found[0] == 500:
                    self._book.breaches.append(f"a bug was answered: {method} {path}: {found[2]}")
                if found[0] not in _AGAIN_AT:
                    return found
            await asyncio.sleep(0.05 * (turn + 1))
        return found

    async def write_to_one_process(self, url: str, alive: Callable[[], bool], *, seconds: float) -> list[int]:
        """Statuses of writes that a process answered while it was ``alive``; it listens at ``url``.

        A connection counts when the process lives after it was made: only then was it made with that process, not with
        the one that the supervisor starts in its place, which may acknowledge. A connection is never made anew unseen.
        """
        statuses: list[int] = []
        where = urlsplit(url)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while alive():
                    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                        reader, writer = await asyncio.open_connection(where.hostname, where.port)
                        try:
                            while alive():
                                statuses.append(await self._write_over(reader, writer))
                        finally:
                            writer.close()
                    await asyncio.sleep(0.02)
        return statuses

    async def _write_over(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        number = next(self._numbers)
        body = msgspec.json.encode({"pos_s": number + 0.5, "dur_s": 43_200})
        lines = [
            f"PUT /v1/me/progress/t{self._number}-{number} HTTP/1.1", "Host: rounds", f"Content-Length: {len(body)}",
            "Content-Type: application/json", *(f"{name}: {value}" for name, value in self._headers.items()),
        ]  # fmt: skip
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if length := re.search(r"content-length: (\d+)", head):
            await reader.readexactly(int(length[1]))
        return int(head.split()[1])

    def _count(self, what: str) -> None:
        self._book.refused[what] = self._book.refused.get(what, 0) + 1
