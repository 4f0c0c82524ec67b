"""What the packager writes is called the same by every origin: file ending -> media type."""

from collections.abc import Mapping
from typing import Final

__all__ = ["MEDIA_TYPES"]

MEDIA_TYPES: Final[Mapping[str, str]] = {
    "m3u8": "application/vnd.apple.mpegurl",
    "mpd": "application/dash+xml",
    "m4s": "video/iso.segment",
    "mp4": "video/mp4",
    "vtt": "text/vtt; charset=utf-8",
    "jpg": "image/jpeg",
}
"""``charset`` where a text is not UTF-8 by its own definition."""
