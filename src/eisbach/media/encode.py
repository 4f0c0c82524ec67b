"""Encode one part of an asset: a chunk of the picture in every rendition, or one audio track.

Promises: the same plan gives the same bytes (one x264 thread, no dates, no versions in the output), so a chunk that was
killed and repeated, here or elsewhere, fits its neighbours; every chunk has exactly its number of pictures and starts
with a key picture that nothing before it refers to.
May not know: jobs' leases, where results go (the caller hands in an empty folder).
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from eisbach.kernel.errors import Invalid
from eisbach.kernel.limits import SIDE_PIXELS_MAX
from eisbach.media.plan import AudioTrack, Plan
from eisbach.media.probe import INPUT_GUARD
from eisbach.media.sandbox import Confinement, Limits, ToolFailed, run_tool
from eisbach.media.tools import MediaTools

__all__ = ["DETERMINISTIC", "Progress", "encode_audio", "encode_chunk", "remux", "video_codec"]

Progress = Callable[[float], None]
"""Called with the share done, 0 to 1, rising, several times a second."""

DETERMINISTIC = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-map_metadata", "-1")
"""Output options without which the muxer writes dates and versions."""

_QUALITY = 23
# These demuxers may land behind the asked place; they start earlier and drop what is too much.
_INEXACT, _PREROLL_S = frozenset({"avi", "flv", "mxf", "asf"}), 4.0
_CHUNK_LIMITS = Limits(wall=timedelta(minutes=20), cpu=timedelta(minutes=40))
_AUDIO_LIMITS = Limits(wall=timedelta(hours=2), cpu=timedelta(hours=2))


def video_codec(plan: Plan, kbits: int) -> list[str]:
    """Output options of one rendition: constant quality under a bound, key pictures on the segments' grid."""
    distance = str(plan.frames_per_segment)
    return [
        *("-c:v", "libx264", "-preset", plan.preset, "-profile:v", "main", "-threads", "1", "-pix_fmt", "yuv420p"),
        *("-crf", str(_QUALITY), "-maxrate", f"{kbits}k", "-bufsize", f"{2 * kbits}k"),
        *("-g", distance, "-keyint_min", distance, "-sc_threshold", "0", "-an", "-sn", "-dn"),
        *("-video_track_timescale", str(plan.fps * 512), *DETERMINISTIC, "-flags:v", "+bitexact+cgop"),
    ]


async def encode_chunk(
    plan: Plan, number: int, *, source: Path, folder: Path, tools: MediaTools, progress: Progress
) -> list[Path]:
    """Write ``{rung}.mp4`` for every rung of chunk ``number`` into ``folder``.

    Raises:
        Invalid: the source has no picture there, or one that cannot be decoded.
        ToolFailed: anything else; try again.
    """
    first, frames = plan.chunk(number)
    start = first / plan.fps
    preroll = min(start, _PREROLL_S) if plan.container in _INEXACT else 0.0
    # tpad repeats the last picture, bounded by -frames:v: sources whose last picture lasts longer, or whose odd rate
    # rounds to one picture less, still fill the chunk. Whether there was any picture at all is checked below.
    lead = f"trim=start={preroll:.3f},setpts=PTS-{preroll:.3f}/TB," if preroll else ""
    head = f"[0:V:0]{lead}fps={plan.fps}:start_time=0,tpad=stop=-1:stop_mode=clone,split={len(plan.rungs)}"
    scales = [f"[s{i}]scale={r.width}:{r.height}:flags=bicubic,setsar=1[o{i}]" for i, r in enumerate(plan.rungs)]
    graph = ";".join([head + "".join(f"[s{i}]" for i in range(len(plan.rungs))), *scales])
    argv: list[str | Path] = [tools.ffmpeg, "-v", "error", "-nostdin", "-y", "-progress", "pipe:1", "-nostats"]
    argv += ["-filter_complex_threads", "1", "-threads", "1", *INPUT_GUARD, "-f", plan.container]
    argv += ["-max_pixels", str(SIDE_PIXELS_MAX**2), "-ss", f"{start - preroll:.6f}", "-i", source]
    argv += ["-filter_complex", graph]
    outputs = [folder / f"{rung.id}.mp4" for rung in plan.rungs]
    for place, (rung, output) in enumerate(zip(plan.rungs, outputs, strict=True)):
        argv += ["-map", f"[o{place}]", "-frames:v", str(frames), *video_codec(plan, rung.kbits), "-f", "mp4", output]
    seen = _Frames(frames, progress)
    confinement = Confinement(read=[source], write=[folder], limits=_CHUNK_LIMITS, foreign=not tools.unsafe_media)
    await _run(argv, confinement, seen.take, what=f"the picture from {start:.0f} s on")
    if seen.last != frames:
        raise Invalid(
            f"the source has no picture from {start:.0f} s on ({seen.last} of {frames} pictures could be made):"
            " the file is cut off or damaged; upload it again"
        )
    return outputs


