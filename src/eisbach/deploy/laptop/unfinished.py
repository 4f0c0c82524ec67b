"""Evacuations and returns that are not through, and control stores that were lost, as the control processes say.

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
    open_ends = [
        Unfinished(region=region, sentence=_sentence(region, told), next=f"eisbach regions {told['action']} {region}")
        for target, found in sorted(figures.items())
        if (region := target.removeprefix("control/")) != target and (told := found.get("unfinished"))
    ]
    return open_ends + [
        Unfinished(region=region, sentence=_lost(region, told), next=f"eisbach cells list --region {region}")
        for target, found in sorted(figures.items())
        if (region := target.removeprefix("control/")) != target and (told := found.get("store_lost"))
    ]


def _lost(region: str, told: Mapping[str, Any]) -> str:
    """For a day: what to look at after it."""
    at = datetime.fromtimestamp(told["at_ms"] / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    moves = [f"{slot} ({what})" for slot, what in list(told["moves"].items())[:_NAMED]]
    more = f" and {told['count'] - len(moves)} more" if told["count"] > len(moves) else ""
    ended = f"; moves that were at their cut have ended: {', '.join(moves)}{more}" if moves else ""
    return (
        f"The control store of {region} was lost, control began from the map of its edge at {at}: its last evacuation,"
        f" open losses and other moves that were under way are not known any more (docs/backup.md){ended}."
    )


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
