"""Evacuations and returns that are not through, and moves whose end nobody can tell, as control says.

Pure. Nobody is hurt by one (each slot is served by one of the regions), and none goes on by itself.
"""

from collections.abc import Mapping
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
    target: str = ""
    """Whose affair it is alone; empty: the whole region's."""


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
    told += [
        (region, _unknown(region, waits), f"eisbach cells list --region {region}")
        for region, found in controls.items()
        if (waits := found.get("unknown_moves"))
    ]
    return [Unfinished(region=region, sentence=sentence, next=following) for region, sentence, following in told]


def _unknown(region: str, waits: Mapping[str, str]) -> str:
    named = [f"{slot} ({bounded(why, _TROUBLE_CHARS)})" for slot, why in list(waits.items())[:_NAMED]]
    more = f" and {len(waits) - len(named)} more" if len(waits) > len(named) else ""
    return (
        f"Of {len(waits)} slots of {region} the record of the last move was lost, and the cells that answer cannot tell"
        f" how it ended: {', '.join(named)}{more}; control asks them again every 5 s."
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
