"""An event log in an emulated AWS region, for the promise suite: ``EventLogHost``."""

from eisbach.engines.aws.clients import AwsPlace
from eisbach.engines.aws.event_log import SnsSqsEventLog
from eisbach.engines.embedded.clock import SystemClock
from eisbach.testing.aws.emulator import AwsEmulator

__all__ = ["AwsHubHost"]


class AwsHubHost:
    """A hub named ``eb`` in the emulator's first region."""

    def __init__(self, aws: AwsEmulator) -> None:
        self.aws, self.region = aws, aws.regions[0]
        self._logs: list[SnsSqsEventLog] = []

    async def open(self, **more: object) -> SnsSqsEventLog:
        """A log with clients of its own; ``more``: arguments of ``SnsSqsEventLog``. Closed by ``aclose``."""
        place = AwsPlace(region=self.region, endpoint=self.aws.endpoint(self.region))
        log = await SnsSqsEventLog(place, prefix="eb", clock=SystemClock(), **more).open()  # type: ignore[arg-type]
        self._logs.append(log)
        return log

    async def restart(self) -> None:
        """Every connection is reset, as when an endpoint moves; AWS itself loses nothing, and is not restarted here."""
        self.aws.fault(self.region, "cut")
        await self.aclose()
        self.aws.heal(self.region)

    async def wipe(self) -> None:
        """Delete topic, queues and table."""
        self.aws.wipe()

    async def aclose(self) -> None:
        """Close every log."""
        for log in self._logs:
            await log.aclose()
        self._logs.clear()
