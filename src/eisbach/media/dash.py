"""DASH manifests as text: static for titles, dynamic for channels. Pure.

Promises: the same segments as HLS; one BaseURL per region with its service location, the answering region first, and
content steering over them; a channel is one period per airing with the airing's number as its id, the same in every
region and for all time.

Sources: ISO/IEC 23009-1 (2022), DASH-IF IOP 5 part 4 (multi-period live), ETSI TS 103 998 (content steering).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import NamedTuple
from xml.etree import ElementTree as ET

from eisbach.domain.catalog import Asset, TextTrack, Track
from eisbach.domain.channels import ListedSegment, Window
from eisbach.kernel.limits import SEGMENT
from eisbach.media.hls import Pathway

__all__ = ["Locations", "channel_mpd", "vod_mpd"]

_SEGMENT_S = int(SEGMENT.total_seconds())
_ROLE = "urn:mpeg:dash:role:2011"
_CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Locations(NamedTuple):
    """Where a presentation is."""

    bases: Sequence[tuple[str, str]]
    """(service location, URL), the answering region first."""
    steering_url: str = ""
    """As for a title."""


def vod_mpd(asset: Asset, *, token: str, pathways: Sequence[Pathway], steering_url: str = "") -> str:
    """The manifest of a title; arguments as for ``hls.multivariant``."""
    root = _root("static")
    root.set("mediaPresentationDuration", f"PT{asset.duration_ms / 1000:.3f}S")
    bases = [(p.id, f"{p.origin}/t/{token}/vod/{asset.id}/") for p in pathways]
    _locations(root, Locations(bases, steering_url))
    period = ET.SubElement(root, "Period", id="0", start="PT0S")
    for number, tracks in enumerate(_sets(asset.tracks), 1):
        adaptation = _adaptation(period, number, tracks)
        for track in tracks:
            template = _template(_representation(adaptation, track), track.timescale, around=("", ""), first=1)
            timeline = ET.SubElement(template, "SegmentTimeline")
            at = 0
            for place, (length, times) in enumerate(track.segments):
                attributes = {"d": str(length)} if place else {"t": "0", "d": str(length)}
                ET.SubElement(timeline, "S", attributes | ({"r": str(times - 1)} if times > 1 else {}))
                at += length * times
    for number, text in enumerate(asset.text, 101):
        _text(period, number, text)
    return _document(root)


def channel_mpd(
    tracks: Sequence[Track],
    windows: Mapping[str, Window],
    *,
    locations: Locations,
    start_ms: int,
    now_ms: int,
    passes: Mapping[str, str] = {},
) -> str:
    """The manifest of a channel at an instant.

    Args:
        tracks: what all its assets share.
        windows: track id -> what is listed of it now.
        locations: where it is; the URLs end in ``/ch/CHANNEL/``.
        start_ms: of the channel.
        now_ms: the instant of the windows.
        passes: as for a live playlist.
    """
    root = _root("dynamic")
    root.set("availabilityStartTime", _instant(start_ms))
    root.set("publishTime", _instant(now_ms))
    root.set("minimumUpdatePeriod", f"PT{_SEGMENT_S}S")
    root.set("suggestedPresentationDelay", f"PT{3 * _SEGMENT_S}S")
    longest = max((len(w.segments) for w in windows.values()), default=0)
    root.set("timeShiftBufferDepth", f"PT{longest * _SEGMENT_S}S")
    _locations(root, locations)
    by_airing: dict[int, dict[str, list[ListedSegment]]] = {}
    for name, window in windows.items():
        for number, group in groupby(window.segments, key=lambda s: s.airing.number):
            by_airing.setdefault(number, {})[name] = list(group)
    for number, listed in sorted(by_airing.items()):
        airing = next(iter(listed.values()))[0].airing
        period = ET.SubElement(root, "Period", id=f"a{number}", start=f"PT{(airing.start_ms - start_ms) / 1000:.3f}S")
        if airing.end_ms <= now_ms:
            period.set("duration", f"PT{(airing.end_ms - airing.start_ms) / 1000:.3f}S")
        for place, group_of_tracks in enumerate(_sets(tracks), 1):  # numbered over all: the same in every period
            present = [t for t in group_of_tracks if t.id in listed]
            adaptation = _adaptation(period, place, present) if present else period
            for track in present:
                segments = listed[track.id]
                timescale = windows[track.id].timescale[airing.asset]
                representation = _representation(adaptation, track)
                around = (f"{airing.asset}/", passes.get(airing.asset, ""))
                template = _template(representation, timescale, around=around, first=segments[0].number)
                _timeline(template, segments)
    utc = {"schemeIdUri": "urn:mpeg:dash:utc:direct:2014", "value": _instant(now_ms)}
    ET.SubElement(root, "UTCTiming", utc)
    return _document(root)


def _root(kind: str) -> ET.Element:
    return ET.Element(
        "MPD",
        {
            "xmlns": "urn:mpeg:dash:schema:mpd:2011",
            "profiles": "urn:mpeg:dash:profile:isoff-live:2011",
            "type": kind,
            "minBufferTime": f"PT{_SEGMENT_S}S",
        },
    )


def _locations(root: ET.Element, locations: Locations) -> None:
    bases, steering_url = locations
    for location, url in bases:
        ET.SubElement(root, "BaseURL", serviceLocation=location).text = url
    if steering_url:
        default = " ".join(location for location, _ in bases)
        steering = ET.SubElement(root, "ContentSteering", defaultServiceLocation=default, queryBeforeStart="false")
        steering.text = steering_url


def _sets(tracks: Sequence[Track]) -> list[list[Track]]:
    """One adaptation set for the picture, one per sound: a player switches inside a set and people between sets."""
    video = [t for t in tracks if t.kind == "video"]
    return ([video] if video else []) + [[t] for t in tracks if t.kind == "audio"]


def _adaptation(period: ET.Element, number: int, tracks: Sequence[Track]) -> ET.Element:
    first = tracks[0]
    attributes = {"contentType": first.kind, "mimeType": f"{first.kind}/mp4", "segmentAlignment": "true"}
    attributes["startWithSAP"] = "1"
    if first.kind == "audio" and first.language != "und":
        attributes["lang"] = first.language
    adaptation = ET.SubElement(period, "AdaptationSet", {"id": str(number), **attributes})
    if first.kind == "audio":
        described = first.role == "description"
        if described:
            ET.SubElement(adaptation, "Accessibility", schemeIdUri="urn:tva:metadata:cs:AudioPurposeCS:2007", value="1")
        ET.SubElement(adaptation, "Role", schemeIdUri=_ROLE, value="alternate" if described else "main")
    return adaptation


def _representation(adaptation: ET.Element, track: Track) -> ET.Element:
    attributes = {"id": track.id, "bandwidth": str(track.bandwidth), "codecs": track.codecs}
    if track.kind == "video":
        attributes |= {"width": str(track.width), "height": str(track.height), "frameRate": f"{track.fps:.0f}"}
        return ET.SubElement(adaptation, "Representation", attributes | {"sar": "1:1"})
    representation = ET.SubElement(adaptation, "Representation", attributes | {"audioSamplingRate": "48000"})
    ET.SubElement(representation, "AudioChannelConfiguration", schemeIdUri=_CHANNELS, value=str(track.channels))
    return representation


def _template(representation: ET.Element, timescale: int, *, around: tuple[str, str], first: int) -> ET.Element:
    """``around``: what is before and behind each path."""
    before, behind = around
    return ET.SubElement(
        representation,
        "SegmentTemplate",
        timescale=str(timescale),
        initialization=f"{before}$RepresentationID$/init.mp4{behind}",
        media=f"{before}$RepresentationID$/$Number$.m4s{behind}",
        startNumber=str(first),
    )


def _timeline(template: ET.Element, segments: Sequence[ListedSegment]) -> None:
    timeline = ET.SubElement(template, "SegmentTimeline")
    for length, group in groupby(segments, key=lambda s: s.duration):
        run = list(group)
        attributes = {"t": str(run[0].offset), "d": str(length)}
        ET.SubElement(timeline, "S", attributes | ({"r": str(len(run) - 1)} if len(run) > 1 else {}))


def _text(period: ET.Element, number: int, text: TextTrack) -> None:
    attributes = {"id": str(number), "contentType": "text", "mimeType": "text/vtt", "lang": text.language}
    adaptation = ET.SubElement(period, "AdaptationSet", attributes)
    role = {"captions": "caption", "forced": "forced-subtitle"}.get(text.kind, "subtitle")
    ET.SubElement(adaptation, "Role", schemeIdUri=_ROLE, value=role)
    representation = ET.SubElement(adaptation, "Representation", id=text.id, bandwidth="1000")
    ET.SubElement(representation, "BaseURL").text = f"{text.id}.vtt"


def _instant(milliseconds: int) -> str:
    instant = _EPOCH + timedelta(milliseconds=milliseconds)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _document(root: ET.Element) -> str:
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
