"""Who is meant by a name: one's own public name, what an operator or AWS calls a thing, and files that docker reads."""

from pathlib import Path

import pytest

from eisbach.kernel.errors import Invalid
from eisbach.plan.assess.assessment import Assessment, assess
from eisbach.plan.assess.endpoints import endpoints


def judged(folder: Path, files: dict[str, str], *named: str) -> Assessment:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return assess([folder / name for name in named] or [folder])


def claims(found: Assessment) -> set[tuple[str, ...]]:
    return {(f.rule, *f.components) for f in found.findings if f.severity != "info"}


def calls(found: Assessment) -> set[tuple[str, str]]:
    return {(d.source, d.target) for d in found.graph.dependencies}


@pytest.mark.parametrize(
    "key",
    [
        "PUBLIC_URL", "APP_URL", "KC_HOSTNAME", "GF_SERVER_ROOT_URL", "API_EXTERNAL_URL", "SITE_URL", "App__BaseUrl",
        "ALLOWED_HOSTS", "CORS_ALLOWED_ORIGINS", "OIDC_REDIRECT_URI", "VIRTUAL_HOST", "KAFKA_ADVERTISED_LISTENERS",
    ],
)  # fmt: skip
def test_the_name_under_which_one_is_known_is_no_call(key: str) -> None:
    assert list(endpoints(key, "https://www.station.example/")) == []


@pytest.mark.parametrize(
    "key", ["PAYMENT_URL", "EXTERNAL_API_URL", "SMTP_HOST", "WEBHOOK_URL", "OIDC_ISSUER", "APPLE_URL", "SITEMAP_API"]
)
def test_a_vendor_in_a_variable_is_still_one(key: str) -> None:
    assert [e.host for e in endpoints(key, "https://api.vendor.example/v1")] == ["api.vendor.example"]


def test_the_front_end_that_a_file_declares_is_called_although_the_variable_sounds_like_ones_own_name() -> None:
    assert [e.host for e in endpoints("FRONTEND_URL", "http://web:3000")] == ["web"]
    assert [e.host for e in endpoints("FRONTEND_URL", "http://web.tv.svc.cluster.local")] == [
        "web.tv.svc.cluster.local"
    ]


def test_a_list_of_whole_addresses_names_each_of_them() -> None:
    for between in (",", ", ", " ", ";"):
        value = between.join(f"nats://user@n{i}:4222/x" for i in (1, 2, 3))
        assert [(e.host, e.listed) for e in endpoints("NATS_URL", value)] == [(f"n{i}", True) for i in (1, 2, 3)]


def test_nobody_waits_for_where_errors_are_reported(tmp_path: Path) -> None:
    compose = (
        "services: {api: {image: api, ports: ['80:80'], environment: {SENTRY_DSN: 'https://k@o1.sentry.example/4'}}}"
    )

    assert claims(judged(tmp_path, {"compose.yaml": compose})) == {("single-point", "api")}


def test_a_licence_is_taken_from_port_at_host() -> None:
    assert [e.host for e in endpoints("LICENSE_SERVER", "27000@licences")] == ["licences"]
    assert not list(endpoints("CONTACT", "mail@station.example"))


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("tv-a.c9x8y7.eu-central-1.rds.amazonaws.com", "aws_db_instance.a"),
        ("tv-b.cluster-ro-c9x8y7.eu-central-1.rds.amazonaws.com", "aws_rds_cluster.b"),
        ("master.tv-c.x1y2z3.euc1.cache.amazonaws.com", "aws_elasticache_replication_group.c"),
        ("tv-d.s3.eu-central-1.amazonaws.com", "aws_s3_bucket.d"),
        ("https://sqs.eu-central-1.amazonaws.com/111122223333/tv-e", "aws_sqs_queue.e"),
        ("vpc-tv-f-abcdefghijklmnopqrstuvwxyz.eu-central-1.es.amazonaws.com", "aws_opensearch_domain.f"),
    ],
)
def test_an_address_of_aws_is_the_resource_that_terraform_names_so(tmp_path: Path, address: str, name: str) -> None:
    resources = "".join(
        f'resource "{kind}" "{letter}" {{\n  {key} = "tv-{letter}"\n}}\n'
        for kind, letter, key in (
            ("aws_db_instance", "a", "identifier"), ("aws_rds_cluster", "b", "cluster_identifier"),
            ("aws_elasticache_replication_group", "c", "replication_group_id"), ("aws_s3_bucket", "d", "bucket"),
            ("aws_sqs_queue", "e", "name"), ("aws_opensearch_domain", "f", "domain_name"),
        )
    )  # fmt: skip
    compose = f"services: {{api: {{image: api, environment: {{STORE_URL: '{address}'}}}}}}"

    found = judged(tmp_path, {"main.tf": resources, "compose.yaml": compose})

    assert ("api", name) in calls(found)
    assert not [c for c in found.graph.components.values() if c.kind == "external"]


def test_an_address_of_aws_that_no_file_declares_stays_a_hidden_dependency(tmp_path: Path) -> None:
    host = "elsewhere.c9x8y7.eu-central-1.rds.amazonaws.com"

    found = judged(tmp_path, {"compose.yaml": f"services: {{api: {{image: api, environment: {{DB_HOST: {host}}}}}}}"})

    assert ("hidden-dependency", "api", host) in claims(found)


def test_an_overlay_may_say_what_a_call_means_to_a_host_that_only_a_value_names(tmp_path: Path) -> None:
    compose = "services: {api: {image: api, ports: ['80:80'], environment: {SMTP_HOST: smtp.mail.example}}}"
    overlay = "dependencies: [{from: api, to: smtp.mail.example, hard: false, fallback: mails wait}]"

    found = judged(tmp_path, {"compose.yaml": compose, "assess.yaml": overlay})

    assert claims(found) == {("single-point", "api")}


