"""Golden manifests, what they must agree on, and the routes that serve them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.types import ASGIApp

from eisbach.domain.catalog import Asset, Channel
from eisbach.domain.channels import Timing, window
from eisbach.kernel.errors import Invalid
from eisbach.kernel.tokens import mint_media_token, pass_scope, verify_media_token
from eisbach.media.dash import Locations, channel_mpd, vod_mpd
from eisbach.media.hls import channel_multivariant, media_playlist, multivariant, shared_tracks
from eisbach.media.manifests import Manifests, manifest_routes

from .asgi import ask
from .conftest import KEYS, PATHWAYS, START_MS, STEERING, ManualClock, short_audio, video_track

GOLDEN = Path(__file__).parent / "golden"
TOKEN = "TOKEN"
DASH = "{urn:mpeg:dash:schema:mpd:2011}"


def assert_golden(name: str, text: str, *, update: bool = False) -> None:
    path = GOLDEN / name
    if update:
        path.write_text(text)
    assert text == path.read_text()


def playlist(channel: Channel, assets: list[Asset], track: str, at_ms: int, count: int = 15) -> str:
    timings = {a.id: Timing(t.timescale, t.segments) for a in assets for t in a.tracks if t.id == track}
    return media_playlist(window(channel, track, timings, at_ms, count=count))


def live_mpd(channel: Channel, assets: list[Asset], now_ms: int) -> str:
    tracks = shared_tracks(channel.id, assets)
    windows = {}
    for track in tracks:
        timings = {a.id: Timing(t.timescale, t.segments) for a in assets for t in a.tracks if t.id == track.id}
        windows[track.id] = window(channel, track.id, timings, now_ms, count=4)
    bases = [(p.id, f"{p.origin}/t/{TOKEN}/ch/{channel.id}/") for p in PATHWAYS]
    places = Locations(bases, STEERING)
    return channel_mpd(tracks, windows, locations=places, start_ms=channel.start_ms, now_ms=now_ms)


def test_the_multivariant_playlist_of_a_title_is_as_written_down(asset: Asset) -> None:
    assert_golden("vod.m3u8", multivariant(asset, token=TOKEN, pathways=PATHWAYS, steering_url=STEERING))


def test_the_multivariant_playlist_of_a_channel_is_as_written_down(asset: Asset, short: Asset) -> None:
    text = channel_multivariant("one", [asset, short], token=TOKEN, pathways=PATHWAYS, steering_url=STEERING)

    assert_golden("channel.m3u8", text)


def test_the_dash_manifest_of_a_title_is_as_written_down(asset: Asset) -> None:
    assert_golden("vod.mpd", vod_mpd(asset, token=TOKEN, pathways=PATHWAYS, steering_url=STEERING))


def test_the_live_playlist_across_two_programmes_is_as_written_down(
    channel: Channel, asset: Asset, short: Asset
) -> None:
    assert_golden("live-v240.m3u8", playlist(channel, [asset, short], "v240", START_MS + 14_500, count=6))
    assert_golden("live-a-de.m3u8", playlist(channel, [asset, short], "a-de", START_MS + 14_500, count=6))


def test_the_dash_manifest_of_a_channel_is_as_written_down(channel: Channel, asset: Asset, short: Asset) -> None:
    assert_golden("channel.mpd", live_mpd(channel, [asset, short], START_MS + 14_500))


def test_a_live_playlist_that_begins_with_a_discontinuity_does_not_count_it_as_gone(
    channel: Channel, asset: Asset, short: Asset
) -> None:
    """RFC 8216: the tag belongs to the segment behind it, and is counted when that segment leaves."""
    opens = playlist(channel, [asset, short], "v240", START_MS + 10_000, count=2)
    inside = playlist(channel, [asset, short], "v240", START_MS + 10_000, count=1)

    assert "#EXT-X-DISCONTINUITY-SEQUENCE:0\n#EXT-X-DISCONTINUITY\n" in opens
    assert "#EXT-X-DISCONTINUITY-SEQUENCE:1\n#EXT-X-MAP" in inside


def test_a_channel_that_has_just_begun_lists_nothing_and_is_still_a_playlist(
    channel: Channel, asset: Asset, short: Asset
) -> None:
    text = playlist(channel, [asset, short], "v240", START_MS + 1_999)

    assert text.startswith("#EXTM3U\n")
    assert "#EXTINF" not in text


def test_no_segment_is_longer_than_the_target_duration_once_rounded(
    channel: Channel, asset: Asset, short: Asset
) -> None:
    """RFC 8216 section 4.3.3.1; 2.005 s of sound rounds to 2."""
    text = playlist(channel, [asset, short], "a-de", START_MS + 30_000)

    assert {round(float(x)) for x in re.findall(r"#EXTINF:([0-9.]+)", text)} == {2}


@given(st.integers(0, 10_000_000), st.integers(0, 20_000))
def test_players_that_reload_a_live_playlist_see_one_gapless_timeline(into: int, later: int) -> None:
    """Every segment keeps its discontinuity number, its sequence number and its instant in every playlist."""
    assets = [
        Asset(
            id="film", duration_ms=6000, tracks=[video_track(240, seconds=6, bandwidth=1), short_audio("a-de", "de")]
        ),
        Asset(
            id="short", duration_ms=4000, tracks=[video_track(240, seconds=4, bandwidth=1), short_audio("a-de", "de")]
        ),
    ]
    from eisbach.domain.catalog import Programme

    loop = [Programme(title="1", asset="film", duration_ms=6000), Programme(title="2", asset="short", duration_ms=4000)]
    channel = Channel(id="one", revision=1, number=1, names={}, markets=[], start_ms=START_MS, loop=loop)
    seen: dict[int, tuple[int, str]] = {}
    for at in (into, into + later):
        for sequence, fact in timeline(playlist(channel, assets, "v240", START_MS + at)).items():
            assert seen.setdefault(sequence, fact) == fact


def timeline(text: str) -> dict[int, tuple[int, str]]:
    """Media sequence number -> (discontinuity number, URI), as a player would count them."""
    sequence, discontinuity, found = 0, 0, {}
    for line in text.splitlines():
        if line.startswith("#EXT-X-MEDIA-SEQUENCE:"):
            sequence = int(line.split(":")[1])
        elif line.startswith("#EXT-X-DISCONTINUITY-SEQUENCE:"):
            discontinuity = int(line.split(":")[1])
        elif line == "#EXT-X-DISCONTINUITY":
            discontinuity += 1
        elif line and not line.startswith("#"):
            found[sequence] = (discontinuity, line)
            sequence += 1
    return found


def test_both_regions_write_the_same_live_playlist(channel: Channel, asset: Asset, short: Asset) -> None:
    assert playlist(channel, [asset, short], "v240", START_MS + 77_123) == playlist(
        channel, [short, asset], "v240", START_MS + 77_123
    )


def test_hls_and_dash_of_a_channel_list_the_same_segments(channel: Channel, asset: Asset, short: Asset) -> None:
    now_ms = START_MS + 15_000
    root = ET.fromstring(live_mpd(channel, [asset, short], now_ms))
    from_dash = []
    for period in root.iter(f"{DASH}Period"):
        for representation in period.iter(f"{DASH}Representation"):
            template = representation.find(f"{DASH}SegmentTemplate")
            number = int(template.attrib["startNumber"])
            for entry in template.iter(f"{DASH}S"):
                for _ in range(int(entry.get("r", "0")) + 1):
                    name = template.attrib["media"].replace("$RepresentationID$", representation.attrib["id"])
                    from_dash.append(name.replace("$Number$", str(number)))
                    number += 1
    from_hls = [
        line
        for track in ("v720", "v240", "a-de", "a-en")
        for line in playlist(channel, [asset, short], track, now_ms, count=4).splitlines()
        if line and not line.startswith("#")
    ]

    assert sorted(from_dash) == sorted(from_hls)


def test_assets_without_a_common_picture_make_no_channel(asset: Asset) -> None:
    odd = Asset(id="odd", duration_ms=2000, tracks=[video_track(360, seconds=2, bandwidth=1)])

    with pytest.raises(Invalid, match="share no picture"):
        shared_tracks("one", [asset, odd])


@dataclass(frozen=True)
class Snapshot:
    assets: Mapping[str, Asset]
    channels: Mapping[str, Channel]


@pytest.fixture
def client(asset: Asset, short: Asset, channel: Channel) -> ASGIApp:
    snapshot = Snapshot({"film": asset, "short": short}, {"one": channel})
    manifests = Manifests(
        lambda: snapshot,
        clock=ManualClock(START_MS + 20_000),
        keys=lambda: KEYS,
        pathways=PATHWAYS,
        steering_url=STEERING,
    )
    return Starlette(routes=list(manifest_routes(manifests)))


def token(scope: str, *, kid: str = "k1", expiry: int = START_MS // 1000 + 3600) -> str:
    return mint_media_token(KEYS[kid], kid=kid, expiry=expiry, scope=scope)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/manifests/vod/film/master.m3u8?t={film}", "application/vnd.apple.mpegurl"),
        ("/manifests/vod/film/manifest.mpd?t={film}", "application/dash+xml"),
        ("/manifests/ch/one/master.m3u8?t={one}", "application/vnd.apple.mpegurl"),
        ("/manifests/ch/one/manifest.mpd?t={one}", "application/dash+xml"),
        ("/manifests/ch/one/v240.m3u8", "application/vnd.apple.mpegurl"),
        ("/manifests/vod/film/master.m3u8?t={second}", "application/vnd.apple.mpegurl"),
    ],
)
async def test_a_manifest_is_served_with_its_type(client: ASGIApp, path: str, kind: str) -> None:
    answer = await ask(client, path.format(film=token("film"), one=token("one"), second=token("film", kid="k2")))

    assert (answer.status, answer.headers["content-type"].split(";")[0]) == (200, kind)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/manifests/vod/film/master.m3u8", 403, "token_malformed"),
        ("/manifests/vod/film/master.m3u8?t={short}", 403, "token_scope"),
        ("/manifests/vod/film/master.m3u8?t={all}", 403, "token_scope"),
        ("/manifests/vod/film/master.m3u8?t={old}", 403, "token_expired"),
        ("/manifests/vod/film/master.m3u8?t={film}x", 403, "token_malformed"),
        ('/manifests/vod/film/master.m3u8?t="><x', 403, "token_malformed"),
        ("/manifests/vod/none/master.m3u8?t={none}", 404, "not_found"),
        ("/manifests/vod/film/other.txt?t={film}", 404, "not_found"),
        ("/manifests/ch/one/master.m3u8", 403, "token_malformed"),
        ("/manifests/ch/one/a-de-ad.m3u8", 404, "not_found"),
        ("/manifests/ch/none/v240.m3u8", 404, "not_found"),
    ],
)
async def test_a_refusal_is_problem_json_with_its_code(client: ASGIApp, path: str, status: int, code: str) -> None:
    made = {
        "film": token("film"),
        "short": token("short"),
        "all": token("all"),
        "none": token("none"),
        "old": token("film", expiry=1700000000),
    }

    answer = await ask(client, path.format(**made))

    assert (answer.status, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_every_uri_of_a_multivariant_playlist_carries_the_token_on_every_pathway(client: ASGIApp) -> None:
    mine = token("film")
    text = (await ask(client, f"/manifests/vod/film/master.m3u8?t={mine}")).text

    uris = re.findall(r'URI="(http[^"]+\.m3u8)"', text) + [x for x in text.splitlines() if x.startswith("http")]
    per_pathway = {p.id: [u for u in uris if u.startswith(f"{p.origin}/t/{mine}/vod/film/")] for p in PATHWAYS}
    assert len(uris) == sum(map(len, per_pathway.values()))
    assert len(set(map(len, per_pathway.values()))) == 1


def test_where_the_origin_has_no_folders_all_that_a_channel_lists_carries_a_pass_for_its_title(
    channel: Channel, asset: Asset, short: Asset
) -> None:
    """The same in HLS and DASH, nobody's own, valid for a day at least, and none where there are folders."""

    snapshot, clock = (
        Snapshot({asset.id: asset, short.id: short}, {channel.id: channel}),
        ManualClock(START_MS + 14_500),
    )

    def made(name: str, *, signs: bool) -> str:
        found = Manifests(lambda: snapshot, clock=clock, keys=lambda: KEYS, pathways=PATHWAYS, signs_passes=signs)
        return found.of_channel(channel.id, name, token(channel.id)).text

    playlist_, mpd = made("v240.m3u8", signs=True), made("manifest.mpd", signs=True)
    uris = re.findall(r'^[^#\s].*$|(?<=URI=")[^"]+', playlist_, re.MULTILINE)
    templates = re.findall(r'(?:media|initialization)="([^"]+)"', mpd)

    assert {uri.split("/")[0] for uri in uris} == {asset.id, short.id}
    assert len(templates) > 2
    for uri in [*uris, *templates]:
        path, _, pass_ = uri.partition("?m=")
        told = verify_media_token(KEYS, pass_, now=clock.wall_ms() // 1000 + 86_400)
        assert told.scope == pass_scope(channel.id, path.split("/")[0])
    assert [text for text in (made("v240.m3u8", signs=False), made("manifest.mpd", signs=False)) if "?m=" in text] == []
