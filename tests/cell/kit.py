"""A composed cell in process, over the real store and event log, for the tests beside it."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
from joserfc.jwk import OKPKey

from eisbach.bootstrap.cell import OpenCell, open_cell
from eisbach.domain.accounts import account_of
from eisbach.domain.catalog import Asset, Channel, Image, Programme, RightsWindow, TextTrack, Title, Track
from eisbach.kernel.events import Event
from eisbach.kernel.slots import Group, slot_of
from eisbach.ports.event_log import Envelope
from eisbach.settings import CellProcess, PeerRegion, Secrets
from eisbach.testing.asgi_client import AsgiAnswer, AsgiClient

GROUPS = {"eu/de/main": 8, "eu/at/main": 8, "any/all/studio": 8}
OWNERS = {
    "c1": {"eu/de/main": [0, 1, 2, 3]},
    "c2": {"eu/de/main": [4, 5, 6, 7]},
    "c3": {"eu/at/main": list(range(8))},
    "studio": {"any/all/studio": list(range(8))},
}
REGIONS = ("eu-central", "eu-west")


def make_secrets() -> dict[str, Secrets]:
    """Of two regions that trust each other."""
    keys = {r: OKPKey.generate_key("Ed25519", {"kid": r}).as_dict(private=True) for r in REGIONS}
    public = [{k: v for k, v in key.items() if k != "d"} for key in keys.values()]
    shared = {"media_keys": {"m1": secrets.token_hex(32)}, "session_keys": {"s1": secrets.token_hex(32)}}
    return {
        r: Secrets(
            jwt_private=keys[r], jwt_public=public, map_key="00", peer_token="peer", service_token=f"service-{r}",
            operator_token="operator", backup_key=secrets.token_hex(32), **shared,
        )
        for r in REGIONS
    }  # fmt: skip


def document(folder: Path, *, region: str = "eu-central", cell: str = "c1", **more: Any) -> CellProcess:
    """A cell's process document."""
    other = REGIONS[1 - REGIONS.index(region)]
    given: dict[str, Any] = {
        "region": region, "cell": cell, "host": "127.0.21.1", "port": 8101, "folder": str(folder / region / cell),
        "secrets": str(folder / f"{region}.json"), "groups": GROUPS, "slots": OWNERS[cell],
        "preferred": {g: [REGIONS[n % 2] for n in range(c)] for g, c in GROUPS.items()},
        "peers": [], "edge": f"http://{region}.edge", "origin": f"http://{region}.origin",
        "front": "http://front", "hub": f"sqlite:{folder}/{region}/hub-{cell}/hub.db",
        "distances": {r: {"de": n} for n, r in enumerate(REGIONS)}, "residencies": dict.fromkeys(REGIONS, "eu"),
        "owners": OWNERS, "backups": str(folder / region / "backups"),
    }  # fmt: skip
    del other
    return CellProcess(**{**given, **more})


def peer(region: str, door: str = "http://127.0.21.9:1") -> PeerRegion:
    return PeerRegion(region=region, door=door, edge=f"http://{region}.edge", origin=f"http://{region}.origin")


def title(name: str, **more: Any) -> Title:
    rights = [RightsWindow(markets=["de", "at"])]
    given = {"id": name, "revision": 1, "names": {"en": name.title()}, "asset": f"{name}-a", "state": "published"}
    return Title(**{**given, "rights": rights, **more})


def asset(name: str) -> Asset:
    video = Track(
        id="v720", kind="video", codecs="avc1.4d401f", bandwidth=2_000_000, timescale=1000, segments=[(2000, 50)], width=1280,
        height=720, fps=25,
    )  # fmt: skip
    audio = Track(
        id="a-de",
        kind="audio",
        codecs="mp4a.40.2",
        bandwidth=96_000,
        timescale=1000,
        segments=[(2000, 50)],
        language="de",
    )
    sprite = Image(columns=10, rows=5, tile_width=160, tile_height=90, every_ms=2000)
    return Asset(
        id=f"{name}-a",
        duration_ms=100_000,
        tracks=[video, audio],
        text=[TextTrack(id="t-en", language="en")],
        sprite=sprite,
    )


