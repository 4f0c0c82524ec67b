"""The processes of a region: cells and the hub with its spokes, each the production composition on a simulated host.

May not know: faults, clients, promises.
"""

import asyncio
import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from eisbach.bootstrap.cell import open_cell
from eisbach.bootstrap.cell_parts import OpenCell
from eisbach.bootstrap.host import Host
from eisbach.cell.moving import Freeze, Frozen
from eisbach.engines.embedded.disk import rows
from eisbach.engines.embedded.event_log import SqliteEventLog
from eisbach.engines.embedded.spoke_store import SqliteSpokeStore
from eisbach.hub.host import SpokeHost
from eisbach.hub.runner import Surroundings
from eisbach.kernel.errors import EisbachError, Invalid, Unavailable
from eisbach.kernel.events import Event
from eisbach.kernel.hlc import SKEW_MAX_MS, hlc_ms
from eisbach.ports.blobs import Blobs
from eisbach.ports.spoke import Effects, SpokeSpec
from eisbach.settings import CellProcess, Secrets
from eisbach.testing.world import hostile
from eisbach.testing.world.disks import Volumes
from eisbach.testing.world.links import CellsLink, HubLink, MovesLink, PeerLink, Ways
from eisbach.testing.world.process import Executor, Process
from eisbach.testing.world.redelivery import Redelivering

__all__ = ["CATCHING_UP", "CUT_TOLD", "LEDGER", "MOVE_NEAR", "SICK", "CellNode", "HubNode", "poisonous"]

LEDGER: Final = "ledger"
"""The spoke of the world: writes down every event it handles, per subject and in order."""
SICK: Final = "sick"
"""In some seeds a second spoke: its attempts fail until the calm, and some events are poison to it for ever."""
_SICK_TRIES_MAX: Final = 30
_SICK_FIRST_DELAY: Final = timedelta(milliseconds=20)
_SICK_TIME_LIMIT: Final = timedelta(milliseconds=500)
CATCHING_UP: Final = "catching-up"
"""A hub's phase: from a later opening until its spoke has acknowledged the first envelope."""
MOVE_NEAR: Final = "move-near"
"""A hub's phase: slots move between the region's cells, or just have."""
CUT_TOLD: Final = "cut-told"
"""A cell's phase: it has said where a frozen slot ends and that the hub has it; what is decided it has yet to hear."""
OLDER: Final = "has an older copy of its store"
_LOOK_S: Final = 0.05
_NEAR_S: Final = 0.4
_TOLD_S: Final = 0.05
TYPES: Final = frozenset(
    {
        "tv.account.created.v1",
        "tv.account.deleted.v1",
        "tv.playback.progress.recorded.v1",
        "tv.playback.session.started.v1",
        "tv.playback.session.stopped.v1",
        "tv.watchlist.item.added.v1",
        "tv.watchlist.item.removed.v1",
    }
)


