"""Which binaries this part runs: paths only, handed in by bootstrap."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["MediaTools"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaTools:
    """Absolute paths of executable files."""

    ffmpeg: Path
    ffprobe: Path
    packager: Path
    unsafe_media: bool = False
    """Process foreign media even where this machine offers no sandbox (``eisbach.media.sandbox.probe_sandbox``)."""
