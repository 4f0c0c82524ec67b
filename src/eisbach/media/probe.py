"""Judge an uploaded file: the facts a plan needs, or a refusal that says why.

Promises: the bytes are looked at by ffprobe and ffmpeg in the sandbox only, with named demuxers and without any
protocol but ``file``; every refusal is ``Invalid`` with a sentence for the person who uploaded; what passes has a
picture that decodes at its start and at its end, so that a cut-off file is refused before hours are spent on it.
May not know: jobs, ladders, where the file came from.
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from eisbach.kernel.errors import Invalid
from eisbach.kernel.limits import ASSET_DURATION_MAX, MIB, SIDE_PIXELS_MAX, UPLOAD_BYTES_MAX
from eisbach.media.sandbox import Confinement, Limits, ToolFailed, run_tool
from eisbach.media.tools import MediaTools

__all__ = ["INPUT_GUARD", "UNINDEXED", "AudioFacts", "SourceFacts", "probe_source"]

# The allow-list holds whatever ffmpeg would guess; playlists, concat lists, subtitles-as-images and SVG are not on it.
_DEMUXERS = ("mov", "matroska", "mpegts", "mpeg", "avi", "flv", "mxf", "asf")
INPUT_GUARD = ("-protocol_whitelist", "file,pipe", "-format_whitelist", ",".join(_DEMUXERS))
"""Goes before every ``-i`` that names foreign bytes."""

UNINDEXED = frozenset({"mpegts", "mpeg"})
"""Containers that say nowhere where key pictures are: remux before seeking in them."""

_SIDE_PIXELS_MIN = 16
_STREAMS_MAX = 32
_AUDIO_TRACKS_MAX = 8
_BYTES_PER_SECOND_MIN = 100
_HEAD_BYTES = 4096
_INDEX_BYTES_MAX = 64 * MIB
_BOXES_MAX = 100_000  # fragmented files have two for every few seconds
_FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"pnot"})
_PROBE_LIMITS = Limits(
    wall=timedelta(seconds=20), cpu=timedelta(seconds=20), memory_bytes=2048 * MIB, file_bytes=MIB, output_bytes=MIB
)
_FRAME_RATES = (24, 25, 30, 50, 60)
# ISO 639-2 to BCP 47 for what is common here; other well-formed codes pass as they are.
_LANGUAGES = {
    "ger": "de", "deu": "de", "eng": "en", "fre": "fr", "fra": "fr", "ita": "it", "spa": "es", "tur": "tr",
    "pol": "pl", "nld": "nl", "dut": "nl", "por": "pt", "rus": "ru", "jpn": "ja", "ces": "cs", "cze": "cs",
}  # fmt: skip


class AudioFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One audio stream of the source."""

    index: int
    """Among the audio streams, from 0: ``0:a:{index}`` in ffmpeg's words."""
    language: str
    """BCP 47, ``und`` when the file does not say."""
    role: str
    """``main`` or ``description``."""


class SourceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan needs to know of a source that passed."""

    container: str
    """One of the demuxers allowed; forced when the source is read again."""
    bytes: int
    duration_ms: int
    """Of the picture."""
    width: int
    """As shown: pixel shape and rotation applied."""
    height: int
    fps: int
    """The whole rate the ladder will have: 24, 25, 30, 50 or 60, so that two seconds are a whole number of frames."""
    codec: str
    audio: list[AudioFacts]


async def probe_source(path: Path, tools: MediaTools) -> SourceFacts:
    """Probe and validate.

    Raises:
        Invalid: refused; the message is for the person who uploaded.
        Unavailable: no sandbox here, or the tool could not be started.
    """
    size = _check_size(path)
    with path.open("rb") as file:
        _refuse_disguises(file.read(_HEAD_BYTES))
    _check_boxes(path, size)
    document = await _ffprobe(path, tools)
    facts = _judge(document, size)
    await _decode_ends(path, facts, tools)
    return facts


def _check_size(path: Path) -> int:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise Invalid(f"the upload cannot be read: {error}; upload it again") from error
    if size == 0:
        raise Invalid("the file is empty (0 bytes); upload it again")
    if size > UPLOAD_BYTES_MAX:
        raise Invalid(f"the file has {size} bytes, at most {UPLOAD_BYTES_MAX} are taken; encode it smaller")
    return size


def _refuse_disguises(head: bytes) -> None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    if start.startswith(b"#ext"):
        raise Invalid("the file is an HLS playlist in disguise, it only points at media; upload the media itself")
    if start.startswith((b"ffconcat", b"file '", b"file /", b"[playlist]")):
        raise Invalid("the file is a list of other files, not a video; upload the media itself")
    if start.startswith((b"<?xml", b"<mpd", b"<svg", b"<smil", b"<!doctype", b"<html", b"<asx")):
        kind = "a DASH manifest" if b"<mpd" in head.lower() else "an XML or HTML document"
        raise Invalid(f"the file is {kind}, not a video; upload the media itself")
    if b"\0" not in head and all(byte in b"\t\r\n\f\x1b" or byte >= 0x20 for byte in head):
        raise Invalid("the file is text, not a video; upload the media itself")


def _check_boxes(path: Path, size: int) -> None:
    """Walk an MP4's top-level boxes (ISO 14496-12 section 4.2): is it whole, is it in the clear?

    ffmpeg takes a file whose last box is cut off and shows what is left; ffprobe reports the original codec of an
    encrypted sample entry (section 8.12), and the clear lead of an encrypted file even decodes.
    """
    with path.open("rb") as file:
        place = 0
        for _ in range(_BOXES_MAX):
            file.seek(place)
            head = file.read(16)
            if len(head) < 8 or (place == 0 and head[4:8] not in _FIRST_BOXES):
                return  # at its end, or no MP4 at all
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length == 0:
                length = size - place
            if length < 8 or place + length > size:
                what = head[4:8].decode("ascii", errors="replace")
                raise Invalid(
                    f"the file is cut off or damaged: its part {what!r} at byte {place} claims {length} bytes,"
                    f" the file has {size}; upload it again"
                )
            if head[4:8] == b"moov":
                file.seek(place)
                index = file.read(min(length, _INDEX_BYTES_MAX))
                if b"sinf" in index and (b"encv" in index or b"enca" in index):
                    raise Invalid("the file is encrypted; upload it in the clear")
            place += length


async def _ffprobe(path: Path, tools: MediaTools) -> Mapping[str, Any]:
    # No -max_pixels here: ffprobe would then report 0 x 0, and the refusal could not say how large the picture is.
    argv: list[str | Path] = [tools.ffprobe, "-v", "error", "-hide_banner", *INPUT_GUARD]
    argv += ["-show_format", "-show_streams", "-of", "json", "-i", path]
    try:
        output = await run_tool(argv, Confinement(read=[path], limits=_PROBE_LIMITS, foreign=not tools.unsafe_media))
    except ToolFailed as error:
        words = error.stderr.lower()
        if "not on whitelist" in words:
            raise Invalid(f"the file is not a video of a kind taken here ({', '.join(_DEMUXERS)})") from error
        if "moov atom not found" in words:
            raise Invalid("the file is not a whole video: its index (moov) is missing; upload it again") from error
        if error.why in {"time", "signal"}:
            raise Invalid(
                f"the file could not be examined within bounds ({error.why}); it is damaged or hostile"
            ) from error
        raise Invalid(f"the file is not a video: {_last_words(error.stderr)}") from error
    found: Mapping[str, Any] = msgspec.json.decode(output.stdout)
    return found


def _last_words(stderr: str) -> str:
    lines = [line for line in stderr.strip().splitlines() if line]
    return lines[-1].split(": ")[-1][:120] if lines else "nothing in it can be read"


def _judge(document: Mapping[str, Any], size: int) -> SourceFacts:
    streams = document.get("streams", [])
    container = _container(document)
    if len(streams) > _STREAMS_MAX:
        raise Invalid(f"the file has {len(streams)} streams, at most {_STREAMS_MAX} are taken")
    pictures = [
        s
        for s in streams
        if s.get("codec_type") == "video" and not s.get("disposition", {}).get("attached_pic") and s.get("codec_name")
    ]
    if not pictures:
        kinds = sorted({s.get("codec_type", "unknown") for s in streams}) or ["none"]
        raise Invalid(f"the file has no picture to show (streams found: {', '.join(kinds)})")
    if any("ncrypt" in side.get("side_data_type", "") for s in streams for side in s.get("side_data_list", [])):
        raise Invalid("the file is encrypted; upload it in the clear")
    picture = pictures[0]
    width, height = _shown_size(picture)
    duration = _duration(picture, document, size)
    return SourceFacts(
        container=container,
        bytes=size,
        duration_ms=duration,
        width=width,
        height=height,
        fps=_whole_rate(picture),
        codec=picture["codec_name"],
        audio=_audio(streams),
    )


def _container(document: Mapping[str, Any]) -> str:
    names = str(document.get("format", {}).get("format_name", "")).split(",")
    known = [name for name in names if name in _DEMUXERS]
    if not known:
        raise Invalid(f"the file is of kind {','.join(names)[:40]!r}; taken here: {', '.join(_DEMUXERS)}")
    return known[0]


def _shown_size(picture: Mapping[str, Any]) -> tuple[int, int]:
    width, height = int(picture.get("width", 0)), int(picture.get("height", 0))
    if not (width and height):
        raise Invalid(
            f"the size of the picture cannot be read: it is damaged, or far beyond {SIDE_PIXELS_MAX} pixels a side"
        )
    if not (_SIDE_PIXELS_MIN <= width <= SIDE_PIXELS_MAX and _SIDE_PIXELS_MIN <= height <= SIDE_PIXELS_MAX):
        raise Invalid(
            f"the picture is {width} x {height}; each side must have {_SIDE_PIXELS_MIN} to {SIDE_PIXELS_MAX} pixels"
        )
    across, down = _ratio(picture.get("sample_aspect_ratio", "1:1"), ":")
    if across and down and 0.1 < across / down < 10:
        width = round(width * across / down)
    turns = [int(side["rotation"]) for side in picture.get("side_data_list", []) if "rotation" in side]
    return (height, width) if any(turn % 180 for turn in turns) else (width, height)


def _duration(picture: Mapping[str, Any], document: Mapping[str, Any], size: int) -> int:
    text = picture.get("duration") or document.get("format", {}).get("duration") or ""
    try:
        milliseconds = round(float(text) * 1000)
    except (ValueError, OverflowError):
        raise Invalid("the file does not say how long it is; remux it, e.g. 'ffmpeg -i IN -c copy OUT.mp4'") from None
    longest = ASSET_DURATION_MAX // timedelta(milliseconds=1)
    if milliseconds < 40:
        raise Invalid(f"the video lasts {milliseconds} ms; that is not a video")
    if milliseconds > longest:
        raise Invalid(f"the video claims to last {milliseconds / 3_600_000:.1f} hours, at most 12 are taken")
    if size < milliseconds / 1000 * _BYTES_PER_SECOND_MIN:
        raise Invalid(f"the file claims {milliseconds / 1000:.0f} s in {size} bytes, which cannot be")
    return milliseconds


def _whole_rate(picture: Mapping[str, Any]) -> int:
    over, under = _ratio(picture.get("avg_frame_rate") or "0/0", "/")
    if not (over and under):
        over, under = _ratio(picture.get("r_frame_rate") or "0/0", "/")
    rate = over / under if under else 0.0
    if not 1 <= rate <= 1000:
        return 25
    whole = max(1, round(rate))
    multiples = [r for r in _FRAME_RATES if r % whole == 0]
    above = [r for r in _FRAME_RATES if r >= whole]
    return (multiples or above or [_FRAME_RATES[-1]])[0]


def _ratio(text: str, mark: str) -> tuple[int, int]:
    over, _, under = text.partition(mark)
    return (int(over), int(under)) if over.isdecimal() and under.isdecimal() else (0, 0)


def _audio(streams: list[Mapping[str, Any]]) -> list[AudioFacts]:
    found = [s for s in streams if s.get("codec_type") == "audio"]
    facts = []
    for index, stream in enumerate(found[:_AUDIO_TRACKS_MAX]):
        if not stream.get("codec_name") or not stream.get("channels"):
            continue  # no decoder for it; the rest of the file is still worth having
        tag = str(stream.get("tags", {}).get("language", "und")).lower()
        language = _LANGUAGES.get(tag, tag)
        if not (2 <= len(language) <= 3 and language.isascii() and language.isalpha()):
            language = "und"
        flags = stream.get("disposition", {})
        role = "description" if flags.get("visual_impaired") or flags.get("descriptions") else "main"
        facts.append(AudioFacts(index=index, language=language, role=role))
    return facts


async def _decode_ends(path: Path, facts: SourceFacts, tools: MediaTools) -> None:
    """Decode a picture at the start and one in the last seconds: a header can claim anything."""
    # Streams without an index land between key pictures, which may be ten seconds apart.
    end = max(0.0, facts.duration_ms / 1000 - (15 if facts.container in UNINDEXED else 3))
    for place, name in ((0.0, "start"), (end, "end")):
        argv: list[str | Path] = [
            tools.ffmpeg,
            "-v",
            "error",
            "-nostdin",
            "-threads",
            "1",
            *INPUT_GUARD,
            "-f",
            facts.container,
        ]
        argv += ["-max_pixels", str(SIDE_PIXELS_MAX**2), "-ss", f"{place:.3f}", "-i", path, "-map", "0:V:0"]
        argv += ["-frames:v", "1", "-f", "null", "-progress", "pipe:1", "-"]
        frames = 0

        def count(line: str) -> None:
            nonlocal frames
            key, _, value = line.partition("=")
            if key == "frame" and value.strip().isdecimal():
                frames = int(value)

        confinement = Confinement(read=[path], limits=_PROBE_LIMITS, foreign=not tools.unsafe_media)
        try:
            await run_tool(argv, confinement, on_line=count)
        except ToolFailed as error:
            raise Invalid(f"the picture cannot be decoded at the {name}: {_last_words(error.stderr)}") from error
        if frames == 0:
            raise Invalid(
                f"there is no picture at the {name} ({place:.0f} s of {facts.duration_ms / 1000:.0f} s):"
                " the file is cut off or damaged; upload it again"
            )
