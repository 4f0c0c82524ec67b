"""What goes wrong in a round: drawn from its seed, and how each is done to real processes."""

import asyncio
import contextlib
import random
import resource
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .deck import Deck

REGIONS = ("eu-central", "eu-west")
CELLS = tuple(f"cell/{region}/{cell}" for region in REGIONS for cell in ("c1", "c2", "c3"))
BEHIND = tuple(f"{kind}/{region}" for kind in ("hub", "edge", "agent", "control", "spokes") for region in REGIONS)
KINDS = ("kill", "kill", "stop", "cut", "refuse", "slow-link", "full", "clock", "region", "slow", "move", "evacuate")
"""``kill`` twice: it is what happens most. The last two are no faults: what operators do, while things go wrong."""
HUBS_IN_TURN = 1
"""The seed of a round that is not drawn: see ``_HUBS_IN_TURN``."""
LAST_S = 6.0
"""Every fault but the long stop is over by then."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    kind: str
    target: str
    at_s: float
    for_s: float
    size: int = 0
    """``clock``: ms; ``slow-link``: ms one way; ``full``: bytes a file may have; ``kill``: times; ``move``: slots."""

    def __str__(self) -> str:
        size = f" {self.size}" if self.size else ""
        return f"{self.kind}{size} {self.target} at {self.at_s:.1f} s for {self.for_s:.1f} s"


_HUBS_IN_TURN = (
    Fault("kill", "hub/eu-central", 0.3, 0.6, 2),
    Fault("move", "control/eu-central", 0.5, 2.0, 8),
    Fault("stop", "cell/eu-west/c1", 1.2, 2.5),
    Fault("stop", "hub/eu-west", 1.6, 1.5),
    Fault("kill", "hub/eu-west", 3.4, 0.4, 1),
    Fault("move", "control/eu-west", 3.0, 1.5, 8),
    Fault("kill", "hub/eu-central", 4.2, 0.6, 2),
)
"""Both hubs restarted in turn under load, one of them hung before; slots move in both regions meanwhile, and a cell that
stands still has its viewers go to its twin."""


def plan(seed: int) -> list[Fault]:
    """The faults of a round; the same for a seed for ever."""
    if seed == HUBS_IN_TURN:
        return list(_HUBS_IN_TURN)
    rng = random.Random(f"round {seed}")
    found: list[Fault] = []
    for _ in range(rng.choice((1, 2, 2, 3))):
        kind = rng.choice(KINDS)
        at_s, for_s = rng.uniform(0.2, 2.0), rng.uniform(1.0, 3.8)
        target, size = rng.choice(CELLS), 0
        if kind in ("kill", "stop"):
            target = rng.choice((*CELLS, *CELLS, *BEHIND))
            size = rng.choice((1, 1, 2, 3)) if kind == "kill" else 0
        elif kind in ("cut", "refuse", "slow-link"):
            target = rng.choice(("link/both", f"link/{REGIONS[0]}", f"link/{REGIONS[1]}"))
            size = rng.choice((40, 150, 600)) if kind == "slow-link" else 0
        elif kind in ("region", "evacuate"):
            target = f"region/{rng.choice(REGIONS)}"
        elif kind == "move":
            target, size = f"control/{rng.choice(REGIONS)}", rng.choice((1, 4, 12))
        elif kind == "full":
            size = rng.choice((0, 4096, 1 << 20))
        elif kind == "clock":
            size = rng.choice((-86_400_000, -5_000, -700, 700, 5_000, 86_400_000))
        found.append(Fault(kind, target, at_s, for_s, size))
    return found


async def strike(deck: Deck, fault: Fault, *, began: float) -> None:
    """Do it when its time comes, and undo it."""
    now = asyncio.get_running_loop().time
    await asyncio.sleep(max(0.0, began + fault.at_s - now()))
    await _DOERS[fault.kind](deck, fault)


async def _kill(deck: Deck, fault: Fault) -> None:
    for _ in range(fault.size):
        await deck.fault("kill", fault.target)
        await asyncio.sleep(fault.for_s / fault.size)


async def _stop(deck: Deck, fault: Fault) -> None:
    await deck.fault("hang", fault.target)
    await asyncio.sleep(fault.for_s)
    await deck.heal(fault.target)


async def _slow(deck: Deck, fault: Fault) -> None:
    await deck.fault("slow", fault.target)
    await asyncio.sleep(fault.for_s)
    await deck.heal(fault.target)


async def _region(deck: Deck, fault: Fault) -> None:
    """Power lost: every process of a region at once, and all of it comes back."""
    await deck.fault("down", fault.target)
    await asyncio.sleep(fault.for_s)
    await deck.heal(fault.target)


async def _link(deck: Deck, fault: Fault) -> None:
    state, delay = {"cut": ("cut", 0), "refuse": ("refuse", 0), "slow-link": ("up", fault.size)}[fault.kind]
    source = fault.target.removeprefix("link/")
    ways = [(a, b) for a, b in (REGIONS, REGIONS[::-1]) if source in ("both", a)]
    await deck.set_links(ways, state, delay)
    await asyncio.sleep(fault.for_s)
    await deck.set_links(ways, "up", 0)


async def _full(deck: Deck, fault: Fault) -> None:
    """No file of the process may grow beyond ``size``: what a full disk is to it, in EFBIG's words instead of ENOSPC's."""
    pid = await deck.pid(fault.target)
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError):  # it was killed meanwhile: the next one has room
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (fault.size, resource.RLIM_INFINITY))
        await asyncio.sleep(fault.for_s)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


async def _clock(deck: Deck, fault: Fault) -> None:
    """Its wall clock jumps, and jumps back."""
    await deck.shift_clock(fault.target, fault.size)
    await asyncio.sleep(fault.for_s)
    await deck.shift_clock(fault.target, 0)


async def _move(deck: Deck, fault: Fault) -> None:
    """Slots that c1 has go to c2, and others come back; a control process that is away is not waited for."""
    control = await deck.url(fault.target)
    for turn, (source, target) in enumerate((("c1", "c2"), ("c2", "c1"))):
        slots = await deck.slots_of(fault.target.split("/")[1], source)
        body = {"slots": slots[turn * fault.size : (turn + 1) * fault.size], "to": target, "bulk": True}
        if body["slots"]:
            found = await deck.ask_control("POST", f"{control}/moves", body)
            deck.operated["slots asked to move"] += len(found["moves"]) if found else 0
        await asyncio.sleep(fault.for_s / 2)


async def _evacuate(deck: Deck, fault: Fault) -> None:
    """As ``eisbach regions evacuate`` and ``return``; what stays open is returned at the end of the round."""
    region = fault.target.split("/")[1]
    control, other = await deck.url(f"control/{region}"), next(r for r in REGIONS if r != region)
    found = await deck.ask_control("POST", f"{control}/region/evacuate", {"other": other, "wait_ms": 1_000})
    proofs = [slot["proved"] for slot in found["slots"].values()] if found else []
    deck.operated["slots evacuated with a proof"] += sum(proofs)
    deck.operated["slots not proved within a second"] += len(proofs) - sum(proofs)
    await asyncio.sleep(fault.for_s)
    await deck.ask_control("POST", f"{control}/region/return", {"other": other, "wait_ms": 1_000})


_DOERS: dict[str, Callable[[Deck, Fault], Awaitable[None]]] = {
    "kill": _kill, "stop": _stop, "slow": _slow, "region": _region, "cut": _link, "refuse": _link, "slow-link": _link,
    "full": _full, "clock": _clock, "move": _move, "evacuate": _evacuate,
}  # fmt: skip
