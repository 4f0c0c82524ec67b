"""The judge: every promise that a run can break, checked over all answers and all stores.

Each check is a generator of sentences, one per breach, that begin with the promise's number (design section 8); none
is the promise kept. May not know: how the run was made, or any rule of the code under test but the formats.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import msgspec

from eisbach.domain.progress import PROGRESS_PREFIX, WATCHLIST_PREFIX
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.hlc import hlc_ms
from eisbach.kernel.ops import Op
from eisbach.kernel.versions import Mark
from eisbach.testing.world.checks_places import places
from eisbach.testing.world.evidence import Evidence
from eisbach.testing.world.history import History, Intent
from eisbach.testing.world.hostile import unsettled
from eisbach.testing.world.nodes import TYPES, poisonous

__all__ = ["judge"]

OpId = tuple[str, str, int, int]


def judge(history: History, regions: Sequence[Evidence]) -> list[str]:
    """Every breach of a promise."""
    found: list[str] = []
    for check in (_acknowledged, _one_writer, _dense, _handled, _sick, _converged, _keys, _merged, _losers,
                  _kept_values, _clocks, _read_your_writes, _refused, places, _shed, _erased):  # fmt: skip
        found += check(history, regions)
    return found


def _id(op: Op) -> OpId:
    return op.slot, op.origin, op.epoch, op.seq


def _index(evidence: Evidence) -> dict[OpId, Op]:
    return {_id(op): op for op in evidence.ops}


def _lost(history: History, regions: Sequence[Evidence]) -> dict[OpId, Op]:
    """What was on a disk that was put back from an older copy, and nobody else had: no backup, no other region."""
    gone, known = _gone(regions), [_index(evidence) for evidence in regions]
    return {
        place: op
        for put_back in history.put_back
        for place, op in put_back.gone.items()
        if place not in history.archived
        and not any(place in index and _bare(index[place], gone) == _bare(op, gone) for index in known)
    }


def _acknowledged(history: History, regions: Sequence[Evidence]) -> Iterator[str]:
    """P1: what was acknowledged is in the log of every region, with what was asked for."""
    gone, lost = _gone(regions), _lost(history, regions)
    for evidence in regions:
        index = _index(evidence)
        for intent, ack in history.acknowledged():
            op, was = (found.get((ack.slot, ack.region, *ack.mark)) for found in (index, lost))
            if was is not None and not ack.peer and (was.change is None or _is_of(was, intent, ack.value)):
                continue  # class ``local``, and lost with the disk: not promised (P21)
            if op is None:
                yield f"P1 {evidence.region} lacks {ack.mark} of {ack.region}, acknowledged for {_name(intent)}"
            elif op.change is None and intent.account in gone:
                continue  # nothing of it is left, as promised
            elif not _is_of(op, intent, ack.value):
                yield f"P1 {evidence.region} has another write at {op.id} than {_name(intent)}: {op.change}"


def _name(intent: Intent) -> str:
    return f"intent {intent.number} ({intent.kind} {intent.item})"


def _is_of(op: Op, intent: Intent, value: int) -> bool:
    change = op.change
    if intent.kind == "progress":
        return change is not None and change.sk.endswith(f"/{intent.item}") and _pos(op) == value
    if intent.kind in ("save", "unsave"):
        fits = change is not None and change.sk.startswith(WATCHLIST_PREFIX) and change.sk.endswith(f"/{intent.item}")
        return fits and change is not None and (change.value is None) == (intent.kind == "unsave")
    if intent.kind == "erase":
        return change is not None and change.sk == ERASED
    if intent.kind == "sign_in":
        return change is not None and change.sk == "account"
    return True


def _pos(op: Op) -> int | None:
    """The position that an op set, None for other ops."""
    if op.change is None or op.change.value is None or not op.change.sk.startswith(PROGRESS_PREFIX):
        return None
    return int(msgspec.json.decode(op.change.value)["pos_s"])


def _one_writer(history: History, regions: Sequence[Evidence]) -> Iterator[str]:
    """P2: an op id names one write, wherever it is kept; of a region and slot, epoch follows epoch, never beside it.

    What was lost with a disk may still lie where the slot was before.
    """
    seen: dict[OpId, Op] = {}
    gone, lost = _gone(regions), _lost(history, regions)
    for evidence in regions:
        kept = [op for log in evidence.logs.values() for op in log]
        for op in (*evidence.ops, *kept):
            other = seen.setdefault(_id(op), op)
            if other != op and _bare(other, gone) != _bare(op, gone):
                yield f"P2 {op.id} is two writes: {other.change} and {op.change}"
        mine = {op.id for op in evidence.ops}
        yield from (
            f"P2 {op.id} was written beside the owner of its slot in {evidence.region}"
            for op in kept
            if op.origin == evidence.region and op.id not in mine and _id(op) not in lost
        )
        chains: dict[str, list[Op]] = defaultdict(list)
        for op in evidence.ops:
            if op.origin == evidence.region:
                chains[op.slot].append(op)
        for ops in chains.values():
            for one, after in pairwise(sorted(ops, key=lambda op: (op.epoch, op.seq))):
                if after.hlc <= one.hlc and not one.more:
                    yield f"P2 {after.id} was written before {one.id}, under a later epoch or sequence number"


def _dense(_history: History, regions: Sequence[Evidence]) -> Iterator[str]:
    """P3: the log of every region is dense from 1 in each (slot, origin, epoch), without repeats."""
    for evidence in regions:
        chains: dict[tuple[str, str, int], list[int]] = defaultdict(list)
        for op in evidence.ops:
            chains[op.slot, op.origin, op.epoch].append(op.seq)
        for chain, seqs in chains.items():
            if sorted(seqs) != list(range(1, len(seqs) + 1)):
                yield f"P3 {evidence.region} holds {chain} with gaps or repeats: {sorted(seqs)[:50]}"


def _handled(history: History, regions: Sequence[Evidence]) -> Iterator[str]:
    """P3: the spoke handled every event of its region's log, once, and per subject and origin in order.

    Of what was lost with a disk it may have heard; then nothing else bears that number.
    """
    lost = _lost(history, regions)
    for evidence in regions:
        wanted = Counter(_told(evidence.ops))
        found = Counter((subject, event) for subject, events in evidence.handled.items() for event in events)
        found -= Counter(found.keys() & set(_told(lost.values()))) - wanted
        if missing := wanted - found:
            yield f"P3 the spoke of {evidence.region} never handled {sorted(missing)[:5]}"
        if surplus := found - wanted:
            yield f"P3 the spoke of {evidence.region} handled twice, or what was never written: {sorted(surplus)[:5]}"
        if not evidence.outwaited:  # else it gave up waiting for a predecessor, and says so: never an event
            yield from _out_of_order([*lost.values(), *evidence.ops], evidence, evidence.handled)


def _told(ops: Iterable[Op]) -> list[tuple[str, str]]:
    """(subject, event id) of what the spoke is told of."""
    return [(op.event.subject, op.id) for op in ops if op.event is not None and op.event.type in TYPES]


def _out_of_order(ops: Iterable[Op], evidence: Evidence, handled: Mapping[str, Sequence[str]]) -> Iterator[str]:
    types = {op.id: op.event.type for op in ops if op.event is not None}
    for subject, events in handled.items():
        last: dict[tuple[str, str], tuple[int, int]] = {}
        for event in events:
            slot_origin, epoch, seq = event.rsplit(":", 2)
            place, chain = (int(epoch), int(seq)), (slot_origin, types.get(event, ""))
            if place < last.get(chain, (0, 0)):
                yield f"P3 the spoke of {evidence.region} handled {event} of {subject} after {last[chain]}"
            last[chain] = place


def _differing(wanted: Counter[str], found: Counter[str]) -> Counter[str]:
    return (wanted - found) + (found - wanted)


def _sick(history: History, regions: Sequence[Evidence]) -> Iterator[str]:
    """P15: a spoke that failed drains in order, each effect once; its poison is set aside once, and nothing else."""
    lost = _lost(history, regions)
    for evidence in regions:
        if (sick := evidence.sick) is None:
            continue
        wanted = {op.id for op in evidence.ops if op.event is not None and op.event.type in TYPES}
        poison = {event for event in wanted if poisonous(event)}
        found = Counter(event for events in sick.handled.values() for event in events)
        spared = Counter({op.id: 1 for op in lost.values() if op.id not in wanted})
        if wrong := _differing(Counter(wanted - poison), found - spared):
            yield f"P15 the sick spoke of {evidence.region} never handled, or more than once: {sorted(wrong)[:5]}"
        if wrong := _differing(Counter(poison), Counter(sick.dead) - spared):
            yield f"P15 the sick spoke of {evidence.region} has wrong dead letters: {sorted(wrong)[:5]}"
        if not sick.outwaited:
            yield from _out_of_order([*lost.values(), *evidence.ops], evidence, sick.handled)
        yield from (f"P20 {evidence.region} {wrong}" for wrong in unsettled(sick.met, sick.refused))


def _converged(_history: History, regions: Sequence[Evidence]) -> Iterator[str]:
    """P4: equal digests."""
    first = regions[0]
    for other in regions[1:]:
        for slot in sorted(first.digests.keys() | other.digests.keys()):
            if first.digests.get(slot) != other.digests.get(slot):
                yield f"P4 {first.region} and {other.region} differ in slot {slot}"


def _keys(history: History, regions: Sequence[Evidence]) -> Iterator[str]:
    """P5: the same key is one session everywhere, begun once per region, and within a region one answer.

    Keys that were given after an older copy was made are lost with the disk (P21): there, a session may begin again.
    """
    forgetful = {put_back.region for put_back in history.put_back}
    for evidence in regions:
        started = Counter(
            (op.origin, op.event.subject)
            for op in evidence.ops
            if op.event is not None and op.event.type in ("tv.playback.session.started.v1", "tv.account.created.v1")
        )
        for (origin, sid), count in started.items():
            if count > 1 and origin not in forgetful:
                yield f"P5 {sid} began {count} times in {origin}, as {evidence.region} has it"
    answers: dict[tuple[str, str], set[str]] = defaultdict(set)
    marks: dict[tuple[str, str, str], set[Mark]] = defaultdict(set)
    for intent in history.intents:
        if intent.kind != "play":
            continue
        answers[intent.account, intent.item] |= {sid for _, sid, _ in intent.sids}
        for ack in intent.acks:
            if ack.region in forgetful:
                continue
            marks[intent.account, intent.item, ack.region].add(ack.mark)
    for place, sids in answers.items():
        if len(sids) > 1:
            yield f"P5 key {place} gave several sessions: {sorted(sids)}"
    for at, told in marks.items():
        if len(told) > 1:
            yield f"P5 key {at} was answered with several writes: {sorted(told)}"


def _fold(regions: Sequence[Evidence]) -> dict[tuple[str, str, str], list[Op]]:
    """Item -> its writes, lowest version first."""
    every = {_id(op): op for evidence in regions for op in evidence.ops}
    found: dict[tuple[str, str, str], list[Op]] = defaultdict(list)
    for op in every.values():
        if op.change is not None:
            found[op.slot, op.change.pk, op.change.sk].append(op)
    return {place: sorted(ops, key=lambda op: op.version) for place, ops in found.items()}


def _merged(_history: History, regions: Sequence[Evidence]) -> Iterator[str]:
    """P9, P11: of one item the higher version, a deletion included, and nothing else, in every region."""
    winners = {place: ops[-1] for place, ops in _fold(regions).items()}
    for evidence in regions:
        for place, op in winners.items():
            item = evidence.items.get(place)
            value = item.value if item is not None else None
            assert op.change is not None
            if value != op.change.value or (item is not None and item.version != op.version):
                yield f"P9/P11 {evidence.region} shows {value!r} for {place}; the highest write is {op.id}"
        for place in evidence.items.keys() - winners.keys():
            yield f"P11 {evidence.region} has {place}, which nobody wrote"


def _losers(history: History, regions: Sequence[Evidence]) -> Iterator[str]:
    """P9: a write that another one beat without knowing of it is in the conflict log of some region.

    Known is what some write names as its base: each store's writes replace what it shows, so what nobody names was
    beaten before anybody could replace it.
    """
    kept = history.burnt_losers | {(c.slot, *c.key, c.loser) for evidence in regions for c in evidence.conflicts}
    gone = _gone(regions)  # whose conflicts are erased where the slot is, and swept where it was
    for evidence in regions:
        mine = {(c.slot, *c.key, c.loser) for c in evidence.conflicts}
        mine |= history.burnt_losers  # on a disk that is gone: what the slot has left behind may be the last of it
        for one in evidence.conflicts_left:
            if one.key.pk not in gone and (one.slot, *one.key, one.loser) not in mine:
                yield f"P9 a conflict of slot {one.slot} stayed behind in a move in {evidence.region}: {one.loser}"
    for place, ops in _fold(regions).items():
        if place[1] in gone:
            continue
        replaced = {op.change.base[:2] for op in ops if op.change is not None and op.change.base is not None}
        for op in ops[:-1]:
            if op.version[:2] not in replaced and (*place, op.version) not in kept:
                yield f"P9 {op.id} of item {place[1:]} was overwritten silently: it is in no conflict log"


def _kept_values(_history: History, regions: Sequence[Evidence]) -> Iterator[str]:
    """P9: what a conflict log keeps of a loser is what the loser wrote, and its winner is the higher one."""
    values = {(*place, op.version): op.change.value for place, ops in _fold(regions).items() for op in ops if op.change}
    for evidence in regions:
        for one in evidence.conflicts:
            place = (one.slot, *one.key)
            if values.get((*place, one.loser), b"?") != one.value:
                yield f"P9 {evidence.region} keeps {one.value!r} as what {one.loser} of item {place} had written"
            if one.winner <= one.loser or (*place, one.winner) not in values:
                yield f"P9 {evidence.region} names {one.winner} as who beat {one.loser} of item {place}"


def _clocks(history: History, regions: Sequence[Evidence]) -> Iterator[str]:
    """P10: hybrid time rises with every write of a region, and never runs more than 500 ms ahead."""
    lost = _lost(history, regions)
    for evidence in regions:
        for cell, log in evidence.logs.items():
            own = [op for op in log if op.origin == evidence.region]
            if cell in history.restored:
                own.sort(key=lambda op: (op.slot, op.epoch, op.seq))
            by_transaction = [op for op, after in pairwise(own) if not (op.more and after.slot == op.slot)] + own[-1:]
            for one, other in pairwise(by_transaction):
                if other.hlc <= one.hlc and (cell not in history.restored or one.slot == other.slot):
                    yield f"P10 {other.id} is stamped {other.hlc}, not after {one.id} with {one.hlc}"
        index = {place: op for place, op in _index(evidence).items() if place not in lost}
        for intent, ack in history.acknowledged():
            op = index.get((ack.slot, ack.region, *ack.mark))
            if op is not None and ack.region == evidence.region and hlc_ms(op.hlc) > ack.ceiling_ms:
                ahead = hlc_ms(op.hlc) - ack.ceiling_ms
                yield f"P10 {op.id} of {_name(intent)} is stamped {ahead} ms beyond what its clock may reach"


def _read_your_writes(history: History, regions: Sequence[Evidence]) -> Iterator[str]:
    """A read that names a position shows that write or a higher one, or says that it may be old."""
    every, lost = {_id(op): op for evidence in regions for op in evidence.ops}, _lost(history, regions).values()
    latest: dict[tuple[str, int], Op] = {}  # a try that was repeated sets the same again, and so does every pause
    for op in sorted((*every.values(), *lost), key=lambda op: op.version):
        if (pos := _pos(op)) is not None and op.change is not None:
            latest[op.change.pk, pos] = op
    lost_marks = {(op.origin, op.epoch, op.seq, op.change.pk) for op in lost if op.change is not None}
    by_mark = {(op.origin, op.epoch, op.seq, op.change.pk): op for op in every.values() if op.change is not None}
    # What such an account was shown is found by its value, and the ops that had it are emptied by now (seed 705998).
    erased = {intent.item for intent in history.intents if intent.kind == "erase"}
    for intent in history.intents:
        for read in intent.reads:
            if read.after is None or read.aged or intent.account in erased:
                continue
            region, mark = read.after
            if (region, *mark, intent.account) in lost_marks:
                continue
            mine = by_mark.get((region, *mark, intent.account))
            shown = latest.get((intent.account, read.pos_s)) if read.pos_s is not None else None
            if mine is None:
                continue  # P1 says it
            if shown is None:
                yield f"RYW {_name(intent)} found nothing after {mine.id} was acknowledged"
            elif shown.version < mine.version:
                yield f"RYW {_name(intent)} was shown {shown.id}, older than {mine.id}, without a word"


def _refused(history: History, regions: Sequence[Evidence]) -> Iterator[str]:
    """P1, P6: what was refused with the word that nothing was written was not; reads are not refused by a freeze."""
    written = {pos for evidence in regions for op in evidence.ops if (pos := _pos(op)) is not None}
    for intent in history.intents:
        for code, value in intent.refusals:
            if intent.kind == "read" and code == "slot_frozen":
                yield f"P6 {_name(intent)} was refused because its slot is frozen; reads never are"
            if history.copies[f"try-{value}"] > 1:
                continue  # each copy's answer speaks for itself alone
            if intent.kind == "progress" and value in written:
                yield f"P1 {_name(intent)} was refused as not written ({code}), and its {value} was written"


def _shed(history: History, _regions: Sequence[Evidence]) -> Iterator[str]:
    """Shed is not dead (design section 5)."""
    yield from (f"SHED {what}" for what in history.shed_tries)


def _gone(regions: Sequence[Evidence]) -> set[str]:
    """Accounts of which some log has the mark of erasure."""
    return {op.change.pk for evidence in regions for op in evidence.ops if op.change and op.change.sk == ERASED}


def _bare(op: Op, gone: set[str]) -> Op:
    """The op without what an erasure takes from it."""
    erased = op.change is None or (op.change.pk in gone and op.change.sk != ERASED)
    return msgspec.structs.replace(op, change=None) if erased else op


def _erased(_history: History, regions: Sequence[Evidence]) -> Iterator[str]:
    """P22: of an erased account there is the mark, and no item, op body or lost conflict where its slot is."""
    gone = _gone(regions)
    for evidence in regions:
        yield from (
            f"P22 {evidence.region} shows {place}, of an erased account"
            for place in evidence.items
            if place[1] in gone and place[2] != ERASED
        )
        yield from (
            f"P22 {evidence.region} lists the loser {one.loser} of {one.key}, of an erased account"
            for one in evidence.conflicts
            if one.key[0] in gone
        )
        yield from (
            f"P22 {op.id} of an erased account is still to be read in {evidence.region}"
            for op in evidence.ops
            if op.change is not None and op.change.pk in gone and op.change.sk != ERASED
        )
