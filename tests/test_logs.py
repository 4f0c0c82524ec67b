"""A log line never fails whoever writes it, and shows nobody's values."""

import errno
import io
from collections.abc import Iterator

import pytest
import structlog

from eisbach.bootstrap.logs import configure_logs


class FullDisk(io.StringIO):
    full = False

    def flush(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.EFBIG, "File too large")
        return super().write(text)


@pytest.fixture
def disk() -> Iterator[FullDisk]:
    found = FullDisk()
    configure_logs(found)
    yield found
    structlog.reset_defaults()


def test_on_a_full_disk_lines_are_dropped_and_the_next_one_says_so(disk: FullDisk) -> None:
    logger = structlog.get_logger("x")
    disk.full = True
    logger.warning("lost")
    disk.full = False
    logger.warning("kept")

    lines = disk.getvalue().splitlines()
    assert "dropped" in lines[0]
    assert "kept" in lines[1]
    assert "lost" not in disk.getvalue()


def test_a_traceback_shows_no_values(disk: FullDisk) -> None:
    def handle(token: str) -> None:
        raise RuntimeError("no" + token[:0])

    try:
        handle("secret-" + "t0ken")
    except RuntimeError:
        structlog.get_logger("x").exception("bug")

    assert "RuntimeError: no" in disk.getvalue()
    assert "secret-t0ken" not in disk.getvalue()
