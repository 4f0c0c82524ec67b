"""Which write-ahead log goes with a store's file: one that somebody removed takes commits with it, and SQLite goes on.

The file alone is then an older copy of the store, in its own place (P21). So each opening notes beside it which log it
writes, and that it has closed in good order, when SQLite has moved the log into the file. May not know: SQL.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from eisbach.engines.embedded.place import file_place

__all__ = ["LogBeside"]

_SUFFIX: Final = "-opened"
_CLOSED: Final = "closed"


class LogBeside:
    """Of one opening; every call blocks for a few small operations on files, two of them fsync."""

    def __init__(
        self, path: Path, *, real: bool, place: Callable[[Path], str] = file_place, file_too: bool = False
    ) -> None:
        """``path``: the store's file; ``real``: on a disk of this machine, of others nothing is said.

        ``place``: what tells files apart; ``file_too``: a store's file that was put in place of another is missed, too.
        """
        self._real, self._place, self._file_too = real, place, file_too
        self.lost = ""
        """Why commits may lie in a log that is not there any more; empty: they do not."""
        self._file, self._log = path, path.with_name(f"{path.name}-wal")
        self._note = path.with_name(f"{path.name}{_SUFFIX}")
        self._mine = ""
        """The file that was opened; at the end another may bear its name."""

    def look(self) -> None:
        """Before the file is opened. Where files cannot be told apart nothing is lost: there every opening asks."""
        self.lost = self._why()

    def _why(self) -> str:
        if not self._real or not self._file.exists():
            return ""
        try:
            noted = self._note.read_text()
        except FileNotFoundError:
            return f"nothing beside {self._file} says which write-ahead log it was opened with last"
        here = self._place(self._file)
        if noted in (self._noted(here, _CLOSED), self._noted(here, self._place(self._log))):
            return ""
        if not noted.startswith(self._noted(here, "")):
            return f"{self._file} is not known to be the file that was opened here last"
        return f"{self._log} is not the write-ahead log that {self._file} was opened with last"

    def _noted(self, file: str, log: str) -> str:
        return f"{file}\n{log}" if self._file_too else log

    def opened(self) -> None:
        """After the first commit, by which there is a log; of a lost one the next opening is to hear, too."""
        if not self.lost:
            self._mine = self._mine or self._place(self._file)
            self._put(self._noted(self._mine, self._place(self._log)))

    def believed(self) -> None:
        """Who may hold more was asked, and does not."""
        self.lost = ""
        self.opened()

    def closed(self) -> None:
        """After the last connection was closed; a log that is still there stays the one that is needed.

        A disk that refuses costs a question at the next opening, no more.
        """
        if not self.lost and not self._log.exists():
            with contextlib.suppress(OSError):
                self._put(self._noted(self._mine, _CLOSED))

    def _put(self, text: str) -> None:
        if not self._real:
            return
        part = self._note.with_name(f"{self._note.name}.part")
        with part.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._note)
        folder = os.open(self._note.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
