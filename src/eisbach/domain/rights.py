"""Rights: may this title be played - here, now, by this tier, at this age?

One function with one answer, so that the reason a viewer reads is always the same. The order of the checks is from
what cannot be changed (the market) to what the viewer can do something about (the plan, the PIN).
May not know: accounts, playback, stores.
"""

from collections.abc import Sequence

from eisbach.domain.catalog import RightsWindow, Title
from eisbach.kernel.errors import Denied, NotFound

__all__ = ["check_rights", "is_offered", "rights_until", "unchanged_until"]


def check_rights(title: Title, *, market: str, tier: str, age_max: int, at_ms: int) -> None:
    """Silence means: it may be played.

    Args:
        title: as the catalogue has it now; without any window it may be played nowhere.
        market: of the viewer's group.
        tier: of the viewer's plan.
        age_max: highest FSK label the profile may play.
        at_ms: milliseconds since 1970.

    Raises:
        NotFound: not published, so for a viewer it does not exist.
        Denied: ``geo``, ``rights_window``, ``entitlement`` or ``age_pin``.
    """
    if title.state != "published":
        raise NotFound(f"title {title.id!r} is not published; pick another one")
    here = [window for window in title.rights if market in window.markets]
    if not here:
        raise Denied(f"title {title.id!r} may not be shown in market {market!r}", code="geo")
    now = _open(here, at_ms)
    if not now:
        opens = min((w.from_ms for w in here if w.from_ms > at_ms), default=None)
        when = f"opens at {opens} ms" if opens is not None else "has closed"
        raise Denied(f"title {title.id!r}: the rights window of market {market!r} {when}", code="rights_window")
    if not any(tier in window.tiers for window in now):
        needed = sorted({name for window in now for name in window.tiers})
        raise Denied(f"title {title.id!r} needs one of the plans {needed}, this one is {tier!r}", code="entitlement")
    if title.age > age_max:
        raise Denied(f"title {title.id!r} is from {title.age}, the profile may play {age_max}", code="age_pin")


def is_offered(title: Title, *, market: str, age_max: int, at_ms: int) -> bool:
    """Whether a public list may show it: published, in the market, now, fit for the age; whatever the plan.

    A premium title is offered to free viewers too, with a badge: it is what they could have.
    """
    here = [window for window in title.rights if market in window.markets]
    return title.state == "published" and title.age <= age_max and bool(_open(here, at_ms))


def rights_until(title: Title, *, market: str, tier: str, at_ms: int) -> int:
    """When playing must end: the latest end among the windows open now, in milliseconds since 1970."""
    here = [w for w in title.rights if market in w.markets and tier in w.tiers]
    return max((window.to_ms for window in _open(here, at_ms)), default=at_ms)


def unchanged_until(title: Title, *, at_ms: int) -> int:
    """When a window opens or closes next: until then every answer about this title is what it is at ``at_ms``."""
    moments = [moment for window in title.rights for moment in (window.from_ms, window.to_ms)]
    return min((moment for moment in moments if moment > at_ms), default=1 << 52)


def _open(windows: Sequence[RightsWindow], at_ms: int) -> list[RightsWindow]:
    return [window for window in windows if window.from_ms <= at_ms < window.to_ms]
