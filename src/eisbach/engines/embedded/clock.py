"""The machine's clocks, behind ``ports.clock``."""

import asyncio
import time

__all__ = ["RehearsalClock", "SystemClock"]


class SystemClock:
    """Wall clock, monotonic clock and the event loop's sleep."""

    def wall_ms(self) -> int:
        """From ``clock_gettime(CLOCK_REALTIME)``."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """From ``clock_gettime(CLOCK_MONOTONIC)``."""
        return time.monotonic_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """``asyncio.sleep``."""
        await asyncio.sleep(seconds)


class RehearsalClock(SystemClock):
    """The machine's clocks with a wall clock that may be set wrong on purpose, as ``date -s`` would for one process."""

    def __init__(self) -> None:
        self.shift_ms = 0
        """Added to the wall clock; the monotonic clock goes on."""

    def wall_ms(self) -> int:
        """The machine's, and what it is wrong by."""
        return super().wall_ms() + self.shift_ms
