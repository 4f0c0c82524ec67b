"""Which work goes first; pure."""

from typing import Literal

__all__ = ["Priority"]

Priority = Literal["live", "on_demand"]
"""``live``: somebody waits for it now (an event on air, a programme that begins); goes before everything else."""
