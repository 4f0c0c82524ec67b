"""A studio by hand."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from studio_desk import Desk, open_desk

from eisbach.testing.manual_clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def desk(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, clock) as desk:
        yield desk
