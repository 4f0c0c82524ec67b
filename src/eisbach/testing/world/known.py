"""Seeds that break a promise today and are not mended yet: shown by every run, and no reason for it to fail.

Promises: a seed is here with the promise it breaks and what is known of it; any other breach, of it or of another seed,
fails the run. Empty is what this list wants to be.
"""

from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["KNOWN_OPEN", "is_known"]

KNOWN_OPEN: Final[Mapping[int, tuple[str, str]]] = {
    1758: ("P10", "a write retried over two restarts, its clock jumped back: the judge or the clock is 61 ms wrong"),
}
"""Seed -> (promise, what is known)."""


def is_known(seed: int, breaches: Sequence[str]) -> bool:
    """Whether everything that this seed broke is what the list says of it."""
    promise = KNOWN_OPEN.get(seed, ("",))[0]
    return bool(promise) and all(breach.split(" ")[0] == promise for breach in breaches)
