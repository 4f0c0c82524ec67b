"""Disks that forget what was not synced, tear what was being written, fill up, and fail to sync: an apsw VFS.

The bytes lie in memory-backed files, so that SQLite's own locking and shared memory are the real ones; beside them a
volume keeps what a machine would find after a power cut. Promises: what was synced survives everything; of what was
not, any part may survive a power cut, and all of it a mere kill. May not know: what is stored.
"""

import contextlib
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import apsw

__all__ = ["VFS_NAME", "Files", "Volume", "Volumes"]

VFS_NAME: Final = "eisbach-world"
Files = dict[str, bytes]


class _File:
    """One file: what it began with, every step since, and how many of them are on the platter.

    Steps are only written down, since most lives end without a power cut: nobody asks what was synced.
    """

    __slots__ = ("content", "steps", "synced")

    def __init__(self, content: bytes = b"") -> None:
        self.content = content
        self.steps: list[tuple[int, bytes | None]] = []
        """(offset, data), or (size, None) for a truncation."""
        self.synced = 0

    def after_power_cut(self, chance: random.Random) -> bytes:
        """What was synced, and any part of what was not."""
        found = bytearray(self.content)
        for step in self.steps[: self.synced]:
            _do(found, *step)
        for offset, data in self.steps[self.synced :]:
            if chance.random() < 0.5:
                if data is not None and chance.random() < 0.3:
                    _do(found, offset, data[: chance.randrange(len(data) + 1)])  # torn
                continue
            _do(found, offset, data)
        return bytes(found)


def _do(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    end = offset + len(data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[offset:end] = data


class Volume:
    """The disk of one life of a process."""

    def __init__(self, folder: Path, files: Mapping[str, bytes]) -> None:
        self.folder = folder
        os.mkdir(folder)  # noqa: PTH102 - paths as objects cost as much as what is done with them, here and below
        for name, content in files.items():
            with open(f"{folder}/{name}", "wb", buffering=0) as file:  # noqa: PTH123
                file.write(content)
        self.files = {name: _File(content) for name, content in files.items()}
        self.full = False
        """Writes are refused."""
        self.failing_syncs = 0
        """How many of the next syncs fail, of logs whose name begins so, when so many have gone well."""
        self.failing_name, self.failing_after = "", 0
        self.fuse: int | None = None
        """Durable steps until the power goes."""
        self.on_power_cut: Callable[[], None] = lambda: None
        self.on_failed_sync: Callable[[], None] = lambda: None
        self.dead = False
        self.refused = 0
        """Steps refused because it was full or a sync failed."""

    def step(self) -> None:
        """One durable step is about to happen.

        Raises:
            apsw.IOError: the power is gone.
        """
        if self.dead:
            raise apsw.IOError("the machine is off")
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self.dead = True
                self.on_power_cut()
                raise apsw.IOError("the power went")

    def survivors(self, chance: random.Random, *, power: bool) -> Files:
        """What the next life finds: everything after a kill; after a power cut, any part of what was not synced."""
        # What is not SQLite's was written whole, synced and renamed (``write_whole``): it is there or not.
        there: Files = {}
        for name in sorted(os.listdir(self.folder)):  # noqa: PTH208
            with open(f"{self.folder}/{name}", "rb", buffering=0) as file:  # noqa: PTH123
                there[name] = file.read()
        if power:
            written = sorted(name for name, file in self.files.items() if file.steps)
            there |= {name: self.files[name].after_power_cut(chance) for name in written}
        return there


class _VfsFile(apsw.VFSFile):
    """Writes down every durable step of a file on a volume."""

    def __init__(self, volume: Volume, name: Any, flags: list[int]) -> None:
        self._volume = volume
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name = text.rpartition("/")[2] if text else ""
        self._file = volume.files.setdefault(self._name, _File()) if text else None
        self._steps = self._file.steps if self._file is not None else None
        self._is_log = self._name.endswith("-wal")
        super().__init__("unix-excl", name, flags)

    def excepthook(self, etype: object, evalue: object, etraceback: object) -> bool:  # noqa: ARG002 - apsw's signature
        """A connection that nobody closed dies after its disk: nothing to tell."""
        return True

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802 - SQLite's names
        volume = self._volume
        volume.step()
        if volume.full:
            volume.refused += 1
            raise apsw.FullError("no space left on device")
        if self._steps is not None:
            self._steps.append((offset, bytes(data)))
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: ARG002, N802
        volume = self._volume
        volume.step()
        if volume.failing_syncs and self._is_log and self._name.startswith(volume.failing_name):
            if volume.failing_after <= 0:
                volume.failing_syncs -= 1
                volume.refused += 1
                volume.on_failed_sync()
                raise apsw.IOError("fsync failed")
            volume.failing_after -= 1
        if self._file is not None:
            self._file.synced = len(self._file.steps)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._volume.step()
        if self._steps is not None:
            self._steps.append((newsize, None))
        super().xTruncate(newsize)


class Volumes(apsw.VFS):
    """Every volume of this process; registered with SQLite while it is open."""

    def __init__(self) -> None:
        shared = Path("/dev/shm")  # noqa: S108 - memory, where there is any; the folder below is our own
        self._root = Path(tempfile.mkdtemp(prefix="eisbach-world-", dir=shared if shared.is_dir() else None))
        self._volumes: dict[str, Volume] = {}
        self._count = 0
        self._unraisable_before, sys.unraisablehook = sys.unraisablehook, self._unraisable
        # unix-excl: locks and shared memory of one process, without system calls for them.
        super().__init__(VFS_NAME, "unix-excl")

    def make(self, files: Mapping[str, bytes]) -> Volume:
        """A volume with these files on it."""
        self._count += 1
        volume = Volume(self._root / str(self._count), files)
        self._volumes[str(volume.folder)] = volume
        return volume

    def drop(self, volume: Volume) -> None:
        """Forget a dead volume; its connections are closed."""
        self._volumes.pop(str(volume.folder), None)
        folder = volume.folder
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(folder):  # noqa: PTH208
                os.unlink(f"{folder}/{name}")  # noqa: PTH108
            os.rmdir(folder)  # noqa: PTH106

    def close(self) -> None:
        """Take everything away."""
        self.unregister()
        sys.unraisablehook = self._unraisable_before
        shutil.rmtree(self._root, ignore_errors=True)

    def _unraisable(self, found: "sys.UnraisableHookArgs") -> None:
        """SQLite goes on after some errors of a disk, and apsw would print them: the strike has its line already."""
        if not isinstance(found.exc_value, apsw.IOError):
            self._unraisable_before(found)

    def _volume(self, name: Any) -> Volume:
        text = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        volume = self._volumes.get(text.rpartition("/")[0])
        if volume is None:
            raise apsw.CantOpenError("the machine is off and its disk is gone")
        return volume

    def excepthook(self, etype: object, evalue: object, etraceback: object) -> bool:  # noqa: ARG002 - apsw's signature
        """See the file's."""
        return True

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        if name is None:  # a temporary file of SQLite's own: nothing of it has to survive
            return super().xOpen(name, flags)
        return _VfsFile(self._volume(name), name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        volume = self._volume(filename)
        volume.step()
        volume.files.pop(filename.rpartition("/")[2], None)
        with contextlib.suppress(apsw.IOError):
            super().xDelete(filename, syncdir)
