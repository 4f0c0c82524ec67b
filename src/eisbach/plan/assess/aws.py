"""What AWS resources mean, whichever tool declared them: Terraform and CloudFormation both end here.

A reader hands over ``Resource`` records with normalised types and the references between them; resources that are no
component of their own (task definitions, listeners, roles) are followed through to those that are.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from eisbach.plan.assess.endpoints import endpoints, needed_at_start
from eisbach.plan.assess.facts import Facts
from eisbach.plan.assess.model import Evidence, Unknown

__all__ = ["Reference", "Resource", "into_facts"]

KINDS: Final[Mapping[str, tuple[str, bool]]] = {
    "lambda": ("function", True), "dynamodb": ("database", True), "sqs": ("queue", True), "sns": ("topic", True),
    "s3": ("bucket", True), "rds": ("database", False), "rdscluster": ("database", False), "ecs": ("service", False),
    "asg": ("service", False), "instance": ("service", False), "lb": ("gateway", True), "api": ("gateway", True),
    "cloudfront": ("cdn", True), "kinesis": ("queue", True), "statemachine": ("function", True),
    "elasticache": ("cache", False), "opensearch": ("index", False), "subnet": ("network", False),
    "nat": ("network", False), "mq": ("queue", False), "cognito": ("identity", True),
}  # fmt: skip
"""Normalised type -> (kind, whether the provider keeps copies of it in several zones)."""
_CONTROL_PLANE: Final = re.compile(
    r"\b(autoscaling:(?:Set|Update|Execute|Create)\w*|ec2:(?:RunInstances|StartInstances|CreateFleet|ModifyInstance\w*)"
    r"|route53:ChangeResourceRecordSets|cloudformation:\w+|ecs:(?:UpdateService|CreateService|RunTask)"
    r"|rds:(?:Promote|Failover|Modify|Restore|Create)\w*|lambda:Update\w+|elasticloadbalancing:Modify\w+|eks:\w+)"
)
_RECOVERS: Final = re.compile(r"fail-?over|recover|disaster|(?:^|[^a-z])dr(?:[^a-z]|$)|evacuat", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reference:
    """One resource names another."""

    target: str
    key: str
    """The property or variable that names it."""
    line: int
    path: str = ""
    """Of a URL that names it."""


@dataclass(slots=True, kw_only=True)
class Resource:
    """A resource of a template, a plan or a configuration."""

    name: str
    kind: str
    """Normalised; empty: no component and nothing special."""
    line: int
    lines: Mapping[str, int] = field(default_factory=dict)
    """Property -> its line."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Plain properties, normalised: multi_az, backup_days, pitr, redrive, replicas, zones, zone, routes, actions,
    unsaid (fields of a component that a variable decides)."""
    references: list[Reference] = field(default_factory=list)
    texts: list[tuple[str, str, int]] = field(default_factory=list)
    """(key, text, line) of values that may name hosts."""


def into_facts(resources: Sequence[Resource], file: str, scope: str, facts: Facts) -> None:
    """Components and dependencies of one file's resources."""
    by_name = {r.name: r for r in resources}
    dead = {ref.target for r in resources for ref in r.references if r.kind == "sqs" and ref.key == "redrive"}
    for resource in resources:
        if resource.kind in KINDS:
            _component(resource, file, scope, facts, is_dead=resource.name in dead)
    for resource in resources:
        if resource.kind in KINDS:
            _dependencies(resource, by_name, file, scope, facts)
    _doors(resources, by_name, file, scope, facts)
    _consumers(resources, by_name, file, scope, facts)
    _subnets(resources, by_name, file, scope, facts)


def _component(resource: Resource, file: str, scope: str, facts: Facts, *, is_dead: bool) -> None:
    kind, managed = KINDS[resource.kind]
    values = resource.values
    found = facts.component(resource.name, scope=scope, at=Evidence(file, resource.line), kind=kind, managed=managed)
    for word in values.get("aliases", ()):
        facts.alias(scope, word, resource.name)
    found.replicas = values.get("replicas", None if managed else 1)
    found.unsaid = frozenset(values.get("unsaid", ()))
    for field_name in sorted(found.unsaid):
        what = f"{field_name}: a variable or parameter decides, and no file sets it"
        facts.unknowns.append(Unknown(resource.name, what, Evidence(file, resource.line)))
    if resource.kind in ("rds", "rdscluster", "dynamodb", "s3"):
        found.stateful = True
        _kept(found, resource, file)
    if resource.kind == "sqs":
        found.dead_letters = True if is_dead else bool(values.get("redrive"))
    zones = values.get("zones", ())
    if zones:
        found.domains["zone"] = tuple(sorted(zones))
        found.spread = len(zones) > 1
        found.facts["zone"] = Evidence(file, resource.lines.get("zones", resource.line))
    if resource.kind in ("lb", "api", "cloudfront"):
        found.entry = True


