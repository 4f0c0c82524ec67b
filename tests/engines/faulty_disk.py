"""An apsw VFS over the real one that writes down every durable step, and that can refuse on demand.

``images`` rebuilds what a machine would find after losing power at a step: all that was synced, and of what was
written since only some, the last of it perhaps torn.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

import apsw


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that SQLite asked of the disk."""

    kind: str
    """``write``, ``sync``, ``truncate`` or ``delete``."""
    name: str
    offset: int = 0
    data: bytes = b""


@dataclass
class Disk:
    """What happened, and what to refuse."""

    steps: list[Step] = field(default_factory=list)
    refuse_writes: bool = False
    refuse_syncs: int = 0
    """How many of the next syncs of a write-ahead log fail."""


class FaultyVFS(apsw.VFS):
    def __init__(self, name: str, disk: Disk) -> None:
        self.disk = disk
        super().__init__(name, "")

    def xOpen(self, name, flags):  # noqa: N802 - SQLite's names
        return FaultyFile(name, flags, self.disk)

    def xDelete(self, name, syncdir):  # noqa: N802
        self.disk.steps.append(Step("delete", Path(name).name))
        super().xDelete(name, syncdir)


class FaultyFile(apsw.VFSFile):
    def __init__(self, name, flags, disk: Disk) -> None:
        self.disk = disk
        self.name = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "temporary").name
        super().__init__("", name, flags)

    def xWrite(self, data, offset):  # noqa: N802
        if self.disk.refuse_writes and self.name.endswith("-wal"):
            raise apsw.FullError("no space left on device")
        self.disk.steps.append(Step("write", self.name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xSync(self, flags):  # noqa: N802
        if self.disk.refuse_syncs and self.name.endswith("-wal"):
            self.disk.refuse_syncs -= 1
            raise apsw.IOError("fsync failed")
        self.disk.steps.append(Step("sync", self.name))
        super().xSync(flags)

    def xTruncate(self, size):  # noqa: N802
        self.disk.steps.append(Step("truncate", self.name, size))
        super().xTruncate(size)


def after_power_loss(steps: list[Step], chance: random.Random) -> dict[str, bytes]:
    """File contents when power went away after ``steps``."""
    durable: dict[str, bytearray] = {}
    pending: dict[str, list[Step]] = {}
    for step in steps:
        if step.kind == "sync":
            for one in pending.pop(step.name, []):
                _do(durable, one)
        elif step.kind == "delete":
            pending.pop(step.name, None)
            durable.pop(step.name, None)
        else:
            pending.setdefault(step.name, []).append(step)
    for unsynced in pending.values():
        for step in unsynced:
            if chance.random() < 0.5:
                _do(durable, step)
        if unsynced and unsynced[-1].kind == "write" and chance.random() < 0.5:
            torn = unsynced[-1]
            _do(durable, Step("write", torn.name, torn.offset, torn.data[: len(torn.data) // 2]))
    return {name: bytes(content) for name, content in durable.items()}


def _do(files: dict[str, bytearray], step: Step) -> None:
    content = files.setdefault(step.name, bytearray())
    if step.kind == "truncate":
        del content[step.offset :]
        return
    end = step.offset + len(step.data)
    content.extend(bytes(max(0, end - len(content))))
    content[step.offset : end] = step.data


def restore(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
