"""Delays that grow: exponential with full jitter.

Source: Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), "full jitter".
"""

import random
from datetime import timedelta
from typing import Final

__all__ = ["delay_after"]

_DOUBLINGS_MAX: Final = 30
"""2 ** 30 seconds are 34 years; beyond, ``timedelta`` would overflow."""


def delay_after(attempt: int, *, first: timedelta, longest: timedelta, rng: random.Random) -> timedelta:
    """A random wait between a tenth of the bound and the bound, which doubles with every attempt (from 1).

    The tenth keeps a burst of quick failures from using up all attempts within milliseconds.
    """
    bound = min(first * 2.0 ** min(max(attempt - 1, 0), _DOUBLINGS_MAX), longest)
    return bound * rng.uniform(0.1, 1.0)
