"""docker-compose files: services, what they wait for, what their variables name, volumes, replicas, backups.

Reads anchors and merges (``documents``), ``extends``, ``env_file`` and ``.env`` of the same folder, profiles; variables
are filled in from ``.env`` and their defaults only, never from this machine's environment.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final, NamedTuple

from eisbach.plan.assess.bounds import Refused
from eisbach.plan.assess.documents import Node, read_yaml
from eisbach.plan.assess.endpoints import endpoints, needed_at_start, replica_of
from eisbach.plan.assess.facts import Facts
from eisbach.plan.assess.images import is_backup, is_coordination, kind_of_image
from eisbach.plan.assess.model import STORES, Evidence, Unknown

__all__ = ["is_compose", "read_projects"]

_VARIABLE: Final = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)(?::?([-?+])([^}]*))?\}|([A-Za-z_][A-Za-z0-9_]*))")
_DEFAULT: Final = ("compose", "docker-compose")
_OVERRIDES: Final = ("compose.override", "docker-compose.override")
_ON_HOST: Final = re.compile(r"node\.hostname\s*==\s*([\w.-]+)")
_SIDE_BYTES_MAX: Final = 1024 * 1024
_BACKUP_LABELS: Final = re.compile(r"backup", re.IGNORECASE)


def is_compose(document: Node) -> bool:
    """Whether a document is a compose file."""
    services = document.get("services")
    return isinstance(services.value, dict) and document.get("apiVersion").value is None


def read_projects(composes: Sequence[tuple[Node, Path]], facts: Facts, named: AbstractSet[str] = frozenset()) -> None:
    """Everything that the compose files of a run say; those of one folder are one project, as docker reads them.

    That is its file and its override file, and of the others those that were ``named``; what was merely found there
    besides (``compose.prod.yml``) is an alternative that docker reads only when told to, and is passed over and listed.
    Where a folder has no file that docker reads by itself, its files are one project, unless two declare a service.
    """
    projects: dict[Path, list[tuple[Node, Path]]] = defaultdict(list)
    for document, path in composes:
        projects[path.parent].append((document, path))
    for folder, files in projects.items():
        for number, project in enumerate(
            _of_one_folder(sorted(files, key=lambda entry: _precedence(entry, named)), named, facts)
        ):
            title = next((d.get("name").text() for d, _ in project if d.get("name").text()), "")
            key, wanted = str(folder), _filled_name(title) or folder.name or "compose"
            if number:  # a further project of the same folder
                key, wanted = str(project[0][1]), _filled_name(title) or project[0][1].stem
            scope = facts.scope_of(key, wanted)
            for document, path in project:
                _read(document, path, scope, facts)


def _of_one_folder(
    files: Sequence[tuple[Node, Path]], named: AbstractSet[str], facts: Facts
) -> list[list[tuple[Node, Path]]]:
    if any(path.stem in _DEFAULT for _, path in files):
        chosen = [f for f in files if f[1].stem in _DEFAULT or f[1].stem in _OVERRIDES or str(f[1]) in named]
        for _, path in files:
            if all(path is not one for _, one in chosen):
                facts.skipped.append(
                    (str(path), "docker reads it only when it is named (-f): name it, too, to apply it")
                )
                facts.files.pop(str(path), None)
        return [chosen]
    projects: list[list[tuple[Node, Path]]] = [[]]
    taken: list[set[str]] = [set()]
    for document, path in files:
        whole = {name for name, node in document.get("services").items() if _is_whole(node)}
        number = next((i for i, names in enumerate(taken) if str(path) in named or not names & whole), len(projects))
        if number == len(projects):
            projects.append([])
            taken.append(set())
        projects[number].append((document, path))
        taken[number] |= whole
    return projects


def _is_whole(service: Node) -> bool:
    """Whether it says what it runs, as an override need not."""
    return bool(service.get("image").value or service.get("build").value)


def _filled_name(name: str) -> str:
    return "" if "$" in name else name


def _precedence(entry: tuple[Node, Path], named: AbstractSet[str]) -> tuple[bool, bool, str]:
    """Named files keep the order in which they were named, as with ``-f``."""
    stem = entry[1].stem
    return "override" in stem, stem not in _DEFAULT, "" if str(entry[1]) in named else stem


def _read(document: Node, path: Path, scope: str, facts: Facts) -> None:
    file, services = str(path), document.get("services")
    project = _Project(services, file, path, scope, dict(_env_lines(path.parent / ".env")))
    for name, node in services.items():
        facts.met += 1
        if isinstance(node.value, dict):
            facts.understood += 1
            _Service(name, node, project).into(facts)
    if services.value:
        what = "on which hosts its containers run; one host unless an overlay says otherwise"
        facts.unknowns.append(Unknown(scope, what, Evidence(file, services.line)))


class _Project(NamedTuple):
    services: Node
    file: str
    path: Path
    scope: str
    env: dict[str, tuple[str, int]]


class _Service:
    """One service as one file says it; a further file adds to what the first one said."""

    def __init__(self, name: str, node: Node, project: "_Project") -> None:
        self.name, self.file, self.path = name, project.file, project.path
        self.scope, self.env = project.scope, project.env
        self.node = _extended(node, project.services, project.path, depth=0)
        self.line = node.line

    def at(self, node: Node) -> Evidence:
        return Evidence(self.file, node.line)

    def into(self, facts: Facts) -> None:
        node, image = self.node, self.node.get("image").text()
        is_new = (self.scope, self.name) not in facts.names
        found = facts.component(self.name, scope=self.scope, at=Evidence(self.file, self.line))
        self.name = found.name
        found.domains["unit"] = (self.scope,)
        command = " ".join(part.text() for part in node.get("command").each())
        if image or is_new:
            found.image, found.kind = image, kind_of_image(image) if image else "service"
        if is_backup(image, command):
            found.kind = "job"
        elif found.kind == "cache" and "appendonly yes" in command:  # every write is kept: it is no cache
            found.kind = "database"
        for said in (node.get("deploy", "replicas"), node.get("scale")):
            if (count := said.integer()) is not None:
                if count < 0:
                    raise Refused(self.file, said.line, f"service {self.name} has {count} replicas")
                found.replicas, found.facts["replicas"] = count, self.at(said)
        if found.replicas is None:
            found.replicas = 1
        found.entry |= bool(node.get("ports").value)
        if profiles := [n.text() for n in node.get("profiles").each()]:
            found.entry = False
            what = f"whether it runs: only with the profile {' or '.join(profiles)}; taken for no door"
            facts.unknowns.append(Unknown(found.name, what, self.at(node.get("profiles"))))
        self._words(facts)
        if is_new or node.get("volumes").value:
            self._volumes(facts, found.kind, command)
        self._labels(facts)
        self._places(facts)
        self._waits(facts)
        self._variables(facts, found.kind)

    def _words(self, facts: Facts) -> None:
        """Other names that it is reached by."""
        nodes = [self.node.get("container_name"), self.node.get("hostname")]
        nodes += [n for _, network in self.node.get("networks").items() for n in network.get("aliases").each()]
        for node in nodes:
            if (word := self._filled(node.text())) and (self.scope, word) not in facts.names:
                facts.alias(self.scope, word.lower(), self.name)

    def _places(self, facts: Facts) -> None:
        """Swarm's placement: the one host that a service is bound to."""
        for constraint in self.node.get("deploy", "placement", "constraints").each():
            bound = _ON_HOST.fullmatch(constraint.text().strip())
            if bound is not None:
                found = facts.components[self.name]
                found.domains["host"], found.facts["host"] = (bound[1],), self.at(constraint)

    def _volumes(self, facts: Facts, kind: str, command: str) -> None:
        found, named, bound = facts.components[self.name], list[tuple[str, Node]](), False
        for volume in self.node.get("volumes").each():
            source, _, rest = volume.text().partition(":")
            if isinstance(volume.value, dict):
                source, rest = volume.get("source").text(), volume.get("target").text()
            if source and not source.startswith((".", "/", "~", "$")):
                named.append((source, volume))
            elif source and not rest.endswith(":ro") and volume.get("read_only").flag() is not True:
                bound |= "." not in source.rsplit("/", 1)[-1] or source.startswith("$")  # a folder of the host
        if kind in STORES:
            forgets = (kind == "cache" and not named and not bound) or (
                "--save " in command and "appendonly no" in command
            )
            keeps = bool(named) or bound or (kind == "database" and not is_coordination(found.image))
            found.stateful = keeps and not forgets
        elif kind == "identity" and named:  # secrets and accounts
            found.stateful = True
        if kind == "job" and is_backup(found.image, command):
            facts.copied_disks += [(f"{self.scope}/{source}", self.at(node)) for source, node in named]
        if named and found.stateful is not False:
            disks = [f"{self.scope}/{source}" for source, _ in named]
            found.domains["disk"] = tuple(dict.fromkeys([*found.domains.get("disk", ()), *disks]))
            found.facts["disk"] = found.facts["stateful"] = self.at(named[0][1])

    def _labels(self, facts: Facts) -> None:
        found = facts.components[self.name]
        for source in (self.node.get("labels"), self.node.get("deploy", "labels")):
            pairs = source.items() if isinstance(source.value, dict) else ((n.text(), n) for n in source.each())
            for key, node in pairs:
                if _BACKUP_LABELS.search(key):
                    found.backup, found.facts["backup"] = True, self.at(node)
                if key.partition("=")[0] == "region":
                    found.domains["region"] = (node.text().partition("=")[2] or node.text(),)

    def _waits(self, facts: Facts) -> None:
        waits = self.node.get("depends_on")
        pairs = waits.items() if isinstance(waits.value, dict) else ((n.text(), n) for n in waits.each())
        for target, node in pairs:
            once = node.get("condition").text() == "service_completed_successfully"  # it ran, and nobody needs it now
            once = once or node.get("required").flag() is False
            facts.link(
                self.name, target, scope=self.scope, at=self.at(node), documented=True, starts=True, only_known=True,
                hard=False if once else None,
            )  # fmt: skip
        for link in (*self.node.get("links").each(), *self.node.get("external_links").each()):
            target, _, word = link.text().partition(":")
            if word and (self.scope, word) not in facts.names and (self.scope, target) in facts.names:
                facts.alias(self.scope, word, target)
            facts.link(self.name, target, scope=self.scope, at=self.at(link), documented=True)
        for mode in (self.node.get("network_mode"), self.node.get("ipc"), self.node.get("pid")):
            if mode.text().startswith("service:"):  # it lives in the other's namespace, and ends with it
                target = mode.text().removeprefix("service:")
                facts.link(
                    self.name, target, scope=self.scope, at=self.at(mode), documented=True, hard=True, starts=True
                )

    def _variables(self, facts: Facts, kind: str) -> None:
        for key, value, at in self._environment():
            for endpoint in endpoints(key, value):
                name = endpoint.host
                if replica_of(key):
                    facts.copies.append((self.scope, self.name, name))
                if kind == "job":
                    facts.backups.append((self.scope, name, at))
                known = "." not in name
                facts.link(
                    self.name, name, scope=self.scope, at=at, how="inferred", starts=needed_at_start(key),
                    only_known=known, hard=False if kind == "job" or replica_of(key) or endpoint.telemetry else None,
                    any_of=key if endpoint.listed else None,
                )  # fmt: skip

    def _environment(self) -> list[tuple[str, str, Evidence]]:
        found: list[tuple[str, str, Evidence]] = []
        for entry in self.node.get("env_file").each():
            name = entry.get("path").text() if isinstance(entry.value, dict) else entry.text()
            side = self.path.parent / name
            if name and _inside(side, self.path.parent):
                found += [(k, v, Evidence(str(Path(self.file).parent / name), n)) for k, (v, n) in _env_lines(side)]
        source = self.node.get("environment")
        if isinstance(source.value, dict):
            found += [(key, self._filled(node.text()), self.at(node)) for key, node in source.items()]
        else:
            for node in source.each():
                key, _, value = node.text().partition("=")
                found.append((key, self._filled(value), self.at(node)))
        return found

    def _filled(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1] or match[4]
            if name is None:
                return "$"
            return self.env[name][0] if name in self.env else (match[3] or "" if match[2] == "-" else "")

        return _VARIABLE.sub(value, text)


