"""``eisbach regions list | evacuate | return``: a region out of service, with a proof that nothing is left behind.

``evacuate --lost``: a region that is gone already; the one that survives keeps what may be missing, range by range.
"""

import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from eisbach.cli.cells import Control
from eisbach.cli.shared import NOT_WELL, Shared, say, show_json, verb
from eisbach.cli.slots_said import missing_ranges, unproved
from eisbach.cli.talk import Supervisor, find
from eisbach.kernel.errors import Denied, EisbachError, Invalid, NotFound, Unavailable

__all__ = ["COMMANDS"]

_WAIT_MS = 9_000
_ANSWER_S = _WAIT_MS / 1000 + 9
"""The last look at a slot may begin when that is over, and its cell has five seconds to answer, or asks for three."""
_NAMED = 5
_LOOK_MS = 1_000
"""So long a list waits for a cell that hangs."""
_NAME = Annotated[str, typer.Argument(help="Region, e.g. eu-central.")]


@verb
def list_regions(*, shared: Shared) -> None:
    """Regions with their weight at the front, and what was last proved of them."""
    data = shared.settings().data
    supervisor = find(data)
    status = supervisor.get("/ops/status")
    weights = _weights(supervisor)
    regions = [str(region["name"]) for region in status["regions"]]
    with ThreadPoolExecutor(len(regions) or 1) as asking:  # one in which a cell hangs takes its time
        found = list(asking.map(lambda region: _asked(data, region, weights.get(region), status), regions))
    if shared.as_json:
        show_json({"regions": found})
        return
    for one in found:
        weight = "no front" if one["weight"] is None else f"weight {one['weight']}"
        trouble = one.get("trouble")
        serves = _line(one["last"]) if one["last"] else trouble or one["why_not"] or "serves"
        say(f"{one['region']:<12} {weight:<12} {serves}")
        if one["last"] and trouble:
            say(f"  {trouble}")
        if one["silent"]:
            say(f"  {_silent_line(one['region'], one['silent'])}")
        if one["last"] and not _all_proved(one["last"]):
            _say_rest(one["last"])
        for loss in one["losses"]:
            say(f"  {_loss_line(loss)}")
    begun = [one["last"] for one in found if one["last"] and not _through(one["last"])]
    lost = [loss["region"] for one in found for loss in one["losses"] if not loss["closed_ms"]]
    if lost:
        say(f"Next: eisbach heal region/{lost[0]} when it can come back, then eisbach regions return {lost[0]}")
    elif begun:
        say(_rest(begun[0]))
    elif out := [
        one["region"] for one in found if (one["last"] or {}).get("action") == "evacuate" or one.get("why_not")
    ]:
        say(f"Next: eisbach regions return {out[0]} brings it back, with a proof")
    else:
        say("Next: eisbach regions evacuate REGION takes one out, with a proof")


def _asked(data: str, region: str, weight: int | None, status: Any) -> dict[str, Any]:
    """What is known of a region: a lost one hides nothing that the other one knows, nor a silent cell the rest."""
    row: dict[str, Any] = {"region": region, "weight": weight, "last": None, "losses": [], "silent": []}
    try:
        control = Control(data, region, status=status)
        row["last"] = control.call("/region")["last"]
        row["losses"] = control.call("/losses")["losses"]
        stands = control.call(f"/region/standing?wait_ms={_LOOK_MS}")
        row["silent"] = stands.get("silent", [])  # a control of the version before names none
        row["why_not"] = stands["why_not"] if row["last"] is None else ""
    except EisbachError as error:
        row["trouble"] = str(error)
    return row


def _silent_line(region: str, cells: list[str]) -> str:
    """Of cells that did not answer: what is said of the region is without them."""
    names = ", ".join(f"cell/{region}/{cell}" for cell in cells)
    look = f"eisbach why cell/{region}/{cells[0]}"
    return f"{names} did not answer within {_LOOK_MS / 1000:g} s: {look}; what is said here is without {_it(cells)}"


def _it(cells: list[str]) -> str:
    return "them" if len(cells) > 1 else "it"


def _why_not(control: Control, last: Any) -> str:
    """Why a region does not serve that tells of no evacuation: its control store may have been lost, its cells know."""
    return str(control.call("/region/standing")["why_not"]) if last is None else ""


@verb
def evacuate(
    *,
    shared: Shared,
    region: _NAME,
    lost: Annotated[
        bool, typer.Option("--lost", help="It is gone and does not answer: record what may be missing.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Though the other region does not show that it serves (perhaps nobody does), and with slots that"
            " differ from their twins (unproved).",
        ),
    ] = False,
) -> None:
    """Take a region out if the other one serves: weight 0 at the front, writes stop slot by slot, with a proof."""
    if lost and force:
        raise Invalid("--lost stops nothing and asks the other region nothing, so there is nothing to force; leave one")
    if lost:
        _declare_lost(shared, region)
    else:
        _perform(shared, region, "evacuate", force=force)


