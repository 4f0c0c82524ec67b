"""What operators run for a custom resource: a database of three instances that no StatefulSet here declares.

A table of the operators that are met most: how many copies, what is data, whether the resource itself says that it is
backed up, and the Services that the operator makes of it - the names by which others call it. A custom resource of a
kind that is not here stays what it was: counted as not understood, never guessed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from eisbach.plan.assess.documents import Node
from eisbach.plan.assess.facts import Facts
from eisbach.plan.assess.model import Evidence

__all__ = ["is_operated", "read_operated"]


class _Operated(NamedTuple):
    kind: str
    copies: tuple[tuple[str, ...], ...]
    """Paths under ``spec`` that say how many run; the first that is there."""
    services: tuple[str, ...]
    """Names of the Services that the operator makes, ``{}`` for the resource's own."""
    backup: Callable[[Node], bool] = lambda _: False
    stateful: bool = True


def _said(*paths: tuple[str, ...]) -> Callable[[Node], bool]:
    return lambda spec: any(bool(spec.get(*path).value) for path in paths)


_TABLE: Final[Mapping[tuple[str, str], _Operated]] = {
    ("postgresql.cnpg.io", "Cluster"): _Operated(
        "database", (("instances",),), ("{}-rw", "{}-ro", "{}-r"), _said(("backup",), ("plugins",))
    ),
    ("acid.zalan.do", "postgresql"): _Operated(
        "database", (("numberOfInstances",),), ("{}", "{}-repl", "{}-pooler"), _said(("enableLogicalBackup",))
    ),
    ("postgres-operator.crunchydata.com", "PostgresCluster"): _Operated(
        "database", (("instances", "replicas"),), ("{}-primary", "{}-replicas", "{}-pgbouncer"), _said(("backups",))
    ),
    ("kafka.strimzi.io", "Kafka"): _Operated(
        "queue", (("kafka", "replicas"),), ("{}-kafka-bootstrap", "{}-kafka-brokers")
    ),
    ("rabbitmq.com", "RabbitmqCluster"): _Operated("queue", (("replicas",),), ("{}", "{}-nodes")),
    ("mongodbcommunity.mongodb.com", "MongoDBCommunity"): _Operated("database", (("members",),), ("{}-svc",)),
    ("psmdb.percona.com", "PerconaServerMongoDB"): _Operated(
        "database", (("replsets", "size"),), ("{}-rs0", "{}-mongos"), _said(("backup", "tasks"))
    ),
    ("pxc.percona.com", "PerconaXtraDBCluster"): _Operated(
        "database", (("pxc", "size"),), ("{}-haproxy", "{}-proxysql", "{}-pxc"), _said(("backup", "schedule"))
    ),
    ("mysql.oracle.com", "InnoDBCluster"): _Operated(
        "database", (("instances",),), ("{}", "{}-instances"), _said(("backupSchedules",))
    ),
    ("databases.spotahome.com", "RedisFailover"): _Operated(
        "cache", (("redis", "replicas"),), ("rfs-{}", "rfr-{}", "rfrm-{}"), stateful=False
    ),
    ("elasticsearch.k8s.elastic.co", "Elasticsearch"): _Operated(
        "index", (("nodeSets", "count"),), ("{}-es-http", "{}-es-transport")
    ),
    ("opensearch.opster.io", "OpenSearchCluster"): _Operated("index", (("nodePools", "replicas"),), ("{}",)),
    ("clickhouse.altinity.com", "ClickHouseInstallation"): _Operated(
        "database", (("configuration", "clusters", "layout", "replicasCount"),), ("clickhouse-{}",)
    ),
    ("scylla.scylladb.com", "ScyllaCluster"): _Operated(
        "database", (("datacenter", "racks", "members"),), ("{}-client",), _said(("backups",))
    ),
    ("cassandra.datastax.com", "CassandraDatacenter"): _Operated("database", (("size",),), ("{}-service",)),
}  # fmt: skip
"""(group of the API, kind) -> what is run for it."""
_BACKS_UP: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("postgresql.cnpg.io", "ScheduledBackup"): ("cluster", "name"),
    ("psmdb.percona.com", "PerconaServerMongoDBBackup"): ("clusterName",),
    ("pxc.percona.com", "PerconaXtraDBClusterBackup"): ("pxcCluster",),
    ("scylla.scylladb.com", "ScyllaDBManagerTask"): ("scyllaDBClusterRef", "name"),
}
"""Resources of their own that say of another one that it is backed up -> where they name it."""


def _type(document: Node) -> tuple[str, str]:
    return document.get("apiVersion").text().partition("/")[0], document.get("kind").text()


def is_operated(document: Node) -> bool:
    """Whether a manifest is one that the table knows."""
    return _type(document) in _TABLE or _type(document) in _BACKS_UP


def read_operated(documents: Sequence[tuple[Node, str, str]], facts: Facts) -> None:
    """Components of what operators run; (document, its file, its namespace)."""
    for document, file, namespace in documents:
        operated = _TABLE.get(_type(document))
        if operated is not None:
            _take(document, operated, file, namespace, facts)
    for document, file, namespace in documents:
        path = _BACKS_UP.get(_type(document))
        if path is not None:
            named = document.get("spec", *path)
            facts.backups.append((namespace, named.text(), Evidence(file, named.line)))


def _take(document: Node, operated: _Operated, file: str, namespace: str, facts: Facts) -> None:
    named, spec = document.get("metadata", "name"), document.get("spec")
    counted = _copies(spec, operated.copies)
    count = sum(node.integer() or 0 for node in counted)
    found = facts.component(
        named.text(), scope=namespace, at=Evidence(file, named.line), kind=operated.kind, replicas=count or 1
    )
    if counted:
        found.facts["replicas"] = Evidence(file, counted[0].line)
    if operated.stateful:
        found.stateful = True
    if operated.backup(spec):
        found.backup = True
    affinity = spec.get("affinity")
    found.spread = bool(spec.get("topologySpreadConstraints").value or affinity.get("podAntiAffinity").value)
    found.spread |= affinity.get("podAntiAffinityType").text() in ("required", "preferred")
    for service in operated.services:
        word = service.format(named.text())
        if word != named.text():
            facts.alias(namespace, word, named.text())


def _copies(spec: Node, paths: Sequence[tuple[str, ...]]) -> list[Node]:
    """The counts that a path leads to; a list on the way means all of its members, whose counts add up."""
    for path in paths:
        here = [spec]
        for key in path:
            here = [child for node in here for child in node.get(key).each()]
        if found := [node for node in here if node.integer() is not None]:
            return found
    return []
