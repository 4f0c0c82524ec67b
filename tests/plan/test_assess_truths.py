"""The exam: planted faults are found, look-alikes are not (tests/plan/truths, written before the analyser)."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from eisbach.plan.assess.assessment import Assessment, assess

ROOT = Path(__file__).parent / "truths"
TRUTHS = sorted(path.parent.name for path in ROOT.glob("*/truth.toml"))


def judged(name: str) -> tuple[dict[str, Any], Assessment]:
    truth = tomllib.loads((ROOT / name / "truth.toml").read_text())
    return truth, assess([ROOT / name / file for file in truth["inputs"]])


def claims(found: Assessment) -> dict[tuple[str, tuple[str, ...]], list[Any]]:
    result: dict[tuple[str, tuple[str, ...]], list[Any]] = {}
    for finding in found.findings:
        if finding.severity != "info":
            result.setdefault((finding.rule.replace("-", "_"), finding.components), []).append(finding)
    return result


@pytest.mark.parametrize("name", TRUTHS)
def test_every_planted_fault_is_found(name: str) -> None:
    truth, found = judged(name)
    made = claims(found)

    missed = [
        (fault["kind"], fault["components"])
        for fault in truth.get("fault", ())
        if not any(
            not fault.get("via") or f.via == fault["via"]
            for f in made.get((fault["kind"], tuple(fault["components"])), ())
        )
    ]

    assert missed == []


@pytest.mark.parametrize("name", TRUTHS)
def test_no_look_alike_is_reported(name: str) -> None:
    truth, found = judged(name)
    made = claims(found)

    wrong = [
        (f["kind"], f["components"])
        for f in truth.get("not_a_fault", ())
        if (f["kind"], tuple(f["components"])) in made
    ]
    if truth.get("nothing_else"):
        wrong += [(rule, list(components)) for rule, components in made]

    assert wrong == []


@pytest.mark.parametrize("name", TRUTHS)
def test_the_evidence_of_a_planted_fault_is_the_line_that_carries_it(name: str) -> None:
    truth, found = judged(name)
    made = claims(found)

    for fault in truth.get("fault", ()):
        wanted = fault.get("line", "")
        if ":" not in wanted or fault["kind"] in ("sync_cycle", "restart_cycle"):
            continue
        file, line = wanted.split(":")
        lines = {
            (Path(e.file).name, e.line) for f in made[fault["kind"], tuple(fault["components"])] for e in f.evidence
        }
        near = {(file, int(line) + offset) for offset in (-3, -2, -1, 0, 1, 2, 3, 4)}
        assert lines & near, f"{fault['kind']} {fault['components']}: {sorted(lines)}, wanted about {wanted}"


def test_every_component_and_dependency_names_a_line_that_exists() -> None:
    for name in TRUTHS:
        _, found = judged(name)
        for evidence in (
            *(e for c in found.graph.components.values() for e in c.evidence),
            *(e for d in found.graph.dependencies for e in d.evidence),
        ):
            text = Path(evidence.file).read_text().splitlines()
            assert 1 <= evidence.line <= len(text), (name, evidence)


def test_equal_inputs_give_equal_findings() -> None:
    first, second = judged("kickoff-monolith")[1], judged("kickoff-monolith")[1]

    assert first.findings == second.findings
