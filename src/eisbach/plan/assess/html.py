"""The page of an assessment: figures, a zoomable graph with failure domains as areas, findings, steps, what is unknown.

Self-contained (``plan.page``). The picture is laid out here, in layers from entry to store and lanes by domain, so that
equal graphs give equal pictures; the script only zooms and marks. Above ``DRAWN_MAX`` components only those of findings
and journeys are drawn, and the page says so.
"""

import html
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from eisbach.plan.assess.assessment import Assessment
from eisbach.plan.assess.availability import Estimate, availability, percent
from eisbach.plan.assess.cuts import Cuts
from eisbach.plan.assess.evaluate import is_hard
from eisbach.plan.assess.findings import Finding
from eisbach.plan.assess.hcl import ADDRESS
from eisbach.plan.assess.migration import Step, migration
from eisbach.plan.assess.model import Component
from eisbach.plan.assess.order import start_order
from eisbach.plan.page import Figure, Page, escape, figures, section

__all__ = ["DRAWN_MAX", "page"]

DRAWN_MAX: Final = 300
_HERE: Final = Path(__file__).parent
_WIDTH, _HEIGHT, _ACROSS, _DOWN, _PAD = 168, 46, 220, 74, 26
_CUTS_SHOWN: Final = 30
_LEVELS: Final = ("region", "zone", "host", "account", "vendor")


def page(found: Assessment, findings: Sequence[Finding], made: str) -> str:
    """The whole file."""
    estimates = availability(found.graph, found.impact.structure)
    single = [f for f in findings if f.rule == "single-point"]
    worst = max((f.weight for f in findings), default=0.0)
    total = sum(j.weight for j in found.graph.journeys) or 1.0
    weights = {j.name: j.weight for j in found.graph.journeys}
    overall = sum(weights[e.journey] * e.value for e in estimates) / total if estimates else 0.0
    lead = (
        f"{len(single)} single point{'s' if len(single) > 1 else ''}; the worst takes {worst:.0%} of the journeys."
        if single
        else "No single component takes a journey down, as far as the files say."
    )
    top = figures([
        Figure(value=str(len(found.graph.components)), label="components"),
        Figure(value=str(len(single)), label="single points", tone="bad" if single else "good"),
        Figure(value=f"{percent(overall, 2)}", label="availability, estimated"),
        Figure(value=str(len(found.graph.unknowns)), label="unknown", tone="warn" if found.graph.unknowns else ""),
    ])  # fmt: skip
    drawing, dead = _drawing(found, findings)
    body = "".join([
        top,
        section("graph", "What dies with what", drawing,
                lead="Choose a component: what does not work without it is marked. Areas are failure domains."),
        section("findings", "Findings", _findings(findings), lead="Ranked by severity and the journeys lost."),
        section("sets", "What takes a journey down together", _cuts(found.cuts),
                lead=f"No part of a set does it alone. {_looked(found.cuts)}"),
        section("availability", "Availability by journey", _estimates(estimates),
                lead="Estimated from what the files say; what nobody said is assumed by kind, and named here."),
        section("steps", "What to do, in order", _steps(migration(found.graph, found.groups)),
                lead="Each step includes those before it. Judged on the graph, not measured on a running system."),
        section("start", "Start after a full stop", _start(found),
                lead="Each wave needs those before it to serve. Only what waits for others, or is waited for."),
        section("unknown", "What no file says", _unknown(found),
                lead="Nothing of this was guessed. Say it in assess.yaml."),
    ])  # fmt: skip
    return Page(
        title="What takes your journeys down", lead=lead, body=body, made=made,
        links=(("graph", "Graph"), ("findings", "Findings"), ("sets", "Sets"), ("availability", "Availability"),
               ("steps", "Steps"), ("start", "Start"), ("unknown", "Unknown")),
        style=(_HERE / "assess.css").read_text(encoding="utf-8"),
        scripts=[(_HERE / "assess.js").read_text(encoding="utf-8")], data={"dead": dead},
    ).html()  # fmt: skip


def _drawn(found: Assessment, findings: Sequence[Finding]) -> list[str]:
    names = list(found.graph.components)
    if len(names) <= DRAWN_MAX:
        return names
    wanted: dict[str, None] = dict.fromkeys(e for j in found.graph.journeys for e in j.entry)
    wanted |= dict.fromkeys(c for f in findings for c in f.components)
    return list(wanted)[:DRAWN_MAX]


