"""A whole cell on DynamoDB, SNS and SQS, in an emulated region: what a viewer does, and that it survives the process."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kit import DEMO, REGIONS, catalogue_envelope, device_of, make_secrets, opened, peer, play, signed_in, until
from test_two_regions import HOSTS, PORT, door, ended

from eisbach.bootstrap.cell import OpenCell
from eisbach.bootstrap.serve import serve
from eisbach.engines.aws.clients import AwsPlace, open_clients
from eisbach.engines.aws.tables import make_tables
from eisbach.kernel.errors import Invalid
from eisbach.testing.aws.emulator import AwsEmulator
from eisbach.testing.event_log_promises import take

pytestmark = pytest.mark.aws


@pytest.fixture
async def on_aws(aws: AwsEmulator, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a process document says more."""
    region = aws.regions[0]
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint(region))
    async with open_clients(AwsPlace(region=region)) as clients:
        await make_tables([clients], prefix="eb", cell="c1")
    return {"store": f"dynamodb:{region}/eb", "hub": f"aws:{region}/eb", "backups": "", "keys": make_secrets()}


async def test_a_viewer_signs_in_plays_and_finds_where_they_stopped_after_the_process_is_gone(
    tmp_path: Path, on_aws: dict[str, Any]
) -> None:
    device = device_of([0, 1, 2, 3])
    async with opened(tmp_path / "one", **on_aws) as cell:
        viewer = await signed_in(cell, device)
        session = (await play(viewer, "k1")).json()
        again = (await play(viewer, "k1")).json()
        saved = await viewer.send("PUT", "/v1/me/progress/tears", {"pos_s": 42.5, "dur_s": 100})
        assert saved.status == 204, saved.body

    async with opened(tmp_path / "another machine", **on_aws) as cell:
        viewer = await signed_in(cell, device)
        rails = (await viewer.send("GET", "/v1/me/rails")).json()

    assert session["sid"] == again["sid"]
    assert [(r["title"], r["pos_s"]) for r in rails["resume"]] == [("tears", 42.5)]


async def test_what_a_viewer_does_is_published_to_the_hub(tmp_path: Path, on_aws: dict[str, Any]) -> None:
    async with opened(tmp_path, **on_aws) as cell:
        reader = await cell.event_log.subscribe("reader", from_start=False)
        viewer = await signed_in(cell)
        await play(viewer, "k1")

        types: set[str] = set()
        async with asyncio.timeout(20):
            while not any("playback" in name for name in types):
                (delivery,) = await take(reader, 1)
                types |= {event.type for event in delivery.envelope.events}


async def test_the_catalogue_comes_through_sns_and_sqs(tmp_path: Path, on_aws: dict[str, Any]) -> None:
    async with opened(tmp_path, demo=False, **on_aws) as cell:
        await cell.event_log.append(catalogue_envelope(*DEMO), expected=0)

        await until(lambda: cell.catalogue is not None and "tears" in cell.catalogue.snapshot().titles, seconds=20)


@pytest.mark.parametrize("url", ["dynamodb:eu-central-1", "dynamo:eu-central-1/eb", "dynamodb:/eb"])
async def test_a_store_that_is_none_is_named(tmp_path: Path, on_aws: dict[str, Any], url: str) -> None:
    with pytest.raises(Invalid, match="is not dynamodb:REGION/PREFIX"):
        async with opened(tmp_path, **(on_aws | {"store": url})):
            pass


async def test_a_viewer_goes_on_in_the_other_region_and_the_first_catches_up_on_its_return(
    tmp_path: Path, aws: AwsEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two cells in two emulated regions that pull from each other over HTTP, as on any engine."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint(aws.regions[0]))  # one door: the region is in the signature
    places = dict(zip(REGIONS, aws.regions, strict=True))
    keys, device = make_secrets(), device_of([0, 1, 2, 3])
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_clients(AwsPlace(region=one))) for one in aws.regions]
        await make_tables(clients, prefix="eb", cell="c1")

    def more(region: str) -> dict[str, Any]:
        other, place = REGIONS[1 - REGIONS.index(region)], places[region]
        return {
            "region": region, "keys": keys, "backups": "", "demo": region == REGIONS[0],
            "peers": [peer(other, f"http://{HOSTS[other]}:{PORT}")],
            "store": f"dynamodb:{place}/eb", "hub": f"aws:{place}/eb",
        }  # fmt: skip

    async def serving(stack: contextlib.AsyncExitStack, region: str, folder: Path) -> OpenCell:
        cell = await stack.enter_async_context(opened(folder, **more(region)))
        task = asyncio.create_task(serve(door(cell.app, region), host=HOSTS[region], port=PORT))
        stack.push_async_callback(ended, task, cell)
        return cell

    async def position(cell: OpenCell, wanted: float) -> None:
        viewer = await signed_in(cell, device)
        async with asyncio.timeout(20):
            while True:
                rails = (await viewer.send("GET", "/v1/me/rails")).json()
                if [r["pos_s"] for r in rails["resume"]] == [wanted]:
                    return
                await asyncio.sleep(0.05)

    async with contextlib.AsyncExitStack() as stays:
        west = await serving(stays, REGIONS[1], tmp_path / "west")
        await west.event_log.append(
            msgspec.structs.replace(catalogue_envelope(*DEMO), source=f"{REGIONS[1]}/studio"), expected=0
        )
        async with contextlib.AsyncExitStack() as lost:
            central = await serving(lost, REGIONS[0], tmp_path / "central")
            viewer = await signed_in(central, device)
            assert (await viewer.send("PUT", "/v1/me/progress/tears", {"pos_s": 10, "dur_s": 100})).status == 204
            await position(west, 10)
        viewer = await signed_in(west, device)
        assert (await viewer.send("PUT", "/v1/me/progress/tears", {"pos_s": 20, "dur_s": 100})).status == 204
        back = await serving(stays, REGIONS[0], tmp_path / "central, another machine")
        await position(back, 20)

        for slot in (s for s in back.ownership.owned() if str(s.group) == "eu/de/main"):
            assert await back.store.digest(slot) == await west.store.digest(slot)
