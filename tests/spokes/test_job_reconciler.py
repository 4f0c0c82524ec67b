"""Work that events lost, media that are gone, a region that left its work: each is found and put right once."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest
from studio_desk import SLOTS, Desk, open_desk

from eisbach.bootstrap.studio_client import HttpJobDesk
from eisbach.domain.catalog import Asset
from eisbach.domain.ingest import AssetReceived, AssetRecord
from eisbach.kernel.errors import Invalid, LeaseLost, VersionConflict
from eisbach.kernel.slots import STUDIO_GROUP, Slot
from eisbach.spokes.job_reconciler import STUCK, BatchState, JobReconciler, Seen, Step, next_step
from eisbach.testing.manual_clock import ManualClock

RECEIVED = AssetRecord(id="wave", home="eu-central", state="received", upload="up-1")
READY = msgspec.structs.replace(RECEIVED, state="ready")
REJECTED = msgspec.structs.replace(RECEIVED, state="rejected")
AWAY = msgspec.structs.replace(RECEIVED, home="eu-west")
ACTIVE, DONE, FAILED = (BatchState(kind="probe", state=state) for state in ("active", "done", "failed"))
LONG = timedelta(hours=2)


@pytest.mark.parametrize(
    ("found", "step"),
    [
        ({"record": RECEIVED, "batches": [ACTIVE], "quiet": LONG}, Step.nothing),
        ({"record": RECEIVED, "batches": [DONE], "quiet": timedelta(seconds=1)}, Step.nothing),
        ({"record": RECEIVED, "batches": [DONE], "quiet": LONG}, Step.restart),
        ({"record": RECEIVED, "quiet": LONG}, Step.restart),
        ({"record": RECEIVED, "packaged": True}, Step.ready),
        ({"record": AWAY, "packaged": True}, Step.ready),
        ({"record": RECEIVED, "batches": [FAILED], "quiet": LONG}, Step.reject),
        ({"record": RECEIVED, "batches": [FAILED]}, Step.nothing),
        ({"record": msgspec.structs.replace(RECEIVED, upload=""), "quiet": LONG}, Step.nothing),
        ({"record": AWAY, "quiet": LONG}, Step.nothing),
        ({"record": AWAY, "home_left": True}, Step.restart),
        ({"record": AWAY, "batches": [ACTIVE]}, Step.sweep),
        ({"record": READY}, Step.nothing),
        ({"record": READY, "batches": [ACTIVE]}, Step.sweep),
        ({"record": REJECTED, "batches": [ACTIVE]}, Step.sweep),
        ({"record": READY, "media_lost": True}, Step.restart),
        ({"record": msgspec.structs.replace(READY, home="eu-west"), "media_lost": True}, Step.nothing),
        ({"record": msgspec.structs.replace(RECEIVED, round=3), "quiet": 7 * STUCK}, Step.nothing),
        ({"record": msgspec.structs.replace(RECEIVED, round=3), "quiet": 8 * STUCK}, Step.restart),
    ],
)  # fmt: skip
def test_the_next_step_of_an_asset(found: dict[str, object], step: Step) -> None:
    assert next_step(Seen(here="eu-central", **found)) is step


class RoutedDesk:
    """``JobDesk`` over the studio's real routes; which regions are left is the test's."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.left = desk, set[str]()

    async def records(self) -> Sequence[AssetRecord]:
        views = (await self.desk.ask("GET", "/studio/assets"))["assets"]
        return [msgspec.convert(view["record"], AssetRecord) for view in views]

    async def batches(self, asset: str) -> Sequence[BatchState]:
        jobs = (await self.desk.ask("GET", f"/studio/jobs?asset={asset}"))["jobs"]
        return msgspec.convert(jobs, list[BatchState])

    async def left_regions(self) -> Collection[str]:
        return self.left

    async def ready(self, asset: Asset) -> None:
        await self.desk.ask("POST", f"/studio/assets/{asset.id}/ready", msgspec.to_builtins(asset))

    async def restart(self, asset: str, *, round_: int, reason: str) -> None:
        await self.desk.ask("POST", f"/studio/assets/{asset}/restart", {"round": round_, "reason": reason})

    async def reject(self, asset: str, *, reason: str) -> None:
        await self.desk.ask("POST", f"/studio/assets/{asset}/reject", {"reason": reason})

    async def sweep(self, asset: str) -> None:
        await self.desk.ask("POST", "/studio/jobs:sweep", {"asset": asset})


