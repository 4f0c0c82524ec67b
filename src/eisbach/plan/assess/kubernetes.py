"""Kubernetes manifests, also as rendered by Helm and Kustomize: workloads, services, ingresses, configuration, zones.

A Service is a group of the workloads that its selector fits; a workload's variables and ConfigMaps name what it calls.
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from eisbach.plan.assess.documents import Node
from eisbach.plan.assess.endpoints import endpoints, needed_at_start, replica_of
from eisbach.plan.assess.facts import Facts
from eisbach.plan.assess.images import is_backup, kind_of_image
from eisbach.plan.assess.model import STORES, Evidence
from eisbach.plan.assess.operators import is_operated, read_operated

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
    "ServiceMonitor", "PodMonitor", "PrometheusRule", "Kustomization", "IngressClass", "ExternalSecret", "SecretStore",
    "ClusterSecretStore", "SealedSecret", "GatewayClass", "RuntimeClass", "CSIDriver", "VolumeSnapshotClass", "Lease",
    "APIService", "Event", "Endpoints", "EndpointSlice", "PodTemplate", "ReferenceGrant", "BackendTLSPolicy",
    "Certificate", "Issuer", "ClusterIssuer", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration",
})  # fmt: skip
"""Understood as no component of their own."""
_PODS_NAMED_MAX: Final = 100
_TRAEFIK_HOST: Final = re.compile(r"Host(?:SNI)?\(`([A-Za-z0-9.-]+)`")
_NOTHING: Final = (Node(None, 1), "-")
_DOORS: Final = ("Ingress", "HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute", "Gateway", "IngressRoute", "Route")
_SCALERS: Final = ("HorizontalPodAutoscaler", "ScaledObject")
_UNDERSTOOD: Final = _WORKLOADS | _PLAIN | {"Service", "VirtualService", "Schedule", *_DOORS, *_SCALERS}


def is_kubernetes(document: Node) -> bool:
    """Whether a document is a manifest."""
    return bool(document.get("apiVersion").text() and document.get("kind").text())


def read_kubernetes(manifests: Sequence[tuple[Node, str]], facts: Facts) -> None:
    """All manifests of a run with their files, together: a Service and what it selects stand in files of their own."""
    flat = [
        (item, file)
        for d, file in manifests
        for item in (d.get("items").each() if d.get("kind").text() == "List" else (d,))
        if _whole(item, file, facts)
    ]
    maps = {_key(d): (d, file) for d, file in flat if d.get("kind").text() in ("ConfigMap", "Secret")}
    workloads: dict[tuple[str, str, str], _Workload] = {}
    for document, file in flat:
        kind = document.get("kind").text()
        facts.met += 1
        facts.understood += kind in _UNDERSTOOD or is_operated(document)
        if kind not in _WORKLOADS:
            continue
        key = (kind, *_key(document))
        if key in workloads:
            facts.skipped.append((f"{file}:{document.line}", f"{kind} {key[2]} is declared again; the first counts"))
        else:
            workloads[key] = _Workload(document, file, maps)
    for workload in workloads.values():
        workload.into(facts)
    read_operated([(d, file, _namespace(d)) for d, file in flat], facts)
    for document, file in flat:
        if document.get("kind").text() in _SCALERS:
            _scaled(document, workloads, facts, file)
        elif _is_schedule(document):
            _scheduled(document, workloads, facts, file)
    for document, file in flat:
        if document.get("kind").text() == "Service":
            _service(document, list(workloads.values()), facts, file)
    for document, file in flat:
        if _is_door(document):
            _door(document, facts, file)


def _key(document: Node) -> tuple[str, str]:
    return _namespace(document), document.get("metadata", "name").text()


def _whole(document: Node, file: str, facts: Facts) -> bool:
    """Whether a document says what it declares: a patch of a Kustomize overlay has a workload's kind and no image."""
    if document.get("kind").text() not in _WORKLOADS:
        return True
    if any(c.get("image").text() for c in _pod(document)[0].get("containers").each()):
        return True
    facts.skipped.append((f"{file}:{document.line}", "a workload without an image, as in a patch: render it first"))
    return False


def _namespace(document: Node) -> str:
    return document.get("metadata", "namespace").text() or "default"


def _pod(document: Node) -> tuple[Node, Node]:
    """(what a workload runs, its metadata)."""
    spec, kind = document.get("spec"), document.get("kind").text()
    if kind == "CronJob":
        spec = spec.get("jobTemplate", "spec")
    if kind == "Pod":
        return spec, document.get("metadata")
    return spec.get("template", "spec"), spec.get("template", "metadata")


