"""Faults of what is no process: links between regions and single spokes.

Pure.
"""

from collections.abc import Sequence

import msgspec

from eisbach.deploy.laptop.cuts import span
from eisbach.deploy.laptop.spoke_faults import spoke_of
from eisbach.deploy.laptop.status import FaultRow

__all__ = ["Beside", "beside"]

_WORDS = {"down": "is down", "hang": "hangs", "slow": "is slow"}


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """One that stands."""

    target: str
    """``link/A/B`` or ``spoke/R/NAME``."""
    kind: str
    what: str
    """In words, without an end."""
    concerns: Sequence[str]
    """Targets of which it is said that they are well but for it."""
    since_ms: int
    sentence: str
    next: str


def beside(faults: Sequence[FaultRow], *, now_ms: int) -> list[Beside]:
    """Cuts first."""
    found = [_cut(one, now_ms) for one in faults if one.kind == "cut"]
    return found + [_spoke(one, spoke[0], now_ms) for one in faults if (spoke := spoke_of(one.target))]


def _cut(fault: FaultRow, now_ms: int) -> Beside:
    one, other = fault.target, fault.other
    what = f"{one} and {other} are cut off from each other"
    concerns = ["link", f"link/{other}/{one}", f"region/{one}", f"region/{other}"]
    return _told(f"link/{one}/{other}", fault, what, concerns, now_ms)


def _spoke(fault: FaultRow, region: str, now_ms: int) -> Beside:
    what = f"{fault.target} {_WORDS[fault.kind]} and its events wait"
    return _told(fault.target, fault, what, [f"spokes/{region}", f"region/{region}"], now_ms)


def _told(target: str, fault: FaultRow, what: str, concerns: Sequence[str], now_ms: int) -> Beside:
    following = f"eisbach heal {target}"
    return Beside(
        target=target, kind=fault.kind, what=what, concerns=[target, *concerns], since_ms=fault.since_ms,
        sentence=f"{what} since {span(now_ms - fault.since_ms)} (fault {fault.kind}): {following} ends it.",
        next=following,
    )  # fmt: skip
