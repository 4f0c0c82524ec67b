"""What readers find, collected from many files into one graph: names are resolved at the end, when all are known.

Promises: a fact keeps its file and line; a name is looked up in its own scope first, then everywhere; a host that no
file declares becomes a component of kind ``external``, never a guess at one of ours; an overlay wins over every file.
"""

from dataclasses import dataclass, field
from typing import Any

from eisbach.plan.assess.addresses import given_names
from eisbach.plan.assess.bounds import COMPONENTS_MAX, DEPENDENCIES_MAX, Refused
from eisbach.plan.assess.model import STORES, Component, Dependency, Evidence, Graph, How, Journey, Unknown

__all__ = ["Facts", "Link"]


@dataclass(slots=True, kw_only=True)
class Link:
    """A dependency whose ends are still words."""

    source: str
    target: str
    scope: str
    evidence: Evidence
    how: How
    fields: dict[str, Any] = field(default_factory=dict)


class Facts:
    """One run's findings."""

    def __init__(self) -> None:
        self.components: dict[str, Component] = {}
        self.names: dict[tuple[str, str], str] = {}
        """(scope, name there) -> component: two projects may both have a ``db``."""
        self._scopes: dict[str, str] = {}
        self.links: list[Link] = []
        self.groups: dict[str, tuple[list[str], int]] = {}
        """Name -> (members, how many of them are enough); a dependency on the name is one on the group."""
        self.aliases: dict[tuple[str, str], str] = {}
        """(scope, word) -> component or group."""
        self.journeys: list[Journey] = []
        self.unknowns: list[Unknown] = []
        self.backups: list[tuple[str, str, Evidence]] = []
        """(scope, word, where): what a job copies."""
        self.copied_disks: list[tuple[str, Evidence]] = []
        """(disk, where): what a job mounts to copy it."""
        self.copies: list[tuple[str, str, str]] = []
        """(scope, replica, primary)."""
        self.recovery: dict[str, Evidence] = {}
        """Components that a recovery uses, by an overlay or their name."""
        self.traced: set[str] = set()
        self.files: dict[str, str] = {}
        self.skipped: list[tuple[str, str]] = []
        self.understood = self.met = 0

    def component(self, name: str, *, scope: str, at: Evidence, **values: Any) -> Component:
        """The component ``name`` of a scope, made if it is new; values that are given are set.

        Where another scope has the name already, this one is called ``scope/name``.
        """
        full = self.full(scope, name)
        other = self.components.get(full)
        if other is not None and scope and other.scope not in ("", scope):
            full = f"{scope}/{name}"
        found = self.components.get(full)
        if found is None:
            if len(self.components) >= COMPONENTS_MAX:
                raise Refused(at.file, at.line, f"more than {COMPONENTS_MAX} components")
            found = self.components[full] = Component(name=full, scope=scope)
        self.names[scope, name] = full
        if at not in found.evidence:
            found.evidence.append(at)
        for key, value in values.items():
            setattr(found, key, value)
        return found

    def full(self, scope: str, name: str) -> str:
        """What the component that a scope calls ``name`` is called in the graph; ``name`` itself if there is none."""
        return self.names.get((scope, name), name)

    def scope_of(self, folder: str, wanted: str) -> str:
        """The scope of a folder: the word wanted, unless another folder took it."""
        if folder not in self._scopes:
            self._scopes[folder] = wanted if wanted not in self._scopes.values() else folder
        return self._scopes[folder]

    def link(self, source: str, target: str, *, scope: str, at: Evidence, how: How = "declared", **fields: Any) -> None:
        """``source`` uses what ``target`` names."""
        if len(self.links) >= DEPENDENCIES_MAX:
            raise Refused(at.file, at.line, f"more than {DEPENDENCIES_MAX} dependencies")
        source = self.full(scope, source)
        self.links.append(Link(source=source, target=target, scope=scope, evidence=at, how=how, fields=fields))

    def hosts(self) -> set[str]:
        """Hosts that values name: an overlay may say of a call to one what it means, before it is a component."""
        return {link.target for link in self.links if "." in link.target}

    def alias(self, scope: str, word: str, name: str) -> None:
        """``word`` means ``name``, in ``scope`` and, unless taken, everywhere."""
        name = self.full(scope, name)
        self.aliases[scope, word] = name
        self.aliases.setdefault(("", word), name)

    def resolve(self, word: str, scope: str) -> str | None:
        """The component or group that a word means: as written, by its first label, in its own scope before others."""
        known = self._known(scope, word)
        if known is not None:
            return known
        labels = word.split(".")
        if "svc" in labels[2:]:  # name.namespace.svc, or pod.name.namespace.svc
            at = labels.index("svc", 2)
            namespace = labels[at - 1]
            return self._known(namespace, ".".join(labels[: at - 1])) or self._known(namespace, labels[0])
        if len(labels) > 1 and labels[-1] in ("local", "internal"):
            return self._known(labels[1], labels[0])
        if len(labels) == 2 and (found := self._known(labels[1], labels[0])) is not None:
            return found
        if word in self.components or word in self.groups:
            return word
        named = (self.aliases.get(("", name)) for name in given_names(word))
        return self.aliases.get(("", word)) or next((name for name in named if name is not None), None)

    def _known(self, scope: str, word: str) -> str | None:
        return self.aliases.get((scope, word)) or self.names.get((scope, word))

    def graph(self) -> Graph:
        """Everything, resolved."""
        self._take_backups()
        found: dict[tuple[str, str, str], Dependency] = {}
        lists = self._lists()
        for link in self.links:
            for target, group in self._targets(link):
                group = lists.get((link.source, str(link.fields.get("any_of"))), group)  # noqa: PLW2901  # the list wins
                if link.fields.get("any_of") and self._peers(link.source, target):
                    link.fields |= {"hard": False, "calls": False}
                if target != link.source and link.source in self.components:
                    _merge(found, link, target, group)
        _into_lists(found)
        self._group_alternatives(found)
        return Graph(
            components=self.components, dependencies=list(found.values()), journeys=self.journeys,
            unknowns=self.unknowns, traced=frozenset(self.traced), files=self.files, skipped=self.skipped,
            resources=(self.understood, self.met),
        )  # fmt: skip

    def _lists(self) -> dict[tuple[str, str], str]:
        """(source, list) -> group: hosts of one value stand in for each other where they are the same kind of thing."""
        members: dict[tuple[str, str], set[str]] = {}
        for link in self.links:
            if link.fields.get("any_of") and (name := self.resolve(link.target, link.scope)) in self.components:
                members.setdefault((link.source, str(link.fields["any_of"])), set()).add(str(name))
        alike = {
            key: {(self.components[n].kind, self.components[n].image) for n in names} for key, names in members.items()
        }
        return {key: f"any of {key[1]}" for key, names in members.items() if len(names) > 1 and len(alike[key]) == 1}

    def _peers(self, one: str, other: str) -> bool:
        """Nodes of one cluster: the same image, in the list that one of them seeds itself from."""
        a, b = self.components.get(one), self.components.get(other)
        return a is not None and b is not None and bool(a.image) and a.image == b.image and a.kind in STORES

    def _targets(self, link: Link) -> list[tuple[str, str]]:
        name = self.resolve(link.target, link.scope)
        if name is None:
            if link.fields.get("only_known"):
                return []
            name = self._outside(link)
        if name in self.groups:
            return [(member, name) for member in self.groups[name][0]]
        return [(name, "")]

    def _outside(self, link: Link) -> str:
        """A host that no file declares."""
        labels = link.target.split(".")
        inner = len(labels) > 1 and "svc" in labels
        name = labels[0] if inner and labels[0] not in self.components else link.target
        if name not in self.components:
            scope = labels[1] if inner else ""
            self.component(name, scope=scope, at=link.evidence, kind="external")
            what = "who runs it, how available it is, what happens without it"
            self.unknowns.append(Unknown(name, what, link.evidence))
        return name

    def _take_backups(self) -> None:
        copied = dict(reversed(self.copied_disks))
        for component in self.components.values():
            at = next((copied[disk] for disk in component.domains.get("disk", ()) if disk in copied), None)
            if at is not None and component.kind != "job" and component.backup is None:
                component.backup, component.facts["backup"] = True, at
        for scope, word, at in self.backups:
            name = self.resolve(word, scope)
            names = [name] if name is not None and name in self.components else []
            if name in self.groups:
                names = list(self.groups[name][0])
            for replica_scope, replica, primary in self.copies:
                original = self.resolve(primary, replica_scope)
                if replica in names and original in self.components:
                    names.append(original)
                elif original in names and replica in self.components:
                    names.append(replica)
            for each in names:
                if self.components[each].backup is None:
                    self.components[each].backup = True
                    self.components[each].facts["backup"] = at
        for scope, replica, primary in self.copies:  # a copy of what is backed up can be made again
            source = self.components.get(self.resolve(primary, scope) or "")
            copy = self.components.get(replica)
            if source is not None and source.backup and copy is not None and copy.backup is None:
                copy.backup, copy.facts["backup"] = True, source.where("backup")

    def _group_alternatives(self, found: dict[tuple[str, str, str], Dependency]) -> None:
        """Single dependencies of one source on members of a group that an overlay declares become one on the group."""
        member_of = {m: g for g, (members, needs) in self.groups.items() if needs < len(members) for m in members}
        for dependency in found.values():
            if not dependency.group and dependency.target in member_of:
                group = member_of[dependency.target]
                if dependency.source not in self.groups[group][0]:
                    dependency.group = group


