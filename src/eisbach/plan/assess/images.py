"""What a container image or a type of resource is: a small table of words, the first that fits wins.

Names of images are free text, so this is an inference; what it does not know stays a service.
"""

from typing import Final

__all__ = ["BACKUP_WORDS", "is_backup", "is_coordination", "kind_of_image"]

_KINDS: Final = (
    ("job", ("backup", "pg-dump", "pgbackrest", "wal-g", "restic", "velero", "barman")),
    ("telemetry", ("prometheus", "grafana", "jaeger", "otel", "opentelemetry", "loki", "fluentd", "fluent-bit",
                   "vector", "zipkin", "datadog", "statsd", "exporter", "cadvisor")),
    ("database", ("postgres", "postgis", "timescale", "mysql", "mariadb", "percona", "mongo", "cassandra", "scylla",
                  "cockroach", "clickhouse", "couchdb", "neo4j", "mssql", "influxdb", "arangodb", "dynamodb", "etcd")),
    ("cache", ("redis", "valkey", "memcached", "keydb", "dragonfly", "varnish")),
    ("queue", ("rabbitmq", "kafka", "redpanda", "nats", "activemq", "pulsar", "mosquitto", "emqx", "zookeeper")),
    ("index", ("opensearch", "elasticsearch", "solr", "meilisearch", "typesense")),
    ("bucket", ("minio", "seaweedfs")),
    ("proxy", ("nginx", "haproxy", "traefik", "envoy", "caddy", "httpd", "openresty", "kong")),
    ("identity", ("keycloak", "vault", "authelia", "authentik", "dex", "ory/", "zitadel")),
)  # fmt: skip
BACKUP_WORDS: Final = (
    "backup",
    "pg-dump",
    "pg_dump",
    "mysqldump",
    "mongodump",
    "pgbackrest",
    "wal-g",
    "restic",
    "velero",
)


def kind_of_image(image: str) -> str:
    """The kind of a component by its image's name; ``service`` where no word is known."""
    name = image.split("@", maxsplit=1)[0].lower()
    path = name.rsplit(":", 1)[0] if ":" in name.rsplit("/", 1)[-1] else name
    last = "/".join(path.split("/")[-2:])
    return next((kind for kind, words in _KINDS if any(word in last for word in words)), "service")


def is_coordination(image: str) -> bool:
    """Whether it keeps what its members agree on: without a disk a new member takes it from the others."""
    return any(word in image.lower() for word in ("etcd", "consul", "zookeeper"))


def is_backup(*texts: str) -> bool:
    """Whether an image, a command or a schedule says that it takes backups."""
    return any(word in text.lower() for text in texts for word in BACKUP_WORDS)
