"""A finding: what is wrong, where it says so, why it matters, what to do. Frozen; rules are stable ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from eisbach.plan.assess.model import Evidence

__all__ = ["RULES", "SEVERITIES", "Finding", "Severity"]

Severity = Literal["high", "medium", "low", "info"]
SEVERITIES: Final[Sequence[Severity]] = ("high", "medium", "low", "info")
RULES: Final = {
    "single-point": "Its loss alone takes a journey down",
    "shared-fate": "Things believed independent share one cause of failure",
    "hidden-dependency": "A dependency that only a value or a trace shows",
    "retry-storm": "Retries multiply along a chain of calls",
    "timeout-inversion": "The caller gives up before the callee can have finished",
    "missing-backup": "Data that nobody can make again, and no backup",
    "sync-cycle": "Synchronous calls in a circle",
    "restart-cycle": "None of them starts before the others",
    "control-plane-recovery": "Recovery needs a provider's control plane",
    "drift": "What is declared and what was observed differ",
    "unbounded-queue": "Work that fails has no bound and no place to go",
    "failure-domain": "One zone, host or account takes a journey down",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One claim, held by at least one line of the input."""

    rule: str
    components: tuple[str, ...]
    """In the order of the call where there is one, else sorted."""
    via: str = ""
    severity: Severity
    journeys: tuple[str, ...] = ()
    """That are lost, or touched."""
    weight: float = 0.0
    """Share of all journeys lost, 0 to 1."""
    evidence: tuple[Evidence, ...]
    reasoning: str
    """Two sentences."""
    advice: str

    @property
    def identity(self) -> str:
        """Stable across runs as long as rule and components stay: what a baseline file lists."""
        return f"{self.rule}:{','.join(self.components)}{f':{self.via}' if self.via else ''}"
