"""What is on the disks: op logs of all cells and what the spokes did, read beside the running processes."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw
import msgspec

from eisbach.kernel.digests import SlotDigest
from eisbach.kernel.ops import Op, decode_op
from eisbach.kernel.versions import Mark
from eisbach.ports.store import IMPORTED_LSN_MIN

from .faults import REGIONS
from .viewers import Ack, Book

OpId = tuple[str, str, int, int]
_CELLS = ("c1", "c2", "c3")
SPOKE = '''
from eisbach.hub.authoring import Effects, Event, spoke

TYPES = ["tv.playback.progress.recorded.v1", "tv.playback.session.started.v1"]


@spoke("rounds", on=TYPES, scope="home", concurrency_max=64)
async def count(event: Event, effects: Effects) -> None:
    """An effect per event, in the transaction of its inbox mark: the number must be 1 for ever."""
    seen = int(await effects.get(event.id) or b"0") + 1
    effects.put(event.id, str(seen).encode())
'''
_COUNTED = ("tv.playback.progress.recorded.v1", "tv.playback.session.started.v1")


def _reading(path: Path) -> apsw.Connection:
    database = apsw.Connection(f"file:{path}?mode=ro", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    database.set_busy_timeout(5000)
    return database


class Logs:
    """Every op that a region's cells hold; read on from where it was."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.ops: dict[str, dict[OpId, Op]] = {region: {} for region in REGIONS}
        self._read: dict[tuple[str, str, int], int] = {}

    def read(self) -> None:
        """What is new since the last call."""
        for region in REGIONS:
            for cell in _CELLS:
                database = _reading(self._path(region, cell))
                for first, end in ((IMPORTED_LSN_MIN, 0), (0, 2**62)):  # what moves brought, and what was written here
                    after = self._read.get((region, cell, end), first)
                    query = "SELECT lsn, body FROM ops WHERE lsn > ? AND lsn < ? ORDER BY lsn"
                    for lsn, body in database.execute(query, (after, end)):
                        op = decode_op(body)
                        self.ops[region][op.slot, op.origin, op.epoch, op.seq] = op
                        self._read[region, cell, end] = lsn
                database.close()

    def _path(self, region: str, cell: str) -> Path:
        return self._data / "regions" / region / "cells" / cell / "store.db"

    def digests(self, region: str) -> dict[str, list[str]]:
        """Of every slot that a cell of the region serves or follows; what a move left behind is history."""
        found: dict[str, SlotDigest] = defaultdict(lambda: SlotDigest(4))
        query = (
            "SELECT name, pk, sk, hlc, origin, items.seq, value IS NULL FROM items JOIN slots ON slots.id = items.slot"
            " JOIN leases ON leases.slot = items.slot WHERE state IN ('active', 'frozen', 'away')"
        )
        for cell in _CELLS:
            database = _reading(self._path(region, cell))
            for name, pk, sk, *version, dead in database.execute(query):
                if "#" not in name:
                    found[name].add(pk, sk, version, dead=bool(dead))
            database.close()
        return {slot: digest.hexadecimal() for slot, digest in found.items()}

    def handled(self, region: str) -> dict[str, int]:
        """Event id -> how often the spoke ``rounds`` of the region had an effect of it."""
        database = _reading(self._data / "regions" / region / "spokes" / "spokes.db")
        found = {
            key: int(value) for key, value in database.execute("SELECT key, value FROM state WHERE spoke='rounds'")
        }
        database.close()
        return {key: value for key, value in found.items() if not key.startswith("eisbach:")}


def behind(logs: Logs, acks: Sequence[Ack]) -> list[str]:
    """What has not arrived yet: acknowledged writes that a region lacks, ops that only one has, digests, effects."""
    logs.read()
    one, other = (logs.ops[region] for region in REGIONS)
    missing = [f"{region} lacks {ack}" for region in REGIONS for ack in acks if _id(ack) not in logs.ops[region]]
    missing += [f"only one region has {op}" for op in sorted(one.keys() ^ other.keys())]
    if not missing:
        digests = [logs.digests(region) for region in REGIONS]
        missing += [f"slot {slot} differs" for slot in sorted(digests[0]) if digests[0][slot] != digests[1].get(slot)]
    for region in REGIONS:
        handled = logs.handled(region)
        wanted = {op.id for op in logs.ops[region].values() if _counts(op) and op.origin == region}
        missing += [f"the spoke of {region} has not handled {event}" for event in sorted(wanted - handled.keys())]
    return missing


def breaches(logs: Logs, book: Book, acks: Sequence[Ack]) -> list[str]:
    """What may never be, however long one waits."""
    found = [*book.breaches]
    found += [f"key {place} was answered with {sorted(sids)}" for place, sids in book.sids.items() if len(sids) > 1]
    for region in REGIONS:
        ops = logs.ops[region]
        found += _not_dense(region, ops)
        started = Counter(
            (op.origin, op.event.subject)
            for op in ops.values()
            if op.event is not None and op.event.type == _COUNTED[1]
        )
        begun = {sid for _, sid in started}
        found += [f"{region} never began the session of {ack}" for ack in acks if ack.sid and ack.sid not in begun]
        others = [(ack, ops[_id(ack)]) for ack in acks if ack.title and not _fits(ops[_id(ack)], ack)]
        found += [f"{ack} in {region} is another write: {op}" for ack, op in others]
        found += [f"{region}: {sid} began {n} times in {origin}" for (origin, sid), n in started.items() if n > 1]
        found += [f"the spoke of {region} had {n} effects of {e}" for e, n in logs.handled(region).items() if n != 1]
    other = logs.ops[REGIONS[1]]
    found += [f"{place} is two writes" for place, op in logs.ops[REGIONS[0]].items() if other.get(place, op) != op]
    return found


def _id(ack: Ack) -> OpId:
    return ack.slot, ack.region, *ack.mark


def _counts(op: Op) -> bool:
    return op.event is not None and op.event.type in _COUNTED


def _fits(op: Op, ack: Ack) -> bool:
    change = op.change
    if change is None or change.value is None or not change.sk.endswith(f"/{ack.title}"):
        return False
    return float(msgspec.json.decode(change.value)["pos_s"]) == ack.pos_s


def _not_dense(region: str, ops: dict[OpId, Op]) -> Iterator[str]:
    chains: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for slot, origin, epoch, seq in ops:
        chains[slot, origin, epoch].append(seq)
    for chain, seqs in chains.items():
        if len(seqs) != max(seqs):
            yield f"{region}: {chain} has {len(seqs)} ops up to {Mark(chain[2], max(seqs))}"