class Place:
    """A region's studio with its reconciler."""

    def __init__(self, desk: Desk, region: str, clock: ManualClock) -> None:
        self.desk, self.routed = desk, RoutedDesk(desk)
        self.packaged: dict[str, Asset] = {}
        self.lost: set[str] = set()

        async def packaged(asset: str) -> Asset | None:
            return self.packaged.get(asset)

        self.jobs = JobReconciler(
            self.routed, region=region, regions=["eu-central", "eu-west"], packaged=packaged,
            lost=lambda: self.lost, clock=clock,
        )  # fmt: skip

    async def received(self) -> list[AssetReceived]:
        return [
            msgspec.json.decode(event.data, type=AssetReceived)
            for event in await self.desk.events()
            if event.type == "tv.ingest.asset.received.v1"
        ]


class Pair:
    def __init__(self, central: Place, west: Place, clock: ManualClock) -> None:
        self.central, self.west, self.clock = central, west, clock

    async def exchange(self) -> None:
        """What the pullers do, both ways."""
        for source, target in ((self.central, self.west), (self.west, self.central)):
            for number in range(SLOTS):
                slot = Slot(STUDIO_GROUP, number)
                batch = await source.desk.store.ops_after(slot, await target.desk.store.vector(slot), limit=512)
                await target.desk.store.apply(slot, batch.ops)


