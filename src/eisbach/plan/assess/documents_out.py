"""The machine-readable reports: JSON, SARIF 2.1.0 for code review, Mermaid for documents, and the baseline file."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from eisbach.kernel.errors import Invalid
from eisbach.plan.assess.assessment import Assessment
from eisbach.plan.assess.availability import availability
from eisbach.plan.assess.experiments import chaos_experiment, fis_template
from eisbach.plan.assess.findings import RULES, Finding
from eisbach.plan.assess.migration import migration
from eisbach.plan.assess.order import start_order

__all__ = ["as_json", "mermaid", "read_baseline", "sarif"]

_LEVELS: Final = {"high": "error", "medium": "warning", "low": "note", "info": "none"}
_BLAST_LISTED_MAX: Final = 1_000
_MERMAID: Final = str.maketrans({'"': "'", "<": "&lt;", ">": "&gt;", "#": "&num;"})
_BASELINE_BYTES_MAX: Final = 1024 * 1024


def as_json(found: Assessment, findings: Sequence[Finding]) -> dict[str, Any]:
    """Everything, stable in order."""
    graph = found.graph
    waves, circle = start_order(graph)
    return {
        "files": dict(graph.files),
        "skipped": [{"file": file, "why": why} for file, why in graph.skipped],
        "resources": {"understood": graph.resources[0], "met": graph.resources[1]},
        "components": [
            {
                "name": c.name, "kind": c.kind, "replicas": c.replicas, "managed": c.managed, "owner": c.owner,
                "domains": {level: list(places) for level, places in c.domains.items()}, "backup": c.backup,
                "evidence": [str(e) for e in c.evidence],
            }
            for c in graph.components.values()
        ],
        "dependencies": [
            {
                "from": d.source, "to": d.target, "hard": d.hard, "sync": d.sync, "how": sorted(d.hows),
                "group": d.group, "timeout_ms": d.timeout_ms, "retries": d.retries, "fallback": d.fallback,
                "evidence": [str(e) for e in d.evidence],
            }
            for d in graph.dependencies
        ],
        "journeys": [
            {"name": j.name, "entry": list(j.entry), "weight": j.weight, "assumed": j.assumed} for j in graph.journeys
        ],
        "availability": [
            {
                "journey": e.journey, "low": e.low, "value": e.value, "high": e.high, "exact": e.exact,
                "assumed_components": e.assumed, "moves_most": e.moves_most, "moved_to": e.moved_to,
            }
            for e in availability(graph, found.impact.structure)
        ],
        "findings": [_finding(f, found) for f in findings],
        "blast_radius": _blast(found),
        "cuts": {
            "bound": found.cuts.bound(),
            "sets": [{"members": list(cut.members), "journeys": list(cut.journeys)} for cut in found.cuts.found],
        },
        "start_order": {"waves": [list(w) for w in waves], "circle": list(circle)},
        "unknown": [{"about": u.about, "what": u.what, "where": str(u.evidence)} for u in graph.unknowns],
        "migration": [
            {
                "step": s.name, "what": s.what, "availability": s.availability, "blast": s.blast,
                "changed": list(s.changed),
            }
            for s in migration(graph, found.groups)
        ],
    }  # fmt: skip


def _blast(found: Assessment) -> list[dict[str, Any]]:
    """What the loss of one component or of one failure domain takes, largest first; nothing for what takes none."""
    hit = found.impact
    lost = [("component", name, hit.lost_without(name)) for name in sorted(hit.alone())]
    lost += [(level, place, hit.lost_with((level, place))) for level, place in hit.domains]
    taken = [(hit.weight(journeys), what, name, journeys) for what, name, journeys in lost if journeys]
    taken.sort(key=lambda row: (-row[0], row[1], row[2]))
    return [
        {"what": what, "name": name, "journeys": list(journeys), "share": share}
        for share, what, name, journeys in taken[:_BLAST_LISTED_MAX]
    ]


def _finding(finding: Finding, found: Assessment) -> dict[str, Any]:
    return {
        "id": finding.identity, "rule": finding.rule, "severity": finding.severity,
        "components": list(finding.components), "via": finding.via, "journeys": list(finding.journeys),
        "weight": finding.weight, "evidence": [str(e) for e in finding.evidence], "reasoning": finding.reasoning,
        "advice": finding.advice, "experiment": chaos_experiment(finding, found.graph),
        "fis": fis_template(finding, found.graph),
    }  # fmt: skip


def sarif(findings: Sequence[Finding], version: str) -> dict[str, Any]:
    """For code review: each finding at its line."""
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "eisbach assess", "version": version,
                        "rules": [{"id": rule, "shortDescription": {"text": text}} for rule, text in RULES.items()],
                    }
                },
                "results": [
                    {
                        "ruleId": f.rule, "level": _LEVELS[f.severity],
                        "message": {"text": f"{f.reasoning} {f.advice}"},
                        "partialFingerprints": {"eisbach/v1": f.identity},
                        "locations": [
                            {
                                "physicalLocation": {
                                    "artifactLocation": {"uri": Path(e.file).as_posix()},
                                    "region": {"startLine": max(1, e.line)},
                                }
                            }
                            for e in f.evidence
                        ],
                    }
                    for f in findings
                ],
            }
        ],
    }  # fmt: skip


def mermaid(found: Assessment, findings: Collection[Finding]) -> str:
    """A flowchart; single points are marked."""
    graph = found.graph
    ids = {name: f"n{i}" for i, name in enumerate(graph.components)}
    single = {c for f in findings if f.rule == "single-point" for c in f.components}
    lines = ["flowchart TD"]
    for name, component in graph.components.items():
        label = "".join(c if c.isprintable() else " " for c in name).translate(_MERMAID)
        shape = f'[("{label}")]' if component.kind in ("database", "cache", "index", "bucket") else f'["{label}"]'
        lines.append(f"  {ids[name]}{shape}{':::single' if name in single else ''}")
    for d in graph.dependencies:
        arrow = "-.->" if d.hard is False or d.sync is False else "-->"
        lines.append(f"  {ids[d.source]} {arrow} {ids[d.target]}")
    lines.append("  classDef single stroke:#bb2018,stroke-width:3px")
    return "\n".join(lines) + "\n"


def read_baseline(path: Path) -> frozenset[str]:
    """Identities of findings that are known: a JSON list of texts, or an earlier ``--json`` report.

    Raises:
        Invalid: neither; with the file.
    """
    if not path.is_file() or path.stat().st_size > _BASELINE_BYTES_MAX:
        raise Invalid(f"baseline {path} is not a file of at most {_BASELINE_BYTES_MAX} bytes")
    try:
        value = json.loads(path.read_text())
        listed = value["findings"] if isinstance(value, dict) else value
        return frozenset(str(item["id"]) if isinstance(item, dict) else str(item) for item in listed)
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise Invalid(f"baseline {path} is neither a list of ids nor a report of assess --json: {error}") from error
