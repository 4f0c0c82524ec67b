"""The edge in the world: ``edge.rules``, from which nginx is generated, driven over the simulated network.

Nothing is decided here: where a call goes, when it is tried again and which 421 is followed is the rules' word.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from eisbach.edge.rules import (
    Answer,
    Call,
    Forward,
    Outcome,
    Peer,
    Refuse,
    Region,
    circular,
    decide,
    doubtful,
    follow,
    next_hop,
)
from eisbach.kernel.errors import Unavailable
from eisbach.kernel.slotmap import CellEntry, SlotMap
from eisbach.testing.asgi_client import AsgiAnswer
from eisbach.testing.world.control import AgentNode
from eisbach.testing.world.genesis import STRANGER, Shape, placement
from eisbach.testing.world.history import History
from eisbach.testing.world.links import send
from eisbach.testing.world.network import Network, Refused, Silent
from eisbach.testing.world.nodes import CellNode

__all__ = ["CALLS", "Edge", "Request", "World"]

T = TypeVar("T")
_READ_S: Final = 1.5
_PEER_READ_S: Final = 3.2
CALLS: Final = ("edge", "door", "call")
"""Phases of a viewer's call: to an edge, from there to another region's, to a cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A call as a client sends it."""

    method: str
    target: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(slots=True)
class World:
    """What edges reach."""

    network: Network
    history: History
    cells: dict[str, CellNode] = field(default_factory=dict)
    edges: dict[str, "Edge"] = field(default_factory=dict)


class Edge:
    """One a region; see ``network.Endpoint``. It keeps nothing but its map, so it only ever is there or unreachable."""

    def __init__(self, region: str, shape: Shape, world: World, agent: AgentNode | None) -> None:
        """``agent``: whose map it follows; None: the first map is all there is."""
        self.name, self.region, self._world, self._agent = f"{region}/edge", region, world, agent
        # The stranger comes first: that no call of these viewers goes there is the rules' word.
        others = sorted((r for r in shape.cells if r != region), key=lambda r: r != STRANGER)
        peers = tuple(Peer(region=r, residency="us" if r == STRANGER else "eu", door=r) for r in others)
        self._region = Region(name=region, residency="us" if region == STRANGER else "eu", peers=peers)
        self.up = True
        told = placement(shape, region)
        cells = {name: CellEntry(address=address) for name, address in told.cells.items()}
        groups = {group: list(owners) for group, owners in told.groups.items()}
        self._map = SlotMap(region=region, version=0, issued_ms=0, cells=cells, groups=groups, preferred={})
        self._document = b""

    async def awake(self) -> None:
        """It is never stopped."""

    def spawn(self, work: Awaitable[T]) -> "asyncio.Task[T]":
        """See ``Endpoint``."""
        task: asyncio.Task[T] = asyncio.ensure_future(work)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def enter(self, phase: str) -> None:
        """Edges have no phases."""

    def leave(self, phase: str) -> None:
        """Edges have no phases."""

    def slot_map(self) -> SlotMap:
        """The map in force."""
        agent = self._agent
        if agent is not None and agent.document != self._document:
            self._document = agent.document
            raw = msgspec.json.decode(agent.document, type=dict[str, msgspec.Raw])["map"]
            self._map = msgspec.json.decode(raw, type=SlotMap)
        return self._map

    async def handle(self, request: Request, *, peer: bool = False) -> AsgiAnswer:
        """What the caller gets."""
        headers = request.headers
        history, number = self._world.history, headers["eisbach-request-id"]
        if not peer or history.arrived[self.name, number]:
            history.copies[number] += 1
        history.arrived[self.name, number] += 1
        slot_map = self.slot_map()
        call = Call(
            method=request.method, target=request.target, slot=headers.get("eisbach-slot", ""),
            key=headers.get("idempotency-key", ""), door="peer" if peer else "public",
        )  # fmt: skip
        decided = decide(call, region=self._region, slot_map=slot_map)
        if isinstance(decided, Refuse):
            return AsgiAnswer(decided.status, {}, b'{"code":"' + decided.code.encode() + b'"}')
        if isinstance(decided, Answer):
            return AsgiAnswer(decided.status, {}, b"")
        answer, hop = await self._forward(decided, request)
        following: Forward | None = decided
        while following is not None and answer.status == 421 and (owner := answer.headers.get("eisbach-owner", "")):
            following = follow(following, owner, region=self._region, slot_map=slot_map)
            if following is not None:
                answer, hop = await self._forward(following, request)
            elif circular(hop, owner, region=self._region):
                return _lost()
        return answer

    async def _forward(self, forward: Forward, request: Request) -> tuple[AsgiAnswer, str]:
        """What the caller gets, and who was asked last."""
        hop: str | None = forward.cells[0]
        tried: list[str] = []
        outcomes: list[Outcome] = []
        while True:
            assert hop is not None
            tried.append(hop)
            answer: AsgiAnswer | None = None
            outcome: Outcome
            try:
                answer = await self._try(hop, request)
                outcome = answer.status
            except Refused:
                outcome = "refused"
            except Silent:
                outcome = "silent"
            outcomes.append(outcome)
            hop = next_hop(forward, tried, outcome)
            if hop is None:
                break
            if answer is not None:
                self._world.history.shed_tries.append(f"{self.name}: {outcome} from {tried[-1]} was tried at {hop}")
        if doubtful(forward, outcomes):
            answer = AsgiAnswer(504, {}, b'{"code":"outcome_unknown"}')
        return answer or _lost(), tried[-1]

    async def _try(self, hop: str, request: Request) -> AsgiAnswer:
        world = self._world
        if hop.startswith("@"):
            door = world.edges[hop[1:]]
            return await world.network.call(
                self, door, "door", lambda: door.handle(request, peer=True), seconds=_PEER_READ_S
            )
        target = world.cells[f"{self.region}/{hop}"]

        async def work() -> AsgiAnswer:
            number = request.headers["eisbach-request-id"]
            if world.history.arrived[target.name, number]:
                world.history.copies[number] += 1
            world.history.arrived[target.name, number] += 1
            try:
                return await send(target, request.method, request.target, request.body, request.headers)
            except Unavailable as error:
                raise Refused(str(error)) from error

        return await world.network.call(self, target, "call", work, seconds=_READ_S)


def _lost() -> AsgiAnswer:
    """Nothing was done, or it is a read."""
    return AsgiAnswer(502, {}, b'{"code":"unavailable"}')