def _kept(found: Any, resource: Resource, file: str) -> None:
    values = resource.values
    if resource.kind in ("rds", "rdscluster"):
        if values.get("multi_az"):
            found.managed, found.replicas = True, 2
        else:
            found.facts["replicas"] = Evidence(file, resource.lines.get("multi_az", resource.line))
        days = values.get("backup_days")
        found.backup = None if days is None else days > 0
        found.facts["backup"] = Evidence(file, resource.lines.get("backup_days", resource.line))
    elif resource.kind == "dynamodb":
        found.backup = bool(values.get("pitr"))
        found.facts["backup"] = Evidence(file, resource.lines.get("pitr", resource.line))
    else:
        found.stateful = None  # what is in a bucket, no file says
        found.backup = True if values.get("versioning") else None


def _reached(resource: Resource, by_name: Mapping[str, Resource]) -> Iterator[tuple[Reference, Resource]]:
    """Components that a resource names, itself or through resources that are none."""
    seen, waiting = {resource.name}, list(resource.references)
    while waiting:
        reference = waiting.pop(0)
        target = by_name.get(reference.target)
        if target is None or target.name in seen:
            continue
        seen.add(target.name)
        if target.kind in KINDS:
            yield reference, target
        elif target.kind not in ("targets", "listener", "mapping", "subscription", "vpc"):
            waiting += [Reference(r.target, r.key, r.line, r.path) for r in target.references]


def _own_texts(resource: Resource, by_name: Mapping[str, Resource]) -> Iterator[tuple[str, str, int]]:
    yield from resource.texts
    for reference in resource.references:
        target = by_name.get(reference.target)
        if target is not None and target.kind == "taskdefinition":
            yield from target.texts


def _dependencies(resource: Resource, by_name: Mapping[str, Resource], file: str, scope: str, facts: Facts) -> None:
    for reference, target in _reached(resource, by_name):
        kind = target.kind
        if kind in ("subnet", "nat") or resource.kind in ("subnet", "nat") or reference.key in ("redrive", "zones"):
            continue
        routed = _routed(reference, by_name) if kind == "api" else None
        late = resource.kind in ("sqs", "sns", "s3", "dynamodb") or kind in ("sqs", "sns", "kinesis")
        facts.link(
            resource.name, routed or target.name, scope=scope, at=Evidence(file, reference.line), how="declared",
            documented=True, sync=False if late else None, hard=False if resource.kind in ("sqs", "sns") else None,
        )  # fmt: skip
    for key, text, line in _own_texts(resource, by_name):
        for endpoint in endpoints(key, text):
            name = endpoint.host
            if name.endswith("amazonaws.com"):
                name = endpoint.path.rsplit("/", 1)[-1]
                if not name:
                    continue
            facts.link(
                resource.name, name, scope=scope, at=Evidence(file, line), how="inferred", starts=needed_at_start(key),
                only_known="." not in name,
            )  # fmt: skip
        if facts.aliases.get((scope, text)):
            facts.link(resource.name, text, scope=scope, at=Evidence(file, line), how="inferred", only_known=True)
    actions = _actions(resource, by_name)
    wanted = sorted({m for action in actions for m in _CONTROL_PLANE.findall(action[0])})
    if wanted:
        found = facts.components[resource.name]
        found.launches = ", ".join(wanted)
        line = next(line for text, line in actions if _CONTROL_PLANE.search(text))
        found.facts["launches"] = Evidence(file, line)
        if _RECOVERS.search(resource.name):
            facts.recovery.setdefault(resource.name, Evidence(file, resource.line))


def _routed(reference: Reference, by_name: Mapping[str, Resource]) -> str | None:
    """The function behind the route that a URL names."""
    for resource in by_name.values():
        if reference.path and reference.path in resource.values.get("routes", ()):
            return resource.name
    return None