async def remux(plan: Plan, *, source: Path, folder: Path, tools: MediaTools) -> Path:
    """Copy a source without an index into ``folder/source.mkv``, so that chunks can be found in it.

    Raises:
        Invalid: its streams do not fit there.
        ToolFailed: anything else; try again.
    """
    output = folder / "source.mkv"
    argv: list[str | Path] = [tools.ffmpeg, "-v", "error", "-nostdin", "-y", "-fflags", "+genpts", *INPUT_GUARD]
    argv += ["-f", plan.container, "-i", source, "-map", "0:V:0", "-map", "0:a?", "-c", "copy", *DETERMINISTIC]
    confinement = Confinement(read=[source], write=[folder], limits=_AUDIO_LIMITS, foreign=not tools.unsafe_media)
    await _run([*argv, "-f", "matroska", output], confinement, lambda _line: None, what="the source")
    return output


class _Frames:
    """Reads ffmpeg's ``-progress`` lines (``key=value``)."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.last, self._total, self._progress = 0, total, progress

    def take(self, line: str) -> None:
        key, _, value = line.partition("=")
        if key == "frame" and value.strip().isdecimal():
            self.last = int(value)
            self._progress(min(1.0, self.last / self._total))


async def encode_audio(
    plan: Plan, track: AudioTrack, *, source: Path, folder: Path, tools: MediaTools, progress: Progress
) -> Path:
    """Write ``{track}.mp4`` into ``folder``: exactly as long as the picture, silence where the source has none.

    Encoded in one piece: AAC frames do not fall on chunk boundaries, and a seam would click.

    Raises:
        Invalid: it cannot be decoded.
        ToolFailed: anything else; try again.
    """
    seconds = plan.frames / plan.fps
    output = folder / f"{track.id}.mp4"
    argv: list[str | Path] = [tools.ffmpeg, "-v", "error", "-nostdin", "-y", "-progress", "pipe:1", "-nostats"]
    argv += ["-threads", "1", *INPUT_GUARD, "-f", plan.container, "-i", source, "-map", f"0:a:{track.index}"]
    argv += ["-af", f"aresample=48000:async=1:first_pts=0,apad,atrim=end={seconds:.6f}", "-vn", "-sn", "-dn"]
    argv += ["-c:a", "aac", "-b:a", f"{track.kbits}k", "-ac", "2", "-ar", "48000", *DETERMINISTIC, "-f", "mp4", output]

    def take(line: str) -> None:
        key, _, value = line.partition("=")
        if key == "out_time_us" and value.strip().isdecimal():
            progress(min(1.0, int(value) / 1e6 / seconds))

    confinement = Confinement(read=[source], write=[folder], limits=_AUDIO_LIMITS, foreign=not tools.unsafe_media)
    await _run(argv, confinement, take, what=f"audio track {track.index} ({track.language})")
    return output


async def _run(argv: list[str | Path], confinement: Confinement, on_line: Callable[[str], None], *, what: str) -> None:
    try:
        await run_tool(argv, confinement, on_line=on_line)
    except ToolFailed as error:
        if "Invalid data found" in error.stderr and error.why == "exit":
            raise Invalid(f"{what} cannot be decoded: {error}") from error
        raise
