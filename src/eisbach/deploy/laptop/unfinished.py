"""Evacuations and returns that are not through, as the control processes say of theirs: which slots, and what to do.

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
    """One of a region."""

    region: str
    sentence: str
    next: str
    """The command that goes on."""


def unfinished(figures: Mapping[str, Mapping[str, Any]]) -> list[Unfinished]:
    """``figures``: target -> its ``/status``."""
    return [
        Unfinished(region=region, sentence=_sentence(region, told), next=f"eisbach regions {told['action']} {region}")
        for target, found in sorted(figures.items())
        if (region := target.removeprefix("control/")) != target and (told := found.get("unfinished"))
    ]


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
