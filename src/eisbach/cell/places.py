"""Where a viewer may go: the regions' public addresses in the order in which to try them.

The order is ``kernel.routing.route``'s, the same rule that the front and the SDK follow: the slot's preference first
for calls, the answering region first for media. May not know: health of other regions (players find out themselves).
"""

from collections.abc import Collection, Mapping, Sequence

from eisbach.cell.surface import Endpoint
from eisbach.kernel.routing import RegionState, route
from eisbach.kernel.slots import Group, Slot

__all__ = ["Places"]

ORDERS_MAX = 1000


class Places:
    """One a process."""

    def __init__(
        self,
        region: str,
        endpoints: Mapping[str, tuple[str, str]],
        *,
        preferred: Mapping[str, Sequence[str]],
        distances: Mapping[str, Mapping[str, int]],
        residencies: Mapping[str, str],
    ) -> None:
        """Compose.

        Args:
            region: where this process stands.
            endpoints: region -> (public URL of its edge, of its media origin), this one included.
            preferred: group -> preferred region of slot 0, 1, 2 ...
            distances: region -> place -> milliseconds.
            residencies: region -> residency; a missing one counts as ``any``.
        """
        self.region = region
        self._endpoints = {r: Endpoint(region=r, api=api, media=media) for r, (api, media) in endpoints.items()}
        self._preferred = {Group.parse(group): list(regions) for group, regions in preferred.items()}
        self._states = {
            r: RegionState(weight=100, healthy=True, distance=distances.get(r, {}), residency=residencies.get(r, "any"))
            for r in endpoints
        }
        self._media_orders: dict[tuple[str, frozenset[str]], list[Endpoint]] = {}
        self._orders: dict[tuple[str, str, str | None], list[Endpoint]] = {}

    @property
    def here(self) -> Endpoint:
        """This region's addresses."""
        return self._endpoints[self.region]

    def for_slot(self, slot: Slot) -> list[Endpoint]:
        """For private calls: the slot's preferred region first; only regions that may hold its data."""
        regions = self._preferred.get(slot.group, [])
        first = regions[slot.number] if slot.number < len(regions) else None
        key = (slot.group.market, slot.group.residency, first)
        if key not in self._orders:  # bounded: groups times regions
            hops = route(
                self._states, place=slot.group.market, kind="private", residency=slot.group.residency, preferred=first
            )
            self._orders[key] = [self._endpoints[hop.region] for hop in hops]
        return self._orders[key] or [self.here]

    def for_market(self, market: str) -> list[Endpoint]:
        """For public calls: by place."""
        return [self._endpoints[hop.region] for hop in route(self._states, place=market, kind="public")]

    def for_media(self, market: str, holders: Collection[str]) -> list[Endpoint]:
        """For playback: the answering region first, then by place; regions that lack the media come last.

        ``holders``: regions with a verified copy; empty: not known, so nobody is put back.
        """
        key = (market, frozenset(holders))
        if key not in self._media_orders:
            hops = route(self._states, place=market, kind="playback", answering=self.region)
            found = [self._endpoints[hop.region] for hop in hops]
            if len(self._media_orders) > ORDERS_MAX:  # places are whatever a caller says
                self._media_orders.clear()
            self._media_orders[key] = sorted(found, key=lambda e: bool(holders) and e.region not in holders)
        return self._media_orders[key]

    def that_serve(self, group: Group) -> list[str]:
        """Regions that may hold a group's data, other than this one: whom to name when no cell here has it."""
        return [r for r, s in self._states.items() if r != self.region and s.residency in ("any", group.residency)]
