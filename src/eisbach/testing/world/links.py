"""How the production code reaches others in the world: another region's cells, its own
region's cells, and its own region's event log.

Adapters of ports, as ``cell.peer_http`` and ``engines.nats`` are outside. May not know: what is sent.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from eisbach.bootstrap.control import OpenControl
from eisbach.cell.move_http import ANSWER_S as MOVE_ANSWER_S
from eisbach.cell.move_http import HttpCells
from eisbach.cell.moving import Freeze, Frozen
from eisbach.cell.peer_http import ANSWER_S, LONGEST_S
from eisbach.cell.puller import PullAnswer, PullRequest
from eisbach.control.evacuation import EvacuationRecord
from eisbach.control.moves import SlotRecord
from eisbach.kernel.errors import OutcomeUnknown, Unavailable
from eisbach.kernel.slotmap import SlotMap
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark
from eisbach.ports.event_log import Delivery, Envelope, EventLog, LastEnvelope, SubscriptionState
from eisbach.testing.asgi_client import AsgiAnswer, AsgiClient
from eisbach.testing.world.network import Endpoint, Network, Refused, Silent
from eisbach.testing.world.process import Process

if TYPE_CHECKING:
    from eisbach.testing.world.control import ControlNode
    from eisbach.testing.world.nodes import CellNode, HubNode

__all__ = ["CellsLink", "HubLink", "MovesLink", "PeerLink", "Ways", "send"]

T = TypeVar("T")
_HUB_ANSWER_S = 2.0


async def send(target: "CellNode", method: str, path: str, body: bytes, headers: Mapping[str, str]) -> AsgiAnswer:
    """A call into the cell's ASGI application, as its server would make it."""
    cell = target.cell
    if cell is None:
        raise Unavailable(f"{target.name} is not open")
    return await AsgiClient(cell.app).send(method, path, body, headers=headers)


class MapHolder(Endpoint, Protocol):
    """Who gives other regions the slot map: a region's edge."""

    def slot_map(self) -> SlotMap:
        """The map in force."""
        ...


@dataclass(slots=True, kw_only=True)
class Ways:
    """Whom processes reach, by name; filled while the world is made."""

    network: Network
    nodes: "dict[str, CellNode]"
    """Of every cell, by ``region/cell`` and by address."""
    maps: dict[str, MapHolder] = field(default_factory=dict)
    """By region."""
    controls: "dict[str, ControlNode]" = field(default_factory=dict)
    """By region; empty where no slot moves."""
    cuts: dict[tuple[str, int, int], Mapping[str, Mark]] = field(default_factory=dict)
    """(slot, move, epoch) -> where a freeze said that the slot ends."""
    breaches: list[str] = field(default_factory=list)
    """Cuts that moved: what a frozen slot takes after its cut is acknowledged, and lost with the move (P2)."""

    def note_cut(self, asked: Freeze, told: Frozen) -> None:
        """A cell has answered FREEZE."""
        first = self.cuts.setdefault((asked.slot, asked.move, asked.epoch), told.vector)
        if told.vector != first:
            self.breaches.append(f"P2 slot {asked.slot}: the cut of move {asked.move} moved from {first} on")


class PeerLink:
    """``cell.puller.PeerTransport`` over the simulated network."""

    far_behind = 2
    """So that the next answer is on its way while one is applied, here too, where nobody is ever far behind."""

    def __init__(self, source: Process, ways: Ways, region: str, *, token: str) -> None:
        """``region``: the other one."""
        self._source, self._ways, self._region = source, ways, region
        self._headers = {"authorization": f"Bearer {token}"}

    async def owners(self) -> Mapping[str, Sequence[str]]:
        """See ``PeerTransport``."""
        target = self._ways.maps[self._region]

        async def work() -> SlotMap:
            return target.slot_map()

        return (await self._ask(target, "map", work, seconds=ANSWER_S)).groups

    async def pull(self, cell: str, request: PullRequest) -> PullAnswer:
        """See ``PeerTransport``."""
        target = self._ways.nodes[f"{self._region}/{cell}"]
        body = msgspec.msgpack.encode(request)

        def work() -> Awaitable[AsgiAnswer]:
            return send(target, "POST", f"/peer/cells/{cell}/pull", body, self._headers)

        answer = await self._ask(target, "pull", work, seconds=request.wait_ms / 1000 + ANSWER_S)
        if answer.status != 200:
            raise Unavailable(f"{target.name} answered {answer.status}: {answer.body[:200]!r}")
        await self._trickle(len(answer.body))
        return msgspec.msgpack.decode(answer.body, type=PullAnswer)

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _trickle(self, size: int) -> None:
        if rate := self._ways.network.weather.bytes_per_s:
            await asyncio.sleep(min(size / rate, LONGEST_S))
            if size / rate > LONGEST_S:
                raise Unavailable(f"{size} bytes take longer than {LONGEST_S} s")

    async def _ask(self, target: Endpoint, phase: str, work: Callable[[], Awaitable[T]], *, seconds: float) -> T:
        try:
            return await self._ways.network.call(self._source, target, phase, work, seconds=seconds)
        except (Refused, Silent) as error:
            raise Unavailable(str(error)) from error