@verb
def come_back(
    *,
    shared: Shared,
    region: _NAME,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Also slots of which the other region's cell does not say what it has (it is gone for good), and those"
            " that are known to differ from their twins; unproved.",
        ),
    ] = False,
) -> None:
    """Take a region back into service, once it holds everything that the other one says to have."""
    _perform(shared, region, "return", force=force)


def _other(supervisor: Supervisor, region: str) -> str:
    """The region that serves when this one does not."""
    regions = [one["name"] for one in supervisor.get("/ops/status")["regions"]]
    if region not in regions:
        raise Invalid(f"region {region[:40]!r} is none of {', '.join(regions)}")
    others = [str(name) for name in regions if name != region]
    if len(others) != 1:
        raise Invalid(f"a region is left to one other; this platform has {len(others)} others")
    return others[0]


def _refuse_two_out(data: str, other: str, weights: dict[str, int]) -> None:
    if weights.get(other, 100) == 0 or _is_out(data, other):
        raise Invalid(f"region {other} is out already; one region at a time: eisbach regions return {other}")


def _is_out(data: str, region: str) -> bool:
    """By its own record: a front whose weights were set by hand, or lost, says nothing of slots that were left."""
    try:
        last = Control(data, region).call("/region")["last"]
    except EisbachError:
        return False  # its cells serve without it; the control that is asked to leave says whether that is enough
    if last is None:
        return False
    return last["action"] != "return" or not _through(last)


def _declare_lost(shared: Shared, region: str) -> None:
    data = shared.settings().data
    supervisor = find(data)
    weights = _weights(supervisor)
    other = _other(supervisor, region)
    _refuse_two_out(data, other, weights)
    record = Control(data, other).call("/losses/declare", {"region": region})
    if weights:
        supervisor.post("/ops/weights", {"region": region, "weight": 0})
    if shared.as_json:
        show_json(record)
        return
    say(_loss_line(record))
    behind = {slot: found for slot, found in record["slots"].items() if found["head"] != found["held"]}
    for slot, found in list(behind.items())[:_NAMED]:
        say(f"  {slot}: {region} {_mark(found['held'])} is here, it wrote up to {_mark(found['head'])} at least")
    if len(behind) > _NAMED:
        say(f"  and {len(behind) - _NAMED} more slots of which something is known to be missing: --json has all")
    say(f"Next: eisbach heal region/{region} when it can come back, then eisbach regions return {region}")


def _close_loss(data: str, region: str, other: str, record: Any) -> tuple[Any, str]:
    """The loss of ``region`` as its return closes it, None when there was none open; and why that is not known."""
    try:
        control = Control(data, other)
        if not any(loss["region"] == region and not loss["closed_ms"] for loss in control.call("/losses")["losses"]):
            return None, ""
        # A slot whose cell did not answer has epoch 0, and its range stays open.
        ends = {s: proof["vector"].get(region, [0, 0]) for s, proof in record["slots"].items() if proof["epoch"]}
        epochs = {s: proof["epoch"] for s, proof in record["slots"].items()}
        asked = {"region": region, "ends": ends, "epochs": epochs, "wait_ms": _WAIT_MS}
        return control.call("/losses/close", asked, answer_s=_ANSWER_S), ""
    except EisbachError as error:
        again = f"once it answers, eisbach regions return {region} again closes what is open"
        return None, f"whether {other} has declared {region} lost, and what came late, is not known: {error}; {again}"


def _loss_line(loss: Any) -> str:
    slots = loss["slots"].values()
    if loss["closed_ms"]:
        back = [found["returned"] for found in slots]
        ops, shown, kept = (sum(one[name] for one in back) for name in ("ops", "shown", "conflicts"))
        anew = sum(bool(found.get("trouble")) for found in slots)
        return (
            f"{loss['region']} was lost and is back: {ops} ops came late, {shown} of them are shown, {ops - shown} were"
            f" overtaken, {kept} lost a conflict (eisbach conflicts)"
            + (f"; in {anew} of {len(slots)} slots some may be gone" if anew else "")
        )
    known = sum(max(0, found["head"][1] - found["held"][1]) for found in slots)
    waiting = sum(found.get("until") is None for found in slots)
    return (
        f"{loss['region']} is lost: {waiting} of {len(slots)} ranges open, {known} ops known to be missing; what it"
        f" acknowledged after {_time(loss['heard_ms'])}, class local, may be missing too"
    )


def _mark(mark: Any) -> str:
    return f"{mark[0]}.{mark[1]}"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _leave(supervisor: Supervisor, control: Control, other: str, weights: dict[str, int], *, force: bool) -> Any:
    """The record of an evacuation.

    What control refuses changes nothing: ``_perform`` asks it before the front is told. It asks the other region again
    before it stops anything, and where it refuses then, the front sends to the region as before. Whoever is killed in
    between leaves a region that serves and gets nobody new: the same command goes on, ``return`` takes it back.
    """
    region = control.region
    if weights:
        supervisor.post("/ops/weights", {"region": region, "weight": 0})
    asked = {"other": other, "wait_ms": _WAIT_MS, **({"force": True} if force else {})}
    try:
        return control.call("/region/evacuate", asked, answer_s=_ANSWER_S)
    except Denied:
        if weights:
            supervisor.post("/ops/weights", {"region": region, "weight": weights.get(region, 100)})
        raise
    except Unavailable as error:
        if not weights:
            raise
        raise Unavailable(
            f"{error}; the front sends nobody new to {region} already: eisbach regions evacuate {region} goes on,"
            f" eisbach regions return {region} takes it back"
        ) from error


