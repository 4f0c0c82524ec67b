"""Shapes that public repositories have (listed in docs/assess.md; nothing of theirs is here), written anew."""

from pathlib import Path

import pytest

from eisbach.kernel.errors import Invalid
from eisbach.plan.assess.assessment import Assessment, assess

FLOWS = """---
version: '3'
x-common:
  &common
  image: ${IMAGE:-example/flows:|version|}
  environment:
    &common-env
    CORE__CONN: postgresql+psycopg2://flow:flow@postgres/flow
    RESULT: db+postgresql://flow:flow@postgres/flow
    BROKER_URL: redis://:@redis:6379/0
  depends_on:
    &common-depends
    redis: {condition: service_healthy}
    postgres: {condition: service_healthy}
services:
  postgres: {image: "postgres:13", volumes: ["pg:/var/lib/postgresql/data"]}
  redis: {image: "redis:latest", expose: [6379]}
  web:
    <<: *common
    ports: [8080:8080]
    depends_on:
      <<: *common-depends
      init: {condition: service_completed_successfully}
  init:
    <<: *common
    command:
      - -c
      - |
        echo "see https://docs.flows.example/howto/index.html"
        exec $${x//./ }
  cli: {<<: *common, profiles: [debug]}
volumes: {pg: }
"""
TRACKER = """x-restart: &restart {restart: unless-stopped}
x-healthy: &healthy {condition: service_healthy}
x-defaults: &defaults
  <<: *restart
  image: tracker-local
  build: {context: ./tracker, args: [IMAGE]}
  depends_on: &depends
    redis: {<<: *healthy}
    kafka: {<<: *healthy}
  environment:
    API: "http://api:1218"
    CA: &ca "/etc/ssl/ca.crt"
    CA2: *ca
    MAIL_HOST:
services:
  smtp: {<<: *restart, image: tianon/exim4, hostname: "${MAIL_HOST:-}"}
  redis: {<<: *restart, image: "redis:6", volumes: ["r:/data"]}
  kafka:
    image: confluentinc/cp-kafka:7
    environment: {ADVERTISED_LISTENERS: "PLAINTEXT://kafka:9092", LOGGERS: "kafka.cluster=WARN,kafka.log=WARN"}
    volumes: [{type: bind, read_only: true, source: ./k/, target: /etc/k}]
  api: {<<: *restart, image: "$API_IMAGE", environment: {BROKERS: "kafka:9092", REDIS_HOST: redis}}
  web: {<<: *defaults, ports: ["9000:9000"]}
volumes: {r: {external: true}}
"""
REVIEWS = """apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 9080}], selector: {app: reviews}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: r}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews-v1}
spec: {replicas: 1, selector: {matchLabels: {app: reviews}}, template: {metadata: {labels: {app: reviews, v: "1"}}, spec: {containers: [{name: r, image: x}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews-v2}
spec: {replicas: 1, selector: {matchLabels: {app: reviews}}, template: {metadata: {labels: {app: reviews, v: "2"}}, spec: {containers: [{name: r, image: x}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: page}
spec: {selector: {matchLabels: {app: page}}, template: {metadata: {labels: {app: page}}, spec: {containers: [{name: page, image: x, env: [{name: REVIEWS_URL, value: "http://reviews:9080"}]}]}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {rules: [{backendRefs: [{name: page, port: 9080}]}]}
---
"""
MODULE = """resource "aws_db_instance" "this" {
  count = var.create && false == local.is_mssql ? 1 : 0
  multi_az = var.multi_az
  monitoring_role_arn = var.i > 0 ? coalesce(var.arn, join(", ", aws_iam_role.m.*.arn), null) : null
  backup_retention_period = var.backup_retention_period
  timeouts { create = lookup(var.timeouts, "create", null) }
}
resource "aws_elb" "web" {
  instances = [aws_instance.web.id]
  listener {
    lb_port = 80
  }
}
resource "aws_instance" "web" {
  ami = var.amis[var.region]
  user_data = <<-EOT
    #!/bin/bash
    echo "DB=${aws_db_instance.this[0].address}" > /etc/app
  EOT
}
"""
PARAMETERS = """Parameters: {Zones: {Type: String}, Count: {Type: Number}}
Resources:
  Store:
    Type: AWS::RDS::DBInstance
    Properties: {MultiAZ: !Ref Zones, BackupRetentionPeriod: !If [Prod, 7, 0]}
  Nested:
    Type: AWS::CloudFormation::Stack
    Properties: {TemplateURL: https://s3.amazonaws.com/x/lb.yaml}
"""
SHAPES = {
    "flows/compose.yaml": FLOWS, "tracker/docker-compose.yml": TRACKER, "reviews/all.yaml": REVIEWS,
    "module/main.tf": MODULE, "parameters/template.yaml": PARAMETERS,
}  # fmt: skip


