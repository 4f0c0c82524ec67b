"""Evacuations and returns that are not through, and stores that were lost, as control and the spokes' hosts say.

Pure. Nobody is hurt by one (each slot is served by one of the regions), and none goes on by itself.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from eisbach.deploy.laptop.words import bounded

__all__ = ["Unfinished", "unfinished"]

_NAMED: Final = 3
_TROUBLE_CHARS: Final = 160
_WORDS: Final = {"evacuate": "evacuation", "return": "return"}


class Unfinished(msgspec.Struct, frozen=True, kw_only=True):
    """One of a region: which slots, and what to do."""

    region: str
    sentence: str
    next: str
    """The command that goes on."""


def unfinished(figures: Mapping[str, Mapping[str, Any]]) -> list[Unfinished]:
    """``figures``: target -> its ``/status``."""
    controls = {
        target.removeprefix("control/"): found
        for target, found in sorted(figures.items())
        if target.startswith("control/")
    }
    told = [
        (region, _sentence(region, one), f"eisbach regions {one['action']} {region}")
        for region, found in controls.items()
        if (one := found.get("unfinished"))
    ]
    for key, sentence in (("unknown_moves", _unknown), ("store_lost", _lost)):
        told += [
            (region, sentence(region, one), f"eisbach cells list --region {region}")
            for region, found in controls.items()
            if (one := found.get(key))
        ]
    told += [
        (target.removeprefix("spokes/"), _spokes(target, one), f"eisbach why {target}")
        for target, found in sorted(figures.items())
        if target.startswith(("spokes/", "single")) and (one := found.get("store_lost"))
    ]
    return [Unfinished(region=region, sentence=sentence, next=following) for region, sentence, following in told]


def _unknown(region: str, waits: Mapping[str, str]) -> str:
    named = [f"{slot} ({bounded(why, _TROUBLE_CHARS)})" for slot, why in list(waits.items())[:_NAMED]]
    more = f" and {len(waits) - len(named)} more" if len(waits) > len(named) else ""
    return (
        f"Of {len(waits)} slots of {region} the record of the last move was lost, and the cells that answer cannot tell"
        f" how it ended: {', '.join(named)}{more}; control asks them again every 5 s."
    )


def _lost(region: str, told: Mapping[str, Any]) -> str:
    """For a day: what to look at after it."""
    moves = [f"{slot} ({what})" for slot, what in list(told["moves"].items())[:_NAMED]]
    more = f" and {told['count'] - len(moves)} more" if told["count"] > len(moves) else ""
    ended = f"; how these slots' last moves ended was asked of the cells: {', '.join(moves)}{more}" if moves else ""
    return (
        f"The control store of {region} was lost, control began from the map of its edge at {_at(told)}: its last"
        f" evacuation and open losses are not known any more (docs/backup.md){ended}."
    )


def _spokes(target: str, told: Mapping[str, Any]) -> str:
    """For a day: what is gone, and what comes by itself."""
    region, why = target.removeprefix("spokes/"), bounded(told["why"], _TROUBLE_CHARS)
    whose = "the single node's spokes" if region == "single" else f"{region}'s spokes"
    if told["empty"]:
        return (
            f"The store of {whose} was lost before {_at(told)} ({why}): retries, dead letters, commands that"
            " the studio had not answered, the audit log and pauses are gone (docs/backup.md, A damaged file)."
        )
    return (
        f"The store of {whose} may have been an older copy of itself at {_at(told)} ({why}): what its spokes had"
        " handled since is handled again, as far back as the hub keeps it (docs/backup.md, A damaged file)."
    )


def _at(told: Mapping[str, Any]) -> str:
    return datetime.fromtimestamp(told["at_ms"] / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _sentence(region: str, told: Mapping[str, Any]) -> str:
    action, other = told["action"], told["other"]
    again = f"eisbach regions {action} {region} again goes on with these alone"
    if action == "evacuate":
        again += f" once {other} follows it, eisbach regions return {region} takes back what has left"
    if not told["slots"]:
        return f"The {_WORDS[action]} of {region} is under way or was broken off: {again}."
    slots = list(told["slots"].items())
    named = ", ".join(f"{slot} ({bounded(trouble, _TROUBLE_CHARS)})" for slot, trouble in slots[:_NAMED])
    more = f" and {told['open'] - len(slots[:_NAMED])} more" if told["open"] > _NAMED else ""
    return f"The {_WORDS[action]} of {region} is not through, {told['open']} slots: {named}{more}; {again}."
