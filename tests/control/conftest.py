"""The region that tests of moves have in common."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .test_moves import Region


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Region]:
    region = Region(tmp_path)
    await region.open("c1", "c2")
    yield region
    await region.aclose()