def read(folder: Path, name: str) -> Assessment:
    file = folder / Path(name).name
    file.write_text(SHAPES[name])
    return assess([file])


def claims(made: Assessment) -> set[tuple[str, tuple[str, ...]]]:
    return {(f.rule, tuple(f.components)) for f in made.findings}


@pytest.mark.parametrize("name", SHAPES)
def test_at_least_95_of_100_resources_of_a_known_shape_are_understood(tmp_path: Path, name: str) -> None:
    understood, met = read(tmp_path, name).graph.resources

    assert met >= 2
    assert understood >= 0.95 * met


def test_what_runs_once_before_the_start_is_no_single_point_and_a_link_in_a_script_no_vendor(tmp_path: Path) -> None:
    made = read(tmp_path, "flows/compose.yaml")

    assert ("single-point", ("init",)) not in claims(made)
    assert {("single-point", ("postgres",)), ("missing-backup", ("postgres",))} <= claims(made)
    assert set(made.graph.components) == {"postgres", "redis", "web", "init", "cli"}


def test_merged_anchors_reach_the_services_and_empty_variables_name_nobody(tmp_path: Path) -> None:
    made = read(tmp_path, "tracker/docker-compose.yml")

    found = {(d.source, d.target) for d in made.graph.dependencies}
    assert {("web", "redis"), ("web", "kafka"), ("web", "api"), ("api", "kafka")} <= found
    assert not [c for c in made.graph.components.values() if c.kind == "external"]


def test_two_versions_behind_one_service_stand_in_for_each_other(tmp_path: Path) -> None:
    found = claims(read(tmp_path, "reviews/all.yaml"))

    assert ("single-point", ("page",)) in found
    assert not [f for f in found if "reviews-v1" in f[1]]


@pytest.mark.parametrize(
    ("name", "store"), [("module/main.tf", "aws_db_instance.this"), ("parameters/template.yaml", "Store")]
)
def test_what_a_variable_decides_is_unknown_and_never_judged(tmp_path: Path, name: str, store: str) -> None:
    made = read(tmp_path, name)

    assert not [c for c in claims(made) if store in c[1] and c[0] in ("single-point", "missing-backup")]
    assert {u.what.partition(":")[0] for u in made.graph.unknowns if u.about == store} >= {"replicas", "backup"}


def test_a_classic_balancer_leads_to_its_instances(tmp_path: Path) -> None:
    made = read(tmp_path, "module/main.tf")

    assert ("aws_elb.web", "aws_instance.web") in {(d.source, d.target) for d in made.graph.dependencies}
    assert ("single-point", ("aws_instance.web",)) in claims(made)


def test_a_nested_stack_that_is_not_followed_is_said(tmp_path: Path) -> None:
    assert "nested stack Nested is not followed" in str(read(tmp_path, "parameters/template.yaml").graph.skipped)
    (tmp_path / "only.yaml").write_text(
        PARAMETERS.replace(PARAMETERS[PARAMETERS.index("  Store") : PARAMETERS.index("  Nested")], "")
    )

    with pytest.raises(Invalid, match="nested stack Nested"):
        assess([tmp_path / "only.yaml"])
