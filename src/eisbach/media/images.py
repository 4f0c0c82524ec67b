"""Pictures for browsing: the poster, and the thumbnail sprite with its WebVTT index.

Promises: JPEG (this ffmpeg writes neither PNG nor WebP); at most 100 tiles, evenly spaced, in one file.
"""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from eisbach.domain.catalog import Image
from eisbach.media.encode import DETERMINISTIC
from eisbach.media.plan import Rung
from eisbach.media.sandbox import Confinement, Limits, run_tool
from eisbach.media.tools import MediaTools

__all__ = ["make_images", "thumbnail_index"]

_TILE_PIXELS, _COLUMNS, _TILES_MAX = 160, 10, 100
_LIMITS = Limits(wall=timedelta(minutes=10), cpu=timedelta(minutes=10))


async def make_images(
    video: Sequence[tuple[Rung, Path]], folder: Path, *, duration_ms: int, tools: MediaTools
) -> Image:
    """Write ``poster.jpg``, ``sprite.jpg`` and ``thumbs.vtt`` into ``folder``.

    Raises:
        ToolFailed: try again.
    """
    folder.mkdir()
    _, best_path = max(video, key=lambda entry: entry[0].width)
    least, least_path = min(video, key=lambda entry: entry[0].width)
    # A tenth in, on a whole segment: past the black start, before the plot is given away.
    at_s = min(30, duration_ms // 10_000) // 2 * 2
    await _ffmpeg(
        ["-ss", str(at_s), "-i", best_path, "-vf", "format=yuvj420p", "-frames:v", "1", "-q:v", "3"],
        folder / "poster.jpg",
        best_path,
        tools,
    )
    every_s = max(2, -(-duration_ms // (_TILES_MAX * 1000)))
    every_s += every_s % 2  # tiles are key pictures, which come every two seconds
    count = max(1, -(-duration_ms // (every_s * 1000)))
    columns = min(_COLUMNS, count)
    image = Image(
        columns=columns,
        rows=-(-count // columns),
        tile_width=_TILE_PIXELS,
        tile_height=max(2, round(_TILE_PIXELS * least.height / least.width) // 2 * 2),
        every_ms=every_s * 1000,
    )
    graph = (
        f"select=not(mod(n\\,{every_s // 2})),scale={image.tile_width}:{image.tile_height},"
        f"tile={image.columns}x{image.rows},format=yuvj420p"
    )
    options: list[str | Path] = ["-skip_frame", "nokey", "-i", least_path, "-vf", graph]
    options += ["-fps_mode", "passthrough", "-frames:v", "1", "-q:v", "5"]
    await _ffmpeg(options, folder / "sprite.jpg", least_path, tools)
    (folder / "thumbs.vtt").write_text(thumbnail_index(image, duration_ms))
    return image


async def _ffmpeg(options: list[str | Path], output: Path, source: Path, tools: MediaTools) -> None:
    argv: list[str | Path] = [tools.ffmpeg, "-v", "error", "-nostdin", "-y", "-threads", "1", *options]
    argv += ["-an", "-threads", "1", *DETERMINISTIC, "-f", "mjpeg", output]
    await run_tool(argv, Confinement(read=[source], write=[output.parent], limits=_LIMITS, foreign=False))


def thumbnail_index(image: Image, duration_ms: int) -> str:
    """WebVTT whose cues name regions of the sprite (``#xywh``, W3C Media Fragments section 4.2.2)."""
    cues = ["WEBVTT", ""]
    for number, start in enumerate(range(0, duration_ms, image.every_ms)):
        row, column = divmod(number, image.columns)
        end = min(start + image.every_ms, duration_ms)
        place = f"{column * image.tile_width},{row * image.tile_height},{image.tile_width},{image.tile_height}"
        cues += [f"{_stamp(start)} --> {_stamp(end)}", f"sprite.jpg#xywh={place}", ""]
    return "\n".join(cues)


def _stamp(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"
