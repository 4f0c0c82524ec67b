"""P22 as a drill: a viewer erases the account, and no byte of who they were is left in any file of two regions."""

import asyncio
import base64
import json
import time
from pathlib import Path

import pytest
from kit import device_of, opened, play, signed_in
from test_two_regions import caught_up, regions

from eisbach.bootstrap.cell import OpenCell
from eisbach.testing.asgi_client import AsgiClient

pytestmark = pytest.mark.processes


def files_with(folder: Path, needle: str) -> list[str]:
    """Every file below ``folder`` that holds it: stores, write-ahead logs, hubs, projections, whatever is there."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(str(path.relative_to(folder)) for path in files if needle.encode() in path.read_bytes())


def subject_of(viewer: AsgiClient) -> str:
    """The account that a token is of."""
    payload = viewer.headers["Authorization"].split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=="))["sub"])


async def until_erased(*cells: OpenCell) -> None:
    async with asyncio.timeout(20):
        while not all(caught_up(cell) for cell in cells) or any(c.store.statistics().erasing for c in cells):
            await asyncio.sleep(0.02)


async def test_an_erased_account_is_in_no_file_of_either_region(tmp_path: Path) -> None:
    """The device id is what an anonymous viewer is known by; the title is watched by nobody else."""
    device = device_of([0, 1, 2, 3])
    async with regions(tmp_path) as cells:
        viewer = await signed_in(cells["eu-central"], device)
        assert (await play(viewer, "k1", device={"id": device})).status == 201
        await viewer.send("PUT", "/v1/me/watchlist/bunny")
        await until_erased(*cells.values())
        held = files_with(tmp_path, device)
        assert {path.split("/")[0] for path in held} == {"eu-central", "eu-west"}

        answer = await viewer.send("DELETE", "/v1/me")
        for _ in range(200):  # ten seconds at most; what is left is then shown by name
            if not files_with(tmp_path, device):
                break
            await asyncio.sleep(0.05)
        assert files_with(tmp_path, device) == []
        again = await viewer.send("DELETE", "/v1/me")

        assert (answer.status, again.status) == (204, 204)
        for cell in cells.values():
            there = AsgiClient(cell.app, viewer.headers)
            rails = (await there.send("GET", "/v1/me/rails")).json()
            assert (rails["resume"], rails["watchlist"]) == ([], [])
            refused = await there.send("PUT", "/v1/me/progress/tears", {"pos_s": 1, "dur_s": 100})
            assert (refused.status, refused.json()["code"]) == (403, "account_erased")
        account = subject_of(viewer)
        operator = {"Authorization": "Bearer operator"}
        for cell in cells.values():  # each region's backups lose the key when its own archiver meets the mark
            client = AsgiClient(cell.app, operator)
            assert (await client.send("POST", "/ops/backup", {})).status == 200
            body = {"at_ms": time.time_ns() // 1_000_000 - 1, "dry_run": True}
            restored = await client.send("POST", f"/ops/accounts/{account}/restore", body)
            assert (restored.status, restored.json()["code"]) == (404, "not_found")
            assert cell.status()["backups"]["erased"] == 1
    assert files_with(tmp_path, device) == []


async def test_an_erased_account_signs_in_no_more_and_its_refresh_token_ends(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        device = device_of([0, 1, 2, 3])
        client = AsgiClient(cell.app)
        granted = (await client.send("POST", "/v1/auth/anonymous", {"device_id": device, "mkt": "de"})).json()
        viewer = await signed_in(cell, device)
        await viewer.send("DELETE", "/v1/me")

        refused = await client.send("POST", "/v1/auth/anonymous", {"device_id": device, "mkt": "de"})
        refreshed = await client.send(
            "POST", "/v1/auth/token", {"grant_type": "refresh", "refresh": granted["refresh"]}
        )

    assert (refused.status, refused.json()["code"]) == (403, "account_erased")
    assert (refreshed.status, refreshed.json()["code"]) == (401, "account_erased")