def test_nodes_that_seed_from_each_other_are_no_circle_and_a_wait_for_one_of_a_list_is_one_of_the_list(
    tmp_path: Path,
) -> None:
    nodes = "".join(
        f"  n{i}: {{image: 'mongo:7', environment: {{SEEDS: 'n1:27017,n2:27017,n3:27017'}}}}\n" for i in (1, 2, 3)
    )
    api = "  api: {image: api, ports: ['80:80'], environment: {MONGO: 'mongodb://n1,n2,n3/x'}, depends_on: [n1, n2]}\n"

    found = judged(tmp_path, {"compose.yaml": f"services:\n{nodes}{api}"})

    assert {c for c in claims(found) if c[0] in ("single-point", "restart-cycle", "sync-cycle")} == {
        ("single-point", "api")
    }


def test_an_overlay_on_one_of_a_list_says_it_of_the_call_in_the_list(tmp_path: Path) -> None:
    push = "  encoder: {image: enc, environment: {TARGETS: 'http://a/in,http://b/in'}}\n"
    pull = "  a: {image: pack, environment: {FROM_URL: 'http://encoder'}}\n  b: {image: pack}\n"
    overlay = "dependencies: [{from: encoder, to: a, hard: false, sync: false}]"

    circle = judged(tmp_path, {"compose.yaml": f"services:\n{push}{pull}"})
    told = judged(tmp_path, {"assess.yaml": overlay})

    assert ("sync-cycle", "a", "encoder") in claims(circle)
    assert ("sync-cycle", "a", "encoder") not in claims(told)


OPERATED = """apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {{name: accounts, namespace: tv}}
spec: {{instances: {count}{backup}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: api, namespace: tv}}
spec:
  replicas: 2
  template: {{spec: {{containers: [{{name: api, image: api, env: [{{name: DB_HOST, value: accounts-rw}}]}}]}}}}
"""


@pytest.mark.parametrize(
    ("count", "backup", "wanted"),
    [
        (3, ", backup: {retentionPolicy: 30d}", set()),
        (1, ", backup: {retentionPolicy: 30d}", {("single-point", "accounts")}),
        (3, "", {("missing-backup", "accounts")}),
    ],
)
def test_a_database_of_an_operator_has_the_copies_and_backups_that_its_resource_says(
    tmp_path: Path, count: int, backup: str, wanted: set[tuple[str, ...]]
) -> None:
    found = judged(tmp_path, {"all.yaml": OPERATED.format(count=count, backup=backup)})

    assert claims(found) == wanted


BASE = "services: {web: {image: web, ports: ['80:80']}, db: {image: postgres, volumes: ['d:/var/lib/postgresql/data']}}"


def test_an_alternative_compose_file_is_passed_over_unless_it_is_named(tmp_path: Path) -> None:
    files = {"compose.yaml": BASE, "compose.prod.yml": "services: {web: {deploy: {replicas: 3}}}"}

    alone = judged(tmp_path, files)
    named = judged(tmp_path, files, "compose.yaml", "compose.prod.yml")

    assert alone.graph.components["web"].replicas == 1
    assert [(Path(file).name, "-f" in why) for file, why in alone.graph.skipped] == [("compose.prod.yml", True)]
    assert named.graph.components["web"].replicas == 3


def test_files_that_are_named_apply_in_their_order(tmp_path: Path) -> None:
    files = {
        "compose.yaml": BASE,
        "a.yml": "services: {web: {deploy: {replicas: 2}}}",
        "b.yml": "services: {web: {deploy: {replicas: 5}}}",
    }

    assert judged(tmp_path, files, "compose.yaml", "a.yml", "b.yml").graph.components["web"].replicas == 5
    assert judged(tmp_path, files, "compose.yaml", "b.yml", "a.yml").graph.components["web"].replicas == 2


def test_stacks_of_one_folder_that_declare_the_same_service_are_projects_of_their_own(tmp_path: Path) -> None:
    found = judged(tmp_path, {"news.yml": BASE, "sport.yml": BASE})

    assert {"web", "db"} < set(found.graph.components)
    assert len(found.graph.components) == 4


def test_a_module_that_calls_itself_in_a_circle_is_read_once_and_named(tmp_path: Path) -> None:
    files = {
        "main.tf": 'module "a" {\n  source = "./a"\n}\n',
        "a/main.tf": 'module "b" {\n  source = "../b"\n}\nresource "aws_db_instance" "x" {\n  multi_az = true\n}\n',
        "b/main.tf": 'module "a" {\n  source = "../a"\n}\n',
    }

    found = judged(tmp_path, files)

    assert set(found.graph.components) == {"module.a.aws_db_instance.x"}
    assert [u.about for u in found.graph.unknowns if "circle" in u.what] == ["module.a.module.b.module.a"]


def test_a_circle_of_a_thousand_is_told_in_a_sentence(tmp_path: Path) -> None:
    services = "".join(
        f"  s{i}: {{image: app, environment: {{NEXT_URL: 'http://s{(i + 1) % 1000}'}}}}\n" for i in range(1000)
    )

    found = judged(tmp_path, {"compose.yaml": f"services:\n{services}"})

    (circle,) = [f for f in found.findings if f.rule == "sync-cycle"]
    assert len(circle.components) == 1000
    assert "and 988 more" in circle.reasoning
    assert len(circle.reasoning) < 400


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("stack.yml", "", "empty"),
        ("stack.yml", "services: [web]\n", "services is no mapping"),
        ("stack.yml", "hello: world\n", "neither a compose file"),
    ],
)
def test_a_named_file_that_says_nothing_is_refused_with_the_reason(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        judged(tmp_path, {name: text}, name)
