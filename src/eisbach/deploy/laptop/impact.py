"""Who is hurt: from a stage and the states of its processes to the first sentence of ``eisbach status``.

Pure, and the design in small (section 7): what the death of each kind of process means in each stage.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from eisbach.deploy.laptop.cuts import Cut, span
from eisbach.deploy.laptop.refusing import takes_none
from eisbach.deploy.laptop.topology import ProcessSpec
from eisbach.deploy.laptop.unfinished import Unfinished
from eisbach.deploy.laptop.words import bounded

__all__ = ["Circumstances", "Part", "Summary", "effect", "summarise"]

_WORKING = ("ready", "slow")
_ALARM_CHARS = 300
"""Of each alarm in the sentence; ``alarms`` of the status document has all of it."""
_NOTICE_CHARS = 400
"""Of the one that the sentence has; its own line has all of it."""
_TRIES_AT_START = 3
"""What ended so often before all was ready waits for somebody, not for its turn."""
_WORDS = {
    "down": "is down", "hung": "hangs", "error": "answers 503", "truncate": "cuts every answer", "slow": "is slow",
    "restarting": "crashed and restarts", "unready": "is not ready", "stopped": "is stopped",
    "waiting": "waits to start", "starting": "is starting",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A process and how it is."""

    spec: ProcessSpec
    state: str
    since_ms: int
    fault: str = ""
    layout: Mapping[str, Sequence[int]]
    """Of a cell: group -> slots; else empty."""
    writes_stopped: bool = False
    """It says that its clock is ahead or its disk refuses, and serves all but writes."""
    restarts: int = 0
    away: Collection[str] = ()
    """Of a cell that answers: slots that it has left to another region."""
    handed_on: bool = True
    """Of one that is not ready: whether the doors send on to another region what it refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What an operator wants to know first."""

    sentence: str
    hurt: Sequence[str]
    """Who, one text each; empty: nobody."""
    next: str
    """The next safe command."""
    alarms: Sequence[str] = ()
    """What no restart mends."""
    who: str = ""
    """The sentence without what stands open beside it."""


def effect(part: Part, stage: str, others: Sequence[Part], out: Collection[str] = ()) -> tuple[bool, str]:
    """Whether somebody is hurt by ``part`` being broken, and who, or who takes over.

    ``out``: regions that are evacuated. Their cells serve no viewer, and nothing of theirs takes over.
    """
    kind, region = part.spec.kind, part.spec.region
    whose = "everybody" if stage == "single" else "the left side of the demo"
    if part.state == "slow":
        return False, _slow_effect(part, stage)
    if kind == "cell":
        return _cell_effect(part, others, out)
    if kind in ("edge", "origin"):
        return _door_effect(part, others, out if kind == "edge" else ())
    return {
        "single": (True, f"writes of {whose}" if part.writes_stopped and part.state == "unready" else whose),
        "front": (stage == "cells", "new visitors" if stage == "cells" else "players go on; new visitors use an edge"),
        "hub": (False, f"events of {region} wait in the op logs"),
        "spokes": (False, f"spokes of {region} catch up later"),
        "worker": (False, "its jobs are taken over when their leases end"),
        "control": (False, "ownership cannot change meanwhile"),
        "agent": (False, "the edge keeps its last good map"),
        "link": (False, "the regions go on alone and merge afterwards"),
    }.get(kind, (False, f"{part.spec.target} is not in use"))


def _door_effect(part: Part, others: Sequence[Part], out: Collection[str]) -> tuple[bool, str]:
    """Of an edge or origin; an edge of a region in ``out`` leads its viewers back to the region that is broken."""
    kind, region = part.spec.kind, part.spec.region
    if region in out:
        return False, f"nobody: {region} is evacuated"
    elsewhere = {o.spec.region for o in others if o.spec.kind == kind and o.state in _WORKING} - {region, *out}
    if elsewhere:
        return False, f"viewers of {region} are served by {', '.join(sorted(elsewhere))}"
    return True, "everybody" if kind == "edge" else "everybody who plays"


def _slow_effect(part: Part, stage: str) -> str:
    """It answers, with pauses of a fraction of a second: nobody takes over, whoever it serves waits longer."""
    region = part.spec.region
    return {
        "cell": f"{_viewers(part)} wait longer",
        "edge": f"viewers of {region} wait longer",
        "origin": f"viewers of {region} wait longer",
        "single": "everybody waits longer" if stage == "single" else "the left side of the demo waits longer",
        "front": "new visitors wait longer",
        "hub": f"events of {region} come later",
        "spokes": f"spokes of {region} take longer",
        "worker": "its jobs take longer",
        "control": "ownership changes take longer",
        "agent": "the edge learns of a new map later",
        "link": "the regions merge later",
    }.get(part.spec.kind, f"{part.spec.target} takes longer")


def _viewers(part: Part) -> str:
    """Whom a cell serves."""
    return _viewers_of(_slots(part))


