"""Wipe what SQLite leaves between the cells of its pages, where secure_delete does not reach.

``secure_delete`` zeroes a cell that is deleted. But when a b-tree is balanced its cells are copied to other pages, and
the old copies stay in the unallocated middle of the page they left; deleting the cell later does not touch them (found
by the byte scan of ``tests/engines/test_store_erase.py``; page layout: https://www.sqlite.org/fileformat2.html#b_tree_pages
).
VACUUM would do, but stops the writer for as long as the whole file takes; this goes in steps of 8 MiB.

The caller has emptied the write-ahead log, is the file's only writer, and afterwards drops its page cache: then the
file's pages are the newest and nothing brings an old image back. Only bytes that no page refers to are overwritten, so
readers see no difference and a crash at any point leaves a sound file.
"""

import os
from pathlib import Path
from typing import Final

__all__ = ["PageGaps"]

_PAGES_A_STEP: Final = 2048
_HEADER_BYTES: Final = {2: 12, 5: 12, 10: 8, 13: 8}
"""Type of a b-tree page -> bytes of its header. Other pages begin with a page number below 2**25, so with 0 or 1."""


class PageGaps:
    """Of one file. Keeps a descriptor of its own until ``close``: closing any descriptor of a file drops the locks that
    SQLite holds in this process (https://www.sqlite.org/howtocorrupt.html section 2.2), so close it last.
    """

    def __init__(self, path: Path, *, page_bytes: int) -> None:
        self._file = os.open(path, os.O_RDWR)
        self._page_bytes = page_bytes

    def close(self) -> None:
        """After every connection of the file."""
        os.close(self._file)

    def wipe(self, first: int) -> int:
        """Wipe a step that begins at page ``first`` (from 0); the page to go on with, 0 when the file is through."""
        size = self._page_bytes
        raw = os.pread(self._file, size * _PAGES_A_STEP, size * first)
        wiped = False
        for at in range(0, len(raw) - size + 1, size):
            begin, end = _gap(raw[at : at + size], 100 if first == 0 and at == 0 else 0)
            if begin < end and any(raw[at + begin : at + end]):
                os.pwrite(self._file, bytes(end - begin), size * first + at + begin)
                wiped = True
        if wiped:
            os.fsync(self._file)
        return first + _PAGES_A_STEP if len(raw) == size * _PAGES_A_STEP else 0


def _gap(page: bytes, header: int) -> tuple[int, int]:
    """Where the unallocated middle of a page begins and ends; nothing for a page that is no b-tree's."""
    header_bytes = _HEADER_BYTES.get(page[header])
    if header_bytes is None:
        return 0, 0
    cells = int.from_bytes(page[header + 3 : header + 5], "big")
    content = int.from_bytes(page[header + 5 : header + 7], "big") or 65536
    begin = header + header_bytes + 2 * cells
    return (begin, content) if content <= len(page) else (0, 0)
