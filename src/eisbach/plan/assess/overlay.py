"""The overlay ``assess.yaml``: what no file of a system says - journeys, hard and soft, time-outs, owners, places.

It is read last and wins. An unknown key is refused with the nearest known one: a misspelt ``hard`` must not be silence.
"""

import difflib
from typing import Any, Final

from eisbach.plan.assess.bounds import JOURNEYS_MAX, Refused
from eisbach.plan.assess.documents import Node
from eisbach.plan.assess.facts import Facts
from eisbach.plan.assess.model import DOMAIN_LEVELS, Evidence, Journey

__all__ = ["NAMES", "is_overlay", "read_overlay"]

NAMES: Final = ("assess.yaml", "assess.yml")
_TOP: Final = ("journeys", "components", "dependencies", "groups", "recovery")
_JOURNEY: Final = ("entry", "weight")
_COMPONENT: Final = ("kind", "replicas", "needs", "owner", "availability", "mttr_minutes", "backup", *DOMAIN_LEVELS)
_DEPENDENCY: Final = ("from", "to", "hard", "sync", "timeout_ms", "retries", "fallback")
_GROUP: Final = ("members", "needs")
_RECOVERY: Final = ("uses",)
_KINDS: Final = (
    "service", "function", "job", "proxy", "gateway", "database", "cache", "index", "queue", "topic", "bucket",
    "identity", "network", "dns", "cdn", "external", "telemetry", "control",
)  # fmt: skip


def is_overlay(document: Node, name: str) -> bool:
    """Whether a document is an overlay: by its file's name, and its keys."""
    return name in NAMES and isinstance(document.value, dict) and document.get("services").value is None


def read_overlay(document: Node, file: str, facts: Facts) -> None:
    """Take everything an overlay says.

    Raises:
        Refused: an unknown key, a component that no file has and that is not described, a value out of bounds.
    """
    _known(document, _TOP, file, "the overlay")
    for name, node in document.get("components").items():
        _component(name, node, file, facts)
    for name, node in document.get("groups").items():
        _known(node, _GROUP, file, f"group {name}")
        members = [_named(m, file, facts) for m in node.get("members").each()]
        needs = node.get("needs").integer()
        needs = 1 if needs is None else needs
        if not 1 <= needs <= max(1, len(members)):
            raise Refused(file, node.line, f"group {name}: needs {needs} of {len(members)} members")
        facts.groups[name] = (members, needs)
    for node in document.get("dependencies").each():
        _dependency(node, file, facts)
    for name, node in document.get("journeys").items():
        _journey(name, node, file, facts)
    for name, node in document.get("recovery").items():
        _known(node, _RECOVERY, file, f"recovery {name}")
        for used in node.get("uses").each():
            facts.recovery[_named(used, file, facts)] = Evidence(file, used.line)


def _known(node: Node, names: tuple[str, ...], file: str, what: str) -> None:
    if not isinstance(node.value, dict):
        raise Refused(file, node.line, f"{what} is no mapping")
    for key, child in node.items():
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
            raise Refused(file, child.line, f"{what} has an unknown key {key[:40]!r}; did you mean {near[0]!r}?")


def _named(node: Node, file: str, facts: Facts) -> str:
    name = facts.resolve(node.text(), "")
    if name is None or name not in facts.components:
        near = difflib.get_close_matches(node.text(), list(facts.components), n=1, cutoff=0.0)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise Refused(
            file, node.line, f"no file has a component {node.text()[:60]!r}{hint}; describe it under components"
        )
    return name


def _component(name: str, node: Node, file: str, facts: Facts) -> None:
    _known(node, _COMPONENT, file, f"component {name}")
    at = Evidence(file, node.line)
    values: dict[str, Any] = {}
    if (kind := node.get("kind").text()) != "":
        if kind not in _KINDS:
            near = difflib.get_close_matches(kind, _KINDS, n=1, cutoff=0.0)[0]
            raise Refused(file, node.get("kind").line, f"kind {kind[:40]!r} is not known; did you mean {near!r}?")
        values["kind"] = kind
    for key, low, high in (
        ("replicas", 0, 100_000),
        ("needs", 1, 100_000),
        ("availability", 0, 1),
        ("mttr_minutes", 0, 1e6),
    ):
        given = node.get(key)
        if given.value is not None:
            number = given.number()
            if number is None or not low <= number <= high:
                raise Refused(
                    file, given.line, f"{key} of {name} is {given.text()[:20]!r}; it must be {low} to {high:g}"
                )
            values[key] = int(number) if key in ("replicas", "needs") else number
    if node.get("owner").text():
        values["owner"] = node.get("owner").text()[:100]
    if (backup := node.get("backup").flag()) is not None:
        values["backup"] = backup
    found = facts.component(facts.resolve(name, "") or name, scope="", at=at, **values)
    found.unsaid -= values.keys()
    if kind == "database" and found.stateful is None:
        found.stateful = True
    for level in DOMAIN_LEVELS:
        places = tuple(sorted(n.text() for n in node.get(level).each()))
        if places:
            found.domains[level] = places
            found.facts[level] = Evidence(file, node.get(level).line)


def _dependency(node: Node, file: str, facts: Facts) -> None:
    _known(node, _DEPENDENCY, file, "a dependency")
    source = _named(node.get("from"), file, facts)
    target = node.get("to").text()
    if facts.resolve(target, "") is None and target not in facts.hosts():
        _named(node.get("to"), file, facts)
    fields: dict[str, Any] = {"hard": node.get("hard").flag(), "sync": node.get("sync").flag()}
    for key, high in (("timeout_ms", 86_400_000), ("retries", 100)):
        given = node.get(key)
        number = given.number()
        if given.value is not None and (number is None or not 0 <= number <= high):
            raise Refused(file, given.line, f"{key} is {given.text()[:20]!r}; it must be 0 to {high}")
        fields[key] = number if key == "timeout_ms" or number is None else int(number)
    fields["fallback"] = node.get("fallback").text() or None
    facts.link(source, target, scope="", at=Evidence(file, node.line), documented=True, overlay=True, **fields)


def _journey(name: str, node: Node, file: str, facts: Facts) -> None:
    if len(facts.journeys) >= JOURNEYS_MAX:
        raise Refused(file, node.line, f"more than {JOURNEYS_MAX} journeys")
    _known(node, _JOURNEY, file, f"journey {name}")
    weight = node.get("weight").number()
    weight = 1.0 if weight is None else weight
    if not 0 <= weight <= 1:
        raise Refused(file, node.line, f"journey {name}: weight {weight} is not 0 to 1")
    entries = [_named(entry, file, facts) for entry in node.get("entry").each()]
    if not entries:
        raise Refused(file, node.line, f"journey {name} has no entry; name the component it enters by")
    facts.journeys.append(
        Journey(name=name, entry=tuple(entries), weight=weight, assumed=False, evidence=Evidence(file, node.line))
    )
