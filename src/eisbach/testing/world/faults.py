"""What goes wrong in a run: a plan drawn from the seed, aimed at phases of the protocol.

A strike waits until its target is in the phase it is aimed at, so that rare windows are hit as often as wide ones.
Promises: the plan depends on the seed alone; leaving strikes out changes nothing of the others.
May not know: who carries it out (``nemesis``).
"""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from eisbach.testing.world.aimed import with_aimed
from eisbach.testing.world.genesis import REGIONS, Shape, nth_of_shape, shape_of
from eisbach.testing.world.nodes import CATCHING_UP, CUT_TOLD, MOVE_NEAR
from eisbach.testing.world.pairs import ALONE, LOST, LOST_STORE, OLDER_COPY, PUT_BACK, STRIKE_PAIRS, Aim
from eisbach.testing.world.strikes import CALM_AFTER_S, Action, Pair, Strike

__all__ = ["Plan", "copied_s", "draw"]

_OFTEN: Final[frozenset[Pair]] = frozenset(
    {
        ("disk.spokes", "failed-sync"), ("disk.spokes", "full"), ("disk.log", "full"), ("disk.store", "failed-sync"),
        ("holding", "kill"), ("acknowledge", "full"), (CATCHING_UP, "failed-sync"),
        ("disk.spokes", "kill"), ("settle.serve", "kill"), ("drain.ask", "kill"), ("disk.store", "jump-back"),
        ("opening", "jump-ahead"), (MOVE_NEAR, "kill"), (CUT_TOLD, "kill"),
    }
)  # fmt: skip
"""Beside the pair that a seed is led by, these come twelve times as often as others and kills four times as often: they
show most."""
_LATEST: Final = {"wiped": 1.5}
"""Share of the viewers' time in which a kind may strike, 0.9 for the others: a relay that has nothing more to say must
notice that its log is gone."""
_SECONDS: Final[Mapping[str, tuple[float, ...]]] = {CUT_TOLD: (0.05,)}
"""Who comes back later has been told by then."""
_LOST_SHARE: Final = 0.1
"""Of worlds in which slots move: a region is lost."""
_EMPTIED_SHARE: Final = 0.1
"""And a cell is emptied."""
_BURNT_SHARE: Final = 0.15
"""Of worlds in which no slot moves: a disk burns."""
HUBS_IN_TURN_SHARE: Final = 0.15
"""Of seeds, where neither a region nor a disk is lost."""
PUT_BACK_SHARE: Final = 0.15
"""Of seeds where no disk burns, no region is lost, and the hub that would know of it is not wiped."""
LOST_STORE_SHARE: Final = 0.25
"""Of seeds where slots move and neither a region is lost, nor a cell emptied, nor a disk put back: each of these asks
the operator, or the records, for what only that store knew."""
_ARCHIVED_SHARE: Final = 0.5
"""Of seeds where a disk burns or is put back: once its cell is archived."""
CROWDED_SHARE: Final = 0.2
"""Of seeds, drawn by itself: see ``_crowded``."""
_CROWD_TWINS: Final[tuple[tuple[Aim, ...], ...]] = (
    (("cell", ("holding", "kill")), ("cell", ("holding", "power")), ("cell", ("disk.store", "failed-sync"))),
    (("cell", ("opening", "kill")), ("cell", ("disk.store", "kill")), ("cell", ("pull.ask", "kill"))),
)
_CROWD_MOVING: Final[tuple[tuple[Aim, ...], ...]] = (
    (
        ("cell", ("export.ask", "cut-off")), ("cell", ("export.ask", "pause")), ("cell", ("drain.serve", "cut-off")),
        ("cell", ("settle.serve", "kill")), ("hub", (MOVE_NEAR, "pause")), ("hub", (MOVE_NEAR, "cut-off")),
    ),
    (
        ("cell", ("disk.store", "kill")), ("cell", ("opening", "kill")), ("cell", (CUT_TOLD, "kill")),
        ("control", ("settle.ask", "kill")), ("control", ("drain.ask", "pause")),
    ),
)  # fmt: skip
"""The first and the second strike."""
ILL_SHARE: Final = 0.15
"""Of seeds, drawn by itself: a second spoke, which fails and has its poison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that happens to a run beside its viewers."""

    shape: Shape
    viewing_s: float
    """How long viewers act."""
    strikes: tuple[Strike, ...]
    actions: tuple[Action, ...]
    weather: Mapping[str, float]
    """``loss``, ``doubling``, ``lateness``: shares of messages; ``redelivery``: of envelopes that a broker brings again
    later, out of order; ``forgery``: of slot maps; ``illness``: of a second spoke's attempts, which there is then."""
    burns: str = ""
    """The region whose cell's disk burns when all is quiet."""
    archived: tuple[str, float] = ("", 0.0)
    """The region whose cell is archived, and when; empty: none."""

    @property
    def calm_s(self) -> float:
        """After this nothing goes wrong any more."""
        back = (action.at_s + action.seconds for action in self.actions if action.kind == "lose")
        return max(self.viewing_s + CALM_AFTER_S, *back, 0.0)

    def without(self, parts: Collection[str]) -> "Plan":
        """The plan less some strikes (by number) and weather (by name)."""
        return replace(
            self,
            strikes=tuple(s for s in self.strikes if str(s.number) not in parts),
            actions=tuple(a for n, a in enumerate(self.actions) if f"a{n}" not in parts),
            weather={name: 0.0 if name in parts else share for name, share in self.weather.items()},
            burns="" if "burns" in parts else self.burns,
        )

    def parts(self) -> list[str]:
        """What ``without`` can leave out."""
        strikes, actions = (str(s.number) for s in self.strikes), (f"a{n}" for n in range(len(self.actions)))
        burns = ["burns"] if self.burns else []
        return [*strikes, *actions, *(name for name, share in self.weather.items() if share), *burns]


