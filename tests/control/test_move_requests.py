"""``POST /moves``: what is refused, in words that name what an operator can type."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette

from eisbach.bootstrap.control_calls import control_routes
from eisbach.control.slot_record import SlotRecord
from eisbach.deploy.laptop.observer import alarms_in
from eisbach.engines.embedded.control_store import SqliteControlStore
from eisbach.kernel.slots import Slot
from eisbach.testing.asgi_client import AsgiAnswer, AsgiClient

from .test_slot_map import moved, reconciler, want


class Mover:
    """Of slots that have moved already."""

    def __init__(self, *settled: int) -> None:
        self.waits: dict[str, str] = {}
        self.settled = [f"eu/de/main/{number}" for number in settled]

    async def records(self) -> list[SlotRecord]:
        done: Any = {"owner": "c2", "epoch": 3, "move": 1, "phase": "settled", "source": "c1", "target": "c2"}
        return [SlotRecord(slot=slot, began_ms=1, **done) for slot in self.settled]

    async def abort(self, slot: Slot, reason: str) -> SlotRecord:
        (record,) = await self.records()
        return msgspec.structs.replace(record, slot=str(slot), outcome="aborted", reason=reason)

    async def request(self, slot: Slot, *, owner: str, target: str) -> SlotRecord:
        raise AssertionError(f"{slot} is moved from {owner} to {target}, and has moved already")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.db"


def calls(control: Any, mover: Mover) -> AsgiClient:
    async def serves() -> str:
        return ""

    routes = control_routes(control, mover, addresses={}, why_out=serves, unknown={}, tokens=("op",))  # type: ignore[arg-type]
    return AsgiClient(Starlette(routes=routes), {"Authorization": "Bearer op"})


async def ask(control: Any, mover: Mover, *numbers: int, bulk: bool) -> AsgiAnswer:
    body = {"slots": [f"eu/de/main/{n}" for n in numbers], "to": "c2", "bulk": bulk}
    return await calls(control, mover).send("POST", "/moves", body)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "an operator gave it up"),
        ("?reason=c2+is+lost", "c2 is lost"),
        ("?reason=", None),
        ("?reason=" + "x" * 201, None),
    ],
)
async def test_who_gives_a_move_up_may_say_why_and_that_is_on_record(
    query: str, reason: str | None, path: Path
) -> None:
    """What a restored cell gave up was told as an operator's doing."""
    store = SqliteControlStore(path)
    control = reconciler(store)
    await control.activate()

    told = await calls(control, Mover(0)).send("POST", f"/moves/abort{query}", {"slot": "eu/de/main/0"})

    assert told.status == (200 if reason else 400)
    assert told.json().get("reason") == reason
    await store.aclose()


async def test_more_than_a_fifth_is_refused_with_the_option_that_allows_it(path: Path) -> None:
    store = SqliteControlStore(path)
    control = reconciler(store)
    await control.activate()

    refused = await ask(control, Mover(), 0, 1, 2, bulk=False)

    assert (refused.status, "3 of 12 slots is more than a fifth" in refused.json()["detail"]) == (400, True)
    assert refused.json()["detail"].endswith("name fewer slots at a time, or allow it: eisbach cells move with --bulk")
    await store.aclose()


async def test_a_map_that_waits_for_consent_gets_it_from_the_same_moves_with_bulk_and_is_an_alarm_until_then(
    path: Path,
) -> None:
    """The slots have moved, so nothing is left to ask for but the consent."""
    store = SqliteControlStore(path)
    control = reconciler(store)
    await control.activate()
    await want(store, moved(0, 1, 2, 3))
    await control.activate()
    said = alarms_in({"control/eu-central": {"refusal": control.refusal}, "agent/eu-central": {}})

    told = await ask(control, Mover(0, 1, 2, 3), 0, 1, 2, 3, bulk=True)

    assert (
        said[0].startswith("control/eu-central publishes no new slot map: "),
        "eisbach cells move SLOT --to CELL --bulk" in said[0],
    ) == (True, True)
    assert (told.status, len(told.json()["already"])) == (202, 4)
    assert (control.version, control.refusal, alarms_in({"control/eu-central": {"refusal": ""}})) == (2, "", [])
    await store.aclose()
