"""The rules beside single points: shared fate, what hides, what storms, what circles, what has no copy.

Each is a function from the graph to findings and reports only what the facts hold; what a file does not say is not held
against anybody. Order inside a rule is that of the graph, so that equal inputs give equal reports.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final

from eisbach.plan.assess.evaluate import Structure, is_hard, is_sync, redundant
from eisbach.plan.assess.findings import Finding, Severity
from eisbach.plan.assess.model import Component, Dependency, Evidence, Graph

__all__ = ["beside"]

_STORM: Final = 8
_DOORS: Final = frozenset({"gateway", "proxy", "cdn", "dns"})
_CHAIN_MAX: Final = 12
_NAMED_MAX: Final = 12
"""Names in a sentence."""
Groups = Mapping[str, tuple[Sequence[str], int]]


def beside(graph: Graph, structure: Structure, groups: Groups, recovery: Mapping[str, Evidence]) -> list[Finding]:
    """Every rule's findings."""
    return [
        *_shared_places(graph, groups),
        *_shared_needs(graph, structure, groups),
        *_hidden(graph),
        *_storms(graph),
        *_inversions(graph),
        *_backups(graph),
        *_queues(graph),
        *_circles(graph),
        *_control_plane(graph, recovery),
        *_drift(graph),
    ]


def _alternatives(graph: Graph, groups: Groups) -> list[tuple[str, ...]]:
    """Sets of which fewer than all are needed: what somebody believes to be independent."""
    found = [tuple(members) for members, needs in groups.values() if needs < len(members)]
    found += [journey.entry for journey in graph.journeys if len(journey.entry) > 1]
    return list(dict.fromkeys(tuple(sorted(f)) for f in found))


def _shared_places(graph: Graph, groups: Groups) -> list[Finding]:
    found: list[Finding] = []
    alternative = {member for members in _alternatives(graph, groups) for member in members}
    for component in graph.components.values():
        for level in ("zone", "host"):
            places = component.domains.get(level, ())
            several = component.replicas is not None and component.replicas > 1
            if several and len(places) == 1 and not component.spread and component.name not in alternative:
                found.append(_fate((component,), places[0], component.where(level), level))
    for members in _alternatives(graph, groups):
        for level in ("zone", "host", "disk", "vendor", "account"):
            shared = {graph.components[m].domains.get(level, ()) for m in members}
            if len(shared) == 1 and len(next(iter(shared))) == 1:
                first, place = graph.components[members[0]], next(iter(shared))[0]
                place = place.rpartition("/")[2] if level == "disk" else place
                found.append(_fate([graph.components[m] for m in members], place, first.where(level), level))
    disks: dict[str, list[Component]] = defaultdict(list)
    for component in graph.components.values():
        if component.kind in ("database", "index", "queue", "bucket"):
            for disk in component.domains.get("disk", ()):
                disks[disk].append(component)
    for disk, users in disks.items():
        if len(users) > 1:
            found.append(_fate(users, disk.rpartition("/")[2], users[0].where("disk"), "disk"))
    return found


def _fate(components: Sequence[Component], via: str, at: Evidence, level: str) -> Finding:
    names = tuple(sorted(c.name for c in components))
    copies = "its copies stand" if len(names) == 1 else "they stand"
    return Finding(
        rule="shared-fate", components=names, via=via, severity="high", evidence=(at,),
        reasoning=f"{' and '.join(names[:4])} look independent, but {copies} on one {level}: {via}. "
        f"Whatever takes that {level} takes all of them, so the copies protect against less than they cost.",
        advice=f"Put them on different {level}s, and test that one survives the other.",
    )  # fmt: skip


def _shared_needs(graph: Graph, structure: Structure, groups: Groups) -> list[Finding]:
    """Alternatives that all need the same thing which has no alternative and no second copy."""
    found: list[Finding] = []
    spare = {m for members, needs in groups.values() if needs < len(members) for m in members}
    sets = _alternatives(graph, groups)
    by_zone: dict[str, list[str]] = defaultdict(list)
    for component in graph.components.values():
        if component.kind == "network" and len(component.domains.get("zone", ())) == 1:
            by_zone[component.domains["zone"][0]].append(component.name)
    if len(by_zone) > 1:
        sets = [
            *sets,
            *(tuple(sorted(pair)) for a, b in combinations(by_zone, 2) for pair in [(by_zone[a][0], by_zone[b][0])]),
        ]
    for members in dict.fromkeys(sets):
        closures = [_closure(structure, m) for m in members]
        common = set.intersection(*closures) - set(members)
        for name in sorted(common):
            shared = graph.components[name]
            if not redundant(shared) and name not in spare and shared.kind not in _DOORS:
                at = next(
                    (d.where() for d in graph.dependencies if d.target == name and d.source in members), shared.where()
                )
                found.append(
                    Finding(
                        rule="shared-fate", components=members, via=name, severity="high",
                        evidence=(at, shared.where()),
                        reasoning=f"{' and '.join(members[:4])} replace each other, and all of them need {name}. "
                        f"{name} has no second copy and no alternative, so they fail together.",
                        advice=f"Give each side its own {shared.kind}, or a fallback for when {name} is away.",
                    )
                )  # fmt: skip
    return found


