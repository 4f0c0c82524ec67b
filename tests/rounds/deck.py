"""The operator's hand on a running platform: its console, its links, its cells' clocks; over HTTP, with the token."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import aiohttp

_PATIENCE_S = 20.0


class Deck:
    """Use as an async context manager."""

    def __init__(self, data: Path, network: str) -> None:
        self.data, self._network = data, network
        self._console, self._link = f"http://{network}.1:8001", f"http://{network}.1:8005"
        self.token = (data / "secrets" / "operator-token").read_text().strip()
        self.operated: Counter[str] = Counter()
        """What operators' commands came to."""
        self.session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self.token}"}, timeout=aiohttp.ClientTimeout(total=15)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def status(self) -> dict[str, Any]:
        async with self.session.get(f"{self._console}/ops/status") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def fault(self, kind: str, target: str) -> None:
        await self._post("/ops/faults", {"action": "fault", "kind": kind, "target": target})

    async def heal(self, target: str | None = None) -> None:
        await self._post("/ops/heal", {"target": target} if target else {})

    async def _post(self, path: str, body: Any) -> None:
        async with self.session.post(f"{self._console}{path}", json=body) as answer:
            assert answer.status == 200, f"POST {path} {body}: {answer.status} {await answer.text()}"

    async def set_links(self, ways: Iterable[tuple[str, str]], state: str, delay_ms: int) -> None:
        """The link process may be dead at the moment: try until it holds."""
        for one, other in ways:
            body = {"state": state, "delay_ms": delay_ms}
            await self._persist("PUT", f"{self._link}/links/{one}/{other}", body)

    async def shift_clock(self, cell: str, by_ms: int) -> None:
        """A cell that is down has a right clock when it starts again."""
        url = await self.url(cell)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self.session.put(
                f"{url}/rehearsal/clock", json={"shift_ms": by_ms}, timeout=aiohttp.ClientTimeout(total=1)
            ) as answer:
                assert answer.status == 204, await answer.text()

    async def _persist(self, method: str, url: str, body: Any) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with self.session.request(method, url, json=body) as answer:
                        assert answer.status < 300, f"{method} {url}: {answer.status} {await answer.text()}"
                        return
                await asyncio.sleep(0.1)

    async def ask_control(self, method: str, url: str, body: Any = None) -> Any:
        """The answer of a control process; None when it is away, or refuses: rounds go on without."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self.session.request(method, url, json=body) as answer:
                assert answer.status in (200, 202, 400, 409), f"{method} {url}: {answer.status} {await answer.text()}"
                return await answer.json() if answer.status < 300 else None
        return None

    async def slots_of(self, region: str, cell: str) -> list[str]:
        """Viewers' slots that a cell has, by the signed map at the region's agent."""
        url = f"{await self.url(f'agent/{region}')}/map"
        found = await self.ask_control("GET", url)
        groups = found["map"]["groups"] if found else {}
        return [
            f"{group}/{number}"
            for group, cells in sorted(groups.items())
            for number, owner in enumerate(cells)
            if owner == cell and not group.startswith("any/")
        ]

    async def settle_ownership(self, regions: tuple[str, str], *, seconds: float = 60) -> None:
        """Every region serves and no move is on its way: what a round began has ended, one way or the other."""
        for region in regions:
            control = await self.url(f"control/{region}")
            other = next(r for r in regions if r != region)
            async with asyncio.timeout(seconds):
                while True:
                    last = await self.ask_control("GET", f"{control}/region")
                    if last and last["last"] and not _is_back(last["last"]):
                        await self.ask_control("POST", f"{control}/region/return", {"other": other, "wait_ms": 2_000})
                        continue
                    listed = await self.ask_control("GET", f"{control}/cells")
                    if listed:
                        committed = [move for move in listed["moves"] if move["outcome"] == "committed"]
                        self.operated[f"last moves committed in {region}"] = len(committed)
                    if last and listed and all(move["phase"] == "settled" for move in listed["moves"]):
                        break
                    await asyncio.sleep(0.2)

    async def process(self, target: str) -> dict[str, Any]:
        for found in (await self.status())["processes"]:
            if found["target"] == target:
                row: dict[str, Any] = found
                return row
        raise AssertionError(f"no process {target}")

    async def pid(self, target: str) -> int | None:
        pid: int | None = (await self.process(target))["pid"]
        return pid

    async def url(self, target: str) -> str:
        return str((await self.process(target))["url"])

    async def until_ready(self, *, but: frozenset[str] = frozenset(), seconds: float = 60) -> None:
        """Every process but those in ``but`` is ready."""

        def ready(status: dict[str, Any]) -> bool:
            return all(p["state"] == "ready" for p in status["processes"] if p["target"] not in but)

        await self.until(f"all ready but {sorted(but)}", ready, seconds)

    async def until(self, what: str, holds: Callable[[dict[str, Any]], bool], seconds: float) -> None:
        status: dict[str, Any] = {}
        try:
            async with asyncio.timeout(seconds):
                while not holds(status := await self.status()):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            states = {p["target"]: (p["state"], p["why"]) for p in status["processes"] if p["state"] != "ready"}
            raise AssertionError(f"not within {seconds} s: {what}; {states}") from None


def _is_back(record: dict[str, Any]) -> bool:
    """Of an EvacuationRecord: every slot was taken back."""
    return record["action"] == "return" and all(slot["proved"] for slot in record["slots"].values())
