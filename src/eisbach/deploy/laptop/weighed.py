"""Regions whose weight at the front is not what their state asks for: a command was killed between the two.

Pure. May not know: who sets weights.
"""

from collections.abc import Collection, Mapping
from typing import Any

from eisbach.deploy.laptop.unfinished import Unfinished

__all__ = ["weighed_wrongly"]


def weighed_wrongly(
    weights: Mapping[str, int], figures: Mapping[str, Mapping[str, Any]], *, out: Collection[str]
) -> list[Unfinished]:
    """Which are.

    Args:
        weights: region -> weight at the front.
        figures: target -> its ``/status``. A region whose evacuation or return is not through is told already, and one
            whose control does not answer may have been evacuated and switched off.
        out: regions that are out.
    """
    controls = {target.partition("/")[2]: told for target, told in figures.items() if target.startswith("control/")}
    told: list[Unfinished] = []
    for region, weight in weights.items():
        if controls.get(region, {}).get("unfinished"):
            continue
        if region in out and weight:
            following = f"eisbach regions evacuate {region}"
            what = f"The front sends viewers to {region} (weight {weight}), which is out: another region answers them"
            told.append(Unfinished(region=region, sentence=f"{what}; {following} takes its weight.", next=following))
        elif region in controls and region not in out and not weight:
            following = f"eisbach regions return {region}"
            what = f"The front sends nobody to {region} (weight 0), though it serves"
            told.append(Unfinished(region=region, sentence=f"{what}; {following} gives it its weight.", next=following))
    return told
