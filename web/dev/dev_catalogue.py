"""The catalogue of the development backend: the two assets of make_media.py as titles and a channel."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

from eisbach.domain.catalog import Asset, Channel, Programme, TextTrack, Track

MEDIA = Path(__file__).parent / ".media"
LENGTH_MS = 40_000  # of the clips that make_media.py makes
DASH = "{urn:mpeg:dash:schema:mpd:2011}"
BUNNY_CREDIT = "Big Buck Bunny © 2008 Blender Foundation, peach.blender.org, CC BY 3.0"
STORIES = {
    "en": "A large and good-natured rabbit wakes to a perfect morning, until three small bullies decide otherwise.",
    "de": "Ein großer, gutmütiger Hase erwacht an einem vollkommenen Morgen, bis drei kleine Plagegeister ihn ihm verderben.",
}
TITLES = {
    "bunny": ("dev-bunny", {"en": "Big Buck Bunny", "de": "Big Buck Bunny"}, ["animation", "family"]),
    "test-card": ("dev-test", {"en": "Test card", "de": "Testbild"}, ["documentary"]),
    "isar": ("dev-test", {"en": "Down the Isar", "de": "Die Isar hinab"}, ["nature"]),
    "surfers": ("dev-bunny", {"en": "Surfers of the Eisbach", "de": "Die Surfer vom Eisbach"}, ["documentary", "nature"]),
    "night-train": ("dev-test", {"en": "Night train to Vienna", "de": "Nachtzug nach Wien"}, ["drama"]),
    "garden": ("dev-bunny", {"en": "The English Garden", "de": "Der Englische Garten"}, ["family"]),
    "no-poster": ("dev-missing", {"en": "A title whose name is so long that it will not fit on any card", "de": "Ein Titel, dessen Name so lang ist, dass er auf keine Karte passt"}, ["drama"]),
}  # fmt: skip


def asset(name: str) -> Asset:
    tracks = []
    for adaptation in ET.parse(MEDIA / "vod" / name / "packager.mpd").getroot().iter(f"{DASH}AdaptationSet"):
        for rep in adaptation.iter(f"{DASH}Representation"):
            template = rep.find(f"{DASH}SegmentTemplate")
            assert template is not None
            tracks.append(
                Track(
                    id=template.attrib["media"].split("/")[0],
                    kind=adaptation.attrib["contentType"],
                    codecs=rep.attrib["codecs"],
                    bandwidth=int(rep.attrib["bandwidth"]),
                    timescale=int(template.attrib["timescale"]),
                    segments=[(int(s.attrib["d"]), int(s.get("r", "0")) + 1) for s in template.iter(f"{DASH}S")],
                    width=int(rep.get("width", "0")),
                    height=int(rep.get("height", "0")),
                    fps=25.0,
                    channels=2,
                    language=adaptation.get("lang", "und"),
                )
            )
    text = [TextTrack(id=f"s-{lang}", language=lang) for lang in ("en", "de")]
    return Asset(id=name, duration_ms=LENGTH_MS, tracks=tracks, text=text)


class DevCatalogue:
    def __init__(self) -> None:
        self.assets = {name: asset(name) for name in ("dev-bunny", "dev-test")}
        programmes = [
            Programme(title=t, asset=TITLES[t][0], duration_ms=LENGTH_MS) for t in ("bunny", "isar", "surfers", "night-train")
        ]
        start = int(time.time() - 7200) // 2 * 2000
        self.channels = {
            "demo": Channel(id="demo", revision=1, number=1, names={"en": "Eisbach One", "de": "Eisbach Eins"}, markets=["de"], start_ms=start, loop=programmes),
            "two": Channel(id="two", revision=1, number=2, names={"en": "Garden TV", "de": "Garten TV"}, markets=["de"], start_ms=start - 60_000, loop=programmes[::-1]),
        }  # fmt: skip

    def snapshot(self) -> Any:
        return SimpleNamespace(assets=self.assets, channels=self.channels)

    def card(self, title: str) -> dict[str, Any]:
        name, names, genres = TITLES[title]
        return {
            "id": title, "kind": "title", "names": names, "synopses": STORIES, "asset": name, "type": "movie", "age": 0, "genres": genres,
            "duration_s": LENGTH_MS / 1000, "image": f"/img/{name}/poster.jpg", **({"credit": BUNNY_CREDIT} if name == "dev-bunny" else {}),
        }  # fmt: skip

    def rails(self) -> list[dict[str, Any]]:
        cards = {t: self.card(t) for t in TITLES}
        live = [{"id": c.id, "kind": "channel", "names": c.names, "asset": c.loop[0].asset, "image": f"/img/{c.loop[0].asset}/poster.jpg", "number": c.number} for c in self.channels.values()]
        return [
            {"id": "hero", "kind": "hero", "names": {"en": "Featured", "de": "Im Mittelpunkt"}, "items": [cards["bunny"], cards["surfers"]]},
            {"id": "live", "kind": "live", "names": {"en": "Live now", "de": "Jetzt live"}, "items": live},
            {"id": "new", "kind": "lane", "names": {"en": "New on Eisbach", "de": "Neu bei Eisbach"}, "items": list(cards.values())},
            {"id": "family", "kind": "lane", "names": {"en": "For the whole family", "de": "Für die ganze Familie"}, "items": list(cards.values())[::-1]},
        ]  # fmt: skip
