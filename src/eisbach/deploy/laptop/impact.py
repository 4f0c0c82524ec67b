"""Who is hurt: from a stage and the states of its processes to the first sentence of ``eisbach status``.

Pure, and the design in small (section 7): what the death of each kind of process means in each stage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eisbach.deploy.laptop.topology import ProcessSpec

__all__ = ["Part", "Summary", "effect", "summarise"]

_STARTING = ("waiting", "starting")
_WORKING = ("ready", "slow")
_WORDS = {
    "down": "is down", "hung": "hangs", "error": "answers 503", "truncate": "cuts every answer", "slow": "is slow",
    "restarting": "crashed and restarts", "unready": "runs but does not answer", "stopped": "is stopped",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What an operator wants to know first."""

    sentence: str
    hurt: Sequence[str]
    """Who, one text each; empty: nobody."""
    next: str
    """The next safe command."""


def effect(part: Part, stage: str, others: Sequence[Part]) -> tuple[bool, str]:
    """Whether somebody is hurt by ``part`` being broken, and who, or who takes over."""
    kind, region = part.spec.kind, part.spec.region
    elsewhere = sorted(
        {o.spec.region for o in others if o.spec.kind == kind and o.spec.region != region and o.state in _WORKING}
    )
    twin = ", ".join(elsewhere)
    if kind == "cell":
        return _cell_effect(part, others)
    if kind in ("edge", "origin"):
        if elsewhere:
            return False, f"viewers of {region} are served by {twin}"
        return True, "everybody" if kind == "edge" else "everybody who plays"
    return {
        "single": (True, "everybody" if stage == "single" else "the left side of the demo"),
        "front": (stage == "cells", "new visitors" if stage == "cells" else "players go on; new visitors use an edge"),
        "hub": (False, f"events of {region} wait in the op logs"),
        "spokes": (False, f"spokes of {region} catch up later"),
        "worker": (False, "its jobs are taken over when their leases end"),
        "control": (False, "ownership cannot change meanwhile"),
        "agent": (False, "the edge keeps its last good map"),
        "link": (False, "the regions go on alone and merge afterwards"),
    }.get(kind, (False, f"{part.spec.target} is not in use"))


def _cell_effect(part: Part, others: Sequence[Part]) -> tuple[bool, str]:
    groups = [group for group in part.layout if not group.startswith("any/")]
    slots = sum(len(part.layout[group]) for group in groups)
    who = f"viewers of {slots} slots of {', '.join(groups)}" if groups else "editors"
    name = part.spec.target.rpartition("/")[2]
    twins = [
        o.spec.region for o in others
        if o.spec.region != part.spec.region and o.spec.target.endswith(f"/{name}") and o.state in _WORKING
        and set(o.layout) & set(part.layout)
    ]  # fmt: skip
    if twins:
        return False, f"{who} are served by {', '.join(sorted(twins))}"
    return True, who


def summarise(parts: Sequence[Part], *, stage: str, cuts: Sequence[tuple[str, str]], last: str, now_ms: int) -> Summary:
    """The first sentence of ``status``.

    Args:
        parts: every process.
        stage: of the platform.
        cuts: pairs of regions whose link is cut.
        last: the last change in words.
        now_ms: to say since when.
    """
    broken = [p for p in parts if p.state != "ready"]
    if any(p.state in _STARTING for p in broken) and not any(p.fault for p in parts):
        count = len(parts) - len(broken)
        return Summary(
            sentence=f"Starting: {count} of {len(parts)} processes are ready.", hurt=[], next="eisbach status"
        )
    if not broken and not cuts:
        return Summary(
            sentence=f"Nobody is hurt: all {len(parts)} processes are ready; last change: {last}.",
            hurt=[],
            next="eisbach fault down region/eu-central" if stage == "regions" else "eisbach changes",
        )
    effects = [(p, *effect(p, stage, [o for o in parts if o is not p])) for p in broken]
    hurt = list(dict.fromkeys(f"{who} ({p.spec.target} {_WORDS[p.state]})" for p, bad, who in effects if bad))
    since = min([p.since_ms for p, bad, _ in effects if bad or not hurt] or [now_ms])
    faulty = next((p for p in broken if p.fault), None)
    following = (
        f"eisbach heal {_name(faulty, parts)}"
        if faulty
        else "eisbach heal"
        if cuts
        else f"eisbach why {broken[0].spec.target}"
    )
    ago = f"since {_span(now_ms - since)}"
    if hurt:
        sentence = f"Hurt {ago}: {'; '.join(hurt[:3])}{f' and {len(hurt) - 3} more' if len(hurt) > 3 else ''}"
    else:
        notes = list(dict.fromkeys(who for _, _, who in effects)) + [
            f"{a} and {b} are cut off from each other" for a, b in cuts
        ]
        what = f"{broken[0].spec.target} {_WORDS[broken[0].state]}" if broken else "a link is cut"
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        sentence = f"Nobody is hurt, though {what}{more} {ago}: {'; '.join(notes[:3])}"
    return Summary(sentence=f"{sentence}; last change: {last}.", hurt=hurt, next=following)


def _name(part: Part, parts: Sequence[Part]) -> str:
    """The region when all of it is broken, else the process."""
    region = part.spec.region
    if region and all(p.fault for p in parts if p.spec.region == region):
        return f"region/{region}"
    return part.spec.target


def _span(milliseconds: int) -> str:
    seconds = max(0, milliseconds // 1000)
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
