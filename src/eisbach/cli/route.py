"""``eisbach route --from AT``: which regions a call tries, in order, and why; the front's own function."""

from typing import Annotated, cast, get_args

import typer

from eisbach.cli.shared import Shared, say, show_json, verb
from eisbach.cli.talk import find
from eisbach.deploy.laptop.addresses import DISTANCES, REGIONS, RESIDENCIES
from eisbach.kernel.errors import Invalid, NotFound, Unavailable
from eisbach.kernel.routing import Kind, RegionState, route

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: eisbach route --from AT --kind private --preferred eu-west"


@verb
def command(
    *,
    shared: Shared,
    place: Annotated[str, typer.Option("--from", help="Country of the caller, e.g. AT.")],
    kind: Annotated[str, typer.Option(help="private, public or playback.")] = "public",
    preferred: Annotated[str | None, typer.Option(help="Preferred region of the slot, for private calls.")] = None,
    residency: Annotated[str, typer.Option(help="Where the data may be: eu, us or any.")] = "any",
) -> None:
    """Explain which region serves a caller, with the health of the platform that runs, if one does."""
    if len(place) != 2 or not place.isascii() or not place.isalpha():
        raise Invalid(f"--from {place[:40]!r} is not a country of two letters, e.g. AT")
    if kind not in get_args(Kind):
        raise Invalid(f"--kind {kind[:40]!r} is not one of {', '.join(get_args(Kind))}")
    regions = {
        region: RegionState(weight=weight, healthy=well, distance=DISTANCES[region], residency=RESIDENCIES[region])
        for region, (weight, well) in _states(shared.settings().data).items()
    }
    if not any(place.lower() in state.distance for state in regions.values()):
        known = ", ".join(sorted({at.upper() for state in regions.values() for at in state.distance}))
        raise Invalid(f"--from {place.upper()}: how far it is from the regions is not known; known are {known}")
    if preferred is not None and preferred not in regions:
        raise Invalid(f"--preferred {preferred[:40]!r} is none of {', '.join(regions)}")
    hops = route(
        regions,
        place=place.lower(),
        kind=cast("Kind", kind),
        residency=residency,
        preferred=preferred,
        answering=preferred,
    )
    if shared.as_json:
        show_json({"from": place.lower(), "kind": kind, "hops": [{"region": h.region, "why": h.why} for h in hops]})
        return
    for number, hop in enumerate(hops, 1):
        say(f"{number}. {hop.region:<12} {hop.why}")
    if not hops:
        say(f"no region may serve residency {residency}")
    out_of_it = [f"{name} (weight {s.weight})" for name, s in regions.items() if not s.weight]
    if out_of_it:
        say(f"taken out: {', '.join(out_of_it)}")
    say("Next: eisbach status shows the health that this used")


def _states(data: str) -> dict[str, tuple[int, bool]]:
    """Region -> (weight, well), as the front has it; without a platform, the default stage in good health."""
    try:
        supervisor = find(data)
        try:
            front = supervisor.get("/ops/weights")
        except NotFound:  # a stage without a front
            status = supervisor.get("/ops/status")
            return {region["name"]: (100, region["state"] != "down") for region in status["regions"]}
    except Unavailable:
        return dict.fromkeys(REGIONS[:2], (100, True))
    return {region: (weight, front["well"][region]) for region, weight in front["weights"].items()}
