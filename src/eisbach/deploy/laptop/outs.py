"""Regions that are out: since when, by evacuation or by loss, and how they come back.

Pure, over what the control processes and the cells say of themselves. One that says nothing is no reason to call a
region well: its cells know what they have left, only not since when.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

__all__ = ["RegionOut", "outs"]


class RegionOut(msgspec.Struct, frozen=True, kw_only=True):
    """A region that is to serve no viewer, though every process of it may be ready."""

    region: str
    how: str
    """``evacuated`` or ``lost``."""
    since_ms: int | None
    """None: nobody who answers knows."""
    sentence: str
    next: str


def outs(figures: Mapping[str, Mapping[str, Any]], away: Sequence[str]) -> list[RegionOut]:
    """``figures``: target -> its ``/status``; ``away``: regions that are evacuated by the word of their cells."""
    controls = {target.partition("/")[2]: told for target, told in figures.items() if target.startswith("control/")}
    lost = {one["region"]: (by, one) for by, told in sorted(controls.items()) for one in told.get("lost", ())}
    left = {region for region, told in controls.items() if told.get("out")}
    return [
        _lost(region, *lost[region]) if region in lost else _evacuated(region, controls.get(region))
        for region in sorted({*lost, *left, *away})
    ]


def _lost(region: str, by: str, told: Mapping[str, Any]) -> RegionOut:
    return RegionOut(
        region=region,
        how="lost",
        since_ms=told["since_ms"],
        sentence=(
            f"{region} is out: declared lost in {by} since {_time(told['since_ms'])}, {told['open']} ranges are open:"
            f" what it acknowledged and never sent may be missing there. Once its processes are ready, eisbach regions"
            f" return {region} takes it back with what it had, and closes them."
        ),
        next=f"eisbach regions return {region}",
    )


def _evacuated(region: str, control: Mapping[str, Any] | None) -> RegionOut:
    """``control``: what its control process says; None: it does not answer."""
    back = f"eisbach regions return {region}"
    if told := (control or {}).get("out"):
        what = f"evacuated to {told['other']} since {_time(told['since_ms'])}, {told['slots']} slots are proved"
        if unproved := told.get("unproved"):
            what += f", not proved is {', '.join(unproved)}, which differed from its twin and was left with --force"
        sentence = f"{region} is out: {what}. {back} brings it back, with a proof."
        return RegionOut(region=region, how="evacuated", since_ms=told["since_ms"], sentence=sentence, next=back)
    what = f"{region} is out: evacuated, its cells have left every viewers' slot to another region"
    if (told := (control or {}).get("unfinished")) and told["action"] == "return":
        why = f"its return from {told['other']} is not through: {back} goes on with it"
        return RegionOut(region=region, how="evacuated", since_ms=None, sentence=f"{what}; {why}.", next=back)
    if control is None:
        why = f"since when is not known while control/{region} does not answer. Once it does, {back} brings it back"
        return RegionOut(
            region=region, how="evacuated", since_ms=None, sentence=f"{what}; {why}.",
            next=f"eisbach why control/{region}",
        )  # fmt: skip
    why = (
        f"control/{region} has no record of it (was its store lost?), so since when is not known. {back} brings it back"
    )
    return RegionOut(region=region, how="evacuated", since_ms=None, sentence=f"{what}; {why}.", next=back)


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