def channel() -> Channel:
    loop = [Programme(title=t, asset=f"{t}-a", duration_ms=100_000) for t in ("tears", "bunny")]
    return Channel(
        id="one", revision=1, number=1, names={"en": "One"}, markets=["de"], start_ms=1_600_000_000_000, loop=loop
    )


def catalogue_envelope(*documents: msgspec.Struct, hlc: int = 1, lsn: int = 1) -> Envelope:
    """What the studio's relay would send."""
    kinds = {
        Title: "tv.catalog.title.published.v1",
        Channel: "tv.catalog.channel.upserted.v1",
        Asset: "tv.package.asset.ready.v1",
    }
    events = [
        Event(
            id=f"{hlc}-{n}", source="//eu-central/studio", type=kinds[type(d)], subject="x", time="", slot="any/all/studio/1",
            origin="eu-central", epoch=1, seq=n + 1, prev=n, hlc=hlc, data=msgspec.Raw(msgspec.json.encode(d)),
        )
        for n, d in enumerate(documents)
    ]  # fmt: skip
    return Envelope(source="eu-central/studio", first_lsn=lsn, last_lsn=lsn, events=events)


DEMO = (title("tears"), title("bunny"), title("film", age=16), asset("tears"), asset("bunny"), asset("film"), channel())


async def until(found: Callable[[], Any], *, seconds: float = 5) -> None:
    """Poll something real with a deadline."""
    async with asyncio.timeout(seconds):
        while not found():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def opened(
    folder: Path, *, demo: bool = True, keys: dict[str, Secrets] | None = None, **more: Any
) -> AsyncIterator[OpenCell]:
    """A cell with a catalogue."""
    process = document(folder, **more)
    async with open_cell(process, (keys or make_secrets())[process.region]) as cell:
        if demo:
            last = await cell.event_log.last("eu-central/studio")
            await cell.event_log.append(catalogue_envelope(*DEMO, lsn=last.last_lsn + 1), expected=last.sequence)
            await until(lambda: cell.catalogue is None or "one" in cell.catalogue.snapshot().channels)
        yield cell


def device_of(slots: list[int], *, market: str = "de", skip: int = 0) -> str:
    """A device whose account lives in one of ``slots``."""
    group = Group.parse(f"eu/{market}/main")
    fits = (
        d
        for d in (f"device-{n:06d}" for n in range(10_000))
        if slot_of(account_of(d, group), group, GROUPS[str(group)]).number in slots
    )
    for _ in range(skip):
        next(fits)
    return next(fits)


async def signed_in(cell: OpenCell, device: str | None = None, *, market: str = "de") -> AsgiClient:
    """A client with token and slot."""
    client = AsgiClient(cell.app)
    slots = sorted({s.number for s in cell.ownership.owned() if s.group.market == market})
    answer = await client.send("POST", "/v1/auth/anonymous", {"device_id": device or device_of(slots), "mkt": market})
    assert answer.status == 200, answer.body
    found = answer.json()
    client.headers = {"Authorization": f"Bearer {found['access']}", "Eisbach-Slot": found["slot"]}
    return client


async def play(client: AsgiClient, key: str, **more: Any) -> AsgiAnswer:
    body = {"asset": {"type": "vod", "id": "tears"}, **more}
    return await client.send("POST", "/v1/playback/sessions", body, headers={"Idempotency-Key": key})


async def beat(client: AsgiClient, session: dict[str, Any], seq: int, **more: Any) -> dict[str, Any]:
    body = {"seq": seq, "pos_s": 30, "session": session["session"], **more}
    answer = await client.send("POST", f"/v1/playback/sessions/{session['sid']}/heartbeat", body)
    assert answer.status == 200, answer.body
    return answer.json()
