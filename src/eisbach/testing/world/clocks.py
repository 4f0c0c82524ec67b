"""The clocks of one machine: they run fast or slow, the wall clock jumps, and both stand still while it is stopped.

Promises: ``ports.clock``; the monotonic clock never goes back within one life of a process.
"""

import asyncio

__all__ = ["EPOCH_MS", "MachineClock"]

EPOCH_MS = 1_800_000_000_000
"""When the world begins, in milliseconds since 1970."""


class MachineClock:
    """``ports.clock.Clock`` of a machine."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.offset_ms = 0
        """Of the wall clock, beside drift."""
        self.rate = 1.0
        """Seconds of this machine per true second; a crystal is good to 200 ppm, a bad one to a few percent."""
        self._anchor_s = self._shown_s = 0.0
        self.frozen = False
        self.told_lead_ms = 0
        """How far beyond the monotonic clock the wall clock was at most whenever somebody asked; whoever wants to know
        of a while sets it to 0 first. Two looks, before and after, miss what came and went in between.
        """

    def _elapsed_s(self) -> float:
        if self.frozen:
            return self._shown_s
        return self._shown_s + (self._loop.time() - self._anchor_s) * self.rate

    def _rebase(self) -> None:
        self._shown_s, self._anchor_s = self._elapsed_s(), self._loop.time()

    def drift(self, rate: float) -> None:
        """Run at ``rate`` from now on."""
        self._rebase()
        self.rate = rate

    def freeze(self, *, frozen: bool) -> None:
        """Stand still, or go on from where it stood: what a virtual machine's pause does to both clocks."""
        self._rebase()
        self.frozen = frozen

    def heal(self) -> None:
        """What an NTP daemon does in the end: rate one, wall clock true."""
        self._rebase()
        self.frozen, self.rate = False, 1.0
        self.offset_ms = int((self._loop.time() - self._shown_s) * 1000)

    def wall_ms(self) -> int:
        """See ``Clock``."""
        lead_ms = EPOCH_MS + self.offset_ms
        self.told_lead_ms = max(self.told_lead_ms, lead_ms)
        return lead_ms + self.monotonic_ms()

    def monotonic_ms(self) -> int:
        """See ``Clock``."""
        return int(self._elapsed_s() * 1000)

    async def sleep(self, seconds: float) -> None:
        """See ``Clock``; timers run on true time, as if the machine's timer interrupt were right."""
        await asyncio.sleep(seconds)
