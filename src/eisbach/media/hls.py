"""HLS playlists as text: multivariant for titles and channels, live media playlists. Pure.

Promises: every region's origin is listed with the same token, the answering region first, so that a player moves on
without asking anybody; variants and renditions carry stable ids that are the same on every pathway; a live playlist
lists what ``domain.channels`` computed and nothing else. Media playlists of titles are files of the packager.

Sources: RFC 8216, draft-pantos-hls-rfc8216bis (content steering, stable ids), and what was measured with hls.js and
Shaka Player (reference/media.md section 4): absolute URIs, one audio group a pathway.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from eisbach.domain.catalog import Asset, TextTrack, Track
from eisbach.domain.channels import ListedSegment, Window
from eisbach.kernel.errors import Invalid
from eisbach.kernel.limits import SEGMENT

__all__ = ["Pathway", "channel_multivariant", "media_playlist", "multivariant", "shared_tracks"]

_NAMES = {"de": "Deutsch", "en": "English", "fr": "Français", "it": "Italiano", "es": "Español", "tr": "Türkçe"}
_DESCRIBES_VIDEO = "public.accessibility.describes-video"


class Pathway(NamedTuple):
    """One media origin that a player may use."""

    id: str
    """Region name; ``PATHWAY-ID`` and ``serviceLocation``."""
    origin: str
    """Public URL without a slash at its end; each on its own host, because players ban by host."""


def multivariant(asset: Asset, *, token: str, pathways: Sequence[Pathway], steering_url: str = "") -> str:
    """The multivariant playlist of a title.

    Args:
        asset: packaged.
        token: media token, already verified; the same on every pathway.
        pathways: the answering region first.
        steering_url: absolute; empty leaves content steering out.
    """
    bases = [(p.id, f"{p.origin}/t/{token}/vod/{asset.id}") for p in pathways]
    return _multivariant(asset.tracks, asset.text, bases, steering_url)


def channel_multivariant(
    channel: str, assets: Sequence[Asset], *, token: str, pathways: Sequence[Pathway], steering_url: str = ""
) -> str:
    """The multivariant playlist of a channel: the renditions that all its assets have.

    Raises:
        Invalid: the assets share no picture.
    """
    bases = [(p.id, f"{p.origin}/t/{token}/ch/{channel}") for p in pathways]
    return _multivariant(shared_tracks(channel, assets), (), bases, steering_url)


def shared_tracks(channel: str, assets: Sequence[Asset]) -> list[Track]:
    """The tracks that every asset of a channel has, each with the highest bandwidth among them.

    Raises:
        Invalid: there are no assets, or they share no picture.
    """
    if not assets:
        raise Invalid(f"channel {channel!r} has no packaged asset")
    per_asset = [{track.id: track for track in asset.tracks} for asset in assets]
    shared = []
    for track in assets[0].tracks:
        others = [tracks[track.id] for tracks in per_asset if track.id in tracks]
        if len(others) == len(per_asset):
            shared.append(max(others, key=lambda t: t.bandwidth))
    if not any(track.kind == "video" for track in shared):
        raise Invalid(f"the {len(assets)} assets of channel {channel!r} share no picture; give them one ladder")
    return shared


def _multivariant(
    tracks: Sequence[Track], text: Sequence[TextTrack], bases: Sequence[tuple[str, str]], steering_url: str
) -> str:
    video = sorted((t for t in tracks if t.kind == "video"), key=lambda t: -t.bandwidth)
    audio = [t for t in tracks if t.kind == "audio"]
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    if steering_url:
        lines.append(f'#EXT-X-CONTENT-STEERING:SERVER-URI="{steering_url}",PATHWAY-ID="{bases[0][0]}"')
    for pathway, base in bases:
        lines += [_audio_line(track, place, pathway, base) for place, track in enumerate(audio)]
        lines += [_text_line(track, pathway, base) for track in text]
    # All variants of the first pathway, then all of the next: a player without steering falls through in this order.
    for pathway, base in bases:
        for track in video:
            lines += [_variant_line(track, audio, text, pathway), f"{base}/{track.id}.m3u8"]
    return "\n".join(lines) + "\n"


def _variant_line(track: Track, audio: Sequence[Track], text: Sequence[TextTrack], pathway: str) -> str:
    loudest = max((a.bandwidth for a in audio), default=0)
    codecs = ",".join(dict.fromkeys([track.codecs, *(a.codecs for a in audio)]))
    attributes = [
        f"BANDWIDTH={track.bandwidth + loudest}",
        f'CODECS="{codecs}"',
        f"RESOLUTION={track.width}x{track.height}",
        f"FRAME-RATE={track.fps:.3f}",
        f'STABLE-VARIANT-ID="{track.id}"',
        f'PATHWAY-ID="{pathway}"',
        *([f'AUDIO="audio-{pathway}"'] if audio else []),
        *([f'SUBTITLES="text-{pathway}"'] if text else []),
        "CLOSED-CAPTIONS=NONE",
    ]
    return "#EXT-X-STREAM-INF:" + ",".join(attributes)


def _audio_line(track: Track, place: int, pathway: str, base: str) -> str:
    described = track.role == "description"
    name = _NAMES.get(track.language, track.language if track.language != "und" else "Original")
    if described:
        name += " (Audiodeskription)" if track.language == "de" else " (audio description)"
    attributes = [
        "TYPE=AUDIO",
        f'GROUP-ID="audio-{pathway}"',
        f'NAME="{name}"',
        *([f'LANGUAGE="{track.language}"'] if track.language != "und" else []),
        f"DEFAULT={'YES' if place == 0 else 'NO'}",
        "AUTOSELECT=YES",
        *([f'CHARACTERISTICS="{_DESCRIBES_VIDEO}"'] if described else []),
        f'CHANNELS="{track.channels}"',
        f'STABLE-RENDITION-ID="{track.id}"',
        f'URI="{base}/{track.id}.m3u8"',
    ]
    return "#EXT-X-MEDIA:" + ",".join(attributes)


def _text_line(track: TextTrack, pathway: str, base: str) -> str:
    forced = track.kind == "forced"
    captions = track.kind == "captions"
    attributes = [
        "TYPE=SUBTITLES",
        f'GROUP-ID="text-{pathway}"',
        f'NAME="{_NAMES.get(track.language, track.language)}{" (CC)" if captions else ""}"',
        f'LANGUAGE="{track.language}"',
        "DEFAULT=NO",
        "AUTOSELECT=YES",
        f"FORCED={'YES' if forced else 'NO'}",
        *(['CHARACTERISTICS="public.accessibility.transcribes-spoken-dialog"'] if captions else []),
        f'STABLE-RENDITION-ID="{track.id}"',
        f'URI="{base}/{track.id}.m3u8"',
    ]
    return "#EXT-X-MEDIA:" + ",".join(attributes)


def media_playlist(window: Window, *, passes: Mapping[str, str] = {}) -> str:
    """The live playlist of one rendition; URIs are relative, so the token in the path is inherited.

    ``passes``: asset -> what is put behind its URIs, for an origin that cannot see what a channel is made of.

    A discontinuity belongs to the segment it stands before; ``EXT-X-DISCONTINUITY-SEQUENCE`` counts those that have
    left the playlist (RFC 8216 section 6.2.2), so a playlist that begins with one counts the airings before it.
    """
    target = int(SEGMENT.total_seconds())
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{target}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    if not window.segments:
        return "\n".join([*lines, "#EXT-X-MEDIA-SEQUENCE:0"]) + "\n"
    first = window.segments[0]
    lines.append(f"#EXT-X-MEDIA-SEQUENCE:{first.sequence}")
    lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{first.airing.number - _opens(first)}")
    airing = -1
    for segment in window.segments:
        timescale = window.timescale[segment.airing.asset]
        if segment.airing.number != airing:
            airing = segment.airing.number
            folder = f"{segment.airing.asset}/{window.track}"
            if _opens(segment):
                lines.append("#EXT-X-DISCONTINUITY")
            lines.append(f'#EXT-X-MAP:URI="{folder}/init.mp4{passes.get(segment.airing.asset, "")}"')
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{_instant(segment, window.timescale)}")
        lines.append(f"#EXTINF:{segment.duration / timescale:.5f},")
        behind = passes.get(segment.airing.asset, "")
        lines.append(f"{segment.airing.asset}/{window.track}/{segment.number}.m4s{behind}")
    return "\n".join(lines) + "\n"


def _opens(segment: ListedSegment) -> int:
    """1 when a discontinuity stands before the segment: it is the first of its airing, and not of the channel."""
    return int(segment.number == 1 and segment.airing.number > 0)


def _instant(segment: ListedSegment, timescales: Mapping[str, int]) -> str:
    milliseconds = segment.airing.start_ms + segment.offset * 1000 // timescales[segment.airing.asset]
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
