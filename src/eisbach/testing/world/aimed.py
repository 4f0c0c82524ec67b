"""What some seeds of the suite are aimed at beside all else, so that 2,000 of them hit every pair that can occur.

A phase of a move lasts a millisecond or two, and only where an operator moves a slot; led by a pair, or by chance, too
few plans hit one. Here the pairs of a shape come in turn: early, at the first moment of their phase, and where that is
one of a move, slots move meanwhile.

Promises: depends on the seed alone; changes no seed outside of ``SEEDS``. May not know: who carries it out.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Final

from eisbach.testing.world.genesis import REGIONS, Shape, nth_of_shape
from eisbach.testing.world.nodes import CUT_TOLD
from eisbach.testing.world.pairs import ALONE, LOST, STRIKE_PAIRS, Aim
from eisbach.testing.world.strikes import CALM_AFTER_S, Action, Strike

__all__ = ["SEEDS", "SUITE", "aims_of", "with_aimed"]

SUITE: Final = 2_000
"""The seeds below this hit every pair: ``eisbach simulate`` fails when it has played them all and missed one."""
SEEDS: Final = (range(712, 1016), range(1304, 1512), range(1576, 1752), range(1888, 2000))
"""None of them was kept in ``tests/world/regressions.txt``, or is named for a mutant, when this was written: those play
what they always did."""
_STRIKES: Final = 4
"""Of a seed; where slots move, twice as many."""
_TIMES: Final = {"holding": 12, CUT_TOLD: 6, "freeze.serve": 2, "drain.ask": 2, "drain.serve": 2}
"""How often a phase comes in a turn: strikes at these hit in one of eight tries, or in half, the others in more."""
_LOST_EVERY: Final = 3
"""In every third seed where slots move, one of eight strikes loses a store."""


def aims_of(shape: Shape) -> Sequence[Aim]:
    """What the seeds of a shape are aimed at in turn; a region is lost only where a plan is led by that."""
    aims = [aim for aim in STRIKE_PAIRS[shape.name] if aim[1][0] != ALONE]
    return [aim for turn in range(max(_TIMES.values())) for aim in aims if turn < _TIMES.get(aim[1][0], 1)]


def with_aimed(
    seed: int, shape: Shape, viewing_s: float, strikes: list[Strike], actions: tuple[Action, ...]
) -> tuple[list[Strike], tuple[Action, ...]]:
    """Of a seed that is aimed: its strikes and more.

    Where slots move, these alone, and no evacuation: others keep every second move from getting to the phase that is
    waited for. Not where a region is lost or a cell is emptied: then nothing moves, or nothing may move into what is
    taken away.
    """
    if not any(seed in seeds for seeds in SEEDS) or any(action.kind in ("lose", "empty") for action in actions):
        return strikes, actions
    chance = random.Random(f"{seed}:aimed")  # noqa: S311 - must be repeatable
    aims, nth = aims_of(shape), nth_of_shape(seed)
    if not shape.control:
        found, moves, number, every_s = list(strikes), list(actions), _STRIKES, 0.2 * viewing_s
    else:
        found, number = [], 2 * _STRIKES
        moves, every_s = [one for one in actions if one.kind == "move"], (viewing_s + CALM_AFTER_S) / (number + 2)
    for place in range(number):
        aim, at_s = aims[(number * nth + place) % len(aims)], (0.25 + place) * every_s
        if shape.control and place == 0 and nth % _LOST_EVERY == 0:
            aim = "control", LOST[1:][nth // _LOST_EVERY % len(LOST[1:])]
        found.append(_strike(len(found), aim, shape, at_s, chance))
        if shape.control:
            moves += _to_and_fro(shape, at_s, place, chance)
    return found, tuple(moves)


def _strike(number: int, aim: Aim, shape: Shape, at_s: float, chance: random.Random) -> Strike:
    process, (phase, kind) = aim
    region = REGIONS[0] if shape.control else chance.choice(REGIONS)
    return Strike(
        number=number,
        at_s=at_s,
        target=f"{region}/{chance.choice(shape.cells[region]) if process == 'cell' else process}",
        phase=phase,
        kind=kind,
        seconds=0.05 if phase == CUT_TOLD else chance.choice((0.1, 0.3)) * chance.uniform(0.5, 1.5),
        amount=chance.choice((0, 4)),  # at once when its phase begins
    )


def _to_and_fro(shape: Shape, at_s: float, nth: int, chance: random.Random) -> Iterator[Action]:
    """Two slots change cells, others than the last two: those may still be on their way."""
    for slot in (2 * nth % shape.slots, (2 * nth + 1) % shape.slots):
        yield Action(at_s=at_s + chance.uniform(0.02, 0.15), kind="move", region=REGIONS[0], slot=slot, seconds=0)
