"""What the files of a folder say together: variables, modules, nested stacks, overrides, autoscalers."""

import base64
from pathlib import Path

import pytest

from eisbach.kernel.errors import Invalid
from eisbach.plan.assess.assessment import Assessment, assess
from eisbach.plan.assess.bounds import ASSUMED_JOURNEYS_MAX, HCL_BYTES_MAX, Refused


def judged(folder: Path, files: dict[str, str], *names: str) -> Assessment:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return assess([folder / name for name in names] or [folder])


def claims(found: Assessment) -> set[tuple[str, str]]:
    return {(f.rule, c) for f in found.findings for c in f.components}


def said(found: Assessment, about: str) -> str:
    return "; ".join(u.what for u in found.graph.unknowns if u.about == about)


STORE = """resource "aws_db_instance" "db" {
  multi_az = %s
  backup_retention_period = %s
}
resource "aws_lb" "door" {
  tags = { Db = aws_db_instance.db.address }
}
"""


@pytest.mark.parametrize(
    ("multi_az", "days", "rest", "single", "lost"),
    [
        ("var.ha", "var.days", 'variable "ha" { default = true }\nvariable "days" { default = 0 }\n', False, True),
        ("local.ha", "7", "locals {\n  ha = local.other\n  other = false\n}\n", True, False),
        ('var.env == "prod" ? true : false', "1", 'variable "env" { default = "prod" }\n', False, False),
        ('var.env == "prod" ? true : false', "1", 'variable "env" { default = "dev" }\n', True, False),
        (
            '"${var.ha}"',
            '"${var.days}"',
            'variable "ha" { default = "true" }\nvariable "days" { default = "0" }\n',
            False,
            True,
        ),
        ("local.a", "1", "locals {\n  a = local.b\n  b = local.a\n}\n", False, False),
        ("lookup(var.m, 1)", "1", 'variable "m" { default = {} }\n', False, False),
    ],
)
def test_terraform_values_are_followed_where_they_are_literal_and_unknown_where_not(
    tmp_path: Path, multi_az: str, days: str, rest: str, single: bool, lost: bool
) -> None:
    found = claims(judged(tmp_path, {"main.tf": STORE % (multi_az, days), "rest.tf": rest}))

    assert (("single-point", "aws_db_instance.db") in found) is single
    assert (("missing-backup", "aws_db_instance.db") in found) is lost


def test_a_default_that_decides_is_named_and_a_file_of_values_wins_over_it(tmp_path: Path) -> None:
    files = {"main.tf": STORE % ("var.ha", "7"), "variables.tf": 'variable "ha" {\n  default = false\n}\n'}

    assert "the default of ha was taken" in said(judged(tmp_path, files), "aws_db_instance.db")

    files["x.auto.tfvars"] = "ha = true\n"
    found = judged(tmp_path, files)
    assert said(found, "aws_db_instance.db") == ""
    assert ("single-point", "aws_db_instance.db") not in claims(found)


def test_a_switch_that_is_off_makes_no_resource_and_a_count_makes_copies(tmp_path: Path) -> None:
    text = """
variable "bastion" { default = false }
resource "aws_instance" "bastion" {
  count = var.bastion ? 1 : 0
}
resource "aws_instance" "web" {
  count = 3
}
"""
    found = judged(tmp_path, {"main.tf": text}).graph

    assert {n: c.replicas for n, c in found.components.items()} == {"aws_instance.web": 3}
    assert found.resources == (2, 2)


def test_a_local_module_is_read_where_it_is_called_with_its_inputs_and_outputs(tmp_path: Path) -> None:
    found = judged(tmp_path, {
        "live/main.tf": 'module "db" {\n  source = "../modules/db"\n  ha = true\n}\n'
        'module "app" {\n  source = "../modules/app"\n  host = module.db.host\n}\n'
        'module "vpc" {\n  source = "terraform-aws-modules/vpc/aws"\n}\n',
        "modules/db/main.tf": 'variable "ha" {\n  default = false\n}\n' + STORE.replace("door", "side") % ("var.ha", 3)
        + 'output "host" {\n  value = aws_db_instance.db.address\n}\n',
        "modules/app/main.tf": 'variable "host" {}\nresource "aws_lambda_function" "f" {\n  environment {\n'
        "    variables = { DB_HOST = var.host }\n  }\n}\n",
    })  # fmt: skip

    edges = {(d.source, d.target) for d in found.graph.dependencies}
    assert ("module.app.aws_lambda_function.f", "module.db.aws_db_instance.db") in edges
    assert ("single-point", "module.db.aws_db_instance.db") not in claims(found)
    assert "aws_db_instance.db" not in found.graph.components
    assert "not followed: a plan says it" in said(found, "module.vpc")