def _extended(node: Node, services: Node, path: Path, *, depth: int) -> Node:
    """A service with what it extends below it."""
    extends = node.get("extends")
    if extends.value is None or depth > 8:
        return node
    name = extends.get("service").text() or extends.text()
    other = extends.get("file").text()
    if other:
        side = path.parent / other
        if not _inside(side, path.parent):
            return node
        try:
            documents = read_yaml(side.read_text(errors="replace"), str(side))
        except Refused as refused:
            raise Refused(str(path), extends.line, f"extends {other}, which cannot be read: {refused}") from refused
        services = documents[0].get("services") if documents else Node(None, 1)
    base = services.get(name)
    if not isinstance(base.value, dict) or base.value is node.value:
        return node
    base = _extended(base, services, path, depth=depth + 1)
    return Node({**base.value, **node.value}, node.line)


def _inside(side: Path, folder: Path) -> bool:
    """A file beside the compose file, not somewhere else on this machine, and not a huge one."""
    try:
        return (
            side.resolve().is_relative_to(folder.resolve())
            and side.is_file()
            and side.stat().st_size <= _SIDE_BYTES_MAX
        )
    except OSError:
        return False


def _env_lines(path: Path) -> list[tuple[str, tuple[str, int]]]:
    if not _inside(path, path.parent):
        return []
    found: list[tuple[str, tuple[str, int]]] = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        key, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            found.append((key, (value.strip().strip("'\""), number)))
    return found
