"""The bench's viewers keep their access token valid, whatever becomes of their sessions."""

import asyncio
import time
from typing import Any

from bench.viewer_fleet import Fleet

_VALID_S = 720
"""The shortest that a cell gives."""


async def _answer(method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any, int, int]:
    told = {"access": f"a-{path}", "refresh": "r", "slot": "s", "expires_in": _VALID_S, "sid": "1", "session": "t"}
    return 200, told, 0, 0


def _refreshes(fleet: Fleet) -> list[tuple[float, int]]:
    return [(at, number) for at, _, _, kind, number in fleet._agenda if kind == "refresh"]


def test_a_token_is_renewed_before_it_ends() -> None:
    async def scenario() -> None:
        begun = time.monotonic()
        fleet = Fleet(_answer, [f"device-{n}" for n in range(50)])
        await asyncio.gather(*map(fleet._join, fleet.viewers))
        planned = _refreshes(fleet)
        assert len(planned) == 50
        assert max(at for at, _ in planned) < begun + _VALID_S

    asyncio.run(scenario())


def test_a_renewal_goes_on_when_the_session_of_its_planning_has_ended() -> None:
    async def scenario() -> None:
        fleet = Fleet(_answer, ["device-1"])
        (viewer,) = fleet.viewers
        await fleet._join(viewer)
        ((_, number),) = _refreshes(fleet)
        assert number != viewer.number  # planned at sign-in, before the first session
        fleet._go(viewer, "refresh", number)
        await asyncio.gather(*fleet._tasks)
        assert fleet.calls["access token"] == 1
        assert viewer.headers["Authorization"] == "Bearer a-/v1/auth/token"
        assert len(_refreshes(fleet)) == 2, "the next one is planned"

    asyncio.run(scenario())