def test_a_plan_is_followed_through_variables_and_outputs_of_modules_and_counted_copies_are_one(tmp_path: Path) -> None:
    plan = """{"format_version": "1.2", "planned_values": {"root_module": {"resources": [
 {"address": "aws_instance.web[0]", "type": "aws_instance", "values": {"availability_zone": "a"}},
 {"address": "aws_instance.web[1]", "type": "aws_instance", "values": {"availability_zone": "b"}},
 {"address": "aws_lb.door", "type": "aws_lb", "values": {}}],
 "child_modules": [{"resources": [
 {"address": "module.db.aws_rds_cluster.c", "type": "aws_rds_cluster", "values": {}},
 {"address": "module.db.aws_rds_cluster_instance.i[0]", "type": "aws_rds_cluster_instance", "values": {}}]}]}},
"configuration": {"root_module": {"resources": [
 {"address": "aws_instance.web", "expressions": {"user_data": {"references": ["module.db.host", "module.db"]}}}],
 "module_calls": {"db": {"module": {
  "outputs": {"host": {"expression": {"references": ["aws_rds_cluster.c.endpoint", "aws_rds_cluster.c"]}}},
  "resources": [{"address": "aws_rds_cluster_instance.i",
   "expressions": {"cluster_identifier": {"references": ["aws_rds_cluster.c.id", "aws_rds_cluster.c"]}}}]}}}}}}"""

    found = judged(tmp_path, {"plan.json": plan}).graph

    assert found.components["aws_instance.web"].replicas == 2
    assert found.components["aws_instance.web"].domains["zone"] == ("a", "b")
    assert found.components["module.db.aws_rds_cluster.c"].replicas == 1
    assert ("aws_instance.web", "module.db.aws_rds_cluster.c") in {(d.source, d.target) for d in found.dependencies}


PARENT = """Conditions: {Prod: !Equals [!Ref Stage, prod]}
Parameters: {Stage: {Type: String, Default: prod}}
Mappings: {Days: {prod: {Keep: 7}}}
Resources:
  Data:
    Type: AWS::CloudFormation::Stack
    Properties:
      TemplateURL: %s
      Parameters: {Twice: !If [Prod, "true", "false"], Keep: !FindInMap [Days, !Ref Stage, Keep]}
  Door:
    Type: AWS::Lambda::Function
    Properties: {Environment: {Variables: {HOST: !GetAtt Data.Outputs.Host, IMPORTED: !ImportValue shared-topic}}}
  Never: {Type: AWS::SQS::Queue, Condition: Off}
"""
CHILD = """Parameters: {Twice: {Type: String}, Keep: {Type: Number}}
Resources:
  Store: {Type: AWS::RDS::DBInstance, Properties: {MultiAZ: !Ref Twice, BackupRetentionPeriod: !Ref Keep}}
Outputs: {Host: {Value: !GetAtt Store.Endpoint.Address}}
"""
SHARED = """Resources: {Topic: {Type: AWS::SNS::Topic}}
Outputs: {T: {Value: !Ref Topic, Export: {Name: shared-topic}}}
"""


@pytest.mark.parametrize("address", ["./stacks/child.yaml", "https://s3.amazonaws.com/bucket/stacks/child.yaml"])
def test_nested_stacks_parameters_conditions_mappings_and_exports_are_followed(tmp_path: Path, address: str) -> None:
    parent = (PARENT % address).replace("Conditions: {", "Conditions: {Off: !Not [!Condition Prod], ")
    found = judged(tmp_path, {"parent.yaml": parent, "stacks/child.yaml": CHILD, "shared.yaml": SHARED})

    edges = {(d.source, d.target) for d in found.graph.dependencies}
    assert {("Door", "Store"), ("Door", "Topic")} <= edges
    assert set(found.graph.components) == {"Door", "Store", "Topic"}
    assert not [c for c in claims(found) if c[1] == "Store"]
    assert bool(said(found, "Data")) is address.startswith("https"), "taking a file for an address is said"


