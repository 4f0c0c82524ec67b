"""A store that may be an older copy of itself: a machine put back from a snapshot, a file from a backup (P21).

Its next numbers were given already: the twin would take new writes for repeats and drop them, and spokes their events.
So a store that is not where it was opened last (another boot, another file, its log gone) takes no write before
everybody who may know more has been asked: the hub, its backups, and each region that may hold its slots, about every
slot as it was at the opening.
Who knows more condemns it, for good: the process ends and says how the cell is made anew. Whoever does not answer is
waited for, but not for ever: a region that is cut off must not keep a whole one from coming back after a power cut.
Reads and the questions of others are answered meanwhile: after a power cut of everything, all wait for each other.
Of one that is where it was the hub alone is asked, and no write waits for that: a process that is started anew on a
running machine serves at once. May not know: how a cell is restored.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from eisbach.bootstrap.cell_ground import CellStore, Parts
from eisbach.bootstrap.cell_others import may_hold
from eisbach.bootstrap.older_copy_moves import RecordsWord, evacuation_says, records_say
from eisbach.bootstrap.restore_kept import complete_from_giver
from eisbach.bootstrap.restore_owners import Decided, Kept, kept_by_others, settled_records
from eisbach.cell.backup_format import days_between, decode_archived
from eisbach.cell.puller import PeerTransport, PullAnswer, PullRequest
from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.kernel.errors import EisbachError, Invalid, LogGap, Retryable, Unavailable
from eisbach.kernel.limits import BACKUPS_KEPT
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Vector
from eisbach.ports.blobs import Blobs
from eisbach.ports.moves import SlotChunk
from eisbach.ports.store import Lease

if TYPE_CHECKING:
    from eisbach.engines.embedded.log_beside import LogBeside

__all__ = ["WORD_MAX_S", "ProvableStore", "prove", "twin_says"]

WORD_MAX_S: Final = 30.0
"""So long an answer is waited for."""
_AGAIN_S: Final = 0.2
_SLOTS_AT_ONCE: Final = 1_000
_NOTHING: Final = Mark(0, 0)
_OWNED: Final = ("active", "frozen", "away")
_WHY: Final = "a cell that takes part in it is asked whether its store is an older copy"
_ON_ITS_WAY: Final = ("frozen", "importing")
_Ask = Callable[[], Awaitable[str]]
_logger = structlog.get_logger(__name__)


class ProvableStore(CellStore, Protocol):
    """A store in a file of its own."""

    unproved: str
    beside: "LogBeside"

    async def whereabouts(self) -> tuple[str, str]:
        """(where it was opened last, why it was found to be an older copy)."""
        ...

    async def stays_at(self, place: str) -> None:
        """It is no older copy."""
        ...

    async def condemn(self, why: str) -> None:
        """It is one."""
        ...

    async def complete_import(self, slot: Slot, chunk: SlotChunk, *, move: int) -> None:
        """A piece of an import that was committed."""
        ...


@dataclass(frozen=True, slots=True)
class _Begun:
    """The store as it was opened: what comes later may come from those who are asked."""

    leases: Mapping[Slot, Lease]
    vectors: Mapping[Slot, Vector]
    """Of what it owns, or may have been given while it was down."""
    last_lsn: int
    hub_heard: asyncio.Event
    records: "asyncio.Future[RecordsWord | None]"
    """What moves have decided; None: there are none, or the control process is not heard."""
    givers: dict[Slot, Kept] = field(default_factory=dict)
    """Of slots that have arrived: who still has all of them."""


async def prove(parts: Parts, store: ProvableStore, *, cell: str, place: str) -> asyncio.Event:
    """Called when a store with slots is opened; leaves it unproved while others are asked.

    Returns what is set once the hub has been heard: what this opening publishes before would speak against it.

    Raises:
        Invalid: it is an older copy, as an earlier opening has found.
    """
    was, why = await store.whereabouts()
    if why:
        raise Invalid(why)
    heard = asyncio.Event()
    if store.beside.lost:
        _logger.warning("log_lost", cell=cell, why=store.beside.lost)
    if place and was == place and not store.beside.lost:
        last_lsn = store.statistics().last_lsn
        parts.followers.once(f"older-copy-{cell}", lambda: _ask_the_hub(parts, store, cell, heard, last_lsn))
        return heard
    leases = await store.leases()
    vectors = {slot: await store.vector(slot) for slot, lease in leases.items() if lease.state != "gone"}
    word: asyncio.Future[RecordsWord | None] = asyncio.get_running_loop().create_future()
    begun = _Begun(leases, vectors, store.statistics().last_lsn, heard, word)
    store.unproved = "whether this store is an older copy of itself is being asked; nothing was written, try again"
    parts.followers.once(f"older-copy-{cell}", lambda: _ask_all(parts, store, begun, cell, place))
    return heard


async def _ask_the_hub(parts: Parts, store: ProvableStore, cell: str, heard: asyncio.Event, last_lsn: int) -> None:
    """Of a store that is where it was: nothing waits for it but the relay, which needs the hub, too.

    What a place does not tell: a file, or its log, that was written over in place.
    """
    while True:
        try:
            why = await _hub_says(parts, store, last_lsn, f"{parts.process.region}/{cell}")
            if why:
                _logger.warning("older_copy", cell=cell, why=why)
                return await store.condemn(_refusal(parts, cell, why))
            return heard.set()
        except EisbachError:
            await parts.clock.sleep(_AGAIN_S)


async def _ask_all(parts: Parts, store: ProvableStore, begun: _Begun, cell: str, place: str) -> None:
    process = parts.process
    questions: dict[str, _Ask] = {}
    for peer in process.peers:
        held = {slot: v for slot, v in begun.vectors.items() if may_hold(parts, peer, str(slot.group))}
        transport = parts.host.peer(peer.door, parts.secrets.peer_token)
        parts.stack.push_async_callback(transport.aclose)
        if held:
            questions[f"region {peer.region}"] = _question(begun, transport, held, (process.region, peer.region))
    if (backups := _backups(parts)) is not None:
        questions["backups"] = lambda: _backups_question(parts, backups, begun, cell)
    until_ms, source, why = parts.clock.monotonic_ms() + int(1000 * WORD_MAX_S), f"{process.region}/{cell}", ""

    async def hub() -> None:
        await _word(parts, "the hub", lambda: _hub_says(parts, store, begun.last_lsn, source), until_ms)
        begun.hub_heard.set()

    async def records() -> None:
        if (moves := parts.host.moves(process.control, parts.secrets.service_token)) is None:
            begun.records.set_result(None)
            return
        await _word(parts, "the control process", lambda: _records_say(moves, begun, process.cell), until_ms)
        if not begun.records.done():
            begun.records.set_result(None)
        for slot, kept in begun.givers.items():
            complete = partial(_complete, parts, store, begun, slot, moves)
            await _word(parts, f"cell {kept.cell}, which gave slot {slot},", complete, until_ms)

    try:
        async with asyncio.TaskGroup() as group:  # the first who holds more ends it
            group.create_task(hub())
            group.create_task(records())
            for name, ask in questions.items():
                group.create_task(_word(parts, name, ask, until_ms))
    except* _HoldsMoreError as found:
        why = str(found.exceptions[0])
        _logger.warning("older_copy", cell=cell, why=why)
    while True:
        try:
            return await (store.condemn(_refusal(parts, cell, why)) if why else store.stays_at(place))
        except Retryable:  # a full disk: nothing is written until it is on record
            await parts.clock.sleep(_AGAIN_S)


def _question(begun: _Begun, transport: PeerTransport, held: Mapping[Slot, Vector], regions: tuple[str, str]) -> _Ask:
    region, twin = regions

    async def ask() -> str:
        known = begun.records.done()
        word = begun.records.result() if known else None
        asked = {slot: vector for slot, vector in held.items() if _is_ours(begun, word, slot)}
        found = await twin_says(transport, asked, region=region, twin=twin)
        unsure = [slot for slot in found if begun.leases[slot].state == "frozen" and word is None]
        if sure := [slot for slot in found if slot not in unsure]:
            return f"region {twin} {found[sure[0]]}"
        waits = [slot for slot in held if begun.leases[slot].state in _ON_ITS_WAY and not known]
        if unsure or waits:
            slot = (*unsure, *waits)[0]
            raise Unavailable(f"slot {slot} is on its way: whether another cell of this region has it is not known")
        return ""

    return ask


def _is_ours(begun: _Begun, word: RecordsWord | None, slot: Slot) -> bool:
    """Whether nobody else in the region may have written in it; from an active one nothing can have moved unseen."""
    if begun.leases[slot].state in _OWNED:
        return word is None or slot not in word.elsewhere
    return word is not None and slot in word.arrived


async def _records_say(decided: Decided, begun: _Begun, cell: str) -> str:
    records, _ = await settled_records(cell, decided, _WHY, lets_go=False)
    word = records_say(records, begun.leases, cell)
    begun.givers.update({slot: kept for slot, kept in kept_by_others(records, cell).items() if slot in word.arrived})
    why = word.why or evacuation_says(await decided.evacuation(), begun.leases, cell)
    if not why:
        begun.records.set_result(word)
    return why


async def _complete(parts: Parts, store: ProvableStore, begun: _Begun, slot: Slot, decided: Decided) -> str:
    """Take a committed import in once more: an older copy may have half of it, which nobody else can tell of."""
    kept, lease = begun.givers[slot], begun.leases[slot]
    if lease.state != "importing":
        return ""  # the slot was restored

    async def put(chunk: SlotChunk) -> None:
        await store.complete_import(slot, chunk, move=lease.move)

    # Asked here: a control process that dies before must not cost what its records have told.
    addresses = await decided.addresses()
    keepers = parts.host.keepers(addresses, parts.secrets.service_token)
    try:
        if kept.cell not in addresses or not await complete_from_giver(put, slot, keepers, kept):
            _logger.warning("older_copy_not_ruled_out", asked=f"cell {kept.cell}", error=f"nothing left of slot {slot}")
    finally:
        await keepers.aclose()
    return ""


async def _backups_question(parts: Parts, backups: Blobs, begun: _Begun, cell: str) -> str:
    vectors = {slot: v for slot, v in begun.vectors.items() if begun.leases[slot].state in _OWNED}
    return await backups_say(backups, vectors, cell=cell, now_ms=parts.clock.wall_ms())


class _HoldsMoreError(Exception):
    """Somebody holds more of the store than it does."""


async def _word(parts: Parts, who: str, ask: _Ask, until_ms: int) -> None:
    """Return when somebody has said that he holds no more, or has not answered for so long.

    Raises:
        _HoldsMoreError: he does.
    """
    while True:
        try:
            why = await ask()
        except EisbachError as error:
            if parts.clock.monotonic_ms() >= until_ms:
                _logger.warning("older_copy_not_ruled_out", asked=who, error=str(error))
                return
            await parts.clock.sleep(_AGAIN_S)
            continue
        if why:
            raise _HoldsMoreError(why)
        return


async def _hub_says(parts: Parts, store: ProvableStore, ends_at: int, source: str) -> str:
    last = await parts.event_log.last(source)
    if store.statistics().unpublished and await store.is_unpublished_at(last.sequence):
        return ""  # a store made anew: the log's numbers are not its own
    if last.last_lsn > ends_at:
        return f"the hub has its events up to lsn {last.last_lsn}, and it ends at {ends_at}"
    return ""


def _backups(parts: Parts) -> Blobs | None:
    if parts.host.backups is not None:
        return parts.host.backups
    return FileBlobs(Path(parts.process.backups)) if parts.process.backups else None


async def backups_say(blobs: Blobs, held: Mapping[Slot, Vector], *, cell: str, now_ms: int) -> str:
    """What the last segment of the cell's backups has that the store has not; empty: nothing."""
    for day in reversed(days_between(now_ms - int(BACKUPS_KEPT.total_seconds() * 1000), now_ms)):
        if not (keys := await blobs.keys(f"log/{cell}/{day}/")):
            continue
        vectors = {str(slot): vector for slot, vector in held.items()}
        for op in decode_archived(await blobs.read(keys[-1]), key=keys[-1]).ops:
            ours = vectors[op.slot].get(op.origin, _NOTHING) if op.slot in vectors else None
            if ours is not None and ours < Mark(op.epoch, op.seq):
                theirs = f"op {op.epoch}.{op.seq} of {op.origin} in slot {op.slot}"
                return f"its backups have {theirs}, and it ends at {ours.epoch}.{ours.seq}"
        return ""
    return ""


