"""The plan of an asset: which renditions, which jobs. Pure.

Promises: the ladder fits the source and never enlarges it; every rendition has key pictures each two seconds, at the
same places, because the rate is a whole number and chunks are whole numbers of segments; a job says everything its
worker needs, survives JSON, and is the same however often it is planned.
May not know: files, tools, processes, who hands out the jobs.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from eisbach.kernel.errors import Invalid
from eisbach.kernel.ids import parse_id
from eisbach.kernel.limits import CHUNK, SEGMENT
from eisbach.media.probe import SourceFacts

__all__ = ["PACKAGE", "TRANSCODE", "AudioTrack", "JobSpec", "Plan", "Rung", "TextSource", "plan_asset", "plan_jobs"]

TRANSCODE: Final = "transcode"
PACKAGE: Final = "package"

_SEGMENT_S: Final = int(SEGMENT.total_seconds())
_CHUNK_S: Final = int(CHUNK.total_seconds())
# Short side of the picture, and the most kilobits a second (at 30 pictures a second): three rungs serve a phone on a
# bad line, a laptop and a television; more would cost encoding time without a viewer who could tell.
_LADDER: Final = ((720, 2400), (480, 1100), (240, 350))
_AUDIO_KBITS: Final = 96


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One video rendition."""

    id: str
    """``v`` and the short side: ``v720``."""
    width: int
    """Even."""
    height: int
    kbits: int
    """Most kilobits per second; quality decides below that."""


class AudioTrack(msgspec.Struct, frozen=True, kw_only=True):
    """One audio rendition: AAC-LC, stereo, 48 kHz."""

    id: str
    """``a-de``, ``a-de-ad`` for a description."""
    index: int
    """Among the source's audio streams."""
    language: str
    role: str
    kbits: int = _AUDIO_KBITS


class TextSource(msgspec.Struct, frozen=True, kw_only=True):
    """Subtitles that came beside the video."""

    language: str
    source: str
    """Blob key of a WebVTT file."""
    kind: str = "subtitles"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an asset becomes."""

    source: str
    """Blob key of the upload, e.g. ``uploads/u-1``."""
    container: str
    """Demuxer to force on it."""
    fps: int
    frames: int
    """Of the whole picture."""
    rungs: list[Rung]
    audio: list[AudioTrack]
    text: list[TextSource] = []
    preset: str = "superfast"
    """x264's; 97 % of plain ffmpeg's speed was measured with this one (reference/media.md section 2)."""
    credit: str = ""
    whole: bool = False
    """The picture is encoded in one piece: by a service that divides the work itself (convert.py)."""

    @property
    def duration_ms(self) -> int:
        """Of the picture, exact for the whole rates in use."""
        return self.frames * 1000 // self.fps

    @property
    def chunks(self) -> int:
        """How many pieces of 12 s the picture is cut into; one, when it is encoded whole."""
        return 1 if self.whole else -(-self.frames // (self.fps * _CHUNK_S))

    def chunk(self, number: int) -> tuple[int, int]:
        """(first frame, frames) of a chunk, from 0."""
        if self.whole:
            return 0, self.frames
        per_chunk = self.fps * _CHUNK_S
        return number * per_chunk, min(per_chunk, self.frames - number * per_chunk)

    @property
    def frames_per_segment(self) -> int:
        """Distance of key pictures."""
        return self.fps * _SEGMENT_S


class JobSpec(msgspec.Struct, frozen=True, kw_only=True, tag_field="format", tag="media-job-1"):
    """One leased job; JSON-serialisable and complete in itself."""

    kind: str
    """``transcode`` or ``package``; the package job runs when every transcode job of the asset is done."""
    asset: str
    part: str
    """``v0003`` (all renditions of one chunk), an audio track's id, or ``package``."""
    plan: Plan


def plan_asset(
    facts: SourceFacts, *, source: str, text: Sequence[TextSource] = (), credit: str = "", preset: str = "superfast"
) -> Plan:
    """The ladder and the tracks for a source that passed the probe.

    Raises:
        Invalid: the picture is shorter than one frame of the ladder's rate.
    """
    frames = facts.duration_ms * facts.fps // 1000
    if frames < 1:
        raise Invalid(f"the video lasts {facts.duration_ms} ms, less than one picture at {facts.fps} a second")
    return Plan(
        source=source,
        container=facts.container,
        fps=facts.fps,
        frames=frames,
        rungs=_rungs(facts),
        audio=_audio_tracks(facts),
        text=list(text),
        preset=preset,
        credit=credit,
    )


def _rungs(facts: SourceFacts) -> list[Rung]:
    short = min(facts.width, facts.height)
    # Double rates carry more pictures, each a little cheaper than at single rate.
    busier = 1.5 if facts.fps > 30 else 1.0
    fitting = [(side, kbits) for side, kbits in _LADDER if side <= short]
    if not fitting:
        fitting = [(max(2, short // 2 * 2), _LADDER[-1][1])]  # smaller than the ladder: as it is
    rungs = []
    for side, kbits in fitting:
        width, height = _even(facts.width * side / short), _even(facts.height * side / short)
        rungs.append(Rung(id=f"v{side}", width=width, height=height, kbits=round(kbits * busier)))
    return rungs


def _even(pixels: float) -> int:
    """The nearest even number: 4:2:0 pictures have even sides."""
    return max(2, round(pixels / 2) * 2)


def _audio_tracks(facts: SourceFacts) -> list[AudioTrack]:
    tracks: list[AudioTrack] = []
    taken: set[str] = set()
    for audio in facts.audio:
        name = f"a-{audio.language}" + ("-ad" if audio.role == "description" else "")
        unique = next(n for n in (name, *(f"{name}-{i}" for i in range(2, 10))) if n not in taken)
        taken.add(unique)
        tracks.append(AudioTrack(id=unique, index=audio.index, language=audio.language, role=audio.role))
    return tracks


def plan_jobs(plan: Plan, asset: str) -> list[JobSpec]:
    """Every job of an asset: audio first (long and single), then the chunks in order, at last the package job.

    Raises:
        Invalid: ``asset`` is not an id that a media token could name (no dots).
    """
    if "." in parse_id(asset, what="asset"):
        raise Invalid(f"asset {asset!r} has a dot; media tokens need ids without")
    parts = [track.id for track in plan.audio] + [f"v{number:04d}" for number in range(plan.chunks)]
    jobs = [JobSpec(kind=TRANSCODE, asset=asset, part=part, plan=plan) for part in parts]
    return [*jobs, JobSpec(kind=PACKAGE, asset=asset, part=PACKAGE, plan=plan)]