def _closure(structure: Structure, name: str) -> set[str]:
    seen, waiting = set[str](), list(structure.all_of(name))
    while waiting:
        here = waiting.pop()
        if here not in seen:
            seen.add(here)
            waiting.extend(structure.all_of(here))
    return seen


def _hidden(graph: Graph) -> list[Finding]:
    found: list[Finding] = []
    for d in graph.dependencies:
        source, target = graph.components[d.source], graph.components[d.target]
        only_seen = d.hows == {"observed"}
        unknown = target.kind == "external" and not d.documented and "declared" not in d.hows
        if source.kind in ("job", "telemetry") or not is_hard(d, target) or not (only_seen or unknown):
            continue
        how = "a trace shows it, and no file does" if only_seen else "only a value names it"
        severity: Severity = "high" if only_seen else "medium"
        found.append(
            Finding(
                rule="hidden-dependency", components=(d.source, d.target), severity=severity,
                evidence=tuple(d.evidence[:3]),
                reasoning=f"{d.source} calls {d.target}: {how}. "
                "No file says whether it can do without, who runs it, or how available it is.",
                advice="Write it down (assess.yaml: dependencies, hard or soft), "
                f"and decide what {d.source} does without it.",
            )
        )  # fmt: skip
    return found


def _calls(graph: Graph) -> dict[str, list[Dependency]]:
    """Synchronous calls by source."""
    found: dict[str, list[Dependency]] = defaultdict(list)
    for d in graph.dependencies:
        if d.calls and is_sync(d, graph.components[d.target]):
            found[d.source].append(d)
    return found


def _storms(graph: Graph) -> list[Finding]:
    calls = _calls(graph)
    retried = {s: [d for d in ds if d.retries] for s, ds in calls.items()}
    retried = {s: ds for s, ds in retried.items() if ds}
    called = {d.target for ds in retried.values() for d in ds}
    found: list[Finding] = []
    for root in (s for s in retried if s not in called):
        for chain in _chains(retried, root):
            product = 1
            for d in chain:
                product *= d.tries
            if product >= _STORM:
                path = (root, *(d.target for d in chain))
                factors = " x ".join(str(d.tries) for d in chain)
                found.append(
                    Finding(
                        rule="retry-storm", components=path, severity="high", evidence=tuple(d.where() for d in chain),
                        reasoning=f"One call at {root} can become {factors} = {product} calls at {path[-1]}. "
                        "A slow end gets that many times its load at the moment when it can bear none.",
                        advice="Retry at one layer only, with a budget (10 % of calls), and pass the deadline down.",
                    )
                )  # fmt: skip
    return found


def _chains(calls: Mapping[str, Sequence[Dependency]], root: str) -> list[list[Dependency]]:
    """Longest chains from ``root``, without circles, at most ``_CHAIN_MAX`` long and 200 in number."""
    found: list[list[Dependency]] = []
    waiting: list[list[Dependency]] = [[d] for d in calls.get(root, ())]
    while waiting and len(found) < 200:
        chain = waiting.pop()
        seen = {root, *(d.target for d in chain)}
        further = [d for d in calls.get(chain[-1].target, ()) if d.target not in seen]
        if further and len(chain) < _CHAIN_MAX:
            waiting.extend([*chain, d] for d in further)
        else:
            found.append(chain)
    return found


def _inversions(graph: Graph) -> list[Finding]:
    calls = _calls(graph)
    found: list[Finding] = []
    for ds in calls.values():
        for d in ds:
            inner = [(c.timeout_ms * c.tries, c) for c in calls.get(d.target, ()) if c.timeout_ms is not None]
            if d.timeout_ms is None or not inner:
                continue
            longest, call = max(inner, key=lambda pair: pair[0])
            if longest > d.timeout_ms:
                found.append(
                    Finding(
                        rule="timeout-inversion", components=(d.source, d.target), severity="medium",
                        evidence=(d.where(), call.where()),
                        reasoning=f"{d.source} waits {d.timeout_ms:g} ms for {d.target}, which may itself spend "
                        f"{call.tries} x {call.timeout_ms:g} ms on {call.target}. "
                        "The caller gives up and tries again while the first answer is still being made.",
                        advice=f"Let {d.source} wait longer than {longest:g} ms, "
                        f"or give {d.target} a deadline below {d.timeout_ms:g} ms.",
                    )
                )  # fmt: skip
    return found


def _backups(graph: Graph) -> list[Finding]:
    found: list[Finding] = []
    for c in graph.components.values():
        if (
            c.kind in ("database", "bucket", "index", "service", "identity")
            and c.stateful
            and not c.backup
            and "backup" not in c.unsaid
        ):
            off = c.backup is False and c.where("backup") != c.where()
            said = "a file switches backups off" if off else "no file mentions a backup of it"
            found.append(
                Finding(
                    rule="missing-backup", components=(c.name,), severity="high",
                    evidence=tuple(dict.fromkeys((c.where("backup" if c.backup is False else "stateful"), c.where()))),
                    reasoning=f"{c.name} keeps data, and {said}. "
                    "Copies and replicas repeat a wrong delete within a second; only a backup goes back in time.",
                    advice="Back it up where its own credentials cannot delete, and restore it monthly as a drill.",
                )
            )  # fmt: skip
    return found