class CellNode(Process):
    """A cell: ``bootstrap.cell.open_cell``, nothing else."""

    def __init__(
        self, document: CellProcess, secrets: Secrets, volumes: Volumes, *, seed: str, files: Mapping[str, bytes]
    ) -> None:
        super().__init__(f"{document.region}/{document.cell}", document.region, volumes, seed=seed, files=files)
        self.document, self._secrets = document, secrets
        self.cell: OpenCell | None = None
        self.ways: Ways | None = None
        self.hub: HubNode | None = None
        self.anchor_ms = 0
        """Of the hybrid clock in this life, less its monotonic clock (P10)."""
        self.bugs: list[str] = []
        self.backups: Blobs | None = None
        self.on_older_copy: Callable[[], None] = lambda: None
        """It has found that its store is an older copy of itself, and ends."""
        self._ceiling_ms = 0

    @property
    def unproved(self) -> bool:
        """Whether its store asks whether it is an older copy of itself."""
        return self.cell is not None and bool(self.cell.store.unproved)  # type: ignore[attr-defined]  # embedded engine

    def ceiling_ms(self) -> int:
        """The highest hybrid time that any life so far may have given (P10); read it when something is acknowledged."""
        if self.life.alive:
            self._ceiling_ms = max(self._ceiling_ms, self.anchor_ms + self.clock.monotonic_ms() + SKEW_MAX_MS)
        return self._ceiling_ms

    def die(self, *, power: bool, why: str) -> None:
        """See ``Process``; an answer may still be on its way."""
        self.ceiling_ms()
        super().die(power=power, why=why)

    def called(self, phase: str, asked: bytes, answer: bytes | None) -> None:
        """The coordinator of moves has had an answer to a call; None: a refusal."""
        assert self.hub is not None
        if phase in ("prepare", "freeze", "settle"):
            self.hub.linger(MOVE_NEAR, _NEAR_S)
        if phase == "freeze" and answer is not None:
            freeze, frozen = msgspec.msgpack.decode(asked, type=Freeze), msgspec.msgpack.decode(answer, type=Frozen)
            assert self.ways is not None
            self.ways.note_cut(freeze, frozen)
            if freeze.wait_ms and frozen.relayed:
                self.linger(CUT_TOLD, _TOLD_S)

    def _host(self) -> Host:
        assert self.ways is not None
        ways = self.ways
        return Host(
            clock=self.clock,
            rng=random.Random(self.chance.random()),  # noqa: S311 - must be repeatable
            disk=lambda name: Executor(self, name.partition("-")[0]),
            peer=lambda door, token: PeerLink(self, ways, door, token=token),
            source=lambda token: CellsLink(self, ways, {}, token=token),
            keepers=lambda addresses, token: CellsLink(self, ways, addresses, token=token),
            vfs=self.vfs,
            backups=self.backups,
            moves=lambda _url, _token: MovesLink(self, ways) if self.region in ways.controls else None,
            place=lambda _path: f"boot {self.boots}",
        )

    async def live(self) -> None:
        """Open and serve."""
        life = self.life
        try:
            await self._live()
        except EisbachError as error:
            if OLDER in str(error) and life is self.life and life.alive:
                self.barred = True
                self.on_older_copy()
            raise

    async def _live(self) -> None:
        assert self.ways is not None
        assert self.hub is not None
        document = msgspec.structs.replace(self.document, folder=str(self.life.volume.folder))
        link = HubLink(self, self.ways.network, self.hub)
        clock, persisted_lead_ms = self.clock, self._persisted_ms() - self.clock.monotonic_ms()
        clock.told_lead_ms = 0
        async with open_cell(document, self._secrets, event_log=link, host=self._host()) as cell:
            # Anchored by one of the answers that the wall clock gave meanwhile; it may have jumped to and fro.
            self.anchor_ms = max(persisted_lead_ms, clock.told_lead_ms)
            self.cell = cell
            self.ready()
            try:
                await self._until_condemned(cell)
                await asyncio.get_running_loop().create_future()
            finally:
                self.cell = None
                status = cell.status()
                if status["bugs"] or status["restarts"]:
                    self.bugs.append(f"{self.name}: bugs {status['bugs']}, followers died {status['restarts']}")

    async def _until_condemned(self, cell: OpenCell) -> None:
        """What ``bootstrap.cell.run`` looks for all the time, for as long as it may be."""
        while cell.store.unproved:  # type: ignore[attr-defined]  # of the embedded engine
            await asyncio.sleep(_LOOK_S)
            if why := await cell.store.not_ours():
                raise Unavailable(why)

    async def holds(self) -> bool:
        """See ``Process``."""
        store = self.cell.store if self.cell is not None else None
        if store is None:
            return False
        slots = await store.leases()
        return any([await store.vector(slot) != await store.applied(slot) for slot in slots])

    def _persisted_ms(self) -> int:
        """The hybrid time on the disk, read by hand: also what a group was stamped with that failed to commit (P10)."""
        try:
            database = apsw.Connection(str(self.life.volume.folder / "store.db"), vfs=self.vfs)
            database.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            try:
                return hlc_ms(int(rows(database, "SELECT hlc FROM head")[0][0]))
            finally:
                database.close()
        except apsw.Error:
            return 0  # no store yet, or a power cut right now