def _drawing(found: Assessment, findings: Sequence[Finding]) -> tuple[str, dict[str, Any]]:
    graph, names = found.graph, _drawn(found, findings)
    layer = _layers(found, names)
    lanes: dict[str, list[str]] = defaultdict(list)
    for name in names:
        lanes[_lane(graph.components[name])].append(name)
    place: dict[str, tuple[int, int]] = {}
    areas: list[str] = []
    top = _PAD
    deepest = max(layer.values(), default=0)
    doors = {_lane(graph.components[e]) for j in graph.journeys for e in j.entry if e in layer}
    for lane, members in sorted(lanes.items(), key=lambda pair: (pair[0] not in doors, pair[0] == "outside", pair[0])):
        rows: dict[int, int] = defaultdict(int)
        for name in sorted(members, key=lambda n: (layer[n], n)):
            place[name] = (_PAD + layer[name] * _ACROSS, top + _PAD + rows[layer[name]] * _DOWN)
            rows[layer[name]] += 1
        height = max(rows.values()) * _DOWN + _PAD
        width = (deepest + 1) * _ACROSS + _PAD
        label = f'<text x="{_PAD}" y="{top + 16}" class="lane">{escape(lane)}</text>' if lane else ""
        areas.append(f'<rect x="8" y="{top}" width="{width}" height="{height}" rx="14" class="area"/>{label}')
        top += height + 14
    edges = "".join(_edge(d.source, d.target, place, soft=not is_hard(d, graph.components[d.target]))
                    for d in graph.dependencies if d.source in place and d.target in place)  # fmt: skip
    single = {c for f in findings if f.rule in ("single-point", "shared-fate") for c in f.components}
    boxes = "".join(_box(i, graph.components[n], place[n], single=n in single) for i, n in enumerate(names))
    size = f"0 0 {(deepest + 1) * _ACROSS + 2 * _PAD} {top + 8}"
    note = (
        ""
        if len(names) == len(graph.components)
        else f"<p>{len(names)} of {len(graph.components)} components are drawn: those of journeys and findings.</p>"
    )
    svg = (
        '<div class="card drawing"><div class="tools screen-only">'
        '<button type="button" data-zoom="1.25">Zoom in</button>'
        '<button type="button" data-zoom="0.8">Zoom out</button><button type="button" data-zoom="0">Whole</button>'
        f'<span role="status" id="said">Nothing chosen.</span></div>'
        f'<div class="view"><svg id="picture" viewBox="{size}" style="width:{size.split()[2]}px" role="group" '
        'aria-label="Components and their dependencies">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z"/></marker></defs>{"".join(areas)}{edges}{boxes}</svg></div>{note}</div>'
    )
    index = {name: i for i, name in enumerate(names)}
    dead = {
        str(index[name]): {
            "name": name,
            "with": [index[o] for o in found.impact.dies_with(name) if o in index],
            "journeys": list(found.impact.lost_without(name)),
        }
        for name in names
    }
    return svg, dead


def _lane(component: Component) -> str:
    for level in _LEVELS:
        places = component.domains.get(level, ())
        if places:
            return f"{level} {' + '.join(places)}"
    return "outside" if component.kind == "external" else component.domains.get("unit", (component.scope,))[0]


def _layers(found: Assessment, names: Sequence[str]) -> dict[str, int]:
    """The longest way from an entry, bounded; circles end it, and what they left empty is closed up."""
    wanted = set(names)
    layer = dict.fromkeys(names, 0)
    edges = [(d.source, d.target) for d in found.graph.dependencies if d.source in wanted and d.target in wanted]
    for _ in range(min(len(names), 24)):
        moved = False
        for source, target in edges:
            if layer[target] < layer[source] + 1 <= 12:
                layer[target], moved = layer[source] + 1, True
        if not moved:
            break
    dense = {number: place for place, number in enumerate(sorted(set(layer.values())))}
    return {name: dense[number] for name, number in layer.items()}


