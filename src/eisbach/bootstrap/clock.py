"""The machine's own clock: the only place, with the engines, that asks it."""

import asyncio
import time

__all__ = ["SystemClock"]


class SystemClock:
    """``ports.clock.Clock`` on the machine's wall and monotonic clocks and the running event loop."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970; may jump."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Milliseconds since some start; never goes back."""
        return time.monotonic_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Wait at least ``seconds``; cancellable."""
        await asyncio.sleep(seconds)
