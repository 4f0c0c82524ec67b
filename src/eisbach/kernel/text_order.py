"""Where a range of texts with one prefix ends, in the order of their UTF-8 bytes, which is that of code points."""

from typing import Final

__all__ = ["after_prefix"]

_HIGHEST: Final = 0x10FFFF


def after_prefix(prefix: str) -> str | None:
    """The least text greater than every text that starts with ``prefix``; None when there is none."""
    while prefix:
        point = ord(prefix[-1])
        if point < _HIGHEST:
            return prefix[:-1] + chr(0xE000 if point == 0xD7FF else point + 1)  # surrogates are no text
        prefix = prefix[:-1]
    return None
