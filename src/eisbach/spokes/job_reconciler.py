"""The reconciler of media work: compares what should come of every upload with what is there, because events alone lose
work (design section 4), and takes over what a lost or evacuated region began and left.

One pure decision (``next_step``) per asset and turn; each step is a call to the studio that may be repeated:

* output there, job lost: the asset is said to be ready, nothing is made twice;
* said to be ready, and no region has its files: made anew from the source;
* no job and no news for a while: begun anew (parts whose files are there are not encoded again);
* its home was evacuated or declared lost: begun anew here, where the source was copied to;
* begun anew elsewhere, ready, or rejected: jobs that are left here are swept, and their workers drop them.

A region that is merely silent keeps its work: from here a cut looks like a loss, both would publish the title, and
whoever follows titles would hear of one twice. So the word of an operator (or whoever acts for one) is waited for; one
that was wrong costs that second event, and no more: the bytes are the same, and the later word counts.
May not know: HTTP, how media are made.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, Protocol

import msgspec
import structlog

from eisbach.domain.catalog import Asset
from eisbach.domain.ingest import AssetRecord
from eisbach.kernel.errors import EisbachError, VersionConflict
from eisbach.ports.clock import Clock

__all__ = ["BatchState", "JobDesk", "JobReconciler", "ReconcilerStatistics", "Seen", "Step", "next_step"]

STUCK: Final = timedelta(seconds=60)
"""No job, no news: doubled with every time that the asset was begun anew, at most an hour."""
_STUCK_MAX: Final = timedelta(hours=1)
_EVERY: Final = timedelta(seconds=10)

_logger = structlog.get_logger(__name__)


class Step(StrEnum):
    """What to do about an asset now."""

    nothing = "nothing"
    ready = "ready"
    """Say that it is packaged."""
    restart = "restart"
    """Begin the work anew, here."""
    reject = "reject"
    """Its batch was given up, and the event that said so was lost."""
    sweep = "sweep"
    """Forget the jobs that are left here."""


class BatchState(msgspec.Struct, frozen=True, kw_only=True):
    """A batch of this region's jobs, as the studio shows it."""

    kind: str
    state: str
    """``active``, ``done``, ``failed``."""
    done: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything that the decision about one asset rests on."""

    record: AssetRecord
    here: str
    """This region."""
    batches: Sequence[BatchState] = ()
    """Of this asset, in this region."""
    packaged: bool = False
    """Its packaged files are here, whole, with their document."""
    media_lost: bool = False
    """It is said to be ready, and every region has answered that it does not have the files."""
    home_left: bool = False
    """Its home is out of service, and this region is the one to take over."""
    quiet: timedelta = timedelta(0)
    """Since something about it changed, as far as this process saw."""


def next_step(seen: Seen) -> Step:
    """Decide; pure."""
    record, active = seen.record, any(batch.state == "active" for batch in seen.batches)
    if record.state != "received":
        if record.state == "ready" and seen.media_lost and record.home == seen.here and record.upload:
            return Step.restart
        return Step.sweep if active else Step.nothing
    if seen.packaged:
        return Step.ready
    if record.home != seen.here:
        if seen.home_left and record.upload:
            return Step.restart
        return Step.sweep if active else Step.nothing
    if active or not record.upload:
        return Step.nothing
    if any(batch.state == "failed" for batch in seen.batches):
        return Step.reject if seen.quiet >= STUCK else Step.nothing
    patience = min(STUCK * 2 ** min(record.round, 10), _STUCK_MAX)
    return Step.restart if seen.quiet >= patience else Step.nothing


class JobDesk(Protocol):
    """What the reconciler reads and writes of the region's studio; errors are those of the tree."""

    async def records(self) -> Sequence[AssetRecord]:
        """Every asset."""
        ...

    async def batches(self, asset: str) -> Sequence[BatchState]:
        """Batches of one asset in this region, active and past."""
        ...

    async def left_regions(self) -> Collection[str]:
        """Regions that somebody took out of service (``regions evacuate``, also ``--lost``); silence is not enough."""
        ...

    async def ready(self, asset: Asset) -> None:
        """Say that it is packaged."""
        ...

    async def restart(self, asset: str, *, round_: int, reason: str) -> None:
        """Begin anew, once per round."""
        ...

    async def reject(self, asset: str, *, reason: str) -> None:
        """Refuse it."""
        ...

    async def sweep(self, asset: str) -> None:
        """Forget its jobs here."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilerStatistics:
    """Since start."""

    compared: int
    steps: Mapping[str, int]
    """Step -> how often it was taken."""
    trouble: str | None


class JobReconciler:
    """One a region."""

    def __init__(
        self,
        desk: JobDesk,
        *,
        region: str,
        regions: Sequence[str],
        packaged: Callable[[str], Awaitable[Asset | None]],
        lost: Callable[[], Collection[str]],
        clock: Clock,
    ) -> None:
        """Make one.

        Args:
            desk: the region's studio.
            region: this one.
            regions: all of them; the first by name that is not left takes over.
            packaged: the document of an asset whose packaged files are here and whole.
            lost: assets that are said to be ready and that no region has.
            clock: of the process.
        """
        self._desk, self._region, self._regions = desk, region, sorted(regions)
        self._packaged, self._lost, self._clock = packaged, lost, clock
        self._since: dict[str, tuple[object, int]] = {}
        self._settled: dict[str, AssetRecord] = {}
        """Ready or rejected, and looked at since: nothing to ask again."""
        self._steps = dict.fromkeys((step.value for step in Step if step is not Step.nothing), 0)
        self._compared = 0
        self._trouble: str | None = None

    async def run(self) -> None:
        """Reconcile for ever."""
        while True:
            await self._clock.sleep(_EVERY.total_seconds())
            try:
                await self.reconcile()
                self._trouble = None
            except EisbachError as error:
                # Whatever it is, the next turn compares again; people see it in the statistics.
                self._trouble = str(error)
                _logger.warning("jobs_not_compared", error=str(error))

    async def reconcile(self) -> None:
        """Look at every asset and take its step; any number of times.

        Raises:
            EisbachError: the first of what could not be done, after everything else was.
        """
        trouble: EisbachError | None = None
        left = frozenset(await self._desk.left_regions())
        lost = frozenset(self._lost())
        records = await self._desk.records()
        here = {one.id for one in records}
        self._since = {asset: since for asset, since in self._since.items() if asset in here}
        self._settled = {asset: record for asset, record in self._settled.items() if asset in here}
        for record in records:
            try:
                await self._one(record, left=left, lost=lost)
            except VersionConflict:
                continue  # somebody was faster; the next turn sees what they made of it
            except EisbachError as error:
                trouble = trouble or error
        self._compared += 1
        if trouble is not None:
            raise trouble

    def statistics(self) -> ReconcilerStatistics:
        """What happened since start."""
        return ReconcilerStatistics(compared=self._compared, steps=dict(self._steps), trouble=self._trouble)

    async def _one(self, record: AssetRecord, *, left: frozenset[str], lost: frozenset[str]) -> None:
        if self._settled.get(record.id) == record and record.id not in lost:
            return
        batches = await self._desk.batches(record.id)
        successor = next((region for region in self._regions if region not in left and region != record.home), None)
        document = await self._packaged(record.id) if record.state == "received" else None
        seen = Seen(
            record=record, here=self._region, batches=batches, packaged=document is not None,
            media_lost=record.id in lost, home_left=record.home in left and successor == self._region,
            quiet=self._quiet(record, batches),
        )  # fmt: skip
        step = next_step(seen)
        if step is Step.nothing:
            if record.state != "received":
                self._settled[record.id] = record
            return
        _logger.warning("job_reconciled", asset=record.id, step=step, home=record.home, round=record.round)
        await self._take(step, seen, document)
        self._steps[step] += 1

    async def _take(self, step: Step, seen: Seen, document: Asset | None) -> None:
        record = seen.record
        if step is Step.ready and document is not None:
            await self._desk.ready(document)
        elif step is Step.restart:
            why = f"region {record.home} left it" if seen.home_left else f"no news for {seen.quiet}"
            why = "its files are lost" if seen.media_lost else why
            await self._desk.restart(record.id, round_=record.round, reason=f"begun anew: {why}")
        elif step is Step.reject:
            reason = next((batch.reason for batch in seen.batches if batch.state == "failed"), "")
            await self._desk.reject(record.id, reason=reason)
        elif step is Step.sweep:
            await self._desk.sweep(record.id)

    def _quiet(self, record: AssetRecord, batches: Sequence[BatchState]) -> timedelta:
        news = (record, tuple(batches))
        known, since = self._since.get(record.id, (None, 0))
        if news != known:
            since = self._clock.monotonic_ms()
            self._since[record.id] = (news, since)
        return timedelta(milliseconds=self._clock.monotonic_ms() - since)
