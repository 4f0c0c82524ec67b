"""Terraform plans and states (``terraform show -json``): everything is said, modules, counts and variables resolved."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from eisbach.plan.assess.aws import Reference, Resource, into_facts
from eisbach.plan.assess.bounds import DEPTH_MAX
from eisbach.plan.assess.documents import Node
from eisbach.plan.assess.facts import Facts
from eisbach.plan.assess.terraform import TEXT_PAIR, Lines, is_understood, resource, role

__all__ = ["is_plan", "read_plan"]

_INDEX: Final = re.compile(r"\[[^\]]*\]")
_COPIES: Final = frozenset({"instance", "member"})
"""Kinds whose counted resources are copies of one thing."""


def is_plan(document: Node) -> bool:
    """Whether a JSON document is what ``terraform show -json`` prints."""
    return bool(document.get("format_version").text()) and (
        isinstance(document.get("planned_values").value, dict) or isinstance(document.get("values").value, dict)
    )


def read_plan(document: Node, file: str, scope: str, facts: Facts) -> None:
    """Everything that a plan (or a state) says."""
    root = document.get("planned_values") if document.get("planned_values").value else document.get("values")
    configured = _Configured(document.get("configuration", "root_module"))
    found: dict[str, Resource] = {}
    for node in _planned(root.get("root_module"), 0):
        if node.get("mode").text() == "data":
            continue
        facts.met += 1
        facts.understood += is_understood(node.get("type").text())
        made = _resource(node, file, configured)
        plain = _INDEX.sub("", made.name)
        if made.kind in _COPIES and re.search(r"\[\d+\]\Z", made.name):
            made.name = plain
            if plain in found:
                _one_more(found[plain], made)
                continue
            made.values = {**made.values, "replicas": 1}
        found[made.name] = made
    names: dict[str, list[str]] = defaultdict(list)
    for name in found:
        names[_INDEX.sub("", name)].append(name)
    for made in found.values():
        made.references = [
            replace(reference, target=name)
            for reference in made.references
            for name in _meant(made.name, names.get(reference.target, []))
        ]
    into_facts(list(found.values()), scope, facts)


def _meant(source: str, targets: list[str]) -> list[str]:
    """Of several resources under one name, the one with the source's own key: ``each.key`` in both."""
    key = re.search(r"\[[^\]]*\]\Z", source)
    same = [t for t in targets if key is not None and t.endswith(key[0])]
    return same or targets


def _one_more(first: Resource, copy: Resource) -> None:
    zones = {*first.values.get("zones", ()), *copy.values.get("zones", ())}
    first.values = {**first.values, "replicas": first.values["replicas"] + 1, "zones": sorted(zones)}


def _resource(node: Node, file: str, configured: "_Configured") -> Resource:
    address, kind = node.get("address").text(), node.get("type").text()
    body = node.get("values").plain()
    made = resource(address, kind, body if isinstance(body, dict) else {}, file, Lines([], node.line))
    made.line = node.get("address").line
    lines = {key: child.line for key, child in node.get("values").items()}
    made.lines = {**lines, "pitr": lines.get("point_in_time_recovery", made.line),
                  "backup_days": lines.get("backup_retention_period", made.line),
                  "replicas": lines.get("num_cache_nodes", made.line)}  # fmt: skip
    made.references = [
        Reference(target, role(key), made.line) for key, target in configured.of(_INDEX.sub("", address))
    ]
    if made.kind in ("lambda", "taskdefinition"):
        environment = node.get("values", "environment")
        pairs = (pair for block in environment.each() for pair in block.get("variables").items())
        made.texts = [(key, value.text(), value.line) for key, value in pairs]
        containers = node.get("values", "container_definitions")
        written = containers.text().replace('"name":', "name:").replace('"value":', "value:")
        made.texts += [(name, value, containers.line) for name, value in TEXT_PAIR.findall(written)]
    return made


def _planned(module: Node, depth: int) -> Iterator[Node]:
    yield from module.get("resources").each()
    if depth < DEPTH_MAX:
        for child in module.get("child_modules").each():
            yield from _planned(child, depth + 1)


class _Configured:
    """What the expressions of a plan's configuration name, through variables and outputs of modules."""

    def __init__(self, root: Node) -> None:
        self._found: dict[str, list[tuple[str, str]]] = {}
        self._take(root, "", {}, 0)

    def of(self, address: str) -> list[tuple[str, str]]:
        """(property, address) of all that a resource names."""
        return self._found.get(address, [])

    def _take(self, module: Node, prefix: str, inputs: dict[str, list[str]], depth: int) -> None:
        if depth > DEPTH_MAX:
            return
        calls = dict(module.get("module_calls").items())
        given = {
            name: {
                key: self._targets(expression, module, prefix, inputs, depth)
                for key, expression in call.get("expressions").items()
            }
            for name, call in calls.items()
        }
        for configured in module.get("resources").each():
            here = self._found.setdefault(prefix + configured.get("address").text(), [])
            for key, expression in configured.get("expressions").items():
                here += [(key, target) for target in self._targets(expression, module, prefix, inputs, depth)]
        for name, call in calls.items():
            self._take(call.get("module"), f"{prefix}module.{name}.", given[name], depth + 1)

    def _targets(
        self, expression: Node, module: Node, prefix: str, inputs: dict[str, list[str]], depth: int
    ) -> list[str]:
        found: list[str] = []
        for name in sorted({_INDEX.sub("", node.text()) for node in _names(expression)}):
            head, *rest = name.split(".")
            if head == "var" and rest:
                found += inputs.get(rest[0], [])
            elif head == "module" and len(rest) > 1 and depth < DEPTH_MAX:
                call = module.get("module_calls", rest[0])
                child = {
                    key: self._targets(value, module, prefix, inputs, depth + 1)
                    for key, value in call.get("expressions").items()
                    if not any(_INDEX.sub("", n.text()).startswith(f"module.{rest[0]}.") for n in _names(value))
                }
                output = call.get("module", "outputs", rest[1], "expression")
                found += self._targets(output, call.get("module"), f"{prefix}module.{rest[0]}.", child, depth + 1)
            elif "_" in head and rest:
                found.append(f"{prefix}{head}.{rest[0]}")
        return list(dict.fromkeys(found))


def _names(expression: Node) -> Iterator[Node]:
    """Every text under a key ``references``; without recursion."""
    waiting = [expression]
    while waiting:
        here = waiting.pop()
        if isinstance(here.value, list):
            waiting.extend(here.value)
        for key, child in here.items():
            if key == "references":
                yield from child.each()
            else:
                waiting.append(child)