class _Workload:
    def __init__(self, document: Node, file: str, maps: dict[tuple[str, str], tuple[Node, str]]) -> None:
        self.document, self.file, self.maps = document, file, maps
        self.kind = document.get("kind").text()
        self.name = self.local = document.get("metadata", "name").text()
        """Its name in the graph, once it is there; and in its namespace."""
        self.namespace = _namespace(document)
        self.pod, meta = _pod(document)
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
        self.name = found.name
        if self.kind == "DaemonSet":
            found.managed = True
        service = self.document.get("spec", "serviceName").text()
        for number in range(min(found.replicas or 1, _PODS_NAMED_MAX) if self.kind == "StatefulSet" else 0):
            facts.alias(
                self.namespace, f"{self.local}-{number}.{service}", found.name
            )  # each pod has a name of its own
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
        for key, value, file, secret in self._environment(container):
            at = Evidence(file, value.line)
            for endpoint in endpoints(key, value.text()):
                if replica_of(key):
                    facts.copies.append((self.namespace, self.name, endpoint.host))
                if backup:
                    facts.backups.append((self.namespace, endpoint.host, at))
                known = secret or ("." not in endpoint.host and not _is_url(value.text()))
                facts.link(
                    self.name, endpoint.host, scope=self.namespace, at=at, how="inferred", starts=needed_at_start(key),
                    only_known=known, hard=False if backup or endpoint.telemetry else None,
                    any_of=key if endpoint.listed else None,
                )  # fmt: skip

    def _environment(self, container: Node) -> Iterator[tuple[str, Node, str, bool]]:
        """(variable, value, file, whether a Secret holds it: what it names is never shown unless files declare it)."""
        for source in container.get("envFrom").each():
            name = source.get("configMapRef", "name").text() or source.get("secretRef", "name").text()
            config, file = self.maps.get((self.namespace, name), _NOTHING)
            secret = config.get("kind").text() == "Secret"
            yield from ((key, _readable(config, key), file, secret) for key, _ in _data(config))
        for entry in container.get("env").each():
            reference = entry.get("valueFrom", "configMapKeyRef")
            reference = reference if reference.value else entry.get("valueFrom", "secretKeyRef")
            if reference.value:
                config, file = self.maps.get((self.namespace, reference.get("name").text()), _NOTHING)
                secret = config.get("kind").text() == "Secret"
                yield entry.get("name").text(), _readable(config, reference.get("key").text()), file, secret
            else:
                value = entry.get("value")
                yield entry.get("name").text(), Node(value.value, value.line), self.file, False


def _data(config: Node) -> Iterator[tuple[str, Node]]:
    yield from config.get("data").items()
    yield from config.get("stringData").items()


def _readable(config: Node, key: str) -> Node:
    """A value of a ConfigMap or a Secret as text; of a Secret only hosts that files declare ever leave the reader."""
    written = config.get("stringData", key)
    if written.value is not None or config.get("kind").text() != "Secret":
        return written if written.value is not None else config.get("data", key)
    value = config.get("data", key)
    try:
        return Node(base64.b64decode(value.text(), validate=True).decode(), value.line)
    except ValueError:
        return Node(None, value.line)


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


def _scaled(document: Node, workloads: Mapping[tuple[str, str, str], _Workload], facts: Facts, file: str) -> None:
    """An autoscaler decides how many copies run: at least its minimum."""
    target = document.get("spec", "scaleTargetRef")
    kind = target.get("kind").text() or "Deployment"
    workload = workloads.get((kind, _namespace(document), target.get("name").text()))
    least = document.get("spec", "minReplicas" if document.get("kind").text() == _SCALERS[0] else "minReplicaCount")
    if workload is not None:
        found = facts.components[workload.name]
        found.replicas = least.integer() if least.integer() is not None else 1
        found.facts["replicas"] = Evidence(file, least.line)


def _is_schedule(document: Node) -> bool:
    return document.get("kind").text() == "Schedule" and document.get("apiVersion").text().startswith("velero.io/")


def _scheduled(document: Node, workloads: Mapping[tuple[str, str, str], _Workload], facts: Facts, file: str) -> None:
    """Velero copies the volumes of the namespaces that a schedule names: all, if it names none."""
    template = document.get("spec", "template")
    names = {n.text() for n in template.get("includedNamespaces").each()} or {"*"}
    for workload in workloads.values():
        found = facts.components[workload.name]
        taken = names & {"*", workload.namespace} and template.get("snapshotVolumes").flag() is not False
        if taken and found.stateful and found.backup is None:
            found.backup, found.facts["backup"] = True, Evidence(file, document.get("spec").line)


def _is_door(document: Node) -> bool:
    if document.get("kind").text() == "VirtualService":  # without a gateway it only routes inside the mesh
        return any(gateway.text() != "mesh" for gateway in document.get("spec", "gateways").each())
    return document.get("kind").text() in _DOORS


def _door(document: Node, facts: Facts, file: str) -> None:
    name, namespace = document.get("metadata", "name").text(), _namespace(document)
    at = Evidence(file, document.get("metadata", "name").line)
    if (namespace, name) in facts.names:  # very often a Deployment and its Ingress share a name
        name = f"{document.get('kind').text().lower()}/{name}"
    facts.component(name, scope=namespace, at=at, kind="gateway", managed=True, entry=True)
    for host in _public_names(document):
        facts.alias(namespace, host, name)
    for backend in _backends(document.get("spec")):
        if backend.text():
            facts.link(name, backend.text(), scope=namespace, at=Evidence(file, backend.line), documented=True)


def _public_names(document: Node) -> Iterator[str]:
    """Names in DNS that a door answers to: who calls one of them comes in by this door."""
    spec = document.get("spec")
    hosts = [rule.get("host") for rule in spec.get("rules").each()]
    hosts += [*spec.get("hostnames").each(), *spec.get("hosts").each(), spec.get("host")]
    hosts += [listener.get("hostname") for listener in spec.get("listeners").each()]
    for route in spec.get("routes").each():
        hosts += [Node(name, route.line) for name in _TRAEFIK_HOST.findall(route.get("match").text())]
    yield from (host.text().lower() for host in hosts if host.text() and "*" not in host.text())


def _backends(spec: Node) -> Iterator[Node]:
    """The services behind a door: Ingress (v1 and before), Gateway API, Traefik, OpenShift, Istio."""
    yield spec.get("defaultBackend", "service", "name")
    yield spec.get("to", "name")
    for rule in spec.get("rules").each():
        for path in rule.get("http", "paths").each():
            old = path.get("backend", "service").value is None
            yield path.get("backend", "serviceName") if old else path.get("backend", "service", "name")
        yield from (ref.get("name") for ref in rule.get("backendRefs").each())
    for route in spec.get("routes").each():
        yield from (service.get("name") for service in route.get("services").each())
    for route in spec.get("http").each():
        yield from (way.get("destination", "host") for way in route.get("route").each())
