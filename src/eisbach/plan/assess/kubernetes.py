"""Kubernetes manifests, also as rendered by Helm and Kustomize: workloads, services, ingresses, configuration, zones.

A Service is a group of the workloads that its selector fits; a workload's variables and ConfigMaps name what it calls.
"""

from collections.abc import Iterator
from typing import Final

from eisbach.plan.assess.documents import Node
from eisbach.plan.assess.endpoints import endpoints, needed_at_start, replica_of
from eisbach.plan.assess.facts import Facts
from eisbach.plan.assess.images import is_backup, kind_of_image
from eisbach.plan.assess.model import STORES, Evidence

__all__ = ["is_kubernetes", "read_kubernetes"]

_WORKLOADS: Final = frozenset(
    {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod", "Rollout"}
)
_ZONE: Final = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
_HOST: Final = "kubernetes.io/hostname"
_PLAIN: Final = frozenset({
    "ConfigMap", "Secret", "Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding",
    "PersistentVolumeClaim", "PersistentVolume", "StorageClass", "NetworkPolicy", "PodDisruptionBudget",
    "ResourceQuota", "HorizontalPodAutoscaler", "LimitRange", "PriorityClass", "CustomResourceDefinition",
    "ServiceMonitor", "PodMonitor",
    "Certificate", "Issuer", "ClusterIssuer", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration",
})  # fmt: skip
"""Understood as no component of their own."""


def is_kubernetes(document: Node) -> bool:
    """Whether a document is a manifest."""
    return bool(document.get("apiVersion").text() and document.get("kind").text())


def read_kubernetes(documents: list[Node], file: str, facts: Facts) -> None:
    """All manifests of a file (a List counts for its items)."""
    flat = [item for d in documents for item in (d.get("items").each() if d.get("kind").text() == "List" else (d,))]
    maps = {
        (_namespace(d), d.get("metadata", "name").text()): d
        for d in flat
        if d.get("kind").text() in ("ConfigMap", "Secret")
    }
    workloads = [_Workload(d, file, maps) for d in flat if d.get("kind").text() in _WORKLOADS]
    for document in flat:
        kind = document.get("kind").text()
        facts.met += 1
        facts.understood += (
            kind in _WORKLOADS or kind in _PLAIN or kind in ("Service", "Ingress", "HTTPRoute", "Gateway")
        )
    for workload in workloads:
        workload.into(facts)
    for document in flat:
        if document.get("kind").text() == "Service":
            _service(document, workloads, facts, file)
    for document in flat:
        if document.get("kind").text() in ("Ingress", "HTTPRoute", "Gateway"):
            _ingress(document, facts, file)


def _namespace(document: Node) -> str:
    return document.get("metadata", "namespace").text() or "default"


class _Workload:
    def __init__(self, document: Node, file: str, maps: dict[tuple[str, str], Node]) -> None:
        self.document, self.file, self.maps = document, file, maps
        self.kind = document.get("kind").text()
        self.name = document.get("metadata", "name").text()
        self.namespace = _namespace(document)
        spec = document.get("spec")
        if self.kind == "CronJob":
            spec = spec.get("jobTemplate", "spec")
        self.pod = spec if self.kind == "Pod" else spec.get("template", "spec")
        meta = document.get("metadata") if self.kind == "Pod" else spec.get("template", "metadata")
        self.labels = {key: node.text() for key, node in meta.get("labels").items()}

    def at(self, node: Node) -> Evidence:
        return Evidence(self.file, node.line)

    def into(self, facts: Facts) -> None:
        containers = list(self.pod.get("containers").each())
        image = containers[0].get("image").text() if containers else ""
        words = [
            image,
            self.name,
            *(n.text() for c in containers for part in ("command", "args") for n in c.get(part).each()),
        ]
        kind = kind_of_image(image) if image else "service"
        if self.kind in ("Job", "CronJob") or (kind == "job" and is_backup(*words)):
            kind = "job"
        replicas = self.document.get("spec", "replicas").integer()
        found = facts.component(
            self.name, scope=self.namespace, at=self.at(self.document.get("metadata", "name")), kind=kind, image=image,
            replicas=1 if replicas is None and self.kind != "DaemonSet" else replicas,
        )  # fmt: skip
        if self.kind == "DaemonSet":
            found.managed = True
        facts.alias(self.namespace, self.name, self.name)
        self._state(facts, kind, containers, " ".join(words))
        self._places(facts)
        region = self.document.get("metadata", "labels", "region")
        if region.text():
            found.domains["region"] = (region.text(),)
        for container in (*self.pod.get("initContainers").each(), *containers):
            self._variables(container, facts, backup=kind == "job" and is_backup(*words))

    def _state(self, facts: Facts, kind: str, containers: list[Node], words: str) -> None:
        found = facts.components[self.name]
        claims = list(self.document.get("spec", "volumeClaimTemplates").each())
        claims += [v for v in self.pod.get("volumes").each() if v.get("persistentVolumeClaim").value]
        if kind in STORES or (claims and self.kind == "StatefulSet"):
            found.stateful = bool(claims) and not (kind == "cache" and "--save " in words)
            if claims:
                found.facts["stateful"] = self.at(claims[0])
        shared = [v.get("persistentVolumeClaim", "claimName") for v in claims if v.get("persistentVolumeClaim").value]
        if shared:
            found.domains["disk"] = tuple(f"{self.namespace}/{claim.text()}" for claim in shared)
        if not containers:
            found.facts["pod"] = self.at(self.pod)

    def _places(self, facts: Facts) -> None:
        found, zones = facts.components[self.name], list[Node]()
        for label in _ZONE:
            zones += list(self.pod.get("nodeSelector").get(label).each())
        terms = self.pod.get("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
        for term in terms.get("nodeSelectorTerms").each():
            for match in term.get("matchExpressions").each():
                if match.get("key").text() in _ZONE and match.get("operator").text() == "In":
                    zones += list(match.get("values").each())
        if zones:
            found.domains["zone"] = tuple(sorted({zone.text() for zone in zones}))
            found.facts["zone"] = self.at(zones[0])
        host = self.pod.get("nodeName").text() or self.pod.get("nodeSelector").get(_HOST).text()
        if host:
            found.domains["host"] = (host,)
            found.facts["host"] = self.at(self.pod.get("nodeSelector"))
        spread = self.pod.get("topologySpreadConstraints").value or self.pod.get("affinity", "podAntiAffinity").value
        found.spread = bool(spread)

    def _variables(self, container: Node, facts: Facts, *, backup: bool) -> None:
        for key, value in self._environment(container):
            at = self.at(value)
            for endpoint in endpoints(key, value.text()):
                if replica_of(key):
                    facts.copies.append((self.namespace, self.name, endpoint.host))
                if backup:
                    facts.backups.append((self.namespace, endpoint.host, at))
                labels = endpoint.host.split(".")
                facts.link(
                    self.name, endpoint.host, scope=self.namespace, at=at, how="inferred", starts=needed_at_start(key),
                    only_known=len(labels) == 1 and not _is_url(value.text()), hard=False if backup else None,
                )  # fmt: skip

    def _environment(self, container: Node) -> Iterator[tuple[str, Node]]:
        for source in container.get("envFrom").each():
            name = source.get("configMapRef", "name").text() or source.get("secretRef", "name").text()
            yield from self.maps.get((self.namespace, name), Node(None, 1)).get("data").items()
        for entry in container.get("env").each():
            reference = entry.get("valueFrom", "configMapKeyRef")
            if reference.value:
                config = self.maps.get((self.namespace, reference.get("name").text()), Node(None, 1))
                yield entry.get("name").text(), config.get("data", reference.get("key").text())
            else:
                yield entry.get("name").text(), Node(entry.get("value").value, entry.get("value").line)


def _is_url(text: str) -> bool:
    return "://" in text


def _service(document: Node, workloads: list[_Workload], facts: Facts, file: str) -> None:
    """The word that a Service is means the workloads behind it."""
    name, namespace = document.get("metadata", "name").text(), _namespace(document)
    selector = {key: node.text() for key, node in document.get("spec", "selector").items()}
    behind = [
        w.name
        for w in workloads
        if w.namespace == namespace
        and selector
        and selector.items() <= w.labels.items()
        and w.kind not in ("Job", "CronJob")
    ]
    if document.get("spec", "type").text() in ("LoadBalancer", "NodePort"):
        for workload in behind:
            facts.components[workload].entry = True
    outside = document.get("spec", "externalName").text()
    if outside:
        facts.component(
            outside, scope="", at=Evidence(file, document.get("spec", "externalName").line), kind="external"
        )
        facts.alias(namespace, name, outside)
    elif len(behind) == 1:
        facts.alias(namespace, name, behind[0])
    elif behind:
        group = f"service {namespace}/{name}"
        facts.groups[group] = (behind, 1)
        facts.alias(namespace, name, group)


def _ingress(document: Node, facts: Facts, file: str) -> None:
    name, namespace = document.get("metadata", "name").text(), _namespace(document)
    at = Evidence(file, document.get("metadata", "name").line)
    facts.component(name, scope=namespace, at=at, kind="gateway", managed=True, entry=True)
    backends = [document.get("spec", "defaultBackend", "service", "name")]
    for rule in document.get("spec", "rules").each():
        for path in rule.get("http", "paths").each():
            old = path.get("backend", "service").value is None
            backends += [path.get("backend", "serviceName") if old else path.get("backend", "service", "name")]
        backends += [ref.get("name") for ref in rule.get("backendRefs").each()]
    for backend in backends:
        if backend.text():
            facts.link(name, backend.text(), scope=namespace, at=Evidence(file, backend.line), documented=True)
