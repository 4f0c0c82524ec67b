"""Which (phase, fault) pairs can occur, and why others cannot: coverage is the set of those that were hit.

May not know: which of them a seed is aimed at (``faults``, ``aimed``).
"""

from collections.abc import Mapping
from typing import Final

from eisbach.testing.world.control import FORGED
from eisbach.testing.world.nodes import CATCHING_UP, CUT_TOLD, MOVE_NEAR
from eisbach.testing.world.strikes import Pair

__all__ = ["ALONE", "LOST", "LOST_STORE", "MESSAGE_PAIRS", "OLDER_COPY", "PAIRS", "PUT_BACK", "STRIKE_PAIRS", "Aim"]

Aim = tuple[str, Pair]
_CELL_PHASES: Final = ("opening", "disk.store", "call.serve", "pull.ask", "pull.serve", "publish.ask", "cursor.ask")
_HUB_PHASES: Final = ("opening", "disk.log", "disk.spokes", "publish.serve", "cursor.serve")
_PREPARED: Final = (("c1", "holding"), ("hub", "acknowledge"), ("hub", CATCHING_UP))
"""Windows that hardly open by themselves: ops from the future wait in a log; a spoke acknowledges; a hub comes back and
much waits for it. Before a strike waits for the first or the last of them it sees to it that there is something to
wait for."""
ALONE: Final = "alone"
"""The other region is lost; a plan that is led by this has it lost."""
_STEPS: Final = ("look", "prepare", "freeze", "drain", "settle")
"""Calls of a move from its coordinator to cells; between cells there is ``export``."""
_DEATHS: Final = ("kill", "power", "pause", "full", "failed-sync")
_CLOCKS: Final = ("jump-ahead", "jump-back", "drift", "freeze")
_CUTS: Final = ("cut", "cut-one-way", "cut-off")
_TWINS: Final[tuple[Aim, ...]] = (
    *(("c1", (phase, kind)) for phase in _CELL_PHASES for kind in (*_DEATHS, *_CLOCKS, *_CUTS)),
    *(("hub", (phase, kind)) for phase in _HUB_PHASES for kind in (*_DEATHS, *_CLOCKS, "cut-off")),
    *(("hub", (phase, "wiped")) for phase in _HUB_PHASES),
    *((process, (phase, kind)) for process, phase in _PREPARED for kind in _DEATHS),
)
_MOVING: Final[tuple[Aim, ...]] = (
    *(("control", (f"{step}.ask", kind)) for step in _STEPS for kind in (*_DEATHS, *_CLOCKS, "cut-off")),
    *(("control", (phase, kind)) for phase in ("opening", "disk.control") for kind in (*_DEATHS, "freeze")),
    # A cell answers ``look`` and ``export`` without waiting for anything: there is no time in which to hit it.
    *(("cell", (f"{step}.serve", kind)) for step in _STEPS[1:] for kind in (*_DEATHS, *_CLOCKS, *_CUTS)),
    *(("cell", ("export.ask", kind)) for kind in (*_DEATHS, *_CLOCKS, *_CUTS)),
    *((process, (ALONE, kind)) for process in ("cell", "control") for kind in _DEATHS),
    *(("cell", (CUT_TOLD, kind)) for kind in ("kill", "power")),
    *(("hub", (MOVE_NEAR, kind)) for kind in (*_DEATHS, "cut-off")),
    *(("agent", (phase, kind)) for phase in ("opening", "fetch.ask") for kind in ("kill", "power", "pause", "cut-off")),
)
STRIKE_PAIRS: Final[Mapping[str, tuple[Aim, ...]]] = {
    "twins": _TWINS, "residency": _TWINS, "moving": _MOVING,
}  # fmt: skip
"""Shape -> (process, (phase, fault)) that a strike can hit; ``cell`` is any cell of the region where slots move."""
_CALLS: Final = ("edge", "door", "call", "pull", "publish", "cursor", "fetch", *_STEPS, "export")
_LEGS: Final = tuple(f"{call}.{leg}" for call in _CALLS for leg in ("ask", "answer"))
MESSAGE_PAIRS: Final[tuple[Pair, ...]] = (
    *((leg, fault) for leg in _LEGS for fault in ("loss", "lateness")),
    *((leg, "doubling") for leg in _LEGS if leg.endswith(".ask")),
    *((leg, "cut") for leg in _LEGS if not leg.startswith("edge.")),
    *(("fetch.answer", f"forged-{kind}") for kind in FORGED),
)
"""(message, fault): viewers' own links are never cut, they only lose."""
OLDER_COPY: Final = "older-copy"
"""The machine is put back from a copy of its disk that was made a while before."""
PUT_BACK: Final[tuple[Pair, ...]] = tuple((phase, OLDER_COPY) for phase in _CELL_PHASES)
"""At most one in a seed."""
LOST_STORE: Final = "lost-store"
"""The control process comes back with an empty disk, and begins from the map that its edge keeps."""
LOST: Final[tuple[Pair, ...]] = tuple(
    (phase, LOST_STORE) for phase in ("opening", "disk.control", *(f"{step}.ask" for step in _STEPS))
)
"""At most one in a seed. A control process has opened before it can be hit: what is aimed there hits what follows."""
PAIRS: Final[frozenset[Pair]] = frozenset(
    {pair for aims in STRIKE_PAIRS.values() for _, pair in aims} | set(MESSAGE_PAIRS) | set(PUT_BACK) | set(LOST[1:])
)
"""Every pair that can occur; a process in ``opening`` is a cell, a hub, a control process or an agent."""
