"""Paths that files name, relative to themselves: joined by their words only, so that nothing is looked up."""

from pathlib import Path

__all__ = ["joined"]


def joined(base: Path, words: str) -> Path:
    """``base/words`` without ``.`` and ``..``; no file is asked for, no link is followed."""
    parts = list(base.parts)
    for part in Path(words).parts:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return Path(*parts) if parts else Path()
