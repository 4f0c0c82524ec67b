"""docker-compose files: services, what they wait for, what their variables name, volumes, replicas, backups.

Reads anchors and merges (``documents``), ``extends``, ``env_file`` and ``.env`` of the same folder, profiles; variables
are filled in from ``.env`` and their defaults only, never from this machine's environment.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

from eisbach.plan.assess.documents import Node, read_yaml
from eisbach.plan.assess.endpoints import endpoints, needed_at_start, replica_of
from eisbach.plan.assess.facts import Facts
from eisbach.plan.assess.images import is_backup, kind_of_image
from eisbach.plan.assess.model import STORES, Evidence, Unknown

__all__ = ["is_compose", "read_compose"]

_VARIABLE: Final = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)(?::?([-?+])([^}]*))?\}|([A-Za-z_][A-Za-z0-9_]*))")
_SIDE_BYTES_MAX: Final = 1024 * 1024
_BACKUP_LABELS: Final = re.compile(r"backup", re.IGNORECASE)


def is_compose(document: Node) -> bool:
    """Whether a document is a compose file."""
    services = document.get("services")
    return isinstance(services.value, dict) and document.get("apiVersion").value is None


def read_compose(document: Node, file: str, path: Path, facts: Facts) -> None:
    """Everything that a compose file says."""
    scope = document.get("name").text() or path.parent.name or "compose"
    env = dict(_env_lines(path.parent / ".env"))
    services = document.get("services")
    for name, node in services.items():
        facts.met += 1
        if isinstance(node.value, dict):
            facts.understood += 1
            _Service(name, node, _Project(services, file, path, scope, env)).into(facts)
    if services.value:
        facts.unknowns.append(
            Unknown(scope, "on which hosts its containers run; one host unless an overlay says otherwise",
                    Evidence(file, services.line))
        )  # fmt: skip


class _Project(NamedTuple):
    services: Node
    file: str
    path: Path
    scope: str
    env: dict[str, tuple[str, int]]


class _Service:
    def __init__(self, name: str, node: Node, project: "_Project") -> None:
        self.name, self.file, self.path = name, project.file, project.path
        self.scope, self.env = project.scope, project.env
        self.node = _extended(node, project.services, project.path, depth=0)
        self.line = node.line

    def at(self, node: Node) -> Evidence:
        return Evidence(self.file, node.line)

    def into(self, facts: Facts) -> None:
        node, image = self.node, self.node.get("image").text()
        command = " ".join(part.text() for part in node.get("command").each())
        kind = kind_of_image(image) if image else "service"
        if is_backup(image, command):
            kind = "job"
        found = facts.component(
            self.name, scope=self.scope, at=Evidence(self.file, self.line), kind=kind, image=image,
            replicas=node.get("deploy", "replicas").integer() or node.get("scale").integer() or 1,
        )  # fmt: skip
        found.entry = bool(node.get("ports").value)
        self._volumes(facts, kind, command)
        self._labels(facts)
        self._waits(facts)
        self._variables(facts, kind)

    def _volumes(self, facts: Facts, kind: str, command: str) -> None:
        found, named = facts.components[self.name], list[tuple[str, Node]]()
        for volume in self.node.get("volumes").each():
            source = volume.get("source").text() if isinstance(volume.value, dict) else volume.text().partition(":")[0]
            if source and not source.startswith((".", "/", "~", "$")):
                named.append((source, volume))
        if kind in STORES:
            forgets = (kind == "cache" and not named) or ("--save " in command and "appendonly no" in command)
            found.stateful = (bool(named) or kind == "database") and not forgets
        if named and found.stateful is not False:
            found.domains["disk"] = tuple(f"{self.scope}/{source}" for source, _ in named)
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
            facts.link(
                self.name, target, scope=self.scope, at=self.at(node), documented=True, starts=True, only_known=True,
                hard=False if once else None,
            )  # fmt: skip
        for link in (*self.node.get("links").each(), *self.node.get("external_links").each()):
            facts.link(self.name, link.text().partition(":")[0], scope=self.scope, at=self.at(link), documented=True)

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
                    only_known=known, hard=False if kind == "job" or replica_of(key) else None,
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
        documents = read_yaml(side.read_text(errors="replace"), str(side))
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
