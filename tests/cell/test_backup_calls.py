"""What operators do with a running cell: an account back to a second, an account erased; P21 and P22 by calls."""

import asyncio
import time
from pathlib import Path

from kit import device_of, opened, signed_in

from eisbach.bootstrap.cell import OpenCell
from eisbach.testing.asgi_client import AsgiAnswer, AsgiClient


async def operator(cell: OpenCell, path: str, body: dict[str, object]) -> AsgiAnswer:
    client = AsgiClient(cell.app, {"Authorization": "Bearer operator"})
    return await client.send("POST", path, body)


async def first_account(cell: OpenCell) -> str:
    ops = await cell.store.log_after(0, limit=1)
    assert ops[0].op.change is not None
    return ops[0].op.change.pk


async def a_moment() -> int:
    """A time that lies between what was written before and what is written after."""
    await asyncio.sleep(0.01)
    now = time.time_ns() // 1_000_000
    await asyncio.sleep(0.01)
    return now


async def saved(viewer: AsgiClient) -> list[str]:
    return sorted(s["title"] for s in (await viewer.send("GET", "/v1/me/rails")).json()["watchlist"])


async def test_an_account_goes_back_to_a_second_as_an_edit_with_newer_versions(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)
        account = await first_account(cell)
        await viewer.send("PUT", "/v1/me/watchlist/tears")
        await viewer.send("PUT", "/v1/me/progress/tears", {"pos_s": 10, "dur_s": 100})
        then = await a_moment()
        await viewer.send("PUT", "/v1/me/progress/tears", {"pos_s": 90, "dur_s": 100})
        await viewer.send("DELETE", "/v1/me/watchlist/tears")
        await viewer.send("PUT", "/v1/me/watchlist/bunny")
        before = cell.store.statistics().last_lsn
        path = f"/ops/accounts/{account}/restore"

        tried = await operator(cell, path, {"at_ms": then})
        untouched = cell.store.statistics().last_lsn
        done = await operator(cell, path, {"at_ms": then, "dry_run": False})
        again = await operator(cell, path, {"at_ms": then, "dry_run": False})

        assert untouched == before
        assert tried.json()["set"] == ["progress/p1/tears", "watchlist/p1/tears"]
        assert tried.json()["deleted"] == ["watchlist/p1/bunny"]
        assert {**done.json(), "dry_run": True} == tried.json()
        assert (again.json()["set"], again.json()["deleted"]) == ([], [])
        assert await saved(viewer) == ["tears"]
        assert (await viewer.send("GET", "/v1/me/progress/tears")).json()["pos_s"] == 10
        assert len(await cell.store.log_after(before, limit=9)) == 3  # new ops, which the twin pulls


async def test_a_whole_cell_goes_back_to_a_second_slot_by_slot(tmp_path: Path) -> None:
    """Of several accounts in several slots; one came later, one was erased since."""
    async with opened(tmp_path) as cell:
        viewers = [await signed_in(cell, device_of([0, 1, 2, 3], skip=n)) for n in range(6)]
        for n, viewer in enumerate(viewers):
            await viewer.send("PUT", "/v1/me/progress/tears", {"pos_s": 10 + n, "dur_s": 100})
        then = await a_moment()
        for viewer in viewers:
            await viewer.send("PUT", "/v1/me/progress/tears", {"pos_s": 99, "dur_s": 100})
            await viewer.send("PUT", "/v1/me/watchlist/bunny")
        later = await signed_in(cell, device_of([0, 1, 2, 3], skip=9))
        await later.send("PUT", "/v1/me/progress/tears", {"pos_s": 77, "dur_s": 100})
        assert (await viewers[5].send("DELETE", "/v1/me")).status == 204

        async def whole(*, dry_run: bool) -> dict[str, int]:
            total, after, slots = dict.fromkeys(("accounts", "changed", "set", "deleted"), 0), "", []
            while True:
                answer = await operator(cell, "/ops/restore", {"at_ms": then, "dry_run": dry_run, "after": after})
                found = answer.json()
                total = {name: total[name] + found[name] for name in total}
                after = found["slot"]
                slots.append(after)
                if not found["more"]:
                    assert slots == [f"eu/de/main/{n}" for n in range(4)]
                    return total

        tried = await whole(dry_run=True)
        before = cell.store.statistics().last_lsn
        done = await whole(dry_run=False)
        again = await whole(dry_run=False)

        assert tried == done == {"accounts": 5, "changed": 5, "set": 5, "deleted": 5}
        assert again["changed"] == 0
        assert len(await cell.store.log_after(before, limit=99)) == 10
        for n, viewer in enumerate(viewers[:5]):
            assert (await viewer.send("GET", "/v1/me/progress/tears")).json()["pos_s"] == 10 + n
            assert await saved(viewer) == []
        assert (await later.send("GET", "/v1/me/progress/tears")).json()["pos_s"] == 77
        assert await saved(viewers[5]) == []
        early = await operator(cell, "/ops/restore", {"at_ms": 5})
        assert early.status == 400


async def test_an_account_erased_by_an_operator_cannot_be_restored(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)
        account = await first_account(cell)
        await viewer.send("PUT", "/v1/me/watchlist/tears")
        then = await a_moment()

        tried = await operator(cell, f"/ops/accounts/{account}/erase", {})
        assert await saved(viewer) == ["tears"]
        done = await operator(cell, f"/ops/accounts/{account}/erase", {"dry_run": False})
        back = await operator(cell, f"/ops/accounts/{account}/restore", {"at_ms": then, "dry_run": False})

        assert tried.json()["deleted"] == done.json()["deleted"] == ["account", "watchlist/p1/tears"]
        assert (back.status, back.json()["code"]) == (404, "not_found")
        assert await saved(viewer) == []
        assert cell.status()["backups"]["erased"] == 1


async def test_restore_and_erase_are_for_operators_and_only_of_accounts_that_live_here(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        viewer = await signed_in(cell)
        refused = await viewer.send("POST", "/ops/accounts/a-1/erase", {"dry_run": False})
        nobody = [await operator(cell, f"/ops/accounts/a-{n}/erase", {"dry_run": False}) for n in range(20)]
        early = await operator(cell, f"/ops/accounts/{await first_account(cell)}/restore", {"at_ms": 5})

    assert refused.status == 401
    assert {answer.status for answer in nobody} == {404}
    assert (early.status, early.json()["code"]) == (400, "invalid")


async def test_backup_now_says_how_far_it_reaches(tmp_path: Path) -> None:
    async with opened(tmp_path) as cell:
        await signed_in(cell)

        found = (await operator(cell, "/ops/backup", {})).json()

        assert found["archived_lsn"] == cell.store.statistics().last_lsn
        assert abs(found["archived_ms"] - time.time() * 1000) < 60_000
