"""What a plan is made of: faults that wait for a phase, and what an operator does. May not know: how they are drawn."""

from dataclasses import dataclass
from typing import Final

__all__ = ["CALM_AFTER_S", "Action", "Pair", "Strike"]

CALM_AFTER_S: Final = 3.0
"""After the viewers' last call something may still go wrong for so long."""

Pair = tuple[str, str]
"""(phase, fault)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One fault."""

    number: int
    at_s: float
    """When it begins to wait for its phase."""
    target: str
    phase: str
    kind: str
    seconds: float
    """How long it lasts, or until the process starts again."""
    amount: int
    """Of whatever the kind has: durable steps until the power goes, milliseconds of a jump, syncs that fail."""

    def __str__(self) -> str:
        return (
            f"#{self.number} {self.kind} of {self.target} in {self.phase} from {self.at_s:.2f} s, {self.seconds:.2f} s"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something that an operator does: no fault, but a time for faults to hit."""

    at_s: float
    kind: str
    """``move`` a slot of the region to another of its cells, ``empty`` its first cell and take that away, ``evacuate``
    the region, or ``lose`` it."""
    region: str
    slot: int
    seconds: float
    """How long the region stays evacuated, or lost; how long emptying is tried."""

    def __str__(self) -> str:
        return f"{self.kind} {self.region} slot {self.slot} at {self.at_s:.2f} s, for {self.seconds:.2f} s"