def test_a_nested_template_outside_of_what_was_given_is_not_read(tmp_path: Path) -> None:
    files = {"in/parent.yaml": PARENT % "../out/child.yaml", "out/child.yaml": CHILD}

    found = judged(tmp_path, files, "in")

    assert "Store" not in found.graph.components
    assert "nested stack Data is not followed" in str(found.graph.skipped)


def test_an_override_adds_to_a_compose_file_and_two_projects_keep_their_own_names(tmp_path: Path) -> None:
    found = judged(tmp_path, {
        "shop/compose.yaml": "services: {web: {image: x, ports: ['80:80'], depends_on: [db]}, db: {image: postgres}}",
        "shop/compose.override.yaml": "services: {db: {deploy: {replicas: 2}}}",
        "blog/compose.yaml": "services: {cms: {image: x, depends_on: [db]}, db: {image: mysql}}",
    }).graph  # fmt: skip

    by_image = {c.image: n for n, c in found.components.items()}
    assert found.components[by_image["postgres"]].replicas == 2
    assert found.components[by_image["postgres"]].kind == "database"
    edges = {(d.source, d.target) for d in found.dependencies}
    assert ("web", by_image["postgres"]) in edges
    assert ("cms", by_image["mysql"]) in edges


def test_an_autoscaler_says_how_many_copies_run_and_an_ingress_may_share_a_name(tmp_path: Path) -> None:
    web = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
        "spec: {template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: web}]}}}\n"
    )
    rest = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}}\n---\n"
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\n"
        "spec: {defaultBackend: {service: {name: web}}}\n---\n"
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\n"
        "spec: {minReplicas: 4, scaleTargetRef: {kind: Deployment, name: web}}\n"
    )
    patch = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 1}\n"

    found = judged(tmp_path, {"a.yaml": rest, "b.yaml": web, "c.yaml": patch}).graph

    assert {n: (c.kind, c.replicas) for n, c in found.components.items()} == {
        "web": ("service", 4), "ingress/web": ("gateway", None),
    }  # fmt: skip
    assert [(d.source, d.target) for d in found.dependencies] == [("ingress/web", "web")]
    assert "a workload without an image" in str(found.skipped)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("compose.yaml", "services:\n  a: {image: x}\n  a: {image: y}\n", ":3: key 'a' is written twice, first in line 2"),
        ("compose.yaml", "services:\n- a\n", ":1: services is no mapping"),
        ("compose.yaml", "services:\n  a: {image: x, scale: -2}\n", ":2: service a has -2 replicas"),
        ("compose.yaml", "services:\n  a: {extends: {file: b.yaml, service: b}}\n", ":2: extends b.yaml, which cannot be read"),
        ("compose.yaml", b"\xff\xfes\0e\0", ":1: UTF-16"),
        ("main.tf", "#" * (HCL_BYTES_MAX + 1), ":1: .* give a plan instead"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused_with_its_line_by_name_and_passed_over_in_a_folder(
    tmp_path: Path, name: str, text: str | bytes, says: str
) -> None:
    (tmp_path / "b.yaml").write_text("a: [\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/compose.yaml").write_text("services: {ok: {image: x}}\n")
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(Refused, match=f"{name}{says}"):
        assess([tmp_path / name])
    found = assess([tmp_path])

    assert set(found.graph.components) == {"ok"}
    assert name in str(found.graph.skipped)


def test_locals_that_double_each_other_end_and_doors_taken_for_journeys_are_bounded(tmp_path: Path) -> None:
    lines = "\n".join(f'  l{i} = "${{local.l{i + 1}}}${{local.l{i + 1}}}"' for i in range(60))
    doors = "".join(
        f'resource "aws_instance" "w{i}" {{\n  ami = local.l0\n}}\n' for i in range(ASSUMED_JOURNEYS_MAX + 1)
    )
    found = judged(tmp_path, {"main.tf": f'locals {{\n{lines}\n  l60 = "xx"\n}}\n{doors}'})

    assert len(found.graph.journeys) == ASSUMED_JOURNEYS_MAX
    assert f"{ASSUMED_JOURNEYS_MAX + 1} doors" in said(found, "journeys")


def test_versions_behind_one_service_are_one_door_and_a_store_with_an_open_port_is_none(tmp_path: Path) -> None:
    version = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: hello-v%d}\n"
        "spec: {template: {metadata: {labels: {app: hello}}, spec: {containers: [{name: c, image: x}]}}}\n---\n"
    )
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: hello}\nspec: {selector: {app: hello}}\n"
    compose = "services: {web: {image: x, ports: ['80:80']}, cache: {image: redis, ports: ['6379:6379']}}"

    hello = judged(tmp_path / "a", {"hello.yaml": version % 1 + version % 2 + service})
    shop = judged(tmp_path / "b", {"compose.yaml": compose})

    assert [j.entry for j in hello.graph.journeys] == [("hello-v1", "hello-v2")]
    assert claims(hello) == set()
    assert [j.entry for j in shop.graph.journeys] == [("web",)]


