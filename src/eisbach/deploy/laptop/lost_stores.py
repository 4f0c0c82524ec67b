"""Stores that were lost, as control and the spokes' hosts say: for a day, and of each the process that it concerns.

Pure. Nobody is hurt by one, and nothing goes on by a command: what is gone is named, and what comes by itself.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from eisbach.deploy.laptop.unfinished import Unfinished
from eisbach.deploy.laptop.words import bounded

__all__ = ["lost_stores"]

_NAMED: Final = 3
_TROUBLE_CHARS: Final = 160


def lost_stores(figures: Mapping[str, Mapping[str, Any]]) -> list[Unfinished]:
    """``figures``: target -> its ``/status``."""
    found = []
    for target, figure in sorted(figures.items()):
        kind, _, region = target.partition("/")
        if not (told := figure.get("store_lost")):
            continue
        if kind == "control":
            sentence, following = _control(region, told), f"eisbach cells list --region {region}"
        else:
            sentence, following = _spokes(target, told), f"eisbach why {target}"
        found.append(Unfinished(region=region or kind, sentence=sentence, next=following, target=target))
    return found


def _control(region: str, told: Mapping[str, Any]) -> str:
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
