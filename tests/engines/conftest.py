"""Fixtures of the embedded engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlite_stores import Stores


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    stores = Stores(tmp_path)
    yield stores
    await stores.aclose()
