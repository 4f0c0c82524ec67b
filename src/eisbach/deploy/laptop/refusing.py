"""How a process is that runs, answers, and says of itself that it cannot write.

The supervisor asks it three times, two seconds apart, before it calls it unready; what it says of itself is seen at
once, and has since when. Pure.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

__all__ = ["SHEDS", "Seen", "is_handed_on", "seen", "takes_none", "writes_stopped"]

SHEDS: Final = "takes no more connections"
"""In what a process answers that has no connection left: its readiness cannot be asked then, nor its status."""


def takes_none(target: str) -> str:
    """What a process does not do that says so of itself; what an agent writes is what its edge and origin follow."""
    return "takes no new slot map" if target.startswith("agent/") else "takes no writes"


class Seen(NamedTuple):
    """Its state."""

    state: str
    since_ms: int
    why: str


def writes_stopped(told: Mapping[str, Any]) -> str:
    """Why, as it says of itself; empty: it takes writes, or is of a version that does not say."""
    if refuses := told.get("refuses"):
        at = datetime.fromtimestamp(refuses["since_ms"] / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"since {at} {refuses['why']}"
    return str(told.get("writes_stopped", ""))


def is_handed_on(why: str, told: Mapping[str, Any]) -> bool:
    """Whether the doors send on to another region what it refuses: not what it sheds (shed is not dead), nor a write of
    which it does not know what became. ``why``: what its readiness said.
    """
    return SHEDS not in why and not (told.get("refuses") or {}).get("unknown", False)


def seen(supervised: Seen, told: Mapping[str, Any]) -> Seen:
    """``supervised``: as the supervisor has it; ``told``: its ``/status``."""
    refuses = told.get("refuses")
    if not refuses or supervised.state not in ("ready", "slow", "unready"):
        return supervised
    return Seen("unready", int(refuses["since_ms"]), writes_stopped(told))