def draw(seed: int) -> Plan:
    """The plan of a seed; every aim of a shape leads the plan of some seed in each run of that many of the shape."""
    chance = random.Random(f"{seed}:plan")  # noqa: S311 - must be repeatable
    shape = shape_of(seed)
    aims = STRIKE_PAIRS[shape.name]
    any_of = tuple(dict.fromkeys((*aims, *STRIKE_PAIRS["twins"])))
    weights = [12 if pair in _OFTEN else 4 if pair[1] == "kill" else 1 for _, pair in any_of]
    viewing_s = chance.uniform(1.5, 5.0)
    strikes: list[Strike] = []
    for number in range(chance.randint(1, 7)):
        aim = aims[nth_of_shape(seed) % len(aims)] if number == 0 else chance.choices(any_of, weights)[0]
        process, (phase, kind) = aim
        region = chance.choice(REGIONS)
        if shape.control and (process in ("cell", "control") or phase == MOVE_NEAR or number == 0):
            region = REGIONS[0]  # there slots move
        if process == "cell":
            process = chance.choice(shape.cells[region])
        strikes.append(
            Strike(
                number=number,
                at_s=chance.uniform(0.1, _LATEST.get(kind, 0.9) * viewing_s),
                target=f"{region}/{process}",
                phase=phase,
                kind=kind,
                seconds=chance.choice(_SECONDS.get(phase, (0.1, 0.5, 1.5, 4.0))) * chance.uniform(0.5, 1.5),
                amount=chance.randint(0, 12),
            )
        )
    worst = 0.1 if shape.control else 0.05
    weather = {name: chance.choice((0.0, 0.01, worst)) for name in ("loss", "doubling", "lateness")}
    late = chance.choice((0.0, 0.1))
    weather["redelivery"] = late
    weather["forgery"] = chance.choice((0.0, 0.5)) if shape.control else 0.0
    ill = random.Random(f"{seed}:illness 225")  # noqa: S311 - as above; changed no seed of regressions.txt
    weather["illness"] = ill.choice((0.3, 0.6)) if ill.random() < ILL_SHARE else 0.0
    actions = tuple(_actions(chance, viewing_s, led_by=strikes[0].phase)) if shape.control else ()
    burns = chance.choice(REGIONS) if not shape.control and chance.random() < _BURNT_SHARE else ""
    if not burns and not any(action.kind == "lose" for action in actions):
        strikes += _hubs_in_turn(seed, viewing_s, first=len(strikes))
    more_strikes, more_actions = _crowded(seed, shape, viewing_s, first=len(strikes))
    emptied = any(action.kind == "empty" for action in actions)  # nothing is moved into a cell that is taken away
    strikes, actions = strikes + more_strikes, actions if emptied else actions + more_actions
    chance = random.Random(f"{seed}:put back 22")  # noqa: S311 - as above
    if not (burns or any(action.kind == "lose" for action in actions)):
        strikes += _put_back(chance, shape, viewing_s, strikes, moving=REGIONS[1])
        other = random.Random(f"{seed}:put back between cells 1")  # noqa: S311 - changed no seed of regressions.txt
        if shape.control and not any(strike.kind == OLDER_COPY for strike in strikes):
            strikes += _put_back(other, shape, viewing_s, strikes, moving=REGIONS[0])
    if shape.control and not any(action.kind in ("lose", "empty") for action in actions):
        strikes += _lost_store(seed, viewing_s, strikes)
    archived = ("", 0.0) if shape.control else _archived(chance, burns, strikes, viewing_s)
    strikes += _kept_apart(chance, archived, strikes)
    strikes, actions = with_aimed(seed, shape, viewing_s, strikes, actions)
    return Plan(
        shape=shape, viewing_s=viewing_s, strikes=tuple(strikes), actions=actions, weather=weather, burns=burns,
        archived=archived,
    )  # fmt: skip


