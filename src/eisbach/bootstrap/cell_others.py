"""How a cell meets others: twins in other regions, cells that slots move to and from, and who owns what.

May not know: what viewers call.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import aiohttp

from eisbach.bootstrap.cell_ground import CellStore, Parts, Slots
from eisbach.cell.acknowledged import Acknowledged
from eisbach.cell.last_word import LastWord
from eisbach.cell.log_keeper import LogKeeper
from eisbach.cell.losses import Losses
from eisbach.cell.moving import Moving, Surroundings
from eisbach.cell.ownership import Ownership
from eisbach.cell.peer_http import fetch_map
from eisbach.cell.position import Positions
from eisbach.cell.pull_server import PullServer
from eisbach.cell.puller import Puller, clock_is_ahead
from eisbach.cell.slot_imports import SlotImports
from eisbach.cell.twin_digests import TwinDigests
from eisbach.kernel.errors import Invalid
from eisbach.kernel.slots import Group, Slot
from eisbach.kernel.versions import Mark
from eisbach.settings import PeerRegion

if TYPE_CHECKING:
    from eisbach.bootstrap.older_copy import ProvableStore

__all__ = ["follow_map", "follow_twins", "log_keeper", "losses", "moving", "positions", "sender"]


_TWIN_COMPANY_MS: Final = 250
"""Between two answers to a twin: each is a row of its log there, replicated back, and deleted again."""


def follow_twins(parts: Parts, main: Slots) -> None:
    """Pull from every region that may hold what is ours, and note what it holds."""
    process = parts.process
    twins = [peer.region for peer in process.peers if any(may_hold(parts, peer, group) for group in process.slots)]
    parts.acknowledged = Acknowledged(region=process.region, peers=twins, clock=parts.clock)
    for peer in process.peers:
        if peer.region not in twins:
            continue  # its residency is another: there is nothing of ours to ask it for
        transport = parts.host.peer(peer.door, parts.secrets.peer_token)
        parts.stack.push_async_callback(transport.aclose)
        puller = Puller(main.store, main.ownership, transport, region=peer.region, clock=parts.clock, rng=parts.rng)
        parts.pullers.append(puller)
        parts.followers.start(f"pull-{peer.region}", puller.run)
        digests = TwinDigests(
            main.store, main.ownership, transport, owner=puller.owner, region=peer.region, clock=parts.clock
        )
        parts.comparisons.append(digests)
        parts.last_words[peer.region] = LastWord(
            main.store, transport, owner=puller.owner, region=peer.region, clock=parts.clock
        )
        parts.followers.start(f"digests-{peer.region}", digests.run)


def may_hold(parts: Parts, peer: PeerRegion, group: str) -> bool:
    residency = Group.parse(group).residency
    return residency == "any" or parts.process.residencies.get(peer.region, residency) == residency


def may_send(parts: Parts) -> Callable[[str, Slot], bool]:
    """The residency rule, kept by who sends (P19): a slot's ops go to a region only where its data may be."""
    here = parts.process.residencies

    def allowed(region: str, slot: Slot) -> bool:
        residency = slot.group.residency
        return residency == "any" or here.get(region, "none" if here else residency) == residency

    return allowed


def sender(parts: Parts, main: Slots) -> PullServer:
    """What answers other regions' pullers."""
    found = PullServer(
        main.store,
        main.ownership,
        clock=parts.clock,
        acknowledged=parts.acknowledged,
        may_send=may_send(parts),
        export=main.store.export,
    )
    found.askers = parts.pullers
    found.doubt = lambda: _unproved(parts, main)
    if parts.process.store and not parts.host.asleep_between_calls:
        found.company_ms = _TWIN_COMPANY_MS
    return found


def _unproved(parts: Parts, main: Slots) -> str:
    """Why the store may be an older copy of itself; empty: it is none, or no file."""
    return "" if parts.process.store else cast("ProvableStore", main.store).unproved


def moving(parts: Parts, main: Slots) -> Moving:
    """Both sides of moves; other cells are reached by the address that PREPARE names."""
    cells = parts.host.source(parts.secrets.service_token)
    parts.stack.push_async_callback(cells.aclose)
    imports = SlotImports(main.store, main.ownership, cells, clock=parts.clock, rng=parts.rng)
    parts.stack.push_async_callback(imports.aclose)
    relay = next(iter(parts.relays.values()))
    return Moving(
        main.store,
        main.ownership,
        imports,
        relayed=relay,
        clock=parts.clock,
        surroundings=_surroundings(parts, main),
    )


def _surroundings(parts: Parts, main: Slots) -> Surroundings:
    async def last_word(region: str, slot: Slot) -> dict[str, Mark]:
        if region not in parts.last_words:
            raise Invalid(f"this cell pulls from no region {region[:40]!r}")
        return await parts.last_words[region].vector(slot)

    return Surroundings(
        acknowledged=parts.acknowledged,
        last_word=last_word,
        writes_stopped=lambda: clock_is_ahead(parts.twins()) or _unproved(parts, main),
        refuses=main.trial.refuses,
        differing=lambda slot: {one.region: buckets for one in parts.comparisons if (buckets := one.differing(slot))},
    )


def log_keeper(parts: Parts, main: Slots, archived_lsn: Callable[[], int | None]) -> LogKeeper:
    """Forgets what is old and needed by nobody."""
    relay = next(iter(parts.relays.values()))

    def kept_elsewhere() -> int:
        archived = archived_lsn()
        relayed = relay.statistics().last_lsn
        return relayed if archived is None else min(relayed, archived)

    def needed_by(slot: Slot) -> list[str]:
        return [peer.region for peer in parts.process.peers if may_hold(parts, peer, str(slot.group))]

    return LogKeeper(
        main.store, main.ownership, parts.acknowledged, needed_by=needed_by, kept_elsewhere=kept_elsewhere,
        clock=parts.clock,
    )  # fmt: skip


def losses(parts: Parts, main: Slots) -> Losses:
    """What control asks about another region that may be lost."""

    def puller(region: str) -> Puller:
        for found in parts.pullers:
            if found.region == region:
                return found
        raise Invalid(f"this cell pulls from no region {region[:40]!r}")

    return Losses(
        main.store,
        main.ownership,
        heads=lambda region, slot: puller(region).head(slot),
        silent_ms=lambda region: puller(region).statistics().silent_ms,
    )


async def follow_map(parts: Parts, ownership: Ownership) -> None:
    """Learn from the region's agent who has the slots that are not ours."""
    if not parts.process.agent:
        return
    session = await parts.stack.enter_async_context(aiohttp.ClientSession())
    url = f"{parts.process.agent}/map"

    async def follow() -> None:
        await ownership.follow_map(
            lambda: fetch_map(session, url, token=parts.secrets.service_token),
            bytes.fromhex(parts.secrets.map_key),
            clock=parts.clock,
            rng=parts.rng,
        )

    parts.followers.start("slot-map", follow)


def positions(parts: Parts, store: CellStore) -> Positions:
    """Read-your-writes over what the pullers know."""

    def age_ms(region: str) -> int:
        found = parts.twin(region)
        return found.lag_ms if found else 0

    return Positions(
        store,
        cell=parts.process.cell,
        clock=parts.clock,
        reachable=lambda region: any(p.reachable() for p in parts.pullers if p.statistics().region == region),
        age_ms=age_ms,
    )
