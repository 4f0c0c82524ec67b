"""What is checked and encoded once for a title's answers is what each answer would have been."""

import msgspec
import pytest
from kit import DEMO, asset, title

from eisbach.cell.grants import Grants, Playable, _Moving, _Settled, _Where
from eisbach.cell.places import Places
from eisbach.cell.streams import Grant
from eisbach.cell.surface import SessionAnswer
from eisbach.domain.accounts import Identity
from eisbach.domain.catalog import Asset, Catalogue, RightsWindow, Title
from eisbach.kernel.errors import Denied
from eisbach.kernel.tokens import SignedSession

EDGES = {"eu-central": ("http://edge.c", "http://origin.c"), "eu-west": ("http://edge.w", "http://origin.w")}


def made() -> Grants:
    places = Places("eu-central", EDGES, preferred={}, distances={}, residencies={})
    return Grants(places, media_keys={"m1": b"m" * 32}, session_keys={"s1": b"s" * 32})


def viewer(tier: str = "free") -> Identity:
    return Identity(
        account="a", device="d", profile="p1", market="de", tier=tier, platform="web", age_max=12, entitlement=0,
        slot="eu/de/main/0",
    )  # fmt: skip


def catalogue(*titles: Title) -> Catalogue:
    assets = {d.id: d for d in (*DEMO, asset("tears")) if isinstance(d, Asset)}
    return Catalogue(titles={t.id: t for t in titles}, assets=assets)


def answer(grants: Grants, what: Playable, number: int) -> SessionAnswer:
    signed = SignedSession(f"s-{number}", "a", "p1", "eu/de/main/0", what.asset, "d", 1, 2)
    raw = grants.session(
        what, Grant(1, 7.5 * number, 1_800_000_000 + number), signed=signed, degraded=["resume"][:number]
    )
    return msgspec.json.decode(bytes(raw), type=SessionAnswer)


def test_each_answer_has_its_own_token_at_every_address_and_all_that_its_title_has() -> None:
    grants, known = made(), catalogue(title("tears", credit='a "quote" \\u0000'))
    what = grants.playable("vod", "tears", who=viewer(), catalogue=known, at_ms=1)

    for number in range(2):
        found = answer(grants, what, number)
        token = found.token.value
        assert token.split(".")[1] == str(1_800_000_000 + number)
        assert [e.region for e in found.endpoints] == ["eu-central", "eu-west"]
        assert [e.hls for e in found.endpoints] == [f"{o}/t/{token}/vod/tears-a/master.m3u8" for _, o in EDGES.values()]
        assert found.manifests.dash == f"http://origin.c/t/{token}/vod/tears-a/manifest.mpd"
        assert grants.open(found.session).sid == found.sid == f"s-{number}"
        assert (found.start_pos_s, found.degraded) == (7.5 * number, ["resume"][:number])
        assert (found.title, found.credit, found.duration_s) == ("tears", 'a "quote" \\u0000', 100)
        assert found.tracks == what.tracks
        assert found.tracks.audio


def test_the_pieces_of_an_answer_are_its_fields() -> None:
    pieces = [f.name for part in (_Moving, _Where, _Settled) for f in msgspec.structs.fields(part)]

    assert sorted(pieces) == sorted(f.name for f in msgspec.structs.fields(SessionAnswer))


def test_what_was_allowed_ends_with_its_window_and_begins_with_the_next() -> None:
    grants = made()
    windows = [RightsWindow(markets=["de"], from_ms=start, to_ms=start + 100) for start in (1000, 2000)]
    known = catalogue(title("tears", rights=windows))

    def until(at_ms: int) -> int:
        return grants.playable("vod", "tears", who=viewer(), catalogue=known, at_ms=at_ms).until_ms

    assert [until(1000), until(1099), until(2000), until(1050)] == [1100, 1100, 2100, 1100]
    for closed in (999, 1100, 1999, 2100):
        with pytest.raises(Denied, match="rights window"):
            until(closed)


def test_what_was_allowed_is_judged_anew_for_another_viewer_and_under_another_catalogue() -> None:
    grants = made()
    premium = RightsWindow(markets=["de"], tiers=["premium"])
    known = catalogue(title("tears", rights=[premium]))
    grants.playable("vod", "tears", who=viewer("premium"), catalogue=known, at_ms=1)

    with pytest.raises(Denied, match="premium"):
        grants.playable("vod", "tears", who=viewer(), catalogue=known, at_ms=1)
    with pytest.raises(Denied, match="may not be shown"):
        gone = catalogue(title("tears", rights=[RightsWindow(markets=["at"])]))
        grants.playable("vod", "tears", who=viewer("premium"), catalogue=gone, at_ms=1)
