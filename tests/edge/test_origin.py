"""The media origin, a real nginx with njs: tokens, files, manifests, and what its logs may not hold."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from eisbach.edge.nginx_origin import KEYS_FILE, SCRIPT_FILE, OriginSite, keys_json, origin_config, script
from eisbach.edge.nginx_prefix import write_whole
from eisbach.kernel.errors import Denied
from eisbach.kernel.tokens import mint_media_token, verify_media_token

from .hostile_tokens import FAR, GOOD, HOSTILE, KEYS, KEYS_HEX, NOW, SCOPE, SECOND, UNSPELLABLE
from .maps import CELLS, HOST, ORIGIN, slot_map
from .nginx_host import PROCESS, Answering, Nginx, Stub, ask, nginx, stubs, until

CHANNEL = mint_media_token(KEYS["m1"], kid="m1", expiry=FAR, scope="demo")
SEGMENT = bytes(range(256)) * 40


@dataclass
class Rig:
    host: Nginx
    cells: dict[str, Stub]
    media: Path


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    media = tmp_path / "blobs" / "media"
    asset = media / "vod" / SCOPE
    (asset / "v480").mkdir(parents=True)
    (asset / "img").mkdir()
    (media / "ch" / "demo").mkdir(parents=True)
    (media / "ch" / "demo" / SCOPE).symlink_to(Path("../../vod") / SCOPE)
    for name, content in {
        "v480/init.mp4": b"init", "v480/1.m4s": SEGMENT, "v480.m3u8": b"#EXTM3U\n", "en.vtt": b"WEBVTT\n",
        "files.json": b"{}", "img/poster.jpg": b"jpg", "img/thumbs.vtt": b"WEBVTT\n", "v480/secret.txt": b"x",
    }.items():  # fmt: skip
        (asset / name).write_bytes(content)
    site = OriginSite(region="eu-central", host=HOST, port=ORIGIN, media=str(media), process=PROCESS)
    prefix = tmp_path / "origin"
    prefix.mkdir()
    write_whole(prefix / KEYS_FILE, keys_json(KEYS_HEX))
    write_whole(prefix / SCRIPT_FILE, script())
    cells = {name: at for name, at in CELLS.items() if name != "studio"}
    async with stubs(cells) as found, nginx(prefix, origin_config(site, slot_map()), port=ORIGIN) as host:
        yield Rig(host, found, media)


@pytest.mark.parametrize(("token", "code"), HOSTILE)
def test_the_kernel_refuses_hostile_tokens_with_the_code(token: str, code: str) -> None:
    with pytest.raises(Denied) as refused:
        verify_media_token(KEYS, token, now=NOW)

    assert refused.value.code == code


@pytest.mark.processes
async def test_the_origin_refuses_the_same_tokens_with_the_same_code(rig: Rig) -> None:
    wrong = []
    for token, code in HOSTILE:
        got = await ask(ORIGIN, f"/t/{token}/vod/{SCOPE}/v480/1.m4s")

        # A token that cannot stand in a path at all is refused before njs looks at it.
        said = json.loads(got.body)["code"] if got.headers["content-type"] == "application/problem+json" else ""
        if got.status not in (400, 403, 404) or (got.status == 403 and said != code):
            wrong.append((token, code, got.status, said))

    assert wrong == []


@pytest.mark.processes
async def test_no_other_spelling_of_a_valid_token_opens_anything(rig: Rig) -> None:
    opened = [t for t in UNSPELLABLE if (await ask(ORIGIN, f"/t/{t}/vod/{SCOPE}/v480/1.m4s")).status < 400]

    assert opened == []


@pytest.mark.processes
async def test_a_valid_token_of_either_live_key_opens_its_asset_and_no_other(rig: Rig) -> None:
    first = await ask(ORIGIN, f"/t/{GOOD}/vod/{SCOPE}/v480/1.m4s")
    second = await ask(ORIGIN, f"/t/{SECOND}/vod/{SCOPE}/v480/init.mp4")
    other = await ask(ORIGIN, f"/t/{GOOD}/vod/asset-2/v480/1.m4s")
    channel = await ask(ORIGIN, f"/t/{GOOD}/ch/demo/{SCOPE}/v480/1.m4s")

    assert (first.status, first.body) == (200, SEGMENT)
    assert (second.status, second.body) == (200, b"init")
    assert [other.status, channel.status] == [403, 403]
    assert json.loads(other.body)["code"] == "token_scope"


@pytest.mark.processes
async def test_segments_of_a_channel_come_through_its_links(rig: Rig) -> None:
    got = await ask(ORIGIN, f"/t/{CHANNEL}/ch/demo/{SCOPE}/v480/1.m4s")
    absent = await ask(ORIGIN, f"/t/{CHANNEL}/ch/demo/asset-2/v480/1.m4s")

    assert (got.status, got.body) == (200, SEGMENT)
    assert absent.status == 404


@pytest.mark.processes
async def test_files_have_their_types_and_may_be_kept_for_ever_and_read_in_ranges(rig: Rig) -> None:
    paths = ("v480/1.m4s", "v480/init.mp4", "v480.m3u8", "en.vtt")
    types = [(await ask(ORIGIN, f"/t/{GOOD}/vod/{SCOPE}/{p}")).headers["content-type"] for p in paths]
    part = await ask(ORIGIN, f"/t/{GOOD}/vod/{SCOPE}/v480/1.m4s", headers={"Range": "bytes=256-259"})

    assert types == [
        "video/iso.segment", "video/mp4", "application/vnd.apple.mpegurl; charset=utf-8", "text/vtt; charset=utf-8",
    ]  # fmt: skip
    assert (part.status, part.body) == (206, b"\x00\x01\x02\x03")
    assert "immutable" in part.headers["cache-control"]
    assert (part.headers["access-control-allow-origin"], part.headers["timing-allow-origin"]) == ("*", "*")
    assert part.headers["eisbach-region"] == "eu-central"


@pytest.mark.processes
async def test_a_path_leads_to_what_the_packager_wrote_and_nowhere_else(rig: Rig) -> None:
    paths = ["files.json", "v480/secret.txt", "v480/", "", "v480/0.m4s", "v480/01.m4s", "../../../origin/keys.json",
             "v480/..%2f..%2ffiles.json", "img/files.json", "v480", "v480/1.m4s/x"]  # fmt: skip
    got = [(await ask(ORIGIN, f"/t/{GOOD}/vod/{SCOPE}/{p}")).status for p in paths]
    bare = [
        (await ask(ORIGIN, p)).status
        for p in ("/", "/vod/asset-1/v480/1.m4s", "/keys.json", "/=refused", "/manifests/ch/demo/v480.m3u8", "/t/")
    ]

    assert [status for status in got if status not in (400, 403, 404)] == []
    assert [status for status in bare if status not in (400, 403, 404)] == []


@pytest.mark.processes
async def test_images_need_no_token(rig: Rig) -> None:
    poster = await ask(ORIGIN, f"/img/{SCOPE}/poster.jpg")

    assert (poster.status, poster.headers["content-type"], poster.body) == (200, "image/jpeg", b"jpg")
    assert (await ask(ORIGIN, f"/img/{SCOPE}/files.json")).status == 404


@pytest.mark.processes
async def test_a_preflight_is_kept_for_two_hours_and_only_reading_is_allowed(rig: Rig) -> None:
    got = await ask(
        ORIGIN, f"/t/{GOOD}/vod/{SCOPE}/v480/1.m4s", method="OPTIONS", headers={"Origin": "http://x.example"}
    )
    put = await ask(ORIGIN, f"/t/{GOOD}/vod/{SCOPE}/v480/1.m4s", method="PUT", body=b"x")

    assert (
        got.status, got.headers["access-control-max-age"], got.headers["access-control-allow-origin"],
    ) == (204, "7200", "*")  # fmt: skip
    assert put.status == 405


@pytest.mark.processes
async def test_a_master_playlist_comes_from_a_cell_with_the_token_and_from_the_next_when_one_is_dead(rig: Rig) -> None:
    await rig.cells["c1"].stop()
    await rig.cells["c2"].stop()
    got = [(await ask(ORIGIN, f"/t/{GOOD}/vod/{SCOPE}/master.m3u8")).status for _ in range(3)]

    assert got == [200, 200, 200]
    assert {f"GET /manifests/vod/{SCOPE}/master.m3u8?t={GOOD}"} == set(rig.cells["c3"].asked)


@pytest.mark.processes
async def test_a_live_playlist_is_fetched_once_however_many_tokens_ask(rig: Rig) -> None:
    for cell in rig.cells.values():
        cell.behave = Answering(headers={"Cache-Control": "public, max-age=5"}, body=b"#EXTM3U\n", delay_s=0.2)
    tokens = [mint_media_token(KEYS["m1"], kid="m1", expiry=FAR + i, scope="demo") for i in range(50)]

    got = await asyncio.gather(*(ask(ORIGIN, f"/t/{t}/ch/demo/v480.m3u8") for t in tokens))

    assert {(200, b"#EXTM3U\n")} == {(g.status, g.body) for g in got}
    assert [a for cell in rig.cells.values() for a in cell.asked] == ["GET /manifests/ch/demo/v480.m3u8"]


@pytest.mark.processes
async def test_a_live_playlist_is_stale_for_as_long_as_the_cell_said_and_then_an_error_that_moves_players_on(
    rig: Rig,
) -> None:
    for cell in rig.cells.values():
        cell.behave = Answering(headers={"Cache-Control": "public, max-age=1, stale-if-error=2"}, body=b"#EXTM3U\n")
    await ask(ORIGIN, f"/t/{CHANNEL}/ch/demo/v480.m3u8")
    for cell in rig.cells.values():
        await cell.stop()

    seen: list[int] = []

    async def gone() -> bool:
        seen.append((await ask(ORIGIN, f"/t/{CHANNEL}/ch/demo/v480.m3u8")).status)
        return seen[-1] == 502

    await until(gone, what="the stale playlist ends", seconds=8)

    assert {200, 502} == set(seen)


@pytest.mark.processes
async def test_no_token_is_in_any_log(rig: Rig) -> None:
    await ask(ORIGIN, f"/t/{GOOD}/vod/{SCOPE}/v480/1.m4s")
    await ask(ORIGIN, f"/t/{GOOD}/vod/{SCOPE}/v480/77.m4s")
    await ask(ORIGIN, f"/t/{GOOD}/vod/asset-2/v480/1.m4s?t={GOOD}")
    await ask(ORIGIN, f"/t/{GOOD}")
    for cell in rig.cells.values():
        await cell.stop()
    await ask(ORIGIN, f"/t/{GOOD}/vod/{SCOPE}/master.m3u8")
    await until(lambda: rig.host.access().count("\n") == 5, what="five lines")

    logs = rig.host.logs()
    lines = [json.loads(line) for line in rig.host.access().splitlines()]

    assert GOOD not in logs
    assert GOOD.split(".")[3] not in logs
    assert f"/t/-/vod/{SCOPE}/v480/1.m4s" in [line["path"] for line in lines]
    assert {"t", "path", "status", "bytes", "ms"} <= set(lines[0])


def test_keys_stand_in_a_file_of_their_owner_and_not_in_the_configuration(tmp_path: Path) -> None:
    write_whole(tmp_path / KEYS_FILE, keys_json(KEYS_HEX))
    site = OriginSite(region="eu-central", host=HOST, port=ORIGIN, media="/m")

    config = origin_config(site, slot_map())

    assert stat.S_IMODE((tmp_path / KEYS_FILE).stat().st_mode) == 0o600
    assert [key for key in KEYS_HEX.values() if key in config] == []
