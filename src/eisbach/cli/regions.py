"""``eisbach regions list | evacuate | return``: a region out of service, with a proof that nothing is left behind."""

from typing import Annotated, Any

import typer

from eisbach.cli.cells import Control
from eisbach.cli.shared import NOT_WELL, Shared, say, show_json, verb
from eisbach.cli.talk import find
from eisbach.kernel.errors import Invalid, NotFound

__all__ = ["COMMANDS"]

_WAIT_MS = 9_000
_NAME = Annotated[str, typer.Argument(help="Region, e.g. eu-central.")]


@verb
def list_regions(*, shared: Shared) -> None:
    """Regions with their weight at the front, and what was last proved of them."""
    data = shared.settings().data
    supervisor = find(data)
    regions = [region["name"] for region in supervisor.get("/ops/status")["regions"]]
    weights = _weights(supervisor)
    found = [
        {"region": region, "weight": weights.get(region), "last": Control(data, region).call("/region")["last"]}
        for region in regions
    ]
    if shared.as_json:
        show_json({"regions": found})
        return
    for one in found:
        weight = "no front" if one["weight"] is None else f"weight {one['weight']}"
        say(f"{one['region']:<12} {weight:<12} {_line(one['last']) if one['last'] else 'serves'}")
    say("Next: eisbach regions evacuate REGION takes one out, with a proof")


@verb
def evacuate(*, shared: Shared, region: _NAME) -> None:
    """Take a region out: weight 0 at the front, writes stop slot by slot, and a proof that the other has everything."""
    _perform(shared, region, "evacuate", weight=0)


@verb
def come_back(*, shared: Shared, region: _NAME) -> None:
    """Take a region back into service, once it holds everything that the other one has."""
    _perform(shared, region, "return", weight=100)


def _perform(shared: Shared, region: str, action: str, *, weight: int) -> None:
    data = shared.settings().data
    supervisor = find(data)
    regions = [one["name"] for one in supervisor.get("/ops/status")["regions"]]
    if region not in regions:
        raise Invalid(f"region {region[:40]!r} is none of {', '.join(regions)}")
    others = [name for name in regions if name != region]
    if len(others) != 1:
        raise Invalid(f"a region is left to one other; this platform has {len(others)} others")
    weights = _weights(supervisor)
    if action == "evacuate" and weights.get(others[0], 100) == 0:
        raise Invalid(f"region {others[0]} is out already; one region at a time: eisbach regions return {others[0]}")
    if action == "evacuate" and weights:
        supervisor.post("/ops/weights", {"region": region, "weight": weight})
    record = Control(data, region).call(f"/region/{action}", {"other": others[0], "wait_ms": _WAIT_MS})
    proved = all(slot["proved"] for slot in record["slots"].values()) and bool(record["slots"])
    if action == "return" and proved and weights:
        supervisor.post("/ops/weights", {"region": region, "weight": weight})
    if shared.as_json:
        show_json(record)
    else:
        say(_line(record))
        for slot, proof in list(record["slots"].items()):
            if not proof["proved"]:
                say(f"  {slot} at {proof['cell']}: {proof['trouble']}")
        back = "return" if action == "evacuate" else "evacuate"
        say(
            f"Next: eisbach regions {back if proved else action} {region}"
            + ("" if proved else " goes on with the rest")
        )
    if not proved:
        raise typer.Exit(NOT_WELL)


def _weights(supervisor: Any) -> dict[str, int]:
    try:
        found: dict[str, int] = supervisor.get("/ops/weights")["weights"]
    except NotFound:
        return {}  # a stage without a front
    return found


def _line(record: Any) -> str:
    slots = record["slots"].values()
    proved = sum(slot["proved"] for slot in slots)
    what = (
        f"left to {record['other']}" if record["action"] == "evacuate" else f"back, with all that {record['other']} had"
    )
    return f"{record['region']}: {proved} of {len(slots)} slots proved {what}"


COMMANDS = {
    "list": (list_regions, "Example: eisbach regions list"),
    "evacuate": (evacuate, "Example: eisbach regions evacuate eu-central"),
    "return": (come_back, "Example: eisbach regions return eu-central"),
}
