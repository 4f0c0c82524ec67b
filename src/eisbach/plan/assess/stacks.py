"""CloudFormation templates as stacks: parameters, conditions, mappings and outputs followed where they are literal.

A nested stack whose template is a file under the paths given is read where it is called, with what it is given there;
one that is called by an address is taken to be the file whose path ends like it, if there is exactly one, and the
report says so. Bounds: ``STACKS_MAX`` stacks, ``DEEP_MAX`` deep, ``NODES_MAX`` values written.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from eisbach.plan.assess.bounds import NODES_MAX, Refused
from eisbach.plan.assess.documents import Node
from eisbach.plan.assess.facts import Facts
from eisbach.plan.assess.model import Evidence, Unknown
from eisbach.plan.assess.paths import joined

__all__ = ["STACKS_MAX", "Stack", "Template", "local_calls", "stacks"]

DEEP_MAX: Final = 5
STACKS_MAX: Final = 200
_NESTED: Final = {"AWS::CloudFormation::Stack": "TemplateURL", "AWS::Serverless::Application": "Location"}
_IN_TEXT: Final = re.compile(r"\$\{(!?)([A-Za-z0-9:]+)(\.[A-Za-z0-9.]+)?\}")


@dataclass(frozen=True, slots=True)
class Template:
    """One file."""

    document: Node
    path: Path
    file: str


@dataclass(slots=True)
class _Run:
    """What all stacks of a run share."""

    templates: Mapping[Path, Template]
    facts: Facts
    names: set[str] = field(default_factory=set)
    exports: list[tuple[str, "Stack", Node]] = field(default_factory=list)
    count: int = 0
    written: int = 0


def stacks(templates: Sequence[Template], facts: Facts) -> list["Stack"]:
    """Every stack: each template that no other calls, and what it calls, breadth first within the bounds."""
    run = _Run({t.path: t for t in templates}, facts)
    inner = {found.path for t in templates for found in (_called(t, node, run) for _, node in _calls(t)) if found}
    roots = [t for t in templates if t.path not in inner] or list(templates)
    found: list[Stack] = []
    for template in roots:
        waiting = [Stack(template, run, prefix=f"{template.path.name.partition('.')[0]}/")]
        while waiting:
            here = waiting.pop(0)
            found.append(here)
            waiting += here.children.values()
    return found


def _calls(template: Template) -> Iterator[tuple[str, Node]]:
    for name, node in template.document.get("Resources").items():
        if node.get("Type").text() in _NESTED:
            yield name, node


def _address(node: Node) -> str:
    where = node.get("Properties", _NESTED[node.get("Type").text()])
    sub = where.get("Fn::Sub")
    return where.text() or sub.text() or next(sub.each(), Node(None, 1)).text()


def _called(template: Template, node: Node, run: _Run) -> Template | None:
    address = _address(node)
    if not address:
        return None
    if "://" not in address and "${" not in address:
        return run.templates.get(joined(template.path.parent, address))
    parts = [p for p in address.partition("?")[0].split("/") if p]
    for length in (3, 2, 1):
        tail = tuple(parts[-length:])
        alike = [t for path, t in run.templates.items() if path.parts[-length:] == tail and t is not template]
        if len(alike) == 1 and not any("$" in part for part in tail):
            return alike[0]
    return None


def local_calls(template: Template) -> Iterator[Path]:
    """Paths of the templates that a template calls by a path."""
    for _, node in _calls(template):
        address = _address(node)
        if address and "://" not in address and "${" not in address:
            yield joined(template.path.parent, address)


class Stack:
    """A template in one place of the tree of calls."""

    def __init__(
        self, template: Template, run: _Run, *, prefix: str, inputs: Mapping[str, Node] | None = None, deep: int = 0
    ) -> None:
        self.template, self.file, self._run, self._inputs = template, template.file, run, inputs
        self.defaults: set[str] = set()
        """Parameters of a root that no caller gives, whose defaults were taken."""
        self.children: dict[str, Stack] = {}
        self._asked: set[str] = set()
        run.count += 1
        self.names = {
            name: self._named(_readable(name, node), prefix)
            for name, node in template.document.get("Resources").items()
        }
        for name, node in _calls(template):
            self._nest(name, node, prefix, deep)
        for _name, output in template.document.get("Outputs").items():  # noqa: PERF102  # no dict
            if output.get("Export", "Name").value is not None:
                run.exports.append((_plain(self.fill(output.get("Export", "Name"))), self, output.get("Value")))

    def _named(self, name: str, prefix: str) -> str:
        full = name if name not in self._run.names else f"{prefix}{name}"
        while full in self._run.names:
            full += "'"
        self._run.names.add(full)
        return full

    def _nest(self, name: str, node: Node, prefix: str, deep: int) -> None:
        target = _called(self.template, node, self._run)
        if target is None or deep >= DEEP_MAX or self._run.count >= STACKS_MAX:
            why = f"nested stack {name} is not followed; give its template, too"
            if target is not None:
                why = f"nested stack {name} is not followed: deeper than {DEEP_MAX}, or more than {STACKS_MAX} stacks"
            self._run.facts.skipped.append((f"{self.file}:{node.line}", why))
            return
        if "://" in _address(node) or "${" in _address(node):
            what = f"whether {target.file} is what {_address(node)[:120]} holds; it was taken for it"
            self._run.facts.unknowns.append(Unknown(name, what, Evidence(self.file, node.line)))
        given = {key: self.fill(value) for key, value in node.get("Properties", "Parameters").items()}
        self.children[name] = Stack(target, self._run, prefix=f"{prefix}{name}/", inputs=given, deep=deep + 1)

    def resources(self) -> Iterator[tuple[str, Node]]:
        """(name in the run, the resource with everything literal followed); without those whose condition is false."""
        for name, node in self.template.document.get("Resources").items():
            condition = node.get("Condition").text()
            if not condition or self._truth(condition) is not False:
                yield self.names[name], self.fill(node)

    def fill(self, node: Node) -> Node:
        """A value with everything literal followed, and names of resources as they are in the run."""
        self._run.written += 1
        if self._run.written > NODES_MAX:
            raise Refused(self.file, node.line, f"parameters make more than {NODES_MAX} values of this")
        if isinstance(node.value, list):
            return Node([self.fill(child) for child in node.value], node.line)
        if not isinstance(node.value, dict):
            return node
        if len(node.value) == 1:
            key, child = next(iter(node.value.items()))
            found = self._function(key, child, node)
            if found is not None:
                return Node(found.value, node.line)
        return Node({key: self.fill(child) for key, child in node.value.items()}, node.line)

    def _function(self, key: str, child: Node, node: Node) -> Node | None:
        if key == "Ref":
            return self._ref(child.text(), node)
        if key == "Fn::Sub":
            return self._sub(child, node)
        if key == "Fn::GetAtt":
            first, *rest = [part for n in child.each() for part in n.text().split(".")] or [""]
            if first in self.children and rest[:1] == ["Outputs"]:
                return self._output(first, ".".join(rest[1:]))
            parts = [Node(self.names.get(first, first), child.line), Node(".".join(rest), child.line)]
            return Node({key: Node(parts, child.line)}, node.line)
        if key == "Fn::If":
            return self._chosen(list(child.each()))
        if key == "Fn::FindInMap":
            words = [self.fill(n).text() for n in child.each()]
            found = (
                self.template.document.get("Mappings").get(*words) if len(words) == 3 and all(words) else Node(None, 1)
            )
            return found if found.value is not None else None
        return self._imported(self.fill(child)) if key == "Fn::ImportValue" else None

    def _ref(self, name: str, node: Node) -> Node:
        if name in self.names:
            return Node({"Ref": Node(self.names[name], node.line)}, node.line)
        if self._inputs is not None and name in self._inputs:
            return self._inputs[name]
        default = self.template.document.get("Parameters", name, "Default")
        if default.value is None:
            return node
        if self._inputs is None:
            self.defaults.add(name)
        return default

    def _sub(self, child: Node, node: Node) -> Node:
        members = list(child.each())
        text = members[0].text() if members else ""
        own = dict(members[1].items()) if len(members) > 1 else {}

        def put(match: re.Match[str]) -> str:
            literal, name, attribute = match.groups()
            if literal or name.startswith("AWS::"):
                return match[0]
            if attribute and name in self.children and attribute.startswith(".Outputs."):
                return _inline(self._output(name, attribute.removeprefix(".Outputs.")), match[0], "")
            found = (
                self.fill(own[name])
                if name in own
                else self._ref(name, Node({"Ref": Node(name, node.line)}, node.line))
            )
            return _inline(found, match[0], attribute or "")

        return Node({"Fn::Sub": Node(_IN_TEXT.sub(put, text), node.line)}, node.line)

    def _output(self, stack: str, name: str) -> Node | None:
        token = f"{stack}.{name}"
        value = self.children[stack].template.document.get("Outputs", name, "Value")
        if token in self._asked or value.value is None:
            return None
        self._asked.add(token)
        found = self.children[stack].fill(value)
        self._asked.discard(token)
        return found

    def _imported(self, name: Node) -> Node | None:
        wanted = _plain(name)
        tail = wanted.rpartition("}")[2]
        same = [e for e in self._run.exports if e[0] == wanted]
        same = same or [e for e in self._run.exports if tail and e[0].rpartition("}")[2] == tail]
        if len(same) != 1 or wanted in self._asked:
            return None
        self._asked.add(wanted)
        found = same[0][1].fill(same[0][2])
        self._asked.discard(wanted)
        return found

    def _chosen(self, parts: list[Node]) -> Node | None:
        truth = self._truth(parts[0].text()) if len(parts) == 3 else None
        return None if truth is None else self.fill(parts[1] if truth else parts[2])

    def _truth(self, condition: str) -> bool | None:
        """Of a named condition; None where no file decides it."""
        token = f"condition {condition}"
        if token in self._asked:
            return None
        self._asked.add(token)
        found = self._holds(self.template.document.get("Conditions", condition))
        self._asked.discard(token)
        return found

    def _holds(self, node: Node) -> bool | None:
        for key, child in node.items():
            parts = list(child.each())
            if key == "Condition":
                return self._truth(child.text())
            if key == "Fn::Equals" and len(parts) == 2:
                left, right = (self.fill(part) for part in parts)
                literal = not isinstance(left.value, dict | list) and not isinstance(right.value, dict | list)
                return left.text() == right.text() if literal else None
            if key == "Fn::Not" and parts:
                inner = self._holds(parts[0])
                return None if inner is None else not inner
            if key in ("Fn::And", "Fn::Or"):
                return _joint([self._holds(part) for part in parts], wins=key == "Fn::Or")
        return None


def _readable(name: str, node: Node) -> str:
    """A resource's own name; of one that CDK made the path of its construct, without stack and ``/Resource``."""
    path = node.get("Metadata", "aws:cdk:path").text()
    inner = path.partition("/")[2].removesuffix("/Resource").removesuffix("/Default")
    return re.sub(r"[^A-Za-z0-9/_-]", "_", inner) or name


def _joint(found: list[bool | None], *, wins: bool) -> bool | None:
    if any(value is wins for value in found):
        return wins
    return None if None in found else not wins


def _inline(found: Node | None, otherwise: str, attribute: str) -> str:
    """What stands for ``${name}`` in a text."""
    if found is None:
        return otherwise
    if not isinstance(found.value, dict | list):
        return found.text() or otherwise
    if found.get("Ref").text():
        return f"${{{found.get('Ref').text()}{attribute}}}"
    if found.get("Fn::GetAtt").value is not None:
        return f"${{{'.'.join(n.text() for n in found.get('Fn::GetAtt').each())}}}"
    return found.get("Fn::Sub").text() or otherwise


def _plain(node: Node) -> str:
    value: Any = node.text() or node.get("Fn::Sub").text()
    return str(value)