def _into_lists(found: dict[tuple[str, str, str], Dependency]) -> None:
    """What is waited for by name and also stands in a list is one of the list, unless an overlay says it is hard."""
    listed = {(source, target): one for (source, target, group), one in found.items() if group.startswith("any of ")}
    for key, one in list(found.items()):
        in_list = listed.get(key[:2])
        if not key[2] and in_list is not None and one.hard is not True:
            for name in ("hard", "sync", "timeout_ms", "retries", "fallback"):
                if getattr(one, name) not in (None, ""):
                    setattr(in_list, name, getattr(one, name))
            in_list.hows |= one.hows
            in_list.documented |= one.documented
            in_list.starts |= one.starts
            in_list.evidence = [*one.evidence, *in_list.evidence]
            del found[key]


def _merge(found: dict[tuple[str, str, str], Dependency], link: Link, target: str, group: str) -> None:
    """One dependency per pair; what is known of it adds up, and an overlay, which comes last, wins."""
    key = (link.source, target, group)
    one = found.get(key)
    if one is None:
        one = found[key] = Dependency(source=link.source, target=target, how=link.how, group=group)
    one.hows.add(link.how)
    one.documented |= bool(link.fields.get("documented"))
    one.evidence.append(link.evidence)
    if link.fields.get("overlay"):
        one.evidence.insert(0, one.evidence.pop())
    for name in ("hard", "sync", "timeout_ms", "retries", "fallback"):
        if link.fields.get(name) is not None:
            setattr(one, name, link.fields[name])
    one.starts |= bool(link.fields.get("starts"))
    one.calls = bool(link.fields.get("calls", True)) if one.calls else one.calls
