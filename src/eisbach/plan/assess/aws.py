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
from eisbach.plan.assess.model import Component, Evidence, How, Unknown

__all__ = ["ASSIGNED", "KINDS", "Reference", "Resource", "into_facts"]

KINDS: Final[Mapping[str, tuple[str, bool]]] = {
    "lambda": ("function", True), "dynamodb": ("database", True), "sqs": ("queue", True), "sns": ("topic", True),
    "s3": ("bucket", True), "rds": ("database", False), "rdscluster": ("database", False), "ecs": ("service", False),
    "asg": ("service", False), "instance": ("service", False), "lb": ("gateway", True), "api": ("gateway", True),
    "cloudfront": ("cdn", True), "kinesis": ("queue", True), "statemachine": ("function", True),
    "elasticache": ("cache", False), "opensearch": ("index", False), "subnet": ("network", False),
    "nat": ("network", False), "mq": ("queue", False), "cognito": ("identity", True), "msk": ("queue", True),
    "efs": ("bucket", True), "redshift": ("database", False), "bus": ("topic", True), "apprunner": ("service", True),
    "cluster": ("control", True), "nodes": ("service", True),
    "channel": ("service", False), "packager": ("service", True), "flow": ("service", False),
    "convert": ("service", True),
    "othersql": ("database", False), "othercache": ("cache", False), "othertopic": ("topic", True),
    "otherqueue": ("queue", True), "otherbucket": ("bucket", True), "otherservice": ("service", True),
}  # fmt: skip
"""Normalised type -> (kind, whether the provider keeps copies of it in several zones)."""
ASSIGNED: Final = re.compile(
    r"^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]{1,60})=[\"']?([^\s\"']{1,500})", re.MULTILINE
)
"""A variable that a machine's first script sets."""
_CONTROL_PLANE: Final = re.compile(
    r"\b(autoscaling:(?:Set|Update|Execute|Create)\w*|ec2:(?:RunInstances|StartInstances|CreateFleet|ModifyInstance\w*)"
    r"|route53:ChangeResourceRecordSets|cloudformation:\w+|ecs:(?:UpdateService|CreateService|RunTask)"
    r"|rds:(?:Promote|Failover|Modify|Restore|Create)\w*|lambda:Update\w+|elasticloadbalancing:Modify\w+|eks:\w+)"
)
_STOP: Final = frozenset({"targets", "listener", "mapping", "subscription", "vpc", "name", "attachment", "member"})
"""What leads back to others: not followed as a dependency."""
_REGISTERS: Final = frozenset({"load_balancers", "load_balancer", "LoadBalancerNames", "LoadBalancerName", "elb_name"})
"""Properties by which a service registers at a balancer: the balancer calls it, not the reverse."""
_RIGHT: Final = "right"
"""The part of what only a policy names."""
_SERVING: Final = frozenset({"lambda", "ecs", "instance", "asg", "lb", "nodes"})
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
    file: str = ""
    """Where it stands, if not in the file of the resource that is asked."""


@dataclass(slots=True, kw_only=True)
class Resource:
    """A resource of a template, a plan or a configuration."""

    name: str
    kind: str
    """Normalised; empty: no component and nothing special."""
    line: int
    file: str
    lines: Mapping[str, int] = field(default_factory=dict)
    """Property -> its line."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Plain properties, normalised: multi_az, backup_days, pitr, redrive, replicas, zones, routes, actions, word (a
    name in DNS), domains (names in DNS that are the system's), unit (what is deployed together), unsaid (fields of a
    component that a variable decides), taken (field, variable: a default decided)."""
    references: list[Reference] = field(default_factory=list)
    texts: list[tuple[str, str, int]] = field(default_factory=list)
    """(key, text, line) of values that may name hosts."""


def into_facts(resources: Sequence[Resource], scope: str, facts: Facts) -> None:
    """Components and dependencies of the resources of one scope."""
    _Reader(resources, scope, facts).read()


