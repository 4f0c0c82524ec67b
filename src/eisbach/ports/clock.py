"""Time as a port: nothing else in the product may ask what time it is or sleep."""

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """Two clocks and a sleep; the simulated world turns all three by hand."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970; may jump."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds since some start; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait at least ``seconds``; cancellable."""
        ...