def _take_back(control: Control, other: str, *, force: bool) -> Any:
    """The record of a return; the front sends to the region once it is through."""
    asked = {"other": other, "wait_ms": _WAIT_MS, **({"force": True} if force else {})}
    try:
        return control.call("/region/return", asked, answer_s=_ANSWER_S)
    except Unavailable as error:
        region = control.region
        raise Unavailable(
            f"{error}; while its weight is 0 the front sends nobody to {region}: eisbach regions return {region} gives"
            f" it back once all of it is here, eisbach regions evacuate {region} leaves it again"
        ) from error


def _perform(shared: Shared, region: str, action: str, *, force: bool = False) -> None:
    data = shared.settings().data
    supervisor = find(data)
    weights = _weights(supervisor)
    other = _other(supervisor, region)
    if action == "evacuate":
        if not force:
            _refuse_two_out(data, other, weights)
        control = Control(data, region)
        if weights and not force:
            control.call(f"/region/leave?to={urllib.parse.quote(other, safe='')}")
        try:
            record = _leave(supervisor, control, other, weights, force=force)
        except KeyboardInterrupt:  # of the order itself ``Control`` says so
            if not weights:
                raise
            raise Unavailable(
                f"broken off before control of {region} was asked: the front sends nobody new to {region} already;"
                f" eisbach regions return {region} gives the weight back"
            ) from None
    else:
        if weights.get(region) != 0:
            _refuse_what_never_left(data, region, other)
        record = _take_back(Control(data, region), other, force=force)
    through = _through(record)
    if action == "return" and through and weights:
        supervisor.post("/ops/weights", {"region": region, "weight": 100})
    loss, unclosed = _close_loss(data, region, other, record) if action == "return" else (None, "")
    if shared.as_json:
        show_json(record | ({"loss": loss} if loss else {}) | ({"loss_trouble": unclosed} if unclosed else {}))
    else:
        say(_line(record))
        if unclosed:
            say(f"  {unclosed}")
        if loss:
            say(_loss_line(loss))
            for line in missing_ranges(loss["slots"]):
                say(f"  {line}")
        _say_rest(record)
        done = f"regions return {region}" if action == "evacuate" else "regions list"
        say(f"Next: eisbach {done}" if through else _rest(record))
    if unclosed or not _all_proved(record) or (loss and not loss["closed_ms"]):
        raise typer.Exit(NOT_WELL)


def _refuse_what_never_left(data: str, region: str, other: str) -> None:
    """A return is written down with its proofs: of a region that never left it would be a story that is not true."""
    control = Control(data, region)
    last = control.call("/region")["last"]
    left = last is not None or _why_not(control, last)
    if not left and not any(loss["region"] == region for loss in Control(data, other).call("/losses")["losses"]):
        raise Invalid(
            f"region {region} was never evacuated or lost, it serves: nothing to return; eisbach regions list"
        )


def _weights(supervisor: Any) -> dict[str, int]:
    try:
        found: dict[str, int] = supervisor.get("/ops/weights")["weights"]
    except NotFound:
        return {}  # a stage without a front
    return found


def _through(record: Any) -> bool:
    """Whether nothing is left to do; what is not proved then went with ``--force``."""
    return bool(record["ended_ms"])


def _all_proved(record: Any) -> bool:
    return bool(record["slots"]) and all(slot["proved"] for slot in record["slots"].values())


def _say_rest(record: Any) -> None:
    """Slots that are not proved, and why."""
    if not record["slots"]:
        say(f"  {record['action']} of {record['region']} is under way or was broken off: which slots is not known")
    for line in unproved(record["slots"]):
        say(f"  {line}")


def _rest(record: Any) -> str:
    """How to finish what left slots behind; a slot that was not proved serves on, or follows, and nothing is lost."""
    region, other = record["region"], record["other"]
    if record["action"] == "return":
        return f"Next: eisbach regions return {region} goes on with the rest, as often as you like"
    return (
        f"Next: when {other} follows {region} again (eisbach status), eisbach regions evacuate {region} goes on with"
        f" the rest, as often as you like; eisbach regions return {region} takes back what has left"
    )


def _line(record: Any) -> str:
    slots = record["slots"].values()
    proved = sum(slot["proved"] for slot in slots)
    what = (
        f"left to {record['other']}"
        if record["action"] == "evacuate"
        else f"back, with all that {record['other']} had when it was asked for its last word"
    )
    return f"{record['region']}: {proved} of {len(slots)} slots proved {what}"


COMMANDS = {
    "list": (list_regions, "Example: eisbach regions list"),
    "evacuate": (evacuate, "Example: eisbach regions evacuate eu-central      (--lost when it is gone already)"),
    "return": (come_back, "Example: eisbach regions return eu-central"),
}