class _NoStudio:
    """The world's spoke sends no commands."""

    async def post(self, path: str, body: bytes, *, key: str) -> None:
        raise Unavailable(f"the world has no studio for {path} ({len(body)} bytes, {key})")


async def note(event: Event, effects: Effects) -> None:
    """Append the event's id to the list of its subject; not idempotent on purpose."""
    known = await effects.get(event.subject)
    handled: list[str] = msgspec.json.decode(known, type=list[str]) if known else []
    effects.put(event.subject, msgspec.json.encode([*handled, event.id]))


def poisonous(event_id: str) -> bool:
    """Whether the sick spoke never gets over an event."""
    return zlib.crc32(event_id.encode()) % 7 == 0


class HubNode(Process):
    """A region's event log and its spoke host, in one process."""

    def __init__(self, region: str, volumes: Volumes, *, seed: str, files: Mapping[str, bytes]) -> None:
        super().__init__(f"{region}/hub", region, volumes, seed=seed, files=files)
        self.log: SqliteEventLog | None = None
        self.redelivery: Callable[[], bool] = lambda: False
        """Whether the next envelope is to come again later."""
        self.illness: Callable[[], bool] | None = None
        """Whether the next attempt of the sick spoke fails; None: there is no such spoke."""
        self.store: SqliteSpokeStore | None = None
        self.host: SpokeHost | None = None

    async def live(self) -> None:
        """Open and serve."""
        folder = Path(self.life.volume.folder)
        log = await SqliteEventLog(folder / "hub.db", clock=self.clock, disk=Executor(self, "log"), vfs=self.vfs).open()
        try:
            store = await SqliteSpokeStore(folder / "spokes.db", disk=Executor(self, "spokes"), vfs=self.vfs).open()
            try:
                await self._serve(log, store)
            finally:
                await store.aclose()
        finally:
            await log.aclose()

    async def _serve(self, log: SqliteEventLog, store: SqliteSpokeStore) -> None:
        around = Surroundings(
            region=self.region,
            log=Redelivering(log, self.redelivery, self._acknowledging),
            store=store,
            clock=self.clock,
            rng=random.Random(self.chance.random()),  # noqa: S311 - must be repeatable
        )
        specs = [SpokeSpec(name=LEDGER, handler=note, types=TYPES, scope="everywhere")]
        if self.illness is not None:
            specs.append(
                SpokeSpec(
                    name=SICK, handler=self._note_if_well, types=TYPES, scope="everywhere",
                    attempts_max=_SICK_TRIES_MAX, first_delay=_SICK_FIRST_DELAY, time_limit=_SICK_TIME_LIMIT,
                )
            )  # fmt: skip
            specs.append(hostile.strict())
        self.log, self.store, self.host = log, store, SpokeHost(specs, around, transport=_NoStudio())
        self.ready()
        if self.lives > 1:
            self.enter(CATCHING_UP)
        stranger = None if self.illness is None else asyncio.create_task(hostile.send(log, self.clock))
        try:
            await self.host.run()
        finally:
            self.log = self.store = self.host = None
            if stranger is not None:
                stranger.cancel()
                await asyncio.gather(stranger, return_exceptions=True)

    async def _note_if_well(self, event: Event, effects: Effects) -> None:
        if poisonous(event.id):
            raise Invalid(f"{event.id} is poison")
        if self.illness is not None and self.illness():
            if self.illness():
                await self.clock.sleep(2 * _SICK_TIME_LIMIT.total_seconds())  # hangs, until its time is up
            raise Unavailable("not well")
        await note(event, effects)

    @contextmanager
    def _acknowledging(self) -> Iterator[None]:
        with self.within("acknowledge"):
            yield
        if CATCHING_UP in self.phases:
            self.leave(CATCHING_UP)

    def statistics(self) -> Mapping[str, Any]:
        """Of the spokes; empty when down."""
        return self.host.statistics() if self.host is not None else {}
