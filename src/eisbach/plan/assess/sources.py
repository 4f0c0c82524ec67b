"""Which files a run reads, and what each of them is. Follows no link out of a folder, executes and fetches nothing."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from eisbach.kernel.errors import Invalid
from eisbach.plan.assess.bounds import ASSUMED_JOURNEYS_MAX, FILE_BYTES_MAX, FILES_MAX, Refused
from eisbach.plan.assess.cloudformation import is_cloudformation, read_templates
from eisbach.plan.assess.compose import is_compose, read_projects
from eisbach.plan.assess.documents import Node, read_json, read_yaml
from eisbach.plan.assess.facts import Facts
from eisbach.plan.assess.hcl import Folder
from eisbach.plan.assess.kubernetes import is_kubernetes, read_kubernetes
from eisbach.plan.assess.model import STORES, Component, Evidence, Graph, Journey, Unknown
from eisbach.plan.assess.overlay import NAMES, is_overlay, read_overlay
from eisbach.plan.assess.stacks import STACKS_MAX, Template, local_calls
from eisbach.plan.assess.terraform import read_folders
from eisbach.plan.assess.terraform_plan import is_plan, read_plan
from eisbach.plan.assess.traces import is_traces, read_traces

__all__ = ["Read", "read"]

_YAML: Final = (".yaml", ".yml")
_ENDINGS: Final = (*_YAML, ".json", ".jsonl", ".tf", ".tofu", ".template")
_SKIPPED: Final = frozenset({".git", "node_modules", ".terraform", "__pycache__", ".venv", "venv", "cdk.out.bak"})


@dataclass(frozen=True, slots=True)
class Read:
    """What a run has to judge."""

    graph: Graph
    groups: Mapping[str, tuple[Sequence[str], int]]
    """Alternatives: name -> (members, how many are needed)."""
    recovery: Mapping[str, Evidence]
    """Components that a recovery uses -> where that is said."""


@dataclass(slots=True)
class _Found:
    """What is read file by file, and understood together."""

    composes: list[tuple[Node, Path]] = field(default_factory=list)
    manifests: list[tuple[Node, str]] = field(default_factory=list)
    templates: list[Template] = field(default_factory=list)
    plans: list[tuple[Node, Path]] = field(default_factory=list)
    folders: dict[Path, Folder] = field(default_factory=dict)
    traces: list[tuple[list[Node], str]] = field(default_factory=list)
    overlays: list[tuple[Node, str]] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def drop(self, file: str) -> bool:
        """Leave a file out; False if it is none of those that can be."""
        before = len(self.composes) + len(self.manifests) + len(self.templates) + len(self.plans)
        self.composes = [c for c in self.composes if str(c[1]) != file]
        self.manifests = [m for m in self.manifests if m[1] != file]
        self.templates = [t for t in self.templates if t.file != file]
        self.plans = [p for p in self.plans if str(p[1]) != file]
        self.files.pop(file, None)
        return len(self.composes) + len(self.manifests) + len(self.templates) + len(self.plans) < before


def read(paths: Sequence[Path], *, told: Callable[[Path], None] = lambda _: None) -> Read:
    """One graph of everything under ``paths``; ``told`` hears each file before it is read.

    Raises:
        Invalid: a path that is not there, or nothing in them that is understood.
        Refused: a file that was named cannot be read; in a folder such a file is passed over and listed.
    """
    found, named_files = _Found(), set[str]()
    for path, named in _files(paths, found.skipped):
        told(path)
        if named:
            named_files.add(str(path))
        try:
            _read_one(path, found, named=named)
        except Refused as refused:
            if named:
                raise
            found.skipped.append((str(path), str(refused)))
    _nested(found, paths)
    while True:
        try:
            facts = _together(found, named_files)
            break
        except Refused as refused:
            if refused.file in named_files or not found.drop(refused.file):
                raise
            found.skipped.append((refused.file, str(refused)))
    if not facts.components:
        reasons = [*(why for _, why in facts.skipped), *(f"{u.about}: {u.what}" for u in facts.unknowns)]
        words = "; ".join(reasons[:3]) or "no compose file, manifest, template, plan or trace"
        raise Invalid(f"nothing to assess in {', '.join(map(str, paths))}: {words}")
    _assumed_journeys(facts)
    return Read(facts.graph(), facts.groups, facts.recovery)


def _together(found: _Found, named: AbstractSet[str]) -> Facts:
    """Declared first, then what was observed, then what people say; each kind when all its files are there."""
    facts = Facts()
    facts.files, facts.skipped = dict(found.files), list(found.skipped)
    for document, path in found.plans:
        read_plan(document, str(path), facts.scope_of(str(path), path.parent.name), facts)
    read_projects(found.composes, facts, named)
    read_kubernetes(found.manifests, facts)
    read_templates(found.templates, facts)
    read_folders(found.folders, facts)
    for documents, file in found.traces:
        read_traces(documents, file, facts)
    for document, file in found.overlays:
        read_overlay(document, file, facts)
    return facts


def _nested(found: _Found, paths: Sequence[Path]) -> None:
    """Templates of nested stacks that lie under a path given, or beside a template that was named."""
    inside = [p if p.is_dir() else p.parent for p in paths]
    waiting = list(found.templates)
    while waiting:
        for path in local_calls(waiting.pop(0)):
            known = any(t.path == path for t in found.templates)
            if known or len(found.templates) > STACKS_MAX or not _allowed(path, inside):
                continue
            document = next(iter(read_yaml(_text(path, str(path)), str(path))), Node(None, 1))
            if is_cloudformation(document):
                found.files[str(path)] = "CloudFormation template"
                found.templates.append(Template(document, path, str(path)))
                waiting.append(found.templates[-1])


def _allowed(path: Path, inside: Sequence[Path]) -> bool:
    try:
        return path.is_file() and any(path.resolve().is_relative_to(folder.resolve()) for folder in inside)
    except OSError:
        return False


def _files(paths: Sequence[Path], skipped: list[tuple[str, str]]) -> Iterator[tuple[Path, bool]]:
    seen, count = set[str](), 0
    for path in paths:
        if not path.exists():
            raise Invalid(f"{path} is not there")
        for inner in [path] if not path.is_dir() else _under(path, skipped):
            if (real := str(inner.absolute())) in seen:
                continue  # named twice, by itself and by its folder
            seen.add(real)
            count += 1
            if count > FILES_MAX:
                raise Invalid(f"{path} has more than {FILES_MAX} files to read; name a smaller folder")
            yield inner, inner is path


def _under(folder: Path, skipped: list[tuple[str, str]]) -> Iterator[Path]:
    """Files of a folder that may be read, in order; no link is followed, no folder of tools entered."""

    def passed(error: OSError) -> None:
        skipped.append((str(error.filename), f"cannot be read: {error.strerror}"))

    for here, inner, files in os.walk(folder, onerror=passed, followlinks=False):
        inner[:] = sorted(name for name in inner if name not in _SKIPPED)
        for name in sorted(files):
            path = Path(here) / name
            if path.suffix in _ENDINGS and not path.is_symlink() and path.is_file():
                yield path


def _text(path: Path, file: str) -> str:
    try:
        if not path.is_file():
            raise Refused(file, 1, "not a file: a pipe, a socket or a device is not read")
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise Refused(file, 1, f"{size} bytes; at most {FILE_BYTES_MAX} are read")
        raw = path.read_bytes()
    except OSError as error:
        raise Refused(file, 1, f"cannot be read: {error.strerror}") from error
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Refused(file, 1, "UTF-16; save it as UTF-8")
    if b"\0" in raw[:65_536]:
        raise Refused(file, 1, "binary; this reads text")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(file, raw.count(b"\n", 0, error.start) + 1, f"not UTF-8 at byte {error.start}") from error


def _read_one(path: Path, found: _Found, *, named: bool) -> None:
    file = str(path)
    text = _text(path, file)
    if path.suffix in (".tf", ".tofu"):
        found.files[file] = "Terraform configuration"
        _terraform(path, text, found)
        return
    documents = read_json(text, file) if path.suffix in (".json", ".jsonl") else read_yaml(text, file)
    documents = [d for d in documents if isinstance(d.value, dict)]
    if path.name in NAMES and documents and is_overlay(documents[0], path.name):
        found.files[file] = "overlay"
        found.overlays.append((documents[0], file))
    elif any(is_traces(d) for d in documents):
        found.files[file] = "OpenTelemetry traces"
        found.traces.append((documents, file))
    elif documents and is_plan(documents[0]):
        found.files[file] = "Terraform plan"
        found.plans.append((documents[0], path))
    elif documents and is_cloudformation(documents[0]):
        found.files[file] = "CloudFormation template"
        found.templates.append(Template(documents[0], path, file))
    elif documents and is_compose(documents[0]):
        found.files[file] = "compose file"
        found.composes.append((documents[0], path))
    elif any(is_kubernetes(d) for d in documents):
        found.files[file] = "Kubernetes manifests"
        found.manifests += [(d, file) for d in documents if is_kubernetes(d)]
    elif documents and "services" in documents[0].value and (named or "compose" in path.name):
        raise Refused(file, documents[0].get("services").line, "services is no mapping of names to services")
    elif named and not text.strip():
        raise Refused(file, 1, "empty: there is nothing to read in it")
    elif named:
        raise Refused(file, 1, "neither a compose file, manifests, a template, a plan, traces nor an overlay")


def _terraform(path: Path, text: str, found: _Found) -> None:
    folder = found.folders.get(path.parent)
    if folder is None:
        folder = found.folders[path.parent] = Folder(path.parent)
        for values in (path.parent / "terraform.tfvars", *sorted(path.parent.glob("*.auto.tfvars"))):
            if values.is_file() and not values.is_symlink():
                folder.set(_text(values, str(values)), str(values))
    folder.take(text, str(path))


def _assumed_journeys(facts: Facts) -> None:
    """Without an overlay every component that takes calls from outside is a journey of its own, up to a bound."""
    if facts.journeys:
        return
    targets = {facts.resolve(link.target, link.scope) for link in facts.links}
    doors = [c for c in facts.components.values() if c.entry and c.kind not in ("telemetry", "job")]
    doors = [c for c in doors if c.kind not in STORES] or doors  # a store with an open port is no door of viewers
    doors = doors or [
        c for c in facts.components.values() if c.name not in targets and c.kind in ("service", "proxy", "function")
    ]
    if len(doors) > ASSUMED_JOURNEYS_MAX:
        what = f"what viewers do: {len(doors)} doors, and the first {ASSUMED_JOURNEYS_MAX} were taken for journeys"
        facts.unknowns.append(Unknown("journeys", what, doors[0].where()))
        doors = doors[:ASSUMED_JOURNEYS_MAX]
    group_of = {m: g for g, (members, needs) in facts.groups.items() if needs == 1 for m in members}
    ways: dict[str, list[Component]] = {}
    for door in doors:  # versions behind one Service stand in for each other
        ways.setdefault(group_of.get(door.name, door.name), []).append(door)
    for name, ones in ways.items():
        entry = tuple(door.name for door in ones)
        facts.journeys.append(
            Journey(name=name, entry=entry, weight=1 / len(ways), assumed=True, evidence=ones[0].where())
        )
