"""Work on an asset begun anew: after its home was lost, its output vanished, or the events that carried it on were.

Promises: the jobs of its earlier round are gone and their reports refused before the new round is announced; the same
round is begun once, whoever asks; it is begun only where the source is. A call that touches two slots (jobs and asset)
sweeps the jobs first and can be repeated from there. May not know: why, and who decides it
(``spokes.job_reconciler``).
"""

from typing import Final

import msgspec

from eisbach.cell.routes import Answer, Call, Route, json_answer
from eisbach.cell.studio_items import Decision, StudioItems, studio_route
from eisbach.cell.studio_jobs import REGIONS, Region, StudioJobs
from eisbach.domain.ingest import ASSET_RECEIVED, AssetRecord, plain_id, received_event
from eisbach.kernel.errors import Invalid, NotFound, VersionConflict
from eisbach.kernel.events import EventDraft
from eisbach.kernel.ids import parse_id
from eisbach.ports.blobs import Blobs

__all__ = ["StudioRecovery"]

_REASON_CHARS: Final = 500


class Restart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Begin the work on an asset anew, in this region."""

    round: int
    """The asset's, as the caller saw it; another one means that somebody was faster."""
    reason: str


class Sweep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Forget an asset's jobs."""

    asset: str


class StudioRecovery:
    """The calls of recovery."""

    def __init__(self, items: StudioItems, jobs: StudioJobs, *, blobs: Blobs) -> None:
        self._items, self._jobs, self._blobs = items, jobs, blobs

    def routes(self) -> list[Route]:
        """For reconcilers and people; none for viewers."""
        return [
            studio_route("POST", "assets/{asset}/restart", self.restart, "Begin an asset's work anew", body=Restart),
            studio_route("POST", "jobs:sweep", self.sweep, "Forget an asset's jobs, without an event", body=Sweep),
            studio_route("GET", "regions", self.regions, "Regions that were taken out of service or back"),
            studio_route("POST", "regions/{region}", self.set_region, "A region serves, or not", body=Region),
        ]

    async def restart(self, call: Call) -> Answer:
        """Sweep the jobs of the asset here, make this region its home, and announce it as if it had just come.

        Raises:
            NotFound: unknown.
            Invalid: rejected, packaged elsewhere from the start, or its source is not in this region.
            VersionConflict: its round is another one.
        """
        asset, asked = plain_id(call.params["asset"], what="asset"), call.body

        found = await self._items.read(f"asset/{asset}", "doc", AssetRecord)
        if found is None:
            raise NotFound(f"asset {asset!r} is unknown here")
        await self._check(found.value, asked.round)
        await self._jobs.sweep(asset)
        record = msgspec.structs.replace(
            found.value, home=self._items.region, state="received", round=asked.round + 1,
            reason=asked.reason[:_REASON_CHARS],
        )  # fmt: skip
        event = EventDraft(ASSET_RECEIVED, asset, msgspec.json.encode(received_event(record)))
        await self._items.write(
            Decision(pk=f"asset/{asset}", reads={"doc": found.version}, changes={"doc": record}, events=[event])
        )
        return json_answer(record)

    async def _check(self, record: AssetRecord, round_: int) -> None:
        if record.round != round_:
            raise VersionConflict(f"asset {record.id!r} is in round {record.round}, not {round_}; look again")
        if record.state == "rejected":
            raise Invalid(f"asset {record.id!r} was rejected ({record.reason}); announce a new upload")
        if not record.upload:
            raise Invalid(f"asset {record.id!r} was packaged elsewhere, there is no source to begin from")
        source = f"uploads/{record.upload}"
        if source not in await self._blobs.keys(source):  # a copy of it here would cost its bytes
            raise Invalid(f"asset {record.id!r}: its source {source} is not in this region")

    async def sweep(self, call: Call) -> Answer:
        """Whoever works on one of them learns it by its next report; again is the same."""
        return json_answer({"swept": await self._jobs.sweep(plain_id(call.body.asset, what="asset"))})

    async def regions(self, _: Call) -> Answer:
        """Those that were ever taken out."""
        found = await self._items.page(REGIONS, "", Region)
        return json_answer({"regions": {one.sk: one.value.serves for one in found}})

    async def set_region(self, call: Call) -> Answer:
        """Where a region does not serve, no job is handed out, and another region takes over what it left."""
        region = parse_id(call.params["region"], what="region")
        before = await self._items.read(REGIONS, region, Region)
        if before is None or before.value != call.body:
            await self._items.write(Decision(pk=REGIONS, changes={region: call.body}))
        return json_answer(call.body)