class CellsLink(HttpCells):
    """Cells of the own region, for moves: the production calls over the simulated network."""

    def __init__(self, source: Process, ways: Ways, addresses: Mapping[str, str], *, token: str) -> None:
        super().__init__(addresses, token=token)
        self._source, self._ways = source, ways

    async def _post(self, url: str, body: bytes) -> tuple[int, bytes]:
        host, _, path = url.removeprefix("http://").partition("/")
        target = self._ways.nodes[host]
        phase = path.rpartition("/")[2]
        headers = {name.lower(): value for name, value in self.headers.items()}

        def work() -> Awaitable[AsgiAnswer]:
            return send(target, "POST", f"/{path}", body, headers)

        try:
            answer = await self._ways.network.call(self._source, target, phase, work, seconds=MOVE_ANSWER_S)
        except (Refused, Silent) as error:
            raise Unavailable(str(error)) from error
        target.called(phase, body, answer.body if answer.status == 200 else None)
        return answer.status, answer.body


class HubLink:
    """``ports.event_log.EventLog`` of another process of the region."""

    def __init__(self, source: Process, network: Network, hub: "HubNode") -> None:
        self._source, self._network, self._hub = source, network, hub

    async def last(self, source: str) -> LastEnvelope:
        """See ``EventLog``."""
        return await self._ask("cursor", lambda log: log.last(source))

    async def append(self, envelope: Envelope, *, expected: int) -> int:
        """See ``EventLog``."""
        return await self._ask("publish", lambda log: log.append(envelope, expected=expected))

    async def subscribe(
        self, name: str, *, from_start: bool = True, anew: bool = False, in_flight_max: int = 8
    ) -> "Quiet":
        """The world's catalogue lies on the cells' disks and does not change."""
        del name, from_start, anew, in_flight_max
        return Quiet()

    async def forget(self, name: str) -> None:
        """See ``EventLog``."""
        await self._ask("state", lambda log: log.forget(name))

    async def tail(self) -> AsyncIterator[Envelope]:
        """Nobody in a cell asks for it."""
        raise Unavailable("the world has no live tail")

    async def state(self) -> Mapping[str, SubscriptionState]:
        """See ``EventLog``."""
        return await self._ask("state", lambda log: log.state())

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _ask(self, phase: str, work: Callable[[EventLog], Awaitable[T]]) -> T:
        hub = self._hub

        def serve() -> Awaitable[T]:
            if hub.log is None:
                raise Unavailable(f"{hub.name} is not open")
            return work(hub.log)

        try:
            return await self._network.call(self._source, hub, phase, serve, seconds=_HUB_ANSWER_S)
        except Refused as error:
            raise Unavailable(str(error)) from error
        except Silent as error:
            raise OutcomeUnknown(str(error)) from error


class MovesLink:
    """``bootstrap.restore_owners.Decided``: the region's control process, asked by a cell."""

    def __init__(self, source: Process, ways: Ways) -> None:
        self._source, self._ways = source, ways

    async def records(self) -> Sequence[SlotRecord]:
        """See ``Moves``."""
        return await self._ask("records", lambda control: control.mover.records())

    async def abort(self, slot: Slot, reason: str) -> SlotRecord:
        """See ``Moves``."""
        return await self._ask("abort", lambda control: control.mover.abort(slot, reason))

    async def addresses(self) -> Mapping[str, str]:
        """See ``Decided``; those that are still there."""
        found = {
            node.document.cell: place
            for place, node in self._ways.nodes.items()
            if ":" in place and node.region == self._source.region and not node.gone
        }
        return await self._ask("records", lambda _: _told(found))

    async def evacuation(self) -> EvacuationRecord | None:
        """See ``Decided``."""
        return await self._ask("evacuation", lambda control: control.evacuation.last())

    async def _ask(self, phase: str, work: Callable[[OpenControl], Awaitable[T]]) -> T:
        node = self._ways.controls[self._source.region]

        def serve() -> Awaitable[T]:
            if node.control is None:
                raise Unavailable(f"{node.name} is not open")
            return work(node.control)

        try:
            return await self._ways.network.call(self._source, node, phase, serve, seconds=_HUB_ANSWER_S)
        except (Refused, Silent) as error:
            raise Unavailable(str(error)) from error


async def _told(what: T) -> T:
    return what


class Quiet:
    """A durable subscription to which nothing comes."""

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        """Wait for ever."""
        await asyncio.get_running_loop().create_future()
        yield  # type: ignore[misc]

    async def aclose(self) -> None:
        """Nothing is open."""