class _Reader:
    def __init__(self, resources: Sequence[Resource], scope: str, facts: Facts) -> None:
        self.resources, self.scope, self.facts = resources, scope, facts
        self.by_name = {r.name: r for r in resources}
        self.policies: dict[str, list[Resource]] = defaultdict(list)
        """Role -> policies that are attached to it: what it may use, it is taken to use."""
        for resource in resources:
            for target in dict.fromkeys(r.target for r in resource.references if resource.kind == "policy"):
                if self.kind(target) == "role":
                    self.policies[target].append(resource)
        self.routes = {route: r.name for r in reversed(resources) for route in r.values.get("routes", ())}
        self.domains = {word.lower().rstrip(".") for r in resources for word in r.values.get("domains", ())}
        """Names in DNS that are the system's own: who has one in a variable knows itself by it."""
        selections = [r for r in resources if r.kind == "backups"]
        self.backed = {reference.target for r in selections for reference in r.references}
        self.planned = any(r.values.get("open") for r in selections)
        """A backup plan selects by tags or patterns: what it covers, no file says."""
        self.told: dict[str, dict[str, Any]] = defaultdict(dict)
        """Resource -> what another resource says of it: a scaler its least copies, a policy its dead letters."""
        for resource in resources:
            for reference in resource.references if resource.kind == "setting" else ():
                if reference.key in resource.values.get("of", ()):
                    self.told[reference.target] |= resource.values["says"]
        self.members: dict[str, list[Resource]] = defaultdict(list)
        for resource in resources:
            if resource.kind == "member":
                for target in dict.fromkeys(r.target for r in resource.references):
                    self.members[target].append(resource)

    def read(self) -> None:
        dead = {r.target for x in self.resources for r in x.references if r.key == "redrive"}
        components = [r for r in self.resources if r.kind in KINDS]
        for resource in components:
            self._component(resource, is_dead=resource.name in dead)
        for resource in components:
            self._dependencies(resource)
            self._hosts(resource)
            self._rights(resource)
        self._doors()
        self._consumers()
        self._subnets()

    def kind(self, name: str) -> str:
        return self.by_name[name].kind if name in self.by_name else ""

    def found(self, resource: Resource) -> Component:
        return self.facts.components[self.facts.full(self.scope, resource.name)]

    def link(self, source: str, target: str, at: Evidence, **fields: Any) -> None:
        self.facts.link(source, target, scope=self.scope, at=at, documented=True, **fields)

    def _component(self, resource: Resource, *, is_dead: bool) -> None:
        kind, managed = KINDS[resource.kind]
        values = resource.values = {**resource.values, **self.told[resource.name]}
        at = Evidence(resource.file, resource.line)
        found = self.facts.component(
            resource.name, scope=self.scope, at=at, kind=kind, managed=managed, resource=resource.kind
        )
        found.domains["unit"] = (values.get("unit") or self.scope,)
        for word in (*values.get("aliases", ()), *self._words(resource)):
            self.facts.alias(self.scope, word, resource.name)
        found.replicas = values.get("replicas", None if managed else 1)
        found.facts["replicas"] = Evidence(resource.file, resource.lines.get("replicas", resource.line))
        found.unsaid = frozenset(values.get("unsaid", ()))
        if resource.kind.startswith("other"):
            found.unsaid |= {"replicas", "backup"}
        if resource.kind in ("rds", "rdscluster", "dynamodb", "s3", "efs"):
            found.stateful = True
            self._kept(found, resource)
            if resource.name in self.backed:
                found.backup = True
            elif self.planned and not found.backup:
                found.unsaid |= {"backup"}
        for field_name in sorted(found.unsaid):
            what = f"{field_name}: a variable or parameter decides, and no file sets it"
            if field_name == "backup" and self.planned:
                what = "backup: a backup plan selects by tags or variables; whether it covers this, no file says"
            if resource.kind.startswith("other"):
                what = f"{field_name}: not read from resources of this provider"
            self.facts.unknowns.append(Unknown(found.name, what, at))
        for field_name, variable in values.get("taken", ()):
            what = f"{field_name}: the default of {variable} was taken; a run may set another"
            self.facts.unknowns.append(Unknown(found.name, what, at))
        if resource.kind == "sqs":
            found.dead_letters = True if is_dead else values.get("redrive")
            if found.dead_letters is None:
                what = "whether it has a dead-letter queue: a variable decides, and no file sets it"
                self.facts.unknowns.append(Unknown(found.name, what, at))
        zones = values.get("zones", ())
        if zones:
            found.domains["zone"] = tuple(sorted(zones))
            found.spread = len(zones) > 1
            found.facts["zone"] = Evidence(resource.file, resource.lines.get("zones", resource.line))
        if resource.kind in ("lb", "api", "cloudfront"):
            found.entry = True

    def _kept(self, found: Component, resource: Resource) -> None:
        values = resource.values
        if resource.kind in ("rds", "rdscluster"):
            self._copies(found, resource)
            days = values.get("backup_days")
            found.backup = None if days is None else days > 0
            found.facts["backup"] = Evidence(resource.file, resource.lines.get("backup_days", resource.line))
            if values.get("copy_of"):
                found.backup = True  # its original is what must be backed up
        elif resource.kind == "dynamodb":
            found.backup = bool(values.get("pitr"))
            found.facts["backup"] = Evidence(resource.file, resource.lines.get("pitr", resource.line))
        elif resource.kind == "efs":
            found.backup = values.get("backed_up")
            found.stateful = True if found.backup is not None else None  # who decides on backups has data in it
            found.facts["backup"] = Evidence(resource.file, resource.lines.get("BackupPolicy", resource.line))
        else:
            found.stateful = None  # what is in a bucket, no file says
            found.backup = True if values.get("versioning") else None

    def _copies(self, found: Component, resource: Resource) -> None:
        """A cluster has as many copies as instances join it; without any in the files, its provider keeps them."""
        members = self.members.get(resource.name, [])
        if resource.kind == "rdscluster" and not members:
            found.managed, found.replicas = True, 2
        elif members:
            found.replicas = sum(m.values.get("replicas", 1) for m in members)
            found.facts["replicas"] = Evidence(members[0].file, members[0].line)
            found.unsaid |= {u for m in members for u in m.values.get("unsaid", ()) if u == "replicas"}
        elif resource.values.get("multi_az"):
            found.managed, found.replicas = True, 2
        else:
            found.facts["replicas"] = Evidence(resource.file, resource.lines.get("multi_az", resource.line))

    def _words(self, resource: Resource) -> Iterator[str]:
        """Names that a service gets in a private zone (Cloud Map)."""
        for reference in resource.references:
            name = self.by_name.get(reference.target)
            if name is not None and name.kind == "name" and name.values.get("word"):
                yield name.values["word"]
                for inner in name.references:
                    zone = self.by_name.get(inner.target)
                    if zone is not None and zone.kind == "zone" and zone.values.get("word"):
                        yield f"{name.values['word']}.{zone.values['word']}".lower()

    def _reached(self, resource: Resource) -> Iterator[tuple[Reference, Resource]]:
        """Components that a resource names, itself or through resources that are none."""
        seen, waiting = {resource.name}, list(resource.references)
        while waiting:
            reference = waiting.pop(0)
            target = self.by_name.get(reference.target)
            if target is None or target.name in seen:
                continue
            seen.add(target.name)
            if target.kind in KINDS:
                yield reference, target
            elif target.kind not in _STOP:
                waiting += [Reference(r.target, r.key, r.line, r.path, target.file) for r in target.references]
                for policy in self.policies[target.name] if target.kind == "role" else ():
                    waiting += [Reference(r.target, _RIGHT, r.line, "", policy.file) for r in policy.references]

    def _dependencies(self, resource: Resource) -> None:
        for reference, target in self._reached(resource):
            kind, at = target.kind, Evidence(reference.file or resource.file, reference.line)
            if kind in ("subnet", "nat") or resource.kind in ("subnet", "nat") or reference.key in ("redrive", "zones"):
                continue
            if kind == "lb" and reference.key in _REGISTERS:
                self.link(target.name, resource.name, at)
                continue
            routed = self.routes.get(reference.path) if kind == "api" and reference.path else None
            how: How = "inferred" if reference.key == _RIGHT else "declared"
            late = resource.kind in ("sqs", "sns", "s3", "dynamodb") or kind in ("sqs", "sns", "kinesis", "bus")
            self.link(
                resource.name, routed or target.name, at, how=how, sync=False if late else None,
                hard=False if resource.kind in ("sqs", "sns") else None,
            )  # fmt: skip

    def _texts(self, resource: Resource) -> Iterator[tuple[str, str, Evidence]]:
        yield from ((key, text, Evidence(resource.file, line)) for key, text, line in resource.texts)
        for reference in resource.references:
            target = self.by_name.get(reference.target)
            if target is not None and target.kind in ("taskdefinition", "machine"):
                yield from ((key, text, Evidence(target.file, line)) for key, text, line in target.texts)

    def _hosts(self, resource: Resource) -> None:
        for key, text, at in self._texts(resource):
            for endpoint in endpoints(key, text):
                name = endpoint.host
                if name in self.domains or f"*.{name.partition('.')[2]}" in self.domains:
                    continue
                if name.endswith("amazonaws.com"):
                    name = endpoint.path.rsplit("/", 1)[-1]
                    if not name:
                        continue
                self.facts.link(
                    resource.name, name, scope=self.scope, at=at, how="inferred", starts=needed_at_start(key),
                    only_known="." not in name, any_of=key if endpoint.listed else None,
                    hard=False if endpoint.telemetry else None,
                )  # fmt: skip
            if self.facts.aliases.get((self.scope, text)):
                self.facts.link(resource.name, text, scope=self.scope, at=at, how="inferred", only_known=True)

    def _rights(self, resource: Resource) -> None:
        actions = list(self._actions(resource))
        wanted = sorted({m for text, _ in actions for m in _CONTROL_PLANE.findall(text)})
        if wanted:
            found = self.found(resource)
            found.launches = ", ".join(wanted)
            found.facts["launches"] = next(at for text, at in actions if _CONTROL_PLANE.search(text))
            if _RECOVERS.search(resource.name):
                self.facts.recovery.setdefault(found.name, Evidence(resource.file, resource.line))

    def _actions(self, resource: Resource) -> Iterator[tuple[str, Evidence]]:
        def of(one: Resource) -> Iterator[tuple[str, Evidence]]:
            yield from ((text, Evidence(one.file, line)) for text, line in one.values.get("actions", ()))

        yield from of(resource)
        for reference in resource.references:
            target = self.by_name.get(reference.target)
            if target is not None and target.kind == "role" and reference.key in ("Role", "role", "RoleArn"):
                yield from of(target)
                for policy in self.policies[target.name]:
                    yield from of(policy)

    def _doors(self) -> None:
        """Balancer -> listener -> target group -> who registers in it; API -> integration -> function."""
        balancers: dict[str, set[str]] = defaultdict(set)
        for listener in self.resources:
            if listener.kind == "listener":
                doors = self._balancers(listener)
                for reference in listener.references:
                    if self.kind(reference.target) == "targets":
                        balancers[reference.target].update(doors)
                    elif self.kind(reference.target) in ("lambda", "ecs"):
                        for door in doors:
                            self.link(door, reference.target, Evidence(listener.file, reference.line))
        for resource in self.resources:
            for reference in resource.references:
                if self.kind(reference.target) == "targets" and (
                    resource.kind in KINDS or resource.kind == "attachment"
                ):
                    for door in sorted(balancers[reference.target]):
                        self._registered(door, resource, Evidence(resource.file, reference.line))
                elif self.kind(reference.target) == "lb" and resource.kind == "attachment":
                    self._registered(reference.target, resource, Evidence(resource.file, reference.line))
            if resource.kind == "targets":  # CloudFormation lists who registers in the group itself
                for reference in resource.references:
                    if self.kind(reference.target) in _SERVING:
                        for door in sorted(balancers[resource.name]):
                            self.link(door, reference.target, Evidence(resource.file, reference.line))
            if resource.kind == "integration":
                self._integrated(resource)
            if resource.values.get("routes") and resource.kind == "lambda":
                self.found(resource).entry = True

    def _balancers(self, listener: Resource) -> list[str]:
        """Of a listener, or of the listener that a rule belongs to."""
        doors = [r.target for r in listener.references if self.kind(r.target) == "lb"]
        for reference in listener.references:
            if self.kind(reference.target) == "listener":
                doors += [r.target for r in self.by_name[reference.target].references if self.kind(r.target) == "lb"]
        return doors

    def _registered(self, door: str, resource: Resource, at: Evidence) -> None:
        if resource.kind in KINDS:
            self.link(door, resource.name, at)
        for reference in resource.references if resource.kind == "attachment" else ():
            if self.kind(reference.target) in _SERVING:
                self.link(door, reference.target, at)

    def _integrated(self, resource: Resource) -> None:
        doors = [r.target for r in resource.references if self.kind(r.target) == "api"]
        for reference in resource.references:
            if self.kind(reference.target) in ("lambda", "lb", "statemachine"):
                for door in doors:
                    self.link(door, reference.target, Evidence(resource.file, reference.line))

    def _consumers(self) -> None:
        """Queue or stream -> the function that works it off; topic -> its subscribers. Nobody waits for them."""
        for resource in self.resources:
            pairs = [(ref.target, resource.name, ref.line) for ref in resource.references if ref.key == "consumes"]
            if resource.kind == "mapping":
                sources = [r for r in resource.references if r.key in ("source", "event_source_arn")]
                takers = [r for r in resource.references if r not in sources]
                pairs += [(s.target, t.target, s.line) for s in sources for t in takers]
            for source, taker, line in pairs:
                if self.kind(source) in KINDS and self.kind(taker) in KINDS:
                    self.link(source, taker, Evidence(resource.file, line), sync=False, hard=False)

    def _subnets(self) -> None:
        """A subnet leaves by the gateway of its route table: what two zones share is not in either of them."""
        tables = {
            r.name: [x.target for x in r.references if self.kind(x.target) == "nat"]
            for r in self.resources
            if r.kind == "routes"
        }
        for resource in self.resources:
            if resource.kind == "association":
                gateways = [g for r in resource.references for g in tables.get(r.target, ())]
                for reference in resource.references:
                    for gateway in gateways if self.kind(reference.target) == "subnet" else ():
                        at = Evidence(self.by_name[gateway].file, self.by_name[gateway].line)
                        self.link(reference.target, gateway, at, calls=False, hard=True)
            if resource.kind in ("ecs", "asg", "lb", "rds", "lambda"):
                subnets = [self.by_name[r.target] for r in resource.references if self.kind(r.target) == "subnet"]
                zones = {zone for subnet in subnets for zone in subnet.values.get("zones", ())}
                if zones:
                    found = self.found(resource)
                    found.domains.setdefault("zone", tuple(sorted(zones)))
                    found.spread = len(zones) > 1
