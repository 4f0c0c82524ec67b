"""The nearest known word for an unknown one, for messages."""

from collections.abc import Iterable

__all__ = ["nearest"]


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?``, or the list when it is short, or nothing."""
    from difflib import get_close_matches

    names = sorted(known)
    found = get_close_matches(word[:100], names, n=1, cutoff=0.6)
    if found:
        return f"; did you mean {found[0]!r}?"
    return f"; known: {', '.join(names)}" if len(names) <= 12 else ""
