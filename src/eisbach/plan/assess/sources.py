"""Which files a run reads, and what each of them is. Follows no link out of a folder, executes and fetches nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eisbach.kernel.errors import Invalid
from eisbach.plan.assess.bounds import FILE_BYTES_MAX, FILES_MAX, Refused
from eisbach.plan.assess.cloudformation import is_cloudformation, read_cloudformation
from eisbach.plan.assess.compose import is_compose, read_compose
from eisbach.plan.assess.documents import Node, read_json, read_yaml
from eisbach.plan.assess.facts import Facts
from eisbach.plan.assess.kubernetes import is_kubernetes, read_kubernetes
from eisbach.plan.assess.model import Evidence, Graph, Journey
from eisbach.plan.assess.overlay import NAMES, is_overlay, read_overlay
from eisbach.plan.assess.terraform import is_plan, read_hcl, read_plan
from eisbach.plan.assess.traces import is_traces, read_traces

__all__ = ["Read", "read"]

_YAML: Final = (".yaml", ".yml")
_ENDINGS: Final = (*_YAML, ".json", ".jsonl", ".tf", ".template")
_SKIPPED: Final = frozenset({".git", "node_modules", ".terraform", "__pycache__", ".venv", "venv", "cdk.out.bak"})


@dataclass(frozen=True, slots=True)
class Read:
    """What a run has to judge."""

    graph: Graph
    groups: Mapping[str, tuple[Sequence[str], int]]
    """Alternatives: name -> (members, how many are needed)."""
    recovery: Mapping[str, Evidence]
    """Components that a recovery uses -> where that is said."""


def read(paths: Sequence[Path]) -> Read:
    """One graph of everything under ``paths``.

    Raises:
        Invalid: a path that is not there, or nothing in them that is understood.
        Refused: a file that was named cannot be read; in a folder such a file is passed over and listed.
    """
    facts = Facts()
    overlays: list[tuple[Node, str]] = []
    traces: list[tuple[list[Node], str]] = []
    for path, named in _files(paths):
        try:
            _read_one(path, facts, overlays, traces, named=named)
        except Refused as refused:
            if named:
                raise
            facts.skipped.append((str(path), str(refused)))
    for documents, file in traces:  # after everything that is declared, so that names are known
        read_traces(documents, file, facts)
    for document, file in overlays:
        read_overlay(document, file, facts)
    if not facts.components:
        words = "; ".join(why for _, why in facts.skipped[:3]) or "no compose file, manifest, template, plan or trace"
        raise Invalid(f"nothing to assess in {', '.join(map(str, paths))}: {words}")
    _assumed_journeys(facts)
    return Read(facts.graph(), facts.groups, facts.recovery)


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    count = 0
    for path in paths:
        if not path.exists():
            raise Invalid(f"{path} is not there")
        if path.is_file():
            yield path, True
            continue
        for inner in sorted(path.rglob("*")):
            parts = inner.relative_to(path).parts
            if (
                inner.suffix in _ENDINGS
                and not _SKIPPED.intersection(parts)
                and not inner.is_symlink()
                and inner.is_file()
            ):
                count += 1
                if count > FILES_MAX:
                    raise Invalid(f"{path} has more than {FILES_MAX} files to read; name a smaller folder")
                yield inner, False


def _text(path: Path, file: str) -> str:
    size = path.stat().st_size
    if size > FILE_BYTES_MAX:
        raise Refused(file, 1, f"{size} bytes; at most {FILE_BYTES_MAX} are read")
    raw = path.read_bytes()
    if b"\0" in raw[:65_536]:
        raise Refused(file, 1, "binary; this reads text")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(file, raw.count(b"\n", 0, error.start) + 1, f"not UTF-8 at byte {error.start}") from error


def _read_one(
    path: Path, facts: Facts, overlays: list[tuple[Node, str]], traces: list[tuple[list[Node], str]], *, named: bool
) -> None:  # fmt: skip
    file = str(path)
    text = _text(path, file)
    if path.suffix == ".tf":
        facts.files[file] = "Terraform configuration"
        read_hcl(text, file, path.parent.name, facts)
        return
    documents = read_json(text, file) if path.suffix in (".json", ".jsonl") else read_yaml(text, file)
    documents = [d for d in documents if isinstance(d.value, dict)]
    if path.name in NAMES and documents and is_overlay(documents[0], path.name):
        facts.files[file] = "overlay"
        overlays.append((documents[0], file))
    elif any(is_traces(d) for d in documents):
        facts.files[file] = "OpenTelemetry traces"
        traces.append((documents, file))
    elif documents and is_plan(documents[0]):
        facts.files[file] = "Terraform plan"
        read_plan(documents[0], file, path.parent.name, facts)
    elif documents and is_cloudformation(documents[0]):
        facts.files[file] = "CloudFormation template"
        read_cloudformation(documents[0], file, path.parent.name, facts)
    elif documents and is_compose(documents[0]):
        facts.files[file] = "compose file"
        read_compose(documents[0], file, path, facts)
    elif any(is_kubernetes(d) for d in documents):
        facts.files[file] = "Kubernetes manifests"
        read_kubernetes([d for d in documents if is_kubernetes(d)], file, facts)
    elif named:
        raise Refused(file, 1, "neither a compose file, manifests, a template, a plan, traces nor an overlay")


def _assumed_journeys(facts: Facts) -> None:
    """Without an overlay every component that takes calls from outside is a journey of its own."""
    if facts.journeys:
        return
    targets = {facts.resolve(link.target, link.scope) for link in facts.links}
    doors = [c for c in facts.components.values() if c.entry and c.kind not in ("telemetry", "job")]
    doors = doors or [
        c for c in facts.components.values() if c.name not in targets and c.kind in ("service", "proxy", "function")
    ]
    for door in doors:
        facts.journeys.append(
            Journey(name=door.name, entry=(door.name,), weight=1 / len(doors), assumed=True,
                    evidence=door.evidence[0] if door.evidence else Evidence("-", 0))
        )  # fmt: skip
