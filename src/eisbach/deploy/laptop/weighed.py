"""Regions whose weight at the front is not what their state asks for: a command was killed between the two.

Pure. May not know: who sets weights.
"""

from collections.abc import Collection, Mapping

from eisbach.deploy.laptop.unfinished import Unfinished

__all__ = ["weighed_wrongly"]


def weighed_wrongly(
    weights: Mapping[str, int], *, out: Collection[str], open_: Collection[str], answer: Collection[str]
) -> list[Unfinished]:
    """Which are.

    Args:
        weights: region -> weight at the front.
        out: regions that are out.
        open_: those whose evacuation or return is not through: that is told.
        answer: those whose control answers: one that was evacuated and switched off is not known to serve.
    """
    told: list[Unfinished] = []
    for region, weight in weights.items():
        if region in open_:
            continue
        if region in out and weight:
            following = f"eisbach regions evacuate {region}"
            what = f"The front sends viewers to {region} (weight {weight}), which is out: another region answers them"
            told.append(Unfinished(region=region, sentence=f"{what}; {following} takes its weight.", next=following))
        elif region in answer and region not in out and not weight:
            following = f"eisbach regions return {region}"
            what = f"The front sends nobody to {region} (weight 0), though it serves"
            told.append(Unfinished(region=region, sentence=f"{what}; {following} gives it its weight.", next=following))
    return told