def test_a_trace_without_calls_is_read_and_a_folder_of_foreign_modules_says_why_there_is_nothing(
    tmp_path: Path,
) -> None:
    span = '{"traceId": "1", "spanId": "2", "kind": 2, "name": "x"}'
    trace = (
        '{"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "s"}}]},'
        f'"scopeSpans": [{{"spans": [{span}]}}]}}]}}'
    )
    assert set(judged(tmp_path / "a", {"t.json": trace}).graph.components) == {"s"}

    with pytest.raises(Invalid, match="what foreign/db/google makes"):
        judged(tmp_path / "b", {"main.tf": 'module "db" {\n  source = "foreign/db/google"\n}\n'})


def test_a_folder_of_the_host_under_a_cache_is_kept_and_a_file_is_not(tmp_path: Path) -> None:
    text = (
        "services:\n  kept: {image: redis, volumes: ['./redis:/data']}\n"
        "  not: {image: redis, volumes: ['./redis.conf:/etc/redis.conf', './x:/y:ro']}\n"
    )
    found = judged(tmp_path, {"compose.yaml": text}).graph.components

    assert (found["kept"].stateful, found["not"].stateful) == (True, False)


def test_what_a_backup_plan_names_is_backed_up_and_what_it_may_select_is_unknown(tmp_path: Path) -> None:
    tables = "".join(f'resource "aws_dynamodb_table" "{name}" {{\n  name = "{name}"\n}}\n' for name in ("a", "b"))
    plan = 'resource "aws_backup_selection" "s" {\n  resources = [aws_dynamodb_table.a.arn]\n}\n'

    found = judged(tmp_path, {"main.tf": tables + plan})
    by_tags = plan.replace("}\n", '  selection_tag {\n    type = "STRINGEQUALS"\n  }\n}\n')
    open_plan = judged(tmp_path, {"main.tf": tables + by_tags})

    assert [c for c in claims(found) if c[0] == "missing-backup"] == [("missing-backup", "aws_dynamodb_table.b")]
    assert found.graph.components["aws_dynamodb_table.a"].backup is True
    assert not [c for c in claims(open_plan) if c[0] == "missing-backup"]
    assert "a backup plan selects by tags" in said(open_plan, "aws_dynamodb_table.b")


@pytest.mark.parametrize(
    ("default", "reported", "unknown"),
    [('  default = ""\n', True, False), ("", False, True), ("  default = null\n", False, True)],
)
def test_a_queue_whose_dead_letters_a_variable_decides_is_unknown_and_one_without_any_is_found(
    tmp_path: Path, default: str, reported: bool, unknown: bool
) -> None:
    text = f'variable "r" {{\n{default}}}\nresource "aws_sqs_queue" "q" {{\n  redrive_policy = var.r\n}}\n'

    found = judged(tmp_path, {"main.tf": text})

    assert (("unbounded-queue", "aws_sqs_queue.q") in claims(found)) is reported
    assert ("dead-letter" in said(found, "aws_sqs_queue.q")) is unknown


