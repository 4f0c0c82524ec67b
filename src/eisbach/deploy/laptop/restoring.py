"""``eisbach restore cell/R/C`` on a laptop: from a data folder to the ports of ``bootstrap.restore_cell``.

Runs in the command's own process while the cell's is down; the region's agent and its control process say which slots
are the cell's.
"""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from eisbach.bootstrap.control_client import HttpMoves
from eisbach.bootstrap.restore_cell import NewStore, RestoredCell, Sources, restore_cell
from eisbach.bootstrap.restore_kept import KeptSlots
from eisbach.bootstrap.restore_owners import Whose, owners_by_record, under_way
from eisbach.cell.archive_reader import ArchiveReader
from eisbach.cell.move_http import HttpCells
from eisbach.cell.ownership import slots_in
from eisbach.cell.peer_http import HttpPeer
from eisbach.control.slot_record import SlotRecord
from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.errors import Invalid, NotFound, Unavailable
from eisbach.kernel.slotmap import decode_signed
from eisbach.kernel.slots import Group, Slot
from eisbach.settings import CellProcess, Secrets, read_process

__all__ = ["other_cells", "read_cell", "restore"]


def read_cell(data: Path, target: str) -> CellProcess:
    """The document of a cell that has backups or twins.

    Raises:
        Invalid: the target is no cell, or there is nothing to restore it from.
        NotFound: the data folder has no such cell.
    """
    words = target.split("/")
    if len(words) != 3 or words[0] != "cell":
        raise Invalid(f"{target!r} is no cell; write cell/REGION/CELL, e.g. cell/eu-central/c1")
    path = data / "processes" / f"cell-{words[1]}-{words[2]}.json"
    if not path.is_file():
        raise NotFound(f"{path} is not there: {data} has no {target}")
    process = read_process(path, CellProcess)
    if not process.backups and not process.peers:
        raise Invalid(f"{target} makes no backups and has no twin: there is nothing to restore it from")
    return process


def other_cells(data: Path, process: CellProcess, *, without: Collection[str]) -> dict[str, str]:
    """The other cells of its region -> ``host:port``, but those that are lost, too.

    Raises:
        Invalid: no such cell is to be left out.
    """
    found = {}
    for path in sorted((data / "processes").glob(f"cell-{process.region}-*.json")):
        other = read_process(path, CellProcess)
        if other.cell != process.cell:
            found[other.cell] = f"{other.host}:{other.port}"
    if unknown := sorted(set(without) - found.keys()):
        raise Invalid(f"{unknown[0]} is no other cell of {process.region}; there are: {', '.join(found) or 'none'}")
    return {cell: address for cell, address in found.items() if cell not in without}


async def moves_under_way(process: CellProcess) -> list[SlotRecord]:
    """The moves of the cell that ``restore`` would give up, if they have not ended before it.

    Raises:
        Unavailable: the control process does not answer.
    """
    if not process.control:
        return []
    secrets = read_process(Path(process.secrets), Secrets)
    return under_way(await HttpMoves(process.control, secrets.service_token).records(), process.cell, lets_go=False)


async def restore(
    process: CellProcess,
    others: Mapping[str, str],
    progress: Callable[[int, int], None],
    *,
    ended: Callable[[SlotRecord], None],
) -> RestoredCell:
    """Fill the cell's store.

    Args:
        process: the cell.
        others: ``other_cells``.
        progress: is told (slots done, slots in all).
        ended: is told of each move of the cell that was under way, as it ended, before anything else is done: who
            tries again after a failure finds none.

    Raises:
        Invalid: there is a store.
        Unavailable: agent, control process, a twin or a cell that gave a slot does not answer; nothing appeared.
        Corrupt: a backup cannot be read.
    """
    secrets = read_process(Path(process.secrets), Secrets)
    clock = SystemClock()
    owners = await asyncio.to_thread(_owners, process, secrets)
    whose = Whose(owners, {}, {})
    if process.control:
        whose = await owners_by_record(owners, process.cell, HttpMoves(process.control, secrets.service_token))
    for record in whose.ended:
        ended(record)
    owners = whose.owners
    slots = [slot for slot, owner in owners.items() if owner == process.cell]
    moved = {slot: owners[slot] for slot in slots_in(process.slots) if owners.get(slot, "") not in ("", process.cell)}
    reader = None
    if process.backups:
        reader = ArchiveReader(FileBlobs(Path(process.backups)), kek=bytes.fromhex(secrets.backup_key), clock=clock)
    async with AsyncExitStack() as stack:
        peers = {}
        for peer in process.peers:
            residency = process.residencies.get(peer.region)
            if all(slot.group.residency in ("any", residency) for slot in slots):
                peers[peer.region] = HttpPeer(peer.door, token=secrets.peer_token)
                stack.push_async_callback(peers[peer.region].aclose)
        new = NewStore(path=Path(process.folder) / "store.db", region=process.region, cell=process.cell, clock=clock)
        cells = HttpCells(others, token=secrets.service_token)
        stack.push_async_callback(cells.aclose)
        kept = KeptSlots(cells, {slot: one for slot, one in whose.kept.items() if one.cell in others})
        sources = Sources(reader, peers, moved, kept, whose.epochs)
        return await restore_cell(new, slots, sources, progress=lambda done: progress(done, len(slots)))


def _owners(process: CellProcess, secrets: Secrets) -> dict[Slot, str]:
    """By the map in force, not by the first one: slots may have moved since. What moved last is in the records."""
    if not process.agent:
        return dict.fromkeys(slots_in(process.slots), process.cell)
    request = urllib.request.Request(  # noqa: S310 - an http address from our own document
        f"{process.agent}/map", headers={"Authorization": f"Bearer {secrets.service_token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - as above
            slot_map = decode_signed(answer.read(), bytes.fromhex(secrets.map_key))
    except (OSError, urllib.error.URLError, json.JSONDecodeError) as error:
        raise Unavailable(f"the region's agent does not give its slot map: {error}; start the region first") from error
    return {
        Slot(Group.parse(group), number): owner
        for group, owners in slot_map.groups.items()
        for number, owner in enumerate(owners)
    }
