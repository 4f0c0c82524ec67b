"""A machine is put back from an older copy of its disk: what was on the disk, and is not on the copy.

Read by hand, since no process may open a disk that is gone. May not know: when, and what the product makes of it.
"""

from collections.abc import Mapping

import apsw

from eisbach.engines.embedded.disk import rows
from eisbach.kernel.ops import Op, decode_op
from eisbach.kernel.versions import Version
from eisbach.testing.world.disks import VFS_NAME, Volumes
from eisbach.testing.world.history import History, PutBack
from eisbach.testing.world.process import Process

__all__ = ["note_put_back"]

OpId = tuple[str, str, int, int]
_OPS = "SELECT body FROM ops JOIN slots ON slots.id = ops.slot WHERE origin = ? AND instr(name, '#') = 0"
_LOSERS = "SELECT name, pk, sk, hlc, origin, seq FROM conflicts JOIN slots ON slots.id = conflicts.slot"


def note_put_back(
    history: History, volumes: Volumes, process: Process, before: Mapping[str, bytes], *, at_s: float
) -> None:
    """``process.files`` are the copy now; ``before``: what was on the disk."""
    was, losers = _read(volumes, before, process.region)
    now, _ = _read(volumes, process.files, process.region)
    history.burnt_losers |= losers
    gone = {place: op for place, op in was.items() if place not in now}
    history.put_back.append(PutBack(process.region, at_s, gone))


def _read(
    volumes: Volumes, files: Mapping[str, bytes], region: str
) -> tuple[dict[OpId, Op], set[tuple[str, str, str, Version]]]:
    volume = volumes.make({name: content for name, content in files.items() if name.startswith("store.db")})
    try:
        database = apsw.Connection(f"{volume.folder}/store.db", vfs=VFS_NAME)
        try:
            ops = [decode_op(body) for (body,) in rows(database, _OPS, (region,))]
            losers = {(slot, pk, sk, Version(h, o, s)) for slot, pk, sk, h, o, s in rows(database, _LOSERS)}
        finally:
            database.close()
    finally:
        volumes.drop(volume)
    return {(op.slot, op.origin, op.epoch, op.seq): op for op in ops}, losers