def test_nothing_of_a_secret_is_shown_but_hosts_that_files_declare(tmp_path: Path) -> None:
    encoded = base64.b64encode(b"postgres://u:p@db:5432/x?also=hidden.vendor.example:443").decode()
    token = base64.b64encode(b"top.secret.value:12345").decode()
    pod = "spec: {containers: [{name: c, image: %s, envFrom: [{secretRef: {name: s}}]}]}"
    workload = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s}\n"
        "spec: {template: {metadata: {labels: {app: %s}}, " + pod + "}}\n---\n"
    )
    secret = (
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {{URL: {encoded}, ADDRESS: {token}, BAD: '%%%'}}\n"
    )
    compose = "services: {web: {image: x, environment: {API_TOKEN: 'very.secret.word:4711', DB_PASSWORD: 'a.b.c:99'}}}"

    kubernetes = judged(
        tmp_path / "k", {"a.yaml": workload % ("web", "web", "web") + workload % ("db", "db", "postgres") + secret}
    )
    composed = judged(tmp_path / "c", {"compose.yaml": compose})

    assert {(d.source, d.target) for d in kubernetes.graph.dependencies} == {("web", "db")}
    assert set(kubernetes.graph.components) == {"web", "db"}
    assert set(composed.graph.components) == {"web"}


CDK = """Resources:
  WorkerFn1A2B:
    Type: AWS::Lambda::Function
    Properties:
      Role: !GetAtt RoleX.Arn
      DeadLetterConfig: {TargetArn: !GetAtt Lost.Arn}
      Environment: {Variables: {SELF: "https://tv.example/api", OTHER: "https://vendor.example/x"}}
    Metadata: {"aws:cdk:path": shop/Worker/Fn/Resource}
  RoleX: {Type: AWS::IAM::Role, Properties: {AssumeRolePolicyDocument: {}}}
  PolicyX:
    Type: AWS::IAM::Policy
    Properties:
      Roles: [!Ref RoleX]
      PolicyDocument: {Statement: [{Action: "dynamodb:GetItem", Resource: !GetAtt Table.Arn}]}
  Table: {Type: AWS::DynamoDB::Table}
  Lost: {Type: AWS::SQS::Queue}
  Refused: {Type: AWS::SQS::Queue}
  Topic: {Type: AWS::SNS::Topic}
  Subscribed:
    Type: AWS::SNS::Subscription
    Properties: {TopicArn: !Ref Topic, RedrivePolicy: {deadLetterTargetArn: !GetAtt Refused.Arn}}
  Name: {Type: AWS::Route53::RecordSet, Properties: {Name: "tv.example."}}
  Subnet: {Type: AWS::EC2::Subnet, Properties: {AvailabilityZone: !Select [1, !GetAZs ""]}}
"""


def test_a_template_of_cdk_is_read_by_its_paths_rights_dead_letters_and_own_names(tmp_path: Path) -> None:
    found = judged(tmp_path, {"shop.template.yaml": CDK})

    edges = {(d.source, d.target): d.how for d in found.graph.dependencies}
    assert edges["Worker/Fn", "Table"] == "inferred", "a policy lets it, nothing says that it does"
    assert ("Worker/Fn", "vendor.example") in edges
    assert "tv.example" not in found.graph.components
    assert not [c for c in claims(found) if c[0] == "unbounded-queue"]
    assert found.graph.components["Subnet"].domains["zone"] == ("zone number 1",)


def test_dead_letters_of_functions_in_terraform_are_no_queues_without_a_bound(tmp_path: Path) -> None:
    text = """resource "aws_sqs_queue" "lost" {
}
resource "aws_lambda_function" "f" {
  dead_letter_config {
    target_arn = aws_sqs_queue.lost.arn
  }
}
resource "aws_route53_record" "www" {
  name = "tv.example"
}
resource "aws_ecs_task_definition" "t" {
  container_definitions = jsonencode([{ environment = [{ name = "SELF", value = "https://tv.example/x" }] }])
}
resource "aws_ecs_service" "s" {
  task_definition = aws_ecs_task_definition.t.arn
}
"""
    found = judged(tmp_path, {"main.tf": text})

    assert not [c for c in claims(found) if c[0] in ("unbounded-queue", "hidden-dependency")]