def _edge(source: str, target: str, place: dict[str, tuple[int, int]], *, soft: bool) -> str:
    (x1, y1), (x2, y2) = place[source], place[target]
    start, end = (x1 + _WIDTH, y1 + _HEIGHT // 2), (x2, y2 + _HEIGHT // 2)
    if x2 <= x1:
        start, end = (x1 + _WIDTH // 2, y1 + _HEIGHT), (x2 + _WIDTH // 2, y2)
    bend = max(24, abs(end[0] - start[0]) // 2)
    path = f"M{start[0]} {start[1]}C{start[0] + bend} {start[1]} {end[0] - bend} {end[1]} {end[0]} {end[1]}"
    return f'<path d="{path}" class="edge{" soft" if soft else ""}" marker-end="url(#tip)"/>'


def _box(number: int, component: Component, at: tuple[int, int], *, single: bool) -> str:
    name = component.name
    if ADDRESS.fullmatch(name):  # of a Terraform resource the last word is what people know it by
        name = name.rpartition(".")[2]
    name = name.rpartition("/")[2] or name  # the lane says the rest
    name = name if len(name) <= 17 else f"{name[:16]}…"
    copies = "managed" if component.managed else f"{component.replicas or '?'} x"
    x, y = at
    return (
        f'<g class="box {"single" if single else ""}" data-n="{number}" tabindex="0" role="button" '
        f'aria-label="{escape(component.name)}, {escape(component.kind)}, {escape(copies)}">'
        f"<title>{escape(component.name)} ({escape(component.where())})</title>"
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="9"/>'
        f'<text x="{x + 12}" y="{y + 20}">{escape(name)}</text>'
        f'<text x="{x + 12}" y="{y + 37}" class="small">{escape(component.kind)} · {escape(copies)}</text></g>'
    )


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return '<p class="card">Nothing was found.</p>'
    return "".join(
        f'<article class="card finding {f.severity}"><h3><span class="tag">{escape(f.severity)}</span> '
        f"{escape(f.rule)}: {escape(', '.join(f.components[:6]))}{f' via {escape(f.via)}' if f.via else ''}</h3>"
        f"<p>{escape(f.reasoning)}</p><p><b>Do:</b> {escape(f.advice)}</p>"
        f'<p class="where"><code>{escape(", ".join(map(str, f.evidence)))}</code>'
        f"{html.escape(f' · {f.weight:.0%} of the journeys') if f.weight else ''}</p></article>"
        for f in findings
    )


def _looked(found: Cuts) -> str:
    if found.candidates < 2:
        return "There is nothing to combine: what the journeys use takes one down alone, or is not used by any."
    return f"Looked at {found.bound()}."


def _cuts(found: Cuts) -> str:
    if not found.found:
        return '<p class="card">No set was found.</p>'
    rows = "".join(
        f"<tr><td>{escape(' and '.join(cut.members))}</td><td>{escape(', '.join(cut.journeys))}</td></tr>"
        for cut in found.found[:_CUTS_SHOWN]
    )
    more = len(found.found) - _CUTS_SHOWN
    beyond = f"<p>{more} more are in the JSON report.</p>" if more > 0 else ""
    head = "<tr><th>Together</th><th>Journeys lost</th></tr>"
    table = f"<table>{head}{rows}</table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Sets">{table}</div>{beyond}'


def _estimates(estimates: Sequence[Estimate]) -> str:
    rows = "".join(
        f"<tr><td>{escape(e.journey)}</td><td class=number>{percent(e.value)}</td>"
        f"<td class=number>{'exact' if e.exact else f'{percent(e.low)} to {percent(e.high)}'}</td>"
        f"<td class=number>{(1 - e.value) * 8760:.1f} h</td><td>{escape(e.moves_most or 'none')}"
        f"{f' (perfect: {percent(e.moved_to)})' if e.moves_most else ''}</td></tr>"
        for e in estimates
    )
    head = (
        "<tr><th>Journey</th><th class=number>Estimate</th><th class=number>Range</th>"
        "<th class=number>Down a year</th><th>Assumption that moves it most</th></tr>"
    )
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Availability"><table>{head}{rows}</table></div>'


def _steps(steps: Sequence[Step]) -> str:
    rows = "".join(
        f"<tr><td><b>{escape(s.name)}</b><br>{escape(s.what)}</td><td class=number>{percent(s.availability)}</td>"
        f"<td class=number>{s.blast:.0%}</td><td>{escape(', '.join(s.changed[:8]) or 'nothing')}"
        f"{' …' if len(s.changed) > 8 else ''}</td></tr>"
        for s in steps
    )
    head = "<tr><th>Step</th><th class=number>Availability</th><th class=number>Worst blast</th><th>Touches</th></tr>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Steps"><table>{head}{rows}</table></div>'


def _start(found: Assessment) -> str:
    waves, circle = start_order(found.graph)
    items = "".join(f"<li>{escape(', '.join(wave[:40]))}{' …' if len(wave) > 40 else ''}</li>" for wave in waves)
    stuck = f"<p><b>Starts last, if at all:</b> {escape(', '.join(circle[:40]))}</p>" if circle else ""
    if not items and not stuck:
        return '<p class="card">No file says who waits for whom.</p>'
    return f'<div class="card"><ol class="plain">{items}</ol>{stuck}</div>'


def _unknown(found: Assessment) -> str:
    graph = found.graph
    rows = "".join(
        f"<li><b>{escape(u.about)}</b>: {escape(u.what)} <code>{escape(u.evidence)}</code></li>"
        for u in graph.unknowns[:200]
    )
    skipped = "".join(f"<li><code>{escape(file)}</code>: {escape(why)}</li>" for file, why in graph.skipped[:50])
    read = "".join(
        f"<li><code>{escape(file)}</code>: {escape(what)}</li>" for file, what in list(graph.files.items())[:200]
    )
    return (
        f'<div class="card"><ul class="plain">{rows or "<li>Nothing.</li>"}</ul></div>'
        f'<div class="card"><h3>Read</h3><ul class="plain">{read}</ul>'
        f"{f'<h3>Passed over</h3><ul class=plain>{skipped}</ul>' if skipped else ''}</div>"
    )
