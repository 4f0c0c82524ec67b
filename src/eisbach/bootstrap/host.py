"""What a process stands on: clocks, chance, disks and the way to other regions, as one value.

``system_host`` is the machine; the simulated world (``eisbach.testing.world``) gives another, and the same composition
runs in it. May not know: what is composed.
"""

import random
import secrets as entropy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eisbach.bootstrap.control_client import HttpMoves
from eisbach.bootstrap.restore_kept import Keepers
from eisbach.bootstrap.restore_owners import Decided
from eisbach.cell.move_http import HttpCells
from eisbach.cell.peer_http import HttpPeer
from eisbach.cell.puller import PeerTransport
from eisbach.cell.slot_imports import SlotSource
from eisbach.engines.embedded.clock import RehearsalClock, SystemClock
from eisbach.engines.embedded.disk import Disk, DiskThread
from eisbach.engines.embedded.place import file_place
from eisbach.ports.blobs import Blobs
from eisbach.ports.clock import Clock

__all__ = ["ClosableKeepers", "ClosablePeer", "ClosableSource", "ClosingDisk", "Host", "system_host"]


class ClosingDisk(Disk, Protocol):
    """A disk that ends with the process's composition."""

    def close(self) -> None:
        """Finish what was handed in."""
        ...


class ClosablePeer(PeerTransport, Protocol):
    """A way to another region that ends with the process's composition."""

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class ClosableSource(SlotSource, Protocol):
    """A way to the other cells of the region that ends with the process's composition."""

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class ClosableKeepers(Keepers, Protocol):
    """The same for what other cells still keep."""

    async def aclose(self) -> None:
        """Close the connections."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One a process."""

    clock: Clock
    rng: random.Random
    """Jitter and request ids, never keys."""
    disk: Callable[[str], ClosingDisk]
    """Name of the work -> where it blocks."""
    peer: Callable[[str, str], ClosablePeer]
    """(door, token) -> another region."""
    source: Callable[[str], ClosableSource]
    """Service token -> the cells of this region, for slots that move here."""
    cpu_s: Callable[[], float] = lambda: 0.0
    """CPU time of the loop's thread; a simulated process has none."""
    asleep_between_calls: bool = False
    """A function's sandbox: nothing follows the hub or other regions in it."""
    vfs: str | None = None
    """Of every SQLite file; None: the machine's own."""
    backups: Blobs | None = None
    """Of its region; None: where the process document says."""
    keepers: Callable[[Mapping[str, str], str], ClosableKeepers] = lambda addresses, token: HttpCells(
        addresses, token=token
    )
    """(cell -> ``host:port``, token) -> the way to what other cells of the region keep."""
    moves: Callable[[str, str], Decided | None] = lambda _url, _token: None
    """(URL, token) -> what the region has on record of slots; None: the region has none."""
    place: Callable[[Path], str] = file_place
    """Of a file: another one after the machine was started anew, or the file was replaced."""


def system_host(*, rehearsal: bool = False) -> Host:
    """This machine; in a rehearsal its clock can be set wrong."""
    return Host(
        clock=RehearsalClock() if rehearsal else SystemClock(),
        rng=random.Random(entropy.randbits(64)),  # noqa: S311 - jitter and request ids, never keys
        disk=DiskThread,
        cpu_s=time.thread_time,
        source=lambda token: HttpCells({}, token=token),
        peer=lambda door, token: HttpPeer(door, token=token),
        moves=lambda url, token: HttpMoves(url, token) if url else None,
    )