async def twin_says(
    transport: PeerTransport, held: Mapping[Slot, Vector], *, region: str, twin: str
) -> dict[Slot, str]:
    """Slots of which another region holds an op of ``region`` that the store has not.

    Raises:
        Unavailable: it does not answer, or not for every slot.
    """
    found: dict[Slot, str] = {}
    groups = await transport.owners()
    asked: dict[str, dict[str, dict[str, Mark]]] = {}
    for slot, vector in held.items():
        owners = groups.get(str(slot.group), ())
        if slot.number < len(owners):
            asked.setdefault(owners[slot.number], {})[str(slot)] = dict(vector)
    for owner, vectors in sorted(asked.items()):
        while vectors:
            slots = dict(islice(vectors.items(), _SLOTS_AT_ONCE))
            request = PullRequest(slots=slots, limit=1, wait_ms=0, region=region, anew=True)
            answer = await transport.pull(owner, request)
            # A full answer does not say of a slot without ops that there are none: it is asked for again.
            told = answer.batches.keys() | answer.failed.keys() if answer.full and answer.batches else slots.keys()
            for text in told & slots.keys():
                del vectors[text]
            found |= _more(answer, slots, region)
            failed = (text for text, code in answer.failed.items() if code not in ("residency", LogGap.code))
            left = [*answer.moved, *failed]
            if left:
                raise Unavailable(f"cell {owner} of region {twin} does not answer for slot {left[0]} now")
    return found


def _more(answer: PullAnswer, slots: Mapping[str, Vector], region: str) -> dict[Slot, str]:
    found: dict[Slot, str] = {}
    for text, batch in answer.batches.items():
        theirs, ours = batch.heads.get(region, _NOTHING), slots[text].get(region, _NOTHING)
        if theirs > ours:
            what = f"{theirs.epoch}.{theirs.seq} in slot {text}, and it ends at {ours.epoch}.{ours.seq}"
            found[Slot.parse(text)] = f"holds its op {what}"
    for text, code in answer.failed.items():
        if code == LogGap.code:
            found[Slot.parse(text)] = f"has forgotten ops of slot {text} that it had acknowledged, and that it has not"
    return found


def _refusal(parts: Parts, cell: str, why: str) -> str:
    target = f"cell/{parts.process.region}/{cell}"
    return (
        f"{target} has an older copy of its store: {why}. It writes nothing, since its numbers would be used twice."
        f" Its twin serves meanwhile. Make it anew: eisbach fault down {target}, eisbach restore {target} --yes,"
        f" eisbach heal {target}"
    )
