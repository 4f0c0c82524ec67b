"""A store that may be an older copy of itself: a machine put back from a snapshot, a file from a backup (P21).

Its next numbers were given already: the twin would take new writes for repeats and drop them, and spokes their events.
So a store that is not where it was opened last (another boot, another file) takes no write before everybody who may
know more has been asked: the hub, its backups, and each region that may hold its slots, about every slot as it was at
the opening.
Who knows more condemns it, for good: the process ends and says how the cell is made anew. Whoever does not answer is
waited for, but not for ever: a region that is cut off must not keep a whole one from coming back after a power cut.
Reads and the questions of others are answered meanwhile: after a power cut of everything, all wait for each other.
Costs nothing when a process is started anew on a running machine. May not know: how a cell is restored.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog

from eisbach.bootstrap.cell_ground import CellStore, Parts
from eisbach.bootstrap.cell_others import may_hold
from eisbach.cell.backup_format import days_between, decode_archived
from eisbach.cell.puller import PeerTransport, PullAnswer, PullRequest
from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.kernel.errors import EisbachError, Invalid, LogGap, Retryable, Unavailable
from eisbach.kernel.limits import BACKUPS_KEPT
from eisbach.kernel.slots import Slot
from eisbach.kernel.versions import Mark, Vector
from eisbach.ports.blobs import Blobs

__all__ = ["WORD_MAX_S", "ProvableStore", "prove", "twin_says"]

WORD_MAX_S: Final = 30.0
"""So long an answer is waited for."""
_AGAIN_S: Final = 0.2
_SLOTS_AT_ONCE: Final = 1_000
_NOTHING: Final = Mark(0, 0)
_OWNED: Final = ("active", "frozen", "away")
_Ask = Callable[[], Awaitable[str]]
_logger = structlog.get_logger(__name__)


class ProvableStore(CellStore, Protocol):
    """A store in a file of its own."""

    unproved: str

    async def whereabouts(self) -> tuple[str, str]:
        """(where it was opened last, why it was found to be an older copy)."""
        ...

    async def stays_at(self, place: str) -> None:
        """It is no older copy."""
        ...

    async def condemn(self, why: str) -> None:
        """It is one."""
        ...


@dataclass(frozen=True, slots=True)
class _Begun:
    """The store as it was opened: what comes later may come from those who are asked."""

    vectors: Mapping[Slot, Vector]
    epochs: Mapping[Slot, int]
    last_lsn: int
    hub_heard: asyncio.Event


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
    if place and was == place:
        heard.set()
        return heard
    epochs = {slot: lease.epoch for slot, lease in (await store.leases()).items() if lease.state in _OWNED}
    begun = _Begun({slot: await store.vector(slot) for slot in epochs}, epochs, store.statistics().last_lsn, heard)
    store.unproved = "whether this store is an older copy of itself is being asked; nothing was written, try again"
    parts.followers.once(f"older-copy-{cell}", lambda: _ask_all(parts, store, begun, cell, place))
    return heard


async def _ask_all(parts: Parts, store: ProvableStore, begun: _Begun, cell: str, place: str) -> None:
    process = parts.process
    questions: dict[str, _Ask] = {}
    for peer in process.peers:
        held = {slot: v for slot, v in begun.vectors.items() if may_hold(parts, peer, str(slot.group))}
        transport = parts.host.peer(peer.door, parts.secrets.peer_token)
        parts.stack.push_async_callback(transport.aclose)
        if held:
            questions[f"region {peer.region}"] = _question(store, begun, transport, held, (process.region, peer.region))
    if (backups := _backups(parts)) is not None:
        questions["backups"] = lambda: backups_say(backups, begun.vectors, cell=cell, now_ms=parts.clock.wall_ms())
    until_ms, source, why = parts.clock.monotonic_ms() + int(1000 * WORD_MAX_S), f"{process.region}/{cell}", ""

    async def hub() -> None:
        await _word(parts, "the hub", lambda: _hub_says(parts, store, begun, source), until_ms)
        begun.hub_heard.set()

    try:
        async with asyncio.TaskGroup() as group:  # the first who holds more ends it
            group.create_task(hub())
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


def _question(
    store: ProvableStore,
    begun: _Begun,
    transport: PeerTransport,
    held: Mapping[Slot, Vector],
    regions: tuple[str, str],
) -> _Ask:
    region, twin = regions

    async def ask() -> str:
        found = await twin_says(transport, held, region=region, twin=twin)
        leases = await store.leases()
        for slot, why in found.items():
            lease = leases[slot]
            if lease.epoch != begun.epochs[slot] or lease.state not in _OWNED:
                continue  # it has moved since: its new owner writes
            if lease.state == "frozen":
                raise Unavailable(f"slot {slot} is on its way: whether another cell of this region has it is not known")
            return f"region {twin} {why}"
        return ""

    return ask


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


async def _hub_says(parts: Parts, store: ProvableStore, begun: _Begun, source: str) -> str:
    last = await parts.event_log.last(source)
    if store.statistics().unpublished and await store.is_unpublished_at(last.sequence):
        return ""  # a store made anew: the log's numbers are not its own
    if last.last_lsn > begun.last_lsn:
        return f"the hub has its events up to lsn {last.last_lsn}, and it ends at {begun.last_lsn}"
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
        texts = list(vectors)
        for first in range(0, len(texts), _SLOTS_AT_ONCE):
            slots = {text: vectors[text] for text in texts[first : first + _SLOTS_AT_ONCE]}
            request = PullRequest(slots=slots, limit=1, wait_ms=0, region=region, anew=True)
            answer = await transport.pull(owner, request)
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
