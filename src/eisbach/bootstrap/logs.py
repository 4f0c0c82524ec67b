"""Logs of a process: lines on its standard output, where the supervisor or the service manager keeps them.

Promises: writing a log never fails its caller: on a full disk lines are dropped and counted, and the next one that can
be written says how many (a follower that died of its own log line was found by ``make soak-rounds``). Tracebacks show
no values of variables, which may be tokens or a viewer's data.
"""

import sys
from typing import TextIO

import structlog

__all__ = ["ForgivingStream", "configure_logs"]


class ForgivingStream:
    """A text stream whose writes do not fail."""

    def __init__(self, stream: TextIO) -> None:
        """``stream``: flushed at every write, as structlog's loggers do."""
        self._stream = stream
        self.dropped = 0
        """Pieces of lines that could not be written since the last one that could."""

    def write(self, text: str) -> int:
        """Write, or drop."""
        try:
            if self.dropped:
                self._stream.write(f"(pieces of log lines dropped here, the disk took none: {self.dropped})\n")
                self._stream.flush()
                self.dropped = 0
            return self._stream.write(text)
        except (OSError, ValueError):  # ValueError: closed at the very end of a process
            self.dropped += 1
            return len(text)

    def flush(self) -> None:
        """Flush, or leave it."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self.dropped += 1


def configure_logs(stream: TextIO | None = None) -> None:
    """For the whole process; ``stream``: by default standard output."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.dev.set_exc_info,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=True),
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=ForgivingStream(stream or sys.stdout)),  # type: ignore[arg-type]  # print needs write and flush only
    )
