"""Stores of one cell in two emulated AWS regions, for the promise suite: ``StoreHost``."""

from contextlib import AsyncExitStack

from eisbach.engines.aws.clients import AwsPlace, open_clients
from eisbach.engines.aws.store import DynamoStore, open_dynamo_store
from eisbach.engines.aws.tables import make_tables
from eisbach.testing.aws.emulator import AwsEmulator
from eisbach.testing.manual_clock import ManualClock
from eisbach.testing.store_host import HERE, THERE

__all__ = ["AwsStoreHost"]


class AwsStoreHost:
    """Cell ``c1`` of platform ``eb``; the tables are made at the first opening, the log with a replica."""

    def __init__(self, aws: AwsEmulator, *, flushes: bool = False) -> None:
        """``flushes``: before a restart; otherwise the next process has to replay."""
        self.aws, self.clock, self._flushes = aws, ManualClock(), flushes
        self.regions = dict(zip((HERE, THERE), aws.regions, strict=True))
        """Ours -> AWS's."""
        self._open: dict[str, tuple[DynamoStore, AsyncExitStack]] = {}
        self._made = False

    def place(self, region: str = HERE, *, tries: int = 3, answer_s: float = 2.0) -> AwsPlace:
        """Where a region's endpoint is."""
        aws = self.regions[region]
        return AwsPlace(region=aws, endpoint=self.aws.endpoint(aws), tries=tries, answer_s=answer_s)

    async def open(self, region: str = HERE) -> DynamoStore:
        """See ``StoreHost``."""
        if region not in self._open:
            await self._make()
            stack = AsyncExitStack()
            self._open[region] = (await stack.enter_async_context(self.another(region)), stack)
        return self._open[region][0]

    def another(self, region: str = HERE, *, tries: int = 3, answer_s: float = 2.0):  # type: ignore[no-untyped-def] # noqa: ANN201 - an async context manager of a store
        """One more opening of the same tables, as another process would have it."""
        place = self.place(region, tries=tries, answer_s=answer_s)
        return open_dynamo_store(place, prefix="eb", cell="c1", region=region, clock=self.clock)

    async def restart(self, region: str = HERE) -> DynamoStore:
        """See ``StoreHost``."""
        store, stack = self._open.pop(region)
        if self._flushes:
            await store.flush()
        await stack.aclose()
        return await self.open(region)

    async def aclose(self) -> None:
        """Close every store."""
        for _, stack in self._open.values():
            await stack.aclose()
        self._open.clear()

    async def _make(self) -> None:
        if not self._made:
            async with open_clients(self.place(HERE)) as here, open_clients(self.place(THERE)) as there:
                await make_tables([here, there], prefix="eb", cell="c1")
            self._made = True
