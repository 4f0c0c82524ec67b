"""What assess takes from strangers: refused with file and line, or read; never a crash, a fetch or an execution."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eisbach.kernel.errors import Invalid
from eisbach.plan.assess.assessment import assess, judge
from eisbach.plan.assess.bounds import Refused
from eisbach.plan.assess.documents import read_json, read_yaml
from eisbach.plan.assess.facts import Facts
from eisbach.plan.assess.hcl import Folder
from eisbach.plan.assess.sources import Read

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("bomb.yaml", BOMB, "aliases make this"),
        ("deep.yaml", "[" * 200, r":1: nested deeper than 80"),
        ("deep.json", '{"a":' * 200, r":1: nested deeper than 80"),
        ("broken.yaml", "a: 1\nb: [1, 2\nc: 3\n", r"broken\.yaml:\d+: not YAML"),
        ("broken.json", '{"a": 1,\n "b": }\n', r"broken\.json:2: not JSON"),
        ("binary.yaml", b"\x00\x01services: {}", "binary"),
        ("latin.yaml", b"a: 1\nb: \xff\xfe\n", r"latin\.yaml:2: not UTF-8"),
        ("other.yaml", "hello: world\n", "neither a compose file"),
        ("broken.tf", 'resource "aws_x" "a" {\n  b = \n}\n', r"broken\.tf:\d+: not HCL"),
        ("deep.tf", "x = " + "[" * 200 + "]" * 200 + "\n", "nested deeper"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_file_line_and_reason(
    tmp_path: Path, name: str, text: str | bytes, says: str
) -> None:
    with pytest.raises(Refused, match=says):
        assess([written(tmp_path, name, text)])


def test_in_a_folder_what_cannot_be_read_is_passed_over_and_listed(tmp_path: Path) -> None:
    written(tmp_path, "compose.yaml", "services: {web: {image: nginx, ports: ['80:80']}}\n")
    written(tmp_path, "bomb.yaml", BOMB)

    found = assess([tmp_path])

    assert [Path(file).name for file, _ in found.graph.skipped] == ["bomb.yaml"]
    assert set(found.graph.components) == {"web"}


def test_a_path_that_is_not_there_and_a_folder_without_anything_are_said(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="is not there"):
        assess([tmp_path / "none.yaml"])
    with pytest.raises(Invalid, match="nothing to assess"):
        assess([tmp_path])


def test_a_link_out_of_the_folder_and_an_env_file_elsewhere_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    written(outside, "secret.env", "DB_URL=postgres://stolen:5432/x\n")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "linked.yaml").symlink_to(outside / "secret.env")
    written(folder, "compose.yaml", "services: {web: {image: x, env_file: ../outside/secret.env}}\n")

    assert set(assess([folder]).graph.components) == {"web"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("components: {web: {replica: 2}}", "did you mean 'replicas'"),
        ("dependencies: [{from: web, to: nobody}]", "no file has a component 'nobody'"),
        ("journeys: {j: {entry: wbe}}", "did you mean 'web'"),
        ("journeys: {j: {entry: web, weight: 3}}", "weight 3.0 is not 0 to 1"),
        ("components: {web: {availability: 2}}", "it must be 0 to 1"),
        ("components: {web: {kind: databse}}", "did you mean 'database'"),
        ("groups: {g: {members: [web], needs: 2}}", "needs 2 of 1"),
        ("dependencies: [{from: web, to: web, retries: many}]", "retries is 'many'"),
    ],
)
def test_a_wrong_overlay_is_refused_with_its_line_and_the_nearest_word(tmp_path: Path, text: str, says: str) -> None:
    compose = written(tmp_path, "compose.yaml", "services: {web: {image: x}}\n")
    overlay = written(tmp_path, "assess.yaml", f"{text}\n")

    with pytest.raises(Refused, match=f"assess.yaml:1: .*{says}"):
        assess([compose, overlay])


def test_compose_anchors_extends_env_files_and_defaults_are_read(tmp_path: Path) -> None:
    written(tmp_path, ".env", "DB_HOST=store\n")
    written(tmp_path, "app.env", "CACHE_URL=redis://cache:6379\n")
    compose = written(
        tmp_path, "compose.yaml",
        "x-base: &base {image: app, env_file: [app.env]}\n"
        "services:\n"
        "  base: {<<: *base, environment: {DB: 'postgres://${DB_HOST}:5432/x'}}\n"
        "  web: {extends: {service: base}, ports: ['80:80'], environment: {API: 'http://${API_HOST:-api}:80'}}\n"
        "  api: {image: api}\n"
        "  store: {image: 'postgres:16'}\n"
        "  cache: {image: 'redis:7'}\n",
    )  # fmt: skip

    edges = {(d.source, d.target) for d in assess([compose]).graph.dependencies}

    assert {("web", "api"), ("base", "store"), ("base", "cache"), ("web", "cache")} <= edges


def test_a_kubernetes_list_and_a_service_in_another_namespace_are_resolved(tmp_path: Path) -> None:
    manifests = written(
        tmp_path, "all.yaml",
        "apiVersion: v1\nkind: List\nitems:\n"
        "- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {name: web, namespace: a}\n"
        "  spec: {replicas: 2, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: web,"
        " env: [{name: API_URL, value: 'http://api.b.svc.cluster.local'}]}]}}}\n"
        "- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {name: api, namespace: b}\n"
        "  spec: {template: {metadata: {labels: {app: api}}, spec: {containers: [{name: c, image: api}]}}}\n"
        "- apiVersion: v1\n  kind: Service\n  metadata: {name: api, namespace: b}\n  spec: {selector: {app: api}}\n",
    )  # fmt: skip

    graph = assess([manifests]).graph

    assert [(d.source, d.target) for d in graph.dependencies] == [("web", "api")]
    assert graph.components["api"].kind == "service"


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=12)
    | st.sampled_from(["postgres:16", "http://db:80/x", "${X:-y}", "*a", "AWS::SQS::Queue", "Deployment",
                       "AWS::CloudFormation::Stack", "./x.json", "Service", "Ingress", "HorizontalPodAutoscaler"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from([
            "services", "image", "environment", "depends_on", "volumes", "deploy", "replicas", "Resources", "Type",
            "Properties", "Ref", "Fn::Sub", "apiVersion", "kind", "metadata", "name", "spec", "template", "containers",
            "env", "resourceSpans", "scopeSpans", "spans", "attributes", "journeys", "components", "format_version",
            "planned_values", "root_module", "resources", "address", "values", "extends", "labels", "items", "<<",
            "Parameters", "Default", "Conditions", "Condition", "Mappings", "Outputs", "Value", "Export", "Name",
            "Fn::If", "Fn::Equals", "Fn::Not", "Fn::GetAtt", "Fn::FindInMap", "Fn::ImportValue", "TemplateURL",
            "configuration", "module_calls", "module", "expressions", "references", "networks", "aliases", "profiles",
            "scaleTargetRef", "minReplicas", "type", "selector",
        ]),
        inner, max_size=5,
    ),
    max_leaves=30,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["services", "Resources", "apiVersion", "resourceSpans", "kind", "format_version", "planned_values"]
        ),
        JSONISH,
        min_size=1,
        max_size=4,
    )
)
def test_no_document_crashes_a_reader(tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("x.json", "x.yaml"):
        path = written(folder, name, json.dumps(document))
        try:
            assess([path])
        except Invalid:
            continue  # refused in words is what a stranger's file may get


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=120))
def test_no_text_crashes_a_parser(text: str) -> None:
    for read in (read_yaml, read_json):
        try:
            read(text, "file")
        except Refused:
            continue


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet='{}[]"=$abc_. \n', max_size=80))
def test_no_text_crashes_the_terraform_reader(text: str) -> None:
    try:
        Folder(Path("x")).take(text, "main.tf")
    except Refused:
        return


def test_json_is_read_as_the_standard_library_reads_it() -> None:
    text = '{"a": [1, 2.5, true, null, "x\\u00e9\\n"], "b": {"c": -3e2}}'

    assert read_json(text, "f")[0].plain() == json.loads(text)


def test_a_thousand_services_are_judged_with_a_single_store_found() -> None:
    from eisbach.plan.assess.model import Evidence, Journey

    facts = Facts()
    at = Evidence("big.yaml", 1)
    for number in range(1000):
        facts.component(f"s{number}", scope="x", at=at, kind="service", replicas=2)
    facts.component("store", scope="x", at=at, kind="database", replicas=1)
    for number in range(1000):
        for other in range(number + 1, min(number + 6, 1000)):
            facts.link(f"s{number}", f"s{other}", scope="x", at=at)
    facts.link("s999", "store", scope="x", at=at)
    facts.journeys.append(Journey(name="j", entry=("s0",), weight=1.0, assumed=False, evidence=at))

    found = judge(Read(facts.graph(), {}, {}))

    assert [f.components for f in found.findings if f.rule == "single-point"] == [("store",)]


NAMES = st.sampled_from(["a", "b", "c"])
HCL = st.recursive(
    st.sampled_from(["true", "0", "2", '"x"', "null", "each.value", "aws_db_instance.a.address", "data.aws_x.y.z"])
    | NAMES.map(lambda n: f"var.{n}")
    | NAMES.map(lambda n: f"local.{n}")
    | NAMES.map(lambda n: f"module.{n}.out"),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda xs: f"[{', '.join(xs)}]")
        | inner.map(lambda x: f'"${{{x}}}-${{{x}}}"' if '"' not in x else x)
        | st.tuples(NAMES, inner, inner).map(lambda t: f"var.{t[0]} ? {t[1]} : {t[2]}")
        | inner.map(lambda x: f"{{ k = {x} }}")
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NAMES, HCL), max_size=5), st.lists(st.tuples(NAMES, HCL), max_size=4), HCL, HCL)
def test_no_folder_of_terraform_crashes_the_reader(
    tmp_path_factory: pytest.TempPathFactory,
    locals_: list[tuple[str, str]],
    defaults: list[tuple[str, str]],
    count: str,
    value: str,
) -> None:
    folder = tmp_path_factory.mktemp("hcl")
    own = "".join(f"  {name} = {text}\n" for name, text in dict(locals_).items())
    variables = "".join(f'variable "{name}" {{\n  default = {text}\n}}\n' for name, text in dict(defaults).items())
    text = (
        f"locals {{\n{own}}}\n{variables}"
        f'resource "aws_db_instance" "a" {{\n  count = {count}\n  multi_az = {value}\n  backup_retention_period = {value}\n}}\n'
        f'resource "aws_lambda_function" "f" {{\n  environment {{\n    variables = {{ H = {value} }}\n  }}\n}}\n'
        f'module "a" {{\n  source = "./"\n  a = {value}\n}}\noutput "out" {{\n  value = {value}\n}}\n'
    )
    written(folder, "main.tf", text)
    try:
        assess([folder])
    except Invalid:
        return