def _actions(resource: Resource, by_name: Mapping[str, Resource]) -> list[tuple[str, int]]:
    own = [(text, line) for text, line in resource.values.get("actions", ())]
    for reference in resource.references:
        target = by_name.get(reference.target)
        if target is not None and target.kind == "role" and reference.key in ("Role", "role", "RoleArn"):
            own += list(target.values.get("actions", ()))
            for other in by_name.values():
                if other.kind == "policy" and any(r.target == target.name for r in other.references):
                    own += list(other.values.get("actions", ()))
    return own


def _doors(resources: Sequence[Resource], by_name: Mapping[str, Resource], file: str, scope: str, facts: Facts) -> None:
    """Balancer -> listener -> target group -> who registers in it; API -> integration -> function."""
    balancers: dict[str, set[str]] = defaultdict(set)
    for listener in resources:
        if listener.kind == "listener":
            doors = [r.target for r in listener.references if _kind(by_name, r.target) == "lb"]
            for reference in listener.references:
                if _kind(by_name, reference.target) == "targets":
                    balancers[reference.target].update(doors)
                elif _kind(by_name, reference.target) in ("lambda", "ecs"):
                    for door in doors:
                        facts.link(
                            door, reference.target, scope=scope, at=Evidence(file, reference.line), documented=True
                        )
    for resource in resources:
        for reference in resource.references:
            if resource.kind in KINDS and _kind(by_name, reference.target) == "targets":
                for door in balancers[reference.target]:
                    facts.link(door, resource.name, scope=scope, at=Evidence(file, reference.line), documented=True)
        if resource.kind == "integration":
            doors = [r.target for r in resource.references if _kind(by_name, r.target) == "api"]
            for reference in resource.references:
                if _kind(by_name, reference.target) in ("lambda", "lb", "statemachine"):
                    for door in doors:
                        facts.link(
                            door, reference.target, scope=scope, at=Evidence(file, reference.line), documented=True
                        )
        if resource.values.get("routes") and resource.kind == "lambda":
            facts.components[resource.name].entry = True


def _kind(by_name: Mapping[str, Resource], name: str) -> str:
    return by_name[name].kind if name in by_name else ""


def _consumers(
    resources: Sequence[Resource], by_name: Mapping[str, Resource], file: str, scope: str, facts: Facts
) -> None:
    """Queue or stream -> the function that works it off; topic -> its subscribers. Nobody waits for them."""
    for resource in resources:
        sources = [
            r for r in resource.references if resource.kind == "mapping" and r.key in ("source", "event_source_arn")
        ]
        takers = [r for r in resource.references if resource.kind == "mapping" and r not in sources]
        pairs = [(s.target, t.target, s.line) for s in sources for t in takers]
        pairs += [(ref.target, resource.name, ref.line) for ref in resource.references if ref.key == "consumes"]
        for source, taker, line in pairs:
            if _kind(by_name, source) in KINDS and _kind(by_name, taker) in KINDS:
                at = Evidence(file, line)
                facts.link(source, taker, scope=scope, at=at, sync=False, hard=False, documented=True)


def _subnets(
    resources: Sequence[Resource], by_name: Mapping[str, Resource], file: str, scope: str, facts: Facts
) -> None:
    """A subnet leaves by the gateway of its route table: what two zones share is not in either of them."""
    tables = {
        r.name: [x for x in r.references if _kind(by_name, x.target) == "nat"] for r in resources if r.kind == "routes"
    }
    for resource in resources:
        if resource.kind == "association":
            gateways = [g for r in resource.references for g in tables.get(r.target, ())]
            for reference in resource.references:
                if _kind(by_name, reference.target) == "subnet":
                    for gateway in gateways:
                        facts.link(
                            reference.target, gateway.target, scope=scope,
                            at=Evidence(file, by_name[gateway.target].line), documented=True, calls=False, hard=True,
                        )  # fmt: skip
        if resource.kind in ("ecs", "asg", "lb", "rds", "lambda"):
            zones = {
                z
                for r in resource.references
                if _kind(by_name, r.target) == "subnet"
                for z in by_name[r.target].values.get("zones", ())
            }
            if zones:
                found = facts.components[resource.name]
                found.domains.setdefault("zone", tuple(sorted(zones)))
                found.spread = len(zones) > 1
