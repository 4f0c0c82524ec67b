"""``route``: which regions to try, in order. The laptop's front, the SDK and the AWS records all come from it.

Pure (design section 2). Preference first for private calls, place for the rest; playback lists the answering region
first. A region without weight is never first, and last only when nothing else is left to try: shed is not dead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Hop", "RegionState", "route"]

Kind = Literal["private", "public", "playback"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionState:
    """What the front knows of a region."""

    weight: int
    """0 to 100; 0 while evacuated."""
    healthy: bool
    """The quorum of journeys (design section 5); with all unhealthy nothing is moved."""
    distance: Mapping[str, int]
    """Place (ISO 3166 country, lower case) -> milliseconds; a missing place counts as 1000."""
    residency: str
    """``eu``, ``us`` ...: what data may be kept there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """A region in the order of tries, with the reason a person can read."""

    region: str
    why: str


def route(
    regions: Mapping[str, RegionState],
    *,
    place: str,
    kind: Kind,
    residency: str = "any",
    preferred: str | None = None,
    answering: str | None = None,
) -> Sequence[Hop]:
    """Regions in the order in which a call should try them.

    Args:
        regions: every region by id.
        place: country of the caller.
        kind: ``private`` (carries a slot), ``public``, or ``playback`` (media and what leads to it).
        residency: of the call's data; regions of another residency are left out.
        preferred: the slot's preferred region, if a slot is known.
        answering: the region that answers right now; first for ``playback``.

    Returns:
        At least one hop unless no region may serve the residency.
    """
    allowed = {r: s for r, s in regions.items() if residency in ("any", s.residency)}
    if not any(s.healthy and s.weight for s in allowed.values()):
        # Everything looks bad: then the observer is the more likely culprit, so nothing is moved.
        allowed_now = dict.fromkeys(allowed, True)
    else:
        allowed_now = {r: s.healthy and s.weight > 0 for r, s in allowed.items()}

    first = {"private": preferred, "playback": answering, "public": None}[kind]

    def rank(region: str) -> tuple[bool, bool, int, int, str]:
        state = allowed[region]
        return (
            not allowed_now[region],
            region != first,
            state.distance.get(place, 1000),
            -state.weight,
            region,
        )

    def why(region: str) -> str:
        if not allowed_now[region]:
            return "last resort: unhealthy or evacuated"
        if region == first:
            return "preferred by the slot" if kind == "private" else "answers now"
        distance = allowed[region].distance.get(place)
        return f"{distance} ms from {place}" if distance is not None else f"its distance from {place} is not known"

    return [Hop(region=r, why=why(r)) for r in sorted(allowed, key=rank)]
