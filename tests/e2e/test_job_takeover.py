"""Media work on a running platform whose region is taken out of service in the middle of it (design section 4)."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import apsw
import pytest

from eisbach.bootstrap.tools import locate_footage
from eisbach.kernel.ops import decode_op

from .platform import Platform, running

PUBLISHED = "tv.catalog.title.published.v1"


@pytest.mark.processes
@pytest.mark.timeout(240)
def test_what_an_evacuated_region_had_begun_is_finished_in_the_other_and_published_once(tmp_path: Path) -> None:
    footage = locate_footage()
    assert footage is not None
    with running(tmp_path / "data", stage="regions", network="127.0.49", arguments=("--no-demo",)) as platform:
        platform.fault("slow", "worker/eu-central/w1")
        made = platform.eisbach("ingest", str(footage), "--title", "Taken over", "--publish")
        asset, title = made["asset"], made["title"]
        platform.until("a chunk is in work", lambda: _leases(platform, "eu-central", asset), 60)
        platform.fault("hang", "worker/eu-central/w1")
        uploads = platform.data / "regions/eu-west/blobs/uploads"
        platform.until("the source is in both regions", lambda: uploads.is_dir() and any(uploads.iterdir()), 60)

        platform.eisbach("regions", "evacuate", "eu-central")
        platform.until("the other region has published it", lambda: _published(platform, "eu-west", title), 90)
        platform.eisbach("heal")
        platform.eisbach("regions", "return", "eu-central")
        platform.until("both regions know", lambda: _published(platform, "eu-central", title), 60)
        platform.until("nobody works on it", lambda: not _active(platform, asset), 60)
        letters = platform.eisbach("events", "dead-letters")["dead_letters"]
        homes = {region: _asset(platform, region, asset)["home"] for region in ("eu-central", "eu-west")}
        told = {event for region in homes for event in _events(platform.data, region, PUBLISHED, title)}

    assert homes == {"eu-central": "eu-west", "eu-west": "eu-west"}
    assert len(told) == 1, told
    assert letters == []


def _ask(platform: Platform, region: str, path: str) -> Any:
    token = (platform.data / "secrets/operator-token").read_text().strip()
    url = platform.url(f"cell/{region}/studio")
    request = urllib.request.Request(f"{url}{path}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def _batches(platform: Platform, region: str, asset: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _ask(platform, region, f"/studio/jobs?asset={asset}")["jobs"]
    return found


def _leases(platform: Platform, region: str, asset: str) -> bool:
    return any(batch["kind"] == "transcode" and batch.get("leases") for batch in _batches(platform, region, asset))


def _active(platform: Platform, asset: str) -> list[str]:
    regions = ("eu-central", "eu-west")
    return [r for r in regions for batch in _batches(platform, r, asset) if batch["state"] == "active"]


def _published(platform: Platform, region: str, title: str) -> bool:
    titles = _ask(platform, region, "/studio/titles")["titles"]
    return any(one["id"] == title and one.get("state") == "published" for one in titles)


def _asset(platform: Platform, region: str, asset: str) -> dict[str, Any]:
    record: dict[str, Any] = _ask(platform, region, f"/studio/assets/{asset}")["record"]
    return record


def _events(data: Path, region: str, type_: str, subject: str) -> set[str]:
    """Ids of a type about a subject in the op log of a region's studio: each is one event, wherever it was written."""
    path = data / "regions" / region / "cells/studio/store.db"
    database = apsw.Connection(f"file:{path}?mode=ro", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    database.set_busy_timeout(5000)
    ops = [decode_op(body) for (body,) in database.execute("SELECT body FROM ops")]
    database.close()
    return {op.id for op in ops if op.event is not None and (op.event.type, op.event.subject) == (type_, subject)}
