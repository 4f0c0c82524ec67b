"""What a cell's composition is made from, shared by its files.

May not know: what is composed.
"""

import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from eisbach.bootstrap.followers import Followers
from eisbach.bootstrap.host import ClosingDisk, Host
from eisbach.cell.acknowledged import Acknowledged
from eisbach.cell.ownership import Ownership
from eisbach.cell.puller import Puller, PullerStatistics
from eisbach.cell.twin_digests import TwinDigests
from eisbach.engines.embedded.store import SqliteStore
from eisbach.hub.relay import Relay
from eisbach.ports.clock import Clock
from eisbach.ports.event_log import EventLog
from eisbach.settings import CellProcess, Secrets

__all__ = ["Parts", "Slots"]


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

    store: SqliteStore
    ownership: Ownership