def _crowded(seed: int, shape: Shape, viewing_s: float, *, first: int) -> tuple[list[Strike], tuple[Action, ...]]:
    """In some seeds beside all else: several things at one place soon after each other.

    A slot goes to and fro, and who takes part in that is hit; or a cell is started anew twice in a row, the first time
    with ops of its future. By themselves, five seconds seldom see that. Drawn as ``_put_back`` is.
    """
    chance = random.Random(f"{seed}:crowded 10943")  # noqa: S311 - must be repeatable
    if chance.random() >= CROWDED_SHARE:
        return [], ()
    begin_s = chance.uniform(0.2, 0.6) * viewing_s
    region = REGIONS[0] if shape.control else chance.choice(REGIONS)
    aims = _CROWD_MOVING if shape.control else _CROWD_TWINS
    cell = chance.choice(shape.cells[region])
    strikes = []
    for place in range(2):
        process, (phase, kind) = chance.choice(aims[place])
        strikes.append(
            Strike(
                number=first + place,
                at_s=begin_s + place * chance.uniform(0.1, 0.6),
                target=f"{region}/{cell if process == 'cell' else process}",
                phase=phase,
                kind=kind,
                seconds=chance.choice((0.1, 0.3)) * chance.uniform(0.5, 1.5),
                amount=chance.randint(0, 12),
            )
        )
    moves = (begin_s - 0.05 + chance.uniform(0.2, 0.45) * n for n in range(3 if shape.control else 0))
    return strikes, tuple(Action(at_s=at_s, kind="move", region=region, slot=0, seconds=0) for at_s in moves)


def _put_back(
    chance: random.Random, shape: Shape, viewing_s: float, others: Sequence[Strike], *, moving: str
) -> Iterator[Strike]:
    """In some seeds beside all else: a cell's machine comes back with an older copy of its disk.

    ``moving``: where that is when slots move; of two cells the copy may not know that a slot has come or gone.

    Not where its own region's hub is wiped: then nobody may know that it has acknowledged more (ADR 0020). Drawn by
    itself, so that seeds of ``tests/world/regressions.txt`` stay what they are.
    """
    if chance.random() >= PUT_BACK_SHARE:
        return
    at_s, region = chance.uniform(0.05, 0.6) * viewing_s, chance.choice(REGIONS)
    if shape.control:
        region = moving
    if any(strike.kind == "wiped" and strike.target == f"{region}/hub" for strike in others):
        return
    yield Strike(
        number=len(others),
        at_s=at_s,
        target=f"{region}/{chance.choice(shape.cells[region])}",
        phase=chance.choice(PUT_BACK)[0],
        kind=OLDER_COPY,
        seconds=chance.choice((0.1, 0.5, 1.5)) * chance.uniform(0.5, 1.5),
        amount=chance.randint(0, 12),
    )