def _queues(graph: Graph) -> list[Finding]:
    return [
        Finding(
            rule="unbounded-queue", components=(c.name,), severity="medium", evidence=(c.where("dead_letters"),),
            reasoning=f"{c.name} has no dead-letter queue: a message that always fails comes back until it expires. "
            "It takes capacity from the others, and when it expires it is gone without a trace.",
            advice="Add a dead-letter queue with a few receives, an alarm on its depth, and a way to redrive.",
        )
        for c in graph.components.values()
        if c.kind == "queue" and c.dead_letters is False
    ]  # fmt: skip


def _circles(graph: Graph) -> list[Finding]:
    calls = _calls(graph)
    found: list[Finding] = []
    starts = {s: [d for d in ds if d.starts] for s, ds in calls.items()}
    restart = _components_in_circles(starts)
    found += [_circle(graph, "restart-cycle", members, starts) for members in restart]
    for members in _components_in_circles(calls):
        inside = [m for m in members if graph.components[m].kind not in _DOORS]
        if not any(set(members) <= set(r) for r in restart) and len(inside) > 1:
            found.append(_circle(graph, "sync-cycle", tuple(inside), calls))
    return found


def _circle(graph: Graph, rule: str, members: tuple[str, ...], calls: Mapping[str, Sequence[Dependency]]) -> Finding:
    names = tuple(sorted(members))
    evidence = tuple(d.where() for m in names for d in calls.get(m, ()) if d.target in members)
    starting = rule == "restart-cycle"
    shown = ", ".join(names[:_NAMED_MAX]) + (f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else "")
    return Finding(
        rule=rule, components=names, severity="high", evidence=evidence[:6] or (graph.components[names[0]].where(),),
        reasoning=(
            f"{shown} each ask the next one before they serve. "
            "After a full stop (a lost zone, an upgrade, a power cut) none of them starts."
            if starting
            else f"{shown} wait for each other in a circle. "
            "One slow member holds workers of all of them, and retries go round."
        ),
        advice=(
            "Let one of them start from a copy on disk, and start from cold once as a drill."
            if starting
            else "Turn one of the calls into an event, or let one member answer from its own copy."
        ),
    )  # fmt: skip


def _components_in_circles(calls: Mapping[str, Sequence[Dependency]]) -> list[tuple[str, ...]]:
    """Strongly connected components of more than one node (Tarjan 1972), without recursion."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    on_stack: dict[str, None] = {}
    found: list[tuple[str, ...]] = []
    for root in list(calls):
        if root in index:
            continue
        work = [(root, iter([d.target for d in calls.get(root, ())]))]
        index[root] = low[root] = len(index)
        on_stack[root] = None
        while work:
            name, left = work[-1]
            following = next(left, None)
            if following is not None:
                if following not in index:
                    index[following] = low[following] = len(index)
                    on_stack[following] = None
                    work.append((following, iter([d.target for d in calls.get(following, ())])))
                elif following in on_stack:
                    low[name] = min(low[name], index[following])
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[name])
            if low[name] == index[name]:
                members: list[str] = []
                while True:
                    member, _ = on_stack.popitem()
                    members.append(member)
                    if member == name:
                        break
                if len(members) > 1:
                    found.append(tuple(sorted(members)))
    return found


def _control_plane(graph: Graph, recovery: Mapping[str, Evidence]) -> list[Finding]:
    found: list[Finding] = []
    for name, at in recovery.items():
        component = graph.components.get(name)
        if component is not None and component.launches:
            found.append(
                Finding(
                    rule="control-plane-recovery", components=(name,), severity="high",
                    evidence=(component.where("launches"), at),
                    reasoning=f"{name} recovers by calling {component.launches}: control planes of the provider. "
                    "They are what fails on such days (us-east-1, October 2025: launches failed for eight hours).",
                    advice="Run the capacity beforehand, and switch by a data plane: routing controls, health checks.",
                )
            )  # fmt: skip
    return found


def _drift(graph: Graph) -> list[Finding]:
    if not graph.traced:
        return []
    observed = {(d.source, d.target) for d in graph.dependencies if "observed" in d.hows}
    found: list[Finding] = []
    for d in graph.dependencies:
        target = graph.components[d.target]
        if d.hows == {"observed"}:
            what, advice = "was observed, and no file declares it", "Declare it, or find out who still calls."
        elif (
            d.source in graph.traced
            and (d.source, d.target) not in observed
            and d.calls
            and target.kind in ("service", "function")
        ):
            what, advice = "is declared, and no trace shows it", "Remove it, or find out why the traces miss it."
        else:
            continue
        found.append(
            Finding(
                rule="drift", components=(d.source, d.target), severity="low", evidence=tuple(d.evidence[:2]),
                reasoning=f"The call from {d.source} to {d.target} {what}. "
                "A picture that is wrong here is wrong in an incident, too.",
                advice=advice,
            )
        )  # fmt: skip
    return found
