"""Logs per target: bounded, written by the processes themselves, so that a crash loses no line.

Each process has its log open for appending; here a log that grew over 4 MiB is copied aside and cut to nothing (one
older file is kept). A line written between copy and cut may be lost; a log is no record.
"""

import re
import shutil
from pathlib import Path
from typing import Final

from eisbach.kernel.limits import MIB

__all__ = ["LOG_BYTES_MAX", "distinct", "rotate", "tail"]

LOG_BYTES_MAX = 4 * MIB
_NUMBERS: Final = re.compile(r"[0-9]+")


def rotate(folder: Path, *, bytes_max: int = LOG_BYTES_MAX) -> None:
    """Bound every ``*.log`` of ``folder``; safe to call at any time."""
    for log in folder.glob("*.log"):
        if log.stat().st_size > bytes_max:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            with log.open("r+b") as file:
                file.truncate(0)


def tail(log: Path, *, lines: int) -> list[str]:
    """The last lines, at most what half a MiB holds."""
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - MIB // 2))
        return file.read().decode(errors="replace").splitlines()[-lines:]


def distinct(lines: list[str]) -> list[str]:
    """The last of each that differ in more than their numbers, in order: who is started anew says the same again."""
    last = {_NUMBERS.sub("", line): at for at, line in enumerate(lines) if line.strip()}
    return [lines[at] for at in sorted(last.values())]