def _lost_store(seed: int, viewing_s: float, others: Sequence[Strike]) -> Iterator[Strike]:
    """In some seeds beside all else: the control store is lost in the middle of moves. Drawn as ``_put_back`` is."""
    chance = random.Random(f"{seed}:lost store")  # noqa: S311 - must be repeatable
    if chance.random() >= LOST_STORE_SHARE or any(strike.kind == OLDER_COPY for strike in others):
        return
    yield Strike(
        number=len(others),
        at_s=chance.uniform(0.1, 0.9) * viewing_s,
        target=f"{REGIONS[0]}/control",
        phase=chance.choice(LOST)[0],
        kind=LOST_STORE,
        seconds=chance.choice((0.1, 0.5, 1.5)) * chance.uniform(0.5, 1.5),
        amount=chance.randint(0, 12),
    )


def _archived(chance: random.Random, burns: str, strikes: Sequence[Strike], viewing_s: float) -> tuple[str, float]:
    """The region whose cell is archived, and when: of a machine that is put back, after its copy was made."""
    older = next((strike for strike in strikes if strike.kind == OLDER_COPY), None)
    if (older is None and not burns) or chance.random() >= _ARCHIVED_SHARE:
        return "", 0.0
    if older is None:
        return burns, chance.uniform(0.3, 0.8) * viewing_s
    return older.target.partition("/")[0], older.at_s + chance.uniform(0.3, 1.0) * copied_s(older)


def _kept_apart(chance: random.Random, archived: tuple[str, float], strikes: Sequence[Strike]) -> Iterator[Strike]:
    """Of a machine that is archived, from the copy of its disk on: what it acknowledges is in its backups alone."""
    older = next((strike for strike in strikes if strike.kind == OLDER_COPY), None)
    if older is not None and archived[0]:
        yield Strike(
            number=len(strikes),
            at_s=older.at_s,
            target=older.target,
            phase="disk.store",
            kind="cut",
            seconds=copied_s(older) + chance.uniform(0.5, 1.5),
            amount=0,
        )


def copied_s(older: Strike) -> float:
    """So long, from the copy of the disk to the wait for the phase, something is written that the copy has not."""
    return 0.1 + 0.1 * older.amount


def _hubs_in_turn(seed: int, viewing_s: float, *, first: int) -> Iterator[Strike]:
    """In some seeds beside all else: both hubs are started anew in turn, under load, and again.

    Drawn by itself, and so that no seed of ``tests/world/regressions.txt`` of that day became another one.
    """
    chance = random.Random(f"{seed}:hubs in turn 1598")  # noqa: S311 - must be repeatable
    if chance.random() >= HUBS_IN_TURN_SHARE:
        return
    begin_s, step_s = chance.uniform(0.1, 0.3) * viewing_s, chance.uniform(0.1, 0.2) * viewing_s
    for place in range(4):
        yield Strike(
            number=first + place,
            at_s=begin_s + place * step_s,
            target=f"{REGIONS[place % 2]}/hub",
            phase=chance.choice(("disk.log", "disk.spokes", "publish.serve")),
            kind=chance.choice(("kill", "kill", "power", "wiped")),
            seconds=chance.choice((0.1, 0.5)) * chance.uniform(0.5, 1.5),
            amount=chance.randint(0, 12),
        )


def _actions(chance: random.Random, viewing_s: float, *, led_by: str) -> Iterator[Action]:
    """``led_by``: the phase that the first strike is aimed at."""
    alone = led_by == ALONE
    if led_by == MOVE_NEAR or (not alone and chance.random() < _EMPTIED_SHARE):
        at_s = chance.uniform(0.3, 0.6 * viewing_s)
        yield Action(at_s=at_s, kind="empty", region=REGIONS[0], slot=0, seconds=6)
        return
    for _ in range(chance.randint(2, 5)):
        at_s = chance.uniform(0.1, 0.9 * viewing_s)
        yield Action(at_s=at_s, kind="move", region=REGIONS[0], slot=chance.choice((0, 0, 1)), seconds=0)
    share = chance.random()
    if alone or share < _LOST_SHARE:  # one region out at a time
        at_s, region = chance.uniform(0.3, 0.6 * viewing_s), REGIONS[1] if alone else chance.choice(REGIONS)
        yield Action(
            at_s=at_s, kind="lose", region=region, slot=chance.choice((0, 1)), seconds=chance.uniform(5.6, 7.5)
        )
    elif share < 0.5:
        at_s, region = chance.uniform(0.5, 0.7 * viewing_s), chance.choice(REGIONS)
        yield Action(at_s=at_s, kind="evacuate", region=region, slot=0, seconds=chance.uniform(0.5, 3))
