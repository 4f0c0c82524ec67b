"""What a cell's composition is made from, shared by its files.

May not know: what is composed.
"""

import random
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from eisbach.bootstrap.followers import Followers
from eisbach.bootstrap.host import ClosingDisk, Host
from eisbach.cell.acknowledged import Acknowledged
from eisbach.cell.last_word import LastWord
from eisbach.cell.ownership import Ownership
from eisbach.cell.puller import Puller, PullerStatistics
from eisbach.cell.twin_digests import TwinDigests
from eisbach.cell.write_trial import WriteTrial
from eisbach.hub.relay import Relay
from eisbach.kernel.errors import Invalid
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Vector
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import EventLog
from eisbach.ports.moves import SlotCopies
from eisbach.ports.store import Store
from eisbach.settings import CellProcess, Secrets

__all__ = ["CellStore", "Parts", "Slots", "aws_place", "usage_of"]


class CellStore(Store, SlotCopies, Protocol):
    """What a cell is composed on, whatever engine it is."""

    async def applied(self, slot: Slot) -> Vector:
        """The vector without held ops."""
        ...

    async def release_held(self) -> None:
        """Apply ops from the future whose time has come."""
        ...

    async def not_ours(self) -> str:
        """Why this process may no longer write it; empty: it may."""
        ...

    async def identify(self, candidate: str) -> str:
        """The store's name for life: the first candidate that was ever given."""
        ...

    async def is_unpublished_at(self, sequence: int, *, ours: bool = False) -> bool:
        """See ``hub.relay.RelayedStore``."""
        ...


@dataclass(slots=True)
class Parts:
    """What everything is made from, and what has been made so far."""

    process: CellProcess
    secrets: Secrets
    host: Host
    stack: AsyncExitStack
    followers: Followers
    event_log: EventLog
    pullers: list[Puller] = field(default_factory=list)
    comparisons: list[TwinDigests] = field(default_factory=list)
    last_words: dict[str, LastWord] = field(default_factory=dict)
    """By region."""
    relays: dict[str, Relay] = field(default_factory=dict)
    acknowledged: Acknowledged | None = None
    """What other regions hold of ours; None where no other may hold any."""

    @property
    def clock(self) -> Clock:
        """The process's clocks."""
        return self.host.clock

    @property
    def rng(self) -> random.Random:
        """The process's chance."""
        return self.host.rng

    def twins(self) -> Sequence[PullerStatistics]:
        """What the pullers know of the other regions."""
        return [puller.statistics() for puller in self.pullers]

    def twin(self, region: str) -> PullerStatistics | None:
        """What is known of one region."""
        return next((found for found in self.twins() if found.region == region), None)

    def thread(self, name: str) -> ClosingDisk:
        """Where work that blocks runs; ends with the process's composition."""
        disk = self.host.disk(name)
        self.stack.callback(disk.close)
        return disk


@dataclass(frozen=True, slots=True)
class Slots:
    """A store and the slots in it."""

    store: CellStore
    ownership: Ownership
    trial: WriteTrial
    """Whether its disk takes writes."""


def aws_place(url: str, kind: str) -> tuple[str, str]:
    """(AWS's region, prefix of names) in ``KIND:REGION/PREFIX``.

    Raises:
        Invalid: it is not that.
    """
    found, _, rest = url.partition(":")
    region, _, prefix = rest.partition("/")
    if found != kind or not region or not prefix:
        raise Invalid(f"{url[:80]!r} is not {kind}:REGION/PREFIX, e.g. {kind}:eu-central-1/eisbach")
    return region, prefix


def usage_of(store: CellStore, event_log: EventLog) -> Mapping[str, Any]:
    """What AWS bills of store and hub, since start, as the engines counted it; empty for those that are not there."""
    parts = {"store": getattr(store, "usage", None), "hub": getattr(event_log, "usage", None)}
    return {name: usage.told() for name, usage in parts.items() if usage is not None}
