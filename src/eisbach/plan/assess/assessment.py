"""One assessment: a graph and everything that was found in it, ranked by the journeys lost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eisbach.plan.assess.cuts import Cuts, cuts
from eisbach.plan.assess.findings import SEVERITIES, Finding
from eisbach.plan.assess.model import Graph
from eisbach.plan.assess.rules import beside
from eisbach.plan.assess.single import Impact, impact, single_points
from eisbach.plan.assess.sources import Read, read

__all__ = ["Assessment", "assess", "judge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """Everything a report shows."""

    graph: Graph
    groups: Mapping[str, tuple[Sequence[str], int]]
    findings: Sequence[Finding]
    cuts: Cuts
    """Smallest sets of two and three of which no part is a single point."""
    impact: Impact


def assess(paths: Sequence[Path], *, told: Callable[[Path], None] = lambda _: None) -> Assessment:
    """Read and judge; ``told`` hears each file before it is read.

    Raises:
        Invalid, Refused: as ``sources.read``.
    """
    return judge(read(paths, told=told))


def judge(found: Read) -> Assessment:
    """Every analysis over one graph."""
    graph, groups = found.graph, found.groups
    hit = impact(graph, groups)
    findings = [*single_points(graph, hit), *beside(graph, hit.structure, groups, found.recovery)]
    weighed = [_weighed(f, hit) for f in findings]
    ranked = sorted(weighed, key=lambda f: (SEVERITIES.index(f.severity), -f.weight, f.rule, f.components))
    return Assessment(graph=graph, groups=groups, findings=_once(ranked), cuts=cuts(graph, hit), impact=hit)


def _weighed(finding: Finding, hit: Impact) -> Finding:
    """Journeys that a finding's components carry, for the ranking."""
    if finding.journeys:
        return finding
    # A call hurts whoever makes it: what else its target carries is not lost by this finding.
    carried = finding.components[:1] if finding.rule in ("hidden-dependency", "drift") else finding.components
    lost = tuple(dict.fromkeys(j for c in carried if c in hit.structure.order for j in hit.lost_without(c)))
    return replace(finding, journeys=lost, weight=hit.weight(lost))


def _once(findings: Sequence[Finding]) -> list[Finding]:
    return list({f.identity: f for f in reversed(findings)}.values())[::-1]
