"""The machine's clocks, behind ``ports.clock``."""

import asyncio
import time

__all__ = ["SystemClock"]


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