@pytest.fixture
async def pair(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        places = []
        for region in ("eu-central", "eu-west"):
            (tmp_path / region).mkdir()
            desk = await stack.enter_async_context(open_desk(tmp_path / region, clock, region=region))
            places.append(Place(desk, region, clock))
        yield Pair(*places, clock)


async def uploaded(place: Place) -> str:
    made = await place.desk.ask("POST", "/studio/uploads", {"name": "wave.mp4", "publish": True})
    await place.desk.ask("PUT", f"/studio/uploads/{made['upload']}/content", b"film")
    return made["asset"]


async def leased(place: Place, asset: str) -> dict[str, object]:
    jobs = {"asset": asset, "kind": "transcode", "jobs": [{"part": "v0000"}], "home": place.desk.store.region}
    await place.desk.ask("POST", "/studio/jobs", jobs)
    return await place.desk.ask("POST", "/studio/jobs:lease", {"worker": "w1", "kinds": ["transcode"]})


def packaged(asset: str) -> Asset:
    return Asset(id=asset, duration_ms=2000, tracks=[], files_sha256="ab" * 32)


async def test_a_region_that_is_lost_is_relieved_of_its_work_and_when_it_returns_its_worker_drops_it(
    pair: Pair,
) -> None:
    asset = await uploaded(pair.central)
    job = await leased(pair.central, asset)
    await pair.exchange()
    (received,) = await pair.central.received()
    await pair.west.desk.blobs.put(received.source, b"film")
    pair.west.routed.left = {"eu-central"}

    for _ in range(3):
        await pair.west.jobs.reconcile()
    await pair.exchange()
    await pair.central.jobs.reconcile()

    first, second = await pair.west.received()
    assert (first.home, second.home, second.asset) == ("eu-central", "eu-west", asset)
    with pytest.raises(LeaseLost):
        await pair.central.desk.ask("POST", f"/studio/jobs/{job['job']}/complete", {"fence": job["fence"]})
    assert [record.home for record in await pair.central.routed.records()] == ["eu-west"]


async def test_what_the_lost_region_had_finished_before_it_learnt_of_the_takeover_ends_the_work_of_both(
    pair: Pair,
) -> None:
    asset = await uploaded(pair.central)
    await pair.exchange()
    (received,) = await pair.central.received()
    await pair.west.desk.blobs.put(received.source, b"film")
    pair.west.routed.left = {"eu-central"}
    await pair.west.jobs.reconcile()
    job = await leased(pair.west, asset)
    await pair.exchange()

    pair.central.packaged[asset] = packaged(asset)
    await pair.central.jobs.reconcile()
    await pair.exchange()
    pair.west.routed.left = set()
    await pair.west.jobs.reconcile()

    assert [record.state for record in await pair.west.routed.records()] == ["ready"]
    with pytest.raises(LeaseLost):
        await pair.west.desk.ask("POST", f"/studio/jobs/{job['job']}/complete", {"fence": job["fence"]})


async def test_a_region_that_is_merely_cut_off_keeps_its_work_until_somebody_says_that_it_is_lost() -> None:
    """From here a cut looks like a loss: both would publish, and whoever follows titles would hear of one twice."""

    class Studio:
        serves: ClassVar[dict[str, bool]] = {}

        async def ask(self, method: str, path: str, body: bytes | None = None, *, key: str | None = None) -> bytes:
            told = {
                "/studio/regions": {"regions": self.serves},
                "/status": {"replication": [{"region": "eu-central", "silent_ms": 3_600_000}]},
            }
            return msgspec.json.encode(told[path])

    desk = HttpJobDesk(Studio())  # type: ignore[arg-type]  # of a studio it needs the call
    cut = set(await desk.left_regions())
    Studio.serves = {"eu-central": False, "eu-west": True}

    assert (cut, set(await desk.left_regions())) == (set(), {"eu-central"})


async def test_work_is_not_taken_over_where_the_source_is_not(pair: Pair) -> None:
    await uploaded(pair.central)
    await pair.exchange()
    pair.west.routed.left = {"eu-central"}

    with pytest.raises(Invalid, match="is not in this region"):
        await pair.west.jobs.reconcile()

    assert [record.home for record in await pair.west.routed.records()] == ["eu-central"]


async def test_output_that_is_there_while_its_job_was_lost_completes_the_asset_once(pair: Pair) -> None:
    asset = await uploaded(pair.central)
    pair.central.packaged[asset] = packaged(asset)

    for _ in range(3):
        await pair.central.jobs.reconcile()

    types = await pair.central.desk.types()
    assert types.count("tv.package.asset.ready.v1") == 1
    assert types.count("tv.ingest.asset.received.v1") == 1


async def test_an_upload_whose_events_were_lost_is_begun_anew_after_a_minute_and_not_at_every_turn(pair: Pair) -> None:
    await uploaded(pair.central)
    begun = []

    for _ in range(100):
        await pair.central.jobs.reconcile()
        begun.append(len(await pair.central.received()))
        await pair.clock.advance(10)

    assert begun[:6] == [1] * 6
    assert begun[-1] == 5  # after 1, 2, 4 and 8 minutes
    assert {received.home for received in await pair.central.received()} == {"eu-central"}


async def test_an_asset_whose_files_no_region_has_is_made_anew_from_its_source(pair: Pair) -> None:
    asset = await uploaded(pair.central)
    await pair.central.routed.ready(packaged(asset))
    await pair.central.jobs.reconcile()
    pair.central.lost = {asset}

    await pair.central.jobs.reconcile()
    pair.central.packaged[asset] = packaged(asset)
    pair.central.lost = set()
    await pair.central.jobs.reconcile()

    types = await pair.central.desk.types()
    assert types.count("tv.ingest.asset.received.v1") == 2
    assert types.count("tv.package.asset.ready.v1") == 2


async def test_a_batch_that_was_given_up_unheard_rejects_its_asset_with_the_reason(pair: Pair) -> None:
    asset = await uploaded(pair.central)
    job = await leased(pair.central, asset)
    report = {"fence": job["fence"], "reason": "the file is text", "final": True}
    await pair.central.desk.ask("POST", f"/studio/jobs/{job['job']}/fail", report)

    await pair.central.jobs.reconcile()
    await pair.clock.advance(61)
    await pair.central.jobs.reconcile()

    (record,) = await pair.central.routed.records()
    assert (record.state, record.reason) == ("rejected", "the file is text")


async def test_two_who_begin_the_same_round_anew_begin_it_once(pair: Pair) -> None:
    asset = await uploaded(pair.central)

    outcomes = await asyncio.gather(
        *[pair.central.routed.restart(asset, round_=0, reason="x") for _ in range(4)], return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes if outcome] == [VersionConflict] * 3
    assert len(await pair.central.received()) == 2


async def test_an_evacuated_regions_workers_get_no_job_and_get_them_again_after_its_return(pair: Pair) -> None:
    asset = await uploaded(pair.central)
    jobs = {"asset": asset, "kind": "transcode", "jobs": [{"part": "v0000"}], "home": "eu-central"}
    ask = pair.central.desk.ask
    await ask("POST", "/studio/jobs", jobs)
    wish = {"worker": "w1", "kinds": ["transcode"]}

    await ask("POST", "/studio/regions/eu-central", {"serves": False})
    during = await ask("POST", "/studio/jobs:lease", wish)
    await pair.exchange()
    there = await pair.west.desk.ask("GET", "/studio/regions")
    await ask("POST", "/studio/regions/eu-central", {"serves": True})
    after = await ask("POST", "/studio/jobs:lease", wish)

    assert (during, there, after["part"]) == (None, {"regions": {"eu-central": False}}, "v0000")
