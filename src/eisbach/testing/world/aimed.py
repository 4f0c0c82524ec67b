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
from eisbach.testing.world.pairs import ALONE, LOST, LOST_STORE, OLDER_COPY, STRIKE_PAIRS, Aim
from eisbach.testing.world.strikes import CALM_AFTER_S, Action, Strike

__all__ = ["SEEDS", "add_aimed", "aims_of"]

SEEDS: Final = (range(712, 1016), range(1304, 1512), range(1576, 1752), range(1888, 2000))
"""None of them was kept in ``tests/world/regressions.txt``, or is named for a mutant, when this was written: those play
what they always did."""
_STRIKES: Final = 4
_TIMES: Final = {"holding": 8, CUT_TOLD: 6, "freeze.serve": 2, "drain.ask": 2, "drain.serve": 2}
"""How often a phase comes in a turn: strikes at these hit in one of eight tries, or two of five,
the others in more; a store is lost only where none is yet, and no disk is put back."""
_ROUNDS: Final = 4
"""Moves that come later: for those strikes which the ones before have kept waiting."""


def aims_of(shape: Shape) -> Sequence[Aim]:
    """What the seeds of a shape are aimed at in turn; a region is lost only where a plan is led by that."""
    lost = tuple(("control", pair) for pair in LOST[1:]) if shape.control else ()
    aims = [aim for aim in (*STRIKE_PAIRS[shape.name], *lost) if aim[1][0] != ALONE]
    return [aim for aim in aims for _ in range(_times(aim))]


def _times(aim: Aim) -> int:
    phase, kind = aim[1]
    return 2 * _TIMES.get(phase, 1) if kind == LOST_STORE else _TIMES.get(phase, 1)


def add_aimed(
    seed: int, shape: Shape, viewing_s: float, strikes: Sequence[Strike], actions: Sequence[Action]
) -> tuple[list[Strike], list[Action]]:
    """More of both, for a seed that is aimed.

    Not where a region is lost or a cell is emptied: then nothing moves, or nothing may move into what is taken away.
    """
    if not any(seed in seeds for seeds in SEEDS) or any(action.kind in ("lose", "empty") for action in actions):
        return [], []
    chance = random.Random(f"{seed}:aimed")  # noqa: S311 - must be repeatable
    aims, first = aims_of(shape), _STRIKES * nth_of_shape(seed)
    found: list[Strike] = []
    moves: list[Action] = []
    for place in range(_STRIKES):
        process, (phase, kind) = aims[(first + place) % len(aims)]
        at_s = (0.05 + 0.2 * place) * viewing_s
        region = REGIONS[0] if shape.control else chance.choice(REGIONS)
        if process == "cell":
            process = chance.choice(shape.cells[region])
        strike = Strike(
            number=len(strikes) + len(found),
            at_s=at_s,
            target=f"{region}/{process}",
            phase=phase,
            kind=kind,
            seconds=0.05 if phase == CUT_TOLD else chance.choice((0.1, 0.3)) * chance.uniform(0.5, 1.5),
            amount=chance.choice((0, 4)),  # at once when its phase begins
        )
        if kind != LOST_STORE or not any(one.kind in (LOST_STORE, OLDER_COPY) for one in (*strikes, *found)):
            found.append(strike)
        moves += _to_and_fro(shape, at_s, place, chance)
    for later in range(1, _ROUNDS + 1):
        moves += _to_and_fro(shape, viewing_s + later * CALM_AFTER_S / (_ROUNDS + 2), _STRIKES + later, chance)
    return found, moves if shape.control else []


def _to_and_fro(shape: Shape, at_s: float, nth: int, chance: random.Random) -> Iterator[Action]:
    """Two slots change cells, others than the last two: those may still be on their way."""
    for slot in (2 * nth % shape.slots, (2 * nth + 1) % shape.slots):
        yield Action(at_s=at_s + chance.uniform(0.02, 0.15), kind="move", region=REGIONS[0], slot=slot, seconds=0)
