"""A cell with an empty store: its first start, or the loss of its disk?

Under epoch 1 a cell whose disk is gone would number its ops anew: the twin would take them for repeats and drop them.
So an empty store takes slots only when the region's control process never heard of this cell, its backups have
nothing of it, and no twin that answers holds an op of this region in its slots; where another region has begun each
twin has to answer, since all that this region knew may be gone. Else the process ends and says how the cell is
restored. Costs nothing after the first start. May not know: how a cell is restored.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import structlog

from eisbach.bootstrap.cell_ground import CellStore, Parts
from eisbach.cell.puller import PeerTransport, PullRequest
from eisbach.control.beginnings import Begin
from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.kernel.errors import EisbachError, Invalid, LogGap, Unavailable
from eisbach.kernel.slots import Slot

__all__ = ["refuse_a_lost_disk", "tell_control", "twin_knows"]

_AGAIN_S: Final = 0.5
_TWIN_S: Final = 5.0
_AT_ONCE: Final = 8
_logger = structlog.get_logger(__name__)


async def refuse_a_lost_disk(parts: Parts, store: CellStore, slots: Sequence[Slot]) -> None:
    """Called before an empty store gets its lease rows.

    Waits for the control process for as long as it does not answer: without its word nothing begins.

    Raises:
        Invalid: the cell was there before.
        Unavailable: a twin that has to answer does not, or not for all slots; the supervisor tries again.
    """
    process = parts.process
    target = f"cell/{process.region}/{process.cell}"
    why = await _backups_know(parts)
    for peer in process.peers:
        if why:
            break
        transport = parts.host.peer(peer.door, parts.secrets.peer_token)
        try:
            async with asyncio.timeout(_TWIN_S):
                why = await twin_knows(transport, slots, region=process.region, twin=peer.region)
        except (EisbachError, TimeoutError) as error:
            if process.others_began:
                raise Unavailable(
                    f"{target} has an empty store, and whether it had another is known to region {peer.region} alone,"
                    f" which does not answer ({error or 'no answer in time'}): the cell begins once it does, or is"
                    f" restored: eisbach fault down {target}, eisbach restore {target} --yes, eisbach heal {target}"
                ) from error
            _logger.info("first_start_without_twin", region=peer.region, error=str(error))
        finally:
            await transport.aclose()
    if not why:
        why = await tell_control(parts, store, holds=False)
    if why:
        raise Invalid(
            f"{target} has an empty store, but {why}. Its twin serves meanwhile. Fill it while it is down:"
            f" eisbach fault down {target}, eisbach restore {target} --yes, eisbach heal {target}"
        )


async def _backups_know(parts: Parts) -> str:
    process = parts.process
    if not process.backups:
        return ""
    found = await FileBlobs(Path(process.backups)).keys(f"log/{process.cell}/")
    return f"backups of it are in {process.backups}" if found else ""


async def twin_knows(transport: PeerTransport, slots: Sequence[Slot], *, region: str, twin: str) -> str:
    """Where the twin holds an op of ``region`` in one of the slots; empty: nowhere, for all that it says now.

    Raises:
        Unavailable: it does not answer, or not for one of the slots, and holds none in those that it tells of.
    """
    groups = await transport.owners()
    gate = asyncio.Semaphore(_AT_ONCE)

    async def look(slot: Slot) -> str:
        owners = groups.get(str(slot.group), ())
        if slot.number >= len(owners):
            return ""
        async with gate:
            request = PullRequest(slots={str(slot): {}}, limit=1, wait_ms=0, region=region)
            answer = await transport.pull(owners[slot.number], request)
        failed = answer.failed.get(str(slot), "")
        if failed == LogGap.code:  # its log is so old that the beginning is pruned
            return f"region {twin} has long had ops in slot {slot}"
        if failed or str(slot) in answer.moved:
            raise Unavailable(f"{twin} does not tell of slot {slot} now: {failed or 'it is moving'}")
        batch = answer.batches.get(str(slot))
        mark = batch.heads.get(region) if batch is not None else None
        return f"region {twin} holds its op {mark.epoch}.{mark.seq} in slot {slot}" if mark is not None else ""

    found = await asyncio.gather(*map(look, slots), return_exceptions=True)
    for one in found:
        if isinstance(one, str) and one:
            return one  # whatever it does not tell of the others
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return ""


async def tell_control(parts: Parts, store: CellStore, *, holds: bool) -> str:
    """Say which store is this cell's, for as long as it takes; what speaks against an empty one, or nothing."""
    process = parts.process
    identity = await store.identify(f"{parts.rng.getrandbits(128):032x}")
    asked = Begin(cell=process.cell, identity=identity, holds=holds)
    url, waited = f"{process.control}/cells/begin", 0
    headers = {"Authorization": f"Bearer {parts.secrets.service_token}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=2)) as session:
        while True:
            try:
                async with session.post(url, data=msgspec.json.encode(asked)) as answer:
                    said = (await answer.read())[:500]
                    if answer.status == 204:
                        return ""
                    if answer.status == 409 and b"cell_begun" in said:
                        return str(msgspec.json.decode(said)["detail"])
                    raise Unavailable(f"answered {answer.status}: {said.decode(errors='replace')}")
            except (aiohttp.ClientError, TimeoutError, Unavailable) as error:
                waited += 1
                if waited in (1, 20):
                    _logger.warning("control_not_told", cell=process.cell, control=url, error=repr(error))
                await parts.clock.sleep(_AGAIN_S * min(waited, 20))
