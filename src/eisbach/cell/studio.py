"""The studio's calls: what editors write (titles, channels, uploads) and what spokes keep (assets, jobs).

One list of routes for ``bootstrap`` to mount in the studio cell, or in the one cell that hosts the studio. Callers are
people and processes with a token; the routes say which, the surface checks.
"""

import random

from eisbach.cell.routes import Route
from eisbach.cell.studio_items import StudioItems
from eisbach.cell.studio_jobs import StudioJobs
from eisbach.cell.studio_recovery import StudioRecovery
from eisbach.cell.studio_snapshot import StudioSnapshot
from eisbach.cell.studio_titles import StudioTitles
from eisbach.cell.studio_uploads import StudioUploads
from eisbach.hub.claim_check import ClaimChecks
from eisbach.ports.blobs import Blobs
from eisbach.ports.clock import Clock
from eisbach.ports.store import Store

__all__ = ["studio_routes"]


def studio_routes(store: Store, *, blobs: Blobs, clock: Clock, rng: random.Random, slot_count: int) -> list[Route]:
    """Every call of the studio.

    Args:
        store: the studio's own.
        blobs: where uploads go.
        clock: for leases and publication times.
        rng: for ids of uploads that come without an idempotency key.
        slot_count: of the group ``any/all/studio``.
    """
    claims = ClaimChecks(blobs, region=store.region, clock=clock)
    items = StudioItems(store, slot_count=slot_count, claims=claims)
    titles = StudioTitles(items, clock=clock)
    uploads = StudioUploads(items, titles, blobs=blobs, rng=rng)
    jobs = StudioJobs(items, clock=clock)
    recovery = StudioRecovery(items, jobs, blobs=blobs)
    snapshot = StudioSnapshot(items)
    return [*titles.routes(), *uploads.routes(), *jobs.routes(), *recovery.routes(), *snapshot.routes()]