def _viewers_of(slots: Sequence[str]) -> str:
    groups = list(dict.fromkeys(slot.rpartition("/")[0] for slot in slots))
    return (
        f"viewers of {len(slots)} slot{'s' if len(slots) != 1 else ''} of {', '.join(groups)}" if slots else "editors"
    )


def _slots(part: Part) -> list[str]:
    """Viewers' slots of a cell, by the layout."""
    return [
        f"{group}/{number}"
        for group, numbers in part.layout.items()
        if not group.startswith("any/")
        for number in numbers
    ]


def _left(region: str, parts: Sequence[Part]) -> set[str]:
    """What a region's cells say they have left; of all of them, since slots also move within a region."""
    return {slot for part in parts if part.spec.region == region for slot in part.away}


def _cell_effect(part: Part, others: Sequence[Part], out: Collection[str]) -> tuple[bool, str]:
    """A region that has left a slot serves it for nobody, however well its cells are."""
    slots, name = _slots(part), part.spec.target.rpartition("/")[2]
    gone = _left(part.spec.region, [part, *others])
    own = [slot for slot in slots if slot not in gone]
    left = set(out) if slots else set()  # the studio's slots are not evacuated
    if part.spec.region in left or (slots and not own):
        who = f"writes of {_viewers(part)}" if part.writes_stopped else _viewers(part)
        return False, f"{who} have been left to another region"
    kind = "writes of " if part.writes_stopped else ""
    who = f"{kind}{_viewers_of(own)}"
    twins = [
        o for o in others
        if o.spec.region not in {part.spec.region, *left} and o.spec.target.endswith(f"/{name}")
        and set(o.layout) & set(part.layout)
    ]  # fmt: skip
    working = sorted({o.spec.region for o in twins if o.state in _WORKING})
    taken = {region: _left(region, others) for region in working}
    if working and part.handed_on:
        unserved = [slot for slot in own if all(slot in there for there in taken.values())]
        if unserved:
            have = "has" if len(working) == 1 else "have"
            nobody = f"served by nobody: {' and '.join(working)} {have} left them"
            return True, f"{kind}{_viewers_of(unserved)} are {nobody}"
        return False, f"{who} are served by {', '.join(working)}"
    read_only = [o for o in twins if o.writes_stopped and o.state == "unready"]
    reads = not part.writes_stopped and any(not _left(o.spec.region, others) & set(own) for o in read_only)
    return True, f"writes of {who}" if reads and not working else who


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the sentence says beside the processes."""

    stage: str
    beside: Sequence[tuple[str, str]] = ()
    """What else is broken on purpose: a text, and the target that heals it."""
    last: str = "none yet"
    """The last change in words."""
    now_ms: int
    alarms: Sequence[str] = ()
    """What no restart mends: a clock that stops writes, twins that differ."""
    out: Sequence[str] = ()
    """Regions that are evacuated."""
    lost: Sequence[str] = ()
    """Regions that were declared lost and have not returned."""
    unfinished: Sequence[Unfinished] = ()
    """Evacuations and returns that left slots behind."""
    cuts: Sequence[Cut] = ()
    """Cells with slots that are frozen by a move that nobody ends."""
    begun: bool = True
    """Everything has been ready once; before that, what is not ready is only on its way."""


def summarise(parts: Sequence[Part], about: Circumstances) -> Summary:
    """The first sentence of ``status``; an alarm comes before everything else, what stands open behind it."""
    found = _summarise(parts, about)
    if about.alarms:
        sentence = f"Alarm: {_some([bounded(one, _ALARM_CHARS) for one in about.alarms])}. {found.sentence}"
        stopped = next((p.spec.target for p in parts if p.writes_stopped), "")
        following = f"eisbach why {stopped}" if stopped else "eisbach status --json"
        found = Summary(sentence=sentence, hurt=[*about.alarms, *found.hurt], next=following, alarms=about.alarms)
    return _with_notices(found, [*about.cuts, *about.unfinished])


def _with_notices(found: Summary, notices: Sequence[Cut | Unfinished]) -> Summary:
    """The worst of them behind what is broken, which comes first and may be why; the others are counted.

    Each stands in full in ``frozen`` and ``unfinished``: some stand for a day, and many in a row hid who is hurt.
    """
    found = replace(found, who=found.sentence)
    if not notices:
        return found
    worst = notices[0]
    said = f"{found.sentence} {bounded(worst.sentence, _NOTICE_CHARS)}"
    if more := len(notices) - 1:
        said += f" And {more} more notice{'s' if more > 1 else ''}, each on a line of its own below."
    following = worst.next if found.next == "eisbach changes" else found.next
    return replace(found, sentence=said, next=following)


def _summarise(parts: Sequence[Part], about: Circumstances) -> Summary:
    broken = _worst_first([p for p in parts if p.state != "ready"], about.stage)
    given_up = any(p.fault or p.restarts >= _TRIES_AT_START for p in broken)
    if broken and not about.begun and not given_up:
        ready = f"{len(parts) - len(broken)} of {len(parts)}"
        return Summary(sentence=f"Starting: {ready} processes are ready.", hurt=[], next="eisbach status")
    if about.out and {p.spec.region for p in parts if p.spec.kind == "cell"} <= set(about.out):
        who = f"everybody ({' and '.join(about.out)} are evacuated)"
        sentence = f"Hurt: {who}; last change: {about.last}."
        return Summary(sentence=sentence, hurt=[who], next=f"eisbach regions return {about.out[0]}")
    frozen = _frozen(parts, about)
    if frozen and not broken:
        sentence = (
            f"Hurt since {span(about.now_ms - about.cuts[0].since_ms)}: {_some(frozen)}; last change: {about.last}."
        )
        return Summary(sentence=sentence, hurt=frozen, next=about.cuts[0].next)
    if not broken and not about.beside:
        all_ready = f"all {len(parts)} processes are ready" if len(parts) > 1 else "the one process is ready"
        away = "".join(f"; {region} is evacuated" for region in about.out if region not in about.lost)
        away += "".join(f"; {region} was declared lost and has not returned" for region in about.lost)
        well = f"Nobody is hurt: {all_ready}{away}; last change: {about.last}."
        back = next(iter((*about.lost, *about.out)), "")
        following = f"eisbach regions return {back}" if back else "eisbach changes"
        return Summary(sentence=well, hurt=[], next=following)
    effects = [(p, *effect(p, about.stage, [o for o in parts if o is not p], about.out)) for p in broken]
    hurt = list(dict.fromkeys(f"{who} ({p.spec.target} {_word(p)})" for p, bad, who in effects if bad)) + frozen
    platform = [(p, bad, who) for p, bad, who in effects if about.stage == "single" or p.spec.kind != "single"]
    if hurt and (frozen or any(bad for _, bad, _ in platform) or not platform):
        since = min([*(p.since_ms for p, bad, _ in effects if bad), *(cut.since_ms for cut in about.cuts if frozen)])
        sentence = f"Hurt since {span(about.now_ms - since)}: {_some(hurt)}"
    else:
        # The single node beside is there to be compared with; what the platform does about its own fault comes first.
        notes = list(dict.fromkeys(who for _, _, who in platform))
        notes += [text for text, _ in about.beside]
        own = [p for p, _, _ in platform]
        since = min([p.since_ms for p in own] or [about.now_ms])
        what = f"{_what(own, parts)} since {span(about.now_ms - since)}" if own else "something is broken on purpose"
        left = f"; beside it hurt: {_some(hurt)}" if hurt else ""
        sentence = f"{'No viewer of the platform' if hurt else 'Nobody'} is hurt, though {what}: {_some(notes)}{left}"
    return Summary(
        sentence=f"{sentence}; last change: {about.last}.", hurt=hurt, next=_following(broken, parts, about.beside)
    )


def _frozen(parts: Sequence[Part], about: Circumstances) -> list[str]:
    """Whose writes nobody takes: of slots that are frozen, where no other region has them (the front goes there)."""
    found = []
    for cut in about.cuts:
        part = next((p for p in parts if p.spec.target == cut.target), None)
        if part is not None and _cell_effect(part, parts, about.out)[0]:
            found.append(f"writes of viewers of {len(cut.slots)} slots ({cut.target} has them frozen)")
    return found


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return f"{'; '.join(texts[:3])}{more}"


def _following(broken: Sequence[Part], parts: Sequence[Part], beside: Sequence[tuple[str, str]]) -> str:
    """The next safe command: heal what was broken on purpose, look at what was not."""
    if (faulty := next((p for p in broken if p.fault), None)) is not None:
        return f"eisbach heal {_name(faulty, parts)}"
    if beside:
        return f"eisbach heal {beside[0][1]}"
    return f"eisbach why {broken[0].spec.target}"


def _worst_first(broken: Sequence[Part], stage: str) -> Sequence[Part]:
    """In the order in which viewers would feel it; the demo's single node beside a platform has only its own."""
    kinds = ("edge", "origin", "cell", "front", "link", "single") if stage != "single" else ("single",)
    return sorted(broken, key=lambda p: kinds.index(p.spec.kind) if p.spec.kind in kinds else len(kinds))


def _what(broken: Sequence[Part], parts: Sequence[Part]) -> str:
    """``region/eu-central is down``, or the worst process and how many more."""
    worst = broken[0]
    region, state = worst.spec.region, worst.state
    own = [p for p in parts if region and p.spec.region == region]
    whole = bool(own) and all(p.state == state for p in own)
    others = len(broken) - (len(own) if whole else 1)
    more = f" and {others} more" if others else ""
    return f"{f'region/{region}' if whole else worst.spec.target} {_word(worst)}{more}"


def _word(part: Part) -> str:
    return takes_none(part.spec.target) if part.writes_stopped and part.state == "unready" else _WORDS[part.state]


def _name(part: Part, parts: Sequence[Part]) -> str:
    """The region when more of it than one process is broken on purpose, else the process."""
    region = part.spec.region
    if region and sum(bool(p.fault) for p in parts if p.spec.region == region) > 1:
        return f"region/{region}"
    return part.spec.target
