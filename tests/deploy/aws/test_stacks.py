"""The templates of the example platform: what they must have, judged by policies, schemas and our own promises."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eisbach.deploy.aws.diff import diff
from eisbach.deploy.aws.documents import CellDocument, ClaimsDocument, JobsDocument, SpokeDocument, read_document
from eisbach.deploy.aws.lint import lint
from eisbach.deploy.aws.platform_file import Capacity, Platform
from eisbach.deploy.aws.promises import broken
from eisbach.deploy.aws.stacks.delivery import LIVE_PATHS, MANIFEST_PATHS
from eisbach.deploy.aws.stacks.exceptions import Accepted, Finding, left_over
from eisbach.deploy.aws.synth import Synthesised, builtin_spokes, placeholder, synthesise
from eisbach.hub.claim_check import CLAIMS_KEPT
from eisbach.kernel.errors import Invalid
from eisbach.kernel.slots import Slot

Templates = dict[str, Any]
CENTRAL = "eisbach-region-eu-central"


def of(template: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [r for r in template["Resources"].values() if r["Type"] == kind]


def test_stacks_are_deployed_ground_first_and_the_edge_last(synthesised: Synthesised) -> None:
    assert synthesised.stacks == (
        "eisbach-ground-eu-central", "eisbach-ground-eu-west", "eisbach-data",
        CENTRAL, "eisbach-region-eu-west", "eisbach-edge",
    )  # fmt: skip


def test_no_stack_imports_from_another(all_templates: Templates) -> None:
    """So each can be changed, rolled back and deleted by itself."""
    assert [name for name, template in all_templates.items() if "Fn::ImportValue" in json.dumps(template)] == []


def test_policies_find_nothing_that_has_no_reason_and_no_reason_is_idle(synthesised: Synthesised) -> None:
    assert synthesised.findings == ()
    assert [a for a in synthesised.accepted if len(a.reason) < 20] == []


def test_a_finding_without_a_reason_and_a_reason_without_a_finding_are_both_told() -> None:
    found = Finding("stack/role", "AwsSolutions-IAM5[Resource::*]", "wildcard")
    other = Accepted(path="stack/role", rule="AwsSolutions-IAM5[Resource::arn:x/*]", reason="another wildcard")

    assert left_over([found], [other])[0] == found
    assert left_over([found], [other])[1].text == "an exception that nothing needs: another wildcard"
    assert left_over([found], [Accepted(path="stack", rule=found.rule, reason="inside")]) == []


def test_templates_fit_awss_own_schemas(synthesised: Synthesised) -> None:
    assert lint([synthesised.template(name) for name in synthesised.stacks]) == []


def test_a_template_that_breaks_a_schema_is_found(all_templates: Templates, tmp_path: Path) -> None:
    template = copy.deepcopy(all_templates["eisbach-data"])
    next(iter(of(template, "AWS::DynamoDB::GlobalTable")))["Properties"]["BillingMode"] = "FREE"
    path = tmp_path / "broken.template.json"
    path.write_text(json.dumps(template))

    assert any("FREE" in words for words in lint([path]))


def test_our_promises_hold(example: Platform, all_templates: Templates) -> None:
    assert broken(example, all_templates) == []


def first(template: dict[str, Any], kind: str) -> dict[str, Any]:
    return of(template, kind)[0]


BREAKS: list[tuple[str, Callable[[Templates], object]]] = [
    ("data outlives", lambda t: first(t["eisbach-data"], "AWS::DynamoDB::GlobalTable").pop("DeletionPolicy")),
    ("residency", lambda t: first(t["eisbach-data"], "AWS::DynamoDB::GlobalTable")["Properties"]["Replicas"].append({"Region": "us-east-1"})),
    ("as many writes as", lambda t: first(t["eisbach-data"], "AWS::DynamoDB::GlobalTable")["Properties"].pop("WriteOnDemandThroughputSettings")),
    ("own tables", lambda t: next(r for k, r in t[CENTRAL]["Resources"].items() if k.startswith("C1CallsRoleDefaultPolicy"))["Properties"]["PolicyDocument"]["Statement"].append({"Action": "dynamodb:GetItem", "Resource": "arn:aws:dynamodb:x:1:table/eisbach-c2-log"})),
    ("everything", lambda t: first(t[CENTRAL], "AWS::IAM::Policy")["Properties"]["PolicyDocument"]["Statement"].append({"Action": "s3:*", "Resource": "x"})),
    ("loses nothing", lambda t: [q["Properties"].pop("RedrivePolicy", 0) for q in of(t[CENTRAL], "AWS::SQS::Queue")]),
    ("goes back", lambda t: first(t[CENTRAL], "AWS::CodeDeploy::DeploymentGroup")["Properties"].pop("AlarmConfiguration")),
    ("443", lambda t: first(t[CENTRAL], "AWS::EC2::SecurityGroup")["Properties"]["SecurityGroupIngress"][0].update(FromPort=22)),
    ("without a token", lambda t: [d["Properties"]["DistributionConfig"]["DefaultCacheBehavior"].pop("FunctionAssociations", 0) for d in of(t["eisbach-edge"], "AWS::CloudFront::Distribution")]),
    ("alike", lambda t: t[CENTRAL]["Resources"].pop(next(k for k, r in t[CENTRAL]["Resources"].items() if r["Type"] == "AWS::CloudWatch::Alarm"))),
    ("fit", lambda t: t[CENTRAL]["Resources"].update({f"X{n}": {"Type": "AWS::X::Y"} for n in range(500)})),
]  # fmt: skip


@pytest.mark.parametrize(("words", "break_it"), BREAKS, ids=[words for words, _ in BREAKS])
def test_each_promise_is_told_when_it_breaks(
    example: Platform, all_templates: Templates, words: str, break_it: Callable[[Templates], object]
) -> None:
    templates = copy.deepcopy(all_templates)
    break_it(templates)

    assert any(words in told for told in broken(example, templates))


def test_each_cell_shares_its_calls_between_tasks_and_functions_by_weight(all_templates: Templates) -> None:
    rules = of(all_templates[CENTRAL], "AWS::ElasticLoadBalancingV2::ListenerRule")
    groups = {key for key, r in all_templates[CENTRAL]["Resources"].items() if r["Type"].endswith("::TargetGroup")}

    by_header, by_path = {}, {}
    for rule in rules:
        condition, found = rule["Properties"]["Conditions"][0], rule["Properties"]["Actions"][0]["ForwardConfig"]
        assert {s["TargetGroupArn"]["Ref"] for s in found["TargetGroups"]} <= groups
        if condition["Field"] == "http-header":
            by_header[condition["HttpHeaderConfig"]["Values"][0]] = [s["Weight"] for s in found["TargetGroups"]]
        else:
            by_path.update(dict.fromkeys(condition["PathPatternConfig"]["Values"], found["TargetGroups"]))

    assert by_header == {"c1": [999, 0], "c2": [999, 0]}
    assert set(by_path) == {"/peer/cells/c1/*", "/peer/cells/c2/*", "/peer/cells/studio/*", "/studio/*"}
    assert all("Tasks" in one["TargetGroupArn"]["Ref"] for shares in by_path.values() for one in shares), "no function"


def test_tasks_are_reached_by_the_balancer_alone_and_reach_others_on_443(all_templates: Templates) -> None:
    groups = {g["Properties"]["GroupDescription"]: g for g in of(all_templates[CENTRAL], "AWS::EC2::SecurityGroup")}
    tasks = groups["TaskGroup"]["Properties"]

    assert [(r["FromPort"], "SourceSecurityGroupId" in r) for r in tasks["SecurityGroupIngress"]] == [(8080, True)]
    assert [r["FromPort"] for r in tasks["SecurityGroupEgress"]] == [443]
    assert "SecurityGroupIngress" not in all_templates[CENTRAL]["Resources"], "no rule beside"


def test_blobs_are_reached_by_whom_they_are_for(all_templates: Templates) -> None:
    may: dict[str, set[str]] = {}
    for name, one in all_templates[CENTRAL]["Resources"].items():
        if one["Type"] == "AWS::IAM::Policy":
            for statement in one["Properties"]["PolicyDocument"]["Statement"]:
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                if "s3:PutObject" in actions or "s3:DeleteObject" in actions:
                    given = statement["Resource"]
                    paths = given if isinstance(given, list) else [given]
                    found = {json.dumps(p).partition("-media/")[2].split('"')[0] for p in paths} - {""}
                    may.setdefault(name[:5], set()).update(
                        f"{a[3:6]} {p}" for a in actions if a != "s3:GetObject" for p in found
                    )

    assert may.pop("Media") == {
        f"{what} {path}"
        for what, paths in {
            "Put": ("media/*", "work/*", ".digests/media/*", ".digests/work/*"),
            "Abo": ("media/*", "work/*", ".digests/media/*", ".digests/work/*"),
            "Del": ("work/*", ".digests/work/*"),
        }.items()
        for path in paths
    }
    assert may.pop("Studi") == {f"{w} {p}" for w in ("Put", "Abo") for p in ("uploads/*", "claims/*", ".digests/*")}
    assert may.pop("Claim") == {"Put claims/*", "Abo claims/*", "Del claims/*"}, "the sweep"
    assert {n: may.pop(n) for n in ("C1Arc", "C2Arc")} == {"C1Arc": set(), "C2Arc": set()}, "backups only"
    assert {frozenset(paths) for paths in may.values()} == {frozenset({"Put claims/*", "Abo claims/*"})}, "spokes"


def test_backups_are_written_by_one_call_at_a_time_of_the_cells_archive_alone_and_keep_no_versions(
    all_templates: Templates,
) -> None:
    """Two writers would lose accounts' keys, and an old book of keys would keep erased accounts readable (ADR 0023)."""
    stack, ground = all_templates[CENTRAL], all_templates["eisbach-ground-eu-central"]
    writers: dict[str, set[str]] = {}
    for name, one in stack["Resources"].items():
        for statement in one["Properties"]["PolicyDocument"]["Statement"] if one["Type"] == "AWS::IAM::Policy" else []:
            given = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            found = {json.dumps(p).partition("-backups/")[2].split('"')[0] for p in given} - {""}
            if found and {"s3:PutObject", "s3:DeleteObject"} & set(actions):
                writers.setdefault(name, set()).update(found)
    bucket = next(b["Properties"] for b in of(ground, "AWS::S3::Bucket") if "-backups" in b["Properties"]["BucketName"])
    functions = {k: r["Properties"] for k, r in stack["Resources"].items() if r["Type"] == "AWS::Lambda::Function"}
    archives = {k: f for k, f in functions.items() if f["Handler"].endswith("archive.handle")}

    assert {name[:9]: paths for name, paths in writers.items()} == {
        f"{cell}Archive": {f"log/{cell.lower()}/*", f"base/{cell.lower()}/*", f"books/eu/de/main/*/{cell.lower()}*"}
        for cell in ("C1", "C2")
    }
    assert [f["ReservedConcurrentExecutions"] for f in archives.values()] == [1, 1]
    assert "VersioningConfiguration" not in bucket
    assert "ReplicationConfiguration" not in bucket


def test_claims_are_swept_every_hour_and_by_no_rule_of_the_bucket(all_templates: Templates) -> None:
    """A rule knows no dead letters; and a queue and its dead-letter queue hold an event for less than a claim is kept."""
    stack = all_templates[CENTRAL]
    schedules = {
        json.dumps(one["Properties"]["Target"]["Arn"]): one["Properties"]["ScheduleExpression"]
        for one in of(stack, "AWS::Scheduler::Schedule")
    }
    hourly = [arn for arn, expression in schedules.items() if expression in ("rate(1 hour)", "rate(60 minutes)")]
    rules = [
        rule
        for template in all_templates.values()
        for bucket in of(template, "AWS::S3::Bucket")
        if not any(word in json.dumps(bucket["Properties"]["BucketName"]) for word in ("-logs", "-backups"))
        for rule in bucket["Properties"]["LifecycleConfiguration"]["Rules"]
    ]
    kept_s = sum(
        max(q["Properties"].get("MessageRetentionPeriod", 0) for q in of(stack, "AWS::SQS::Queue") if dead in q["Properties"].get("QueueName", ""))
        for dead in (".fifo", "-dead.fifo")
    )  # fmt: skip

    assert ["Claims" in arn for arn in hourly] == [True]
    assert len(rules) == 4
    assert [rule for rule in rules if "ExpirationInDays" in rule or "ExpirationDate" in rule] == []
    assert {rule["NoncurrentVersionExpiration"]["NoncurrentDays"] for rule in rules} == {7}
    assert 0 < kept_s <= CLAIMS_KEPT.total_seconds() - 86_400


def test_each_spoke_has_a_queue_of_its_own_pruned_by_type(all_templates: Templates) -> None:
    wanted = {f"eisbach-{name}.fifo": sorted(types) for name, types in builtin_spokes().items()}
    queues = {
        r["Properties"]["QueueName"]
        for r in of(all_templates[CENTRAL], "AWS::SQS::Queue")
        if "QueueName" in r["Properties"]
    }
    filters = [s["Properties"]["FilterPolicy"]["types"] for s in of(all_templates[CENTRAL], "AWS::SNS::Subscription")]

    assert set(wanted) <= queues
    assert sorted(map(sorted, filters)) == sorted(wanted.values())
    assert all(m["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"] for m in of(all_templates[CENTRAL], "AWS::Lambda::EventSourceMapping"))  # fmt: skip


def test_media_are_copied_by_rules_that_never_meet(example: Platform, all_templates: Templates) -> None:
    written, received = set(), set()
    for region in example.region:
        stack = all_templates[f"eisbach-region-{region.name}"]
        bucket = next(b for b in of(stack, "AWS::S3::Bucket") if "ReplicationConfiguration" in b["Properties"])
        written.add(bucket["Properties"]["BucketName"])
        received |= {
            r["Destination"]["Bucket"]["Fn::Join"][1][-1].removeprefix(":s3:::")
            for r in bucket["Properties"]["ReplicationConfiguration"]["Rules"]
        }

    assert len(written) == len(received) == 2
    assert written & received == set()


def test_what_a_function_is_told_is_read_back_strictly(all_templates: Templates) -> None:
    told = [f["Properties"]["Environment"]["Variables"] for f in of(all_templates[CENTRAL], "AWS::Lambda::Function")]
    documents = [read_document(variables) for variables in told]

    assert {type(d) for d in documents} == {CellDocument, ClaimsDocument, JobsDocument, SpokeDocument}
    assert next(d for d in documents if isinstance(d, ClaimsDocument)).spokes == tuple(builtin_spokes())
    cells = {d.cell: d for d in documents if isinstance(d, CellDocument)}
    assert (cells["c1"].slots, cells["c2"].slots) == ((0, 512), (512, 1024))
    with pytest.raises(Invalid, match="unknown field"):
        read_document({"PROCESS_DOCUMENT": msgspec.json.encode({**msgspec.to_builtins(documents[0]), "x": 1}).decode()})
    with pytest.raises(Invalid, match="no PROCESS_DOCUMENT"):
        read_document({})


def test_the_slot_map_names_every_slot_once_and_half_prefer_each_region(
    synthesised: Synthesised, all_templates: Templates
) -> None:
    from eisbach.deploy.aws.platform_file import load_platform
    from eisbach.deploy.aws.stacks.edge import slot_map

    found = slot_map(load_platform(Path(__file__).parents[3] / "examples/aws/platform.toml"))
    main = {k: v for k, v in found.items() if k.startswith("eu/de/main/")}

    assert all(str(Slot.parse(key)) == key for key in found)
    assert len(main) == 1024
    assert sum(v.startswith("eu-central/") for v in main.values()) == 512
    assert found["eu/de/main/511"] == "eu-west/c1 eu-central/c1"


def test_origins_move_on_silence_and_never_on_a_refusal(all_templates: Templates) -> None:
    """503 is shed, not dead."""
    config = first(all_templates["eisbach-edge"], "AWS::CloudFront::Distribution")["Properties"]["DistributionConfig"]
    for group in config["OriginGroups"]["Items"]:
        assert group["FailoverCriteria"]["StatusCodes"]["Items"] == [500, 502, 504]


def media_hosts(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    configs = [d["Properties"]["DistributionConfig"] for d in of(template, "AWS::CloudFront::Distribution")]
    return {c["Aliases"][0]: c for c in configs if c["Aliases"][0].startswith("media-")}


def test_each_region_has_a_media_host_with_what_it_made_then_what_was_copied_to_it(all_templates: Templates) -> None:
    edge = all_templates["eisbach-edge"]
    for region, twin in (("eu-central", "eu-west"), ("eu-west", "eu-central")):
        config = media_hosts(edge)[f"media-{region}.tv.example.org"]
        groups = {
            g["Id"]: (g["FailoverCriteria"]["StatusCodes"]["Items"], [m["OriginId"] for m in g["Members"]["Items"]])
            for g in config["OriginGroups"]["Items"]
        }
        bucket = f"eisbach-111122223333-{region}"
        assert groups[config["DefaultCacheBehavior"]["TargetOriginId"]] == (
            [404, 500, 502, 504], [f"{bucket}-media", f"{bucket}-copies-{twin}"],
        )  # fmt: skip
        paths = [behaviour["PathPattern"] for behaviour in config["CacheBehaviors"]]
        assert paths == [*MANIFEST_PATHS, *LIVE_PATHS], "the first that fits has it"
        assert len({json.dumps(b["CachePolicyId"]) for b in config["CacheBehaviors"]}) == 2, "live playlists are cached"
        for behaviour in config["CacheBehaviors"]:
            assert groups[behaviour["TargetOriginId"]] == (
                [500, 502, 503, 504], [f"cells-{region}", f"cells-{twin}"],
            )  # fmt: skip
        assert "Logging" not in config, "it would hold tokens"


def test_every_media_host_has_a_name_a_document_points_at_it_and_its_buckets_let_it_read_media_only(
    all_templates: Templates,
) -> None:
    edge, told = all_templates["eisbach-edge"], all_templates[CENTRAL]
    names = {r["Properties"]["Name"] for r in of(edge, "AWS::Route53::RecordSet")}
    documents = [read_document(f["Properties"]["Environment"]["Variables"]) for f in of(told, "AWS::Lambda::Function")]
    cells = [d for d in documents if isinstance(d, CellDocument)]
    allowed = [
        (s["Action"], json.dumps(s["Resource"]).partition("/")[2])
        for template in (told, all_templates["eisbach-ground-eu-central"])
        for policy in of(template, "AWS::S3::BucketPolicy")
        for s in policy["Properties"]["PolicyDocument"]["Statement"]
        if s["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    ]

    assert {f"{host}." for host in media_hosts(edge)} <= names
    assert {tuple(sorted(d.media.items())) for d in cells} == {
        (("eu-central", "https://media-eu-central.tv.example.org"), ("eu-west", "https://media-eu-west.tv.example.org"))
    }
    assert {a: p for a, p in allowed if a == "s3:GetObject"} == {"s3:GetObject": 'media/*"]]}'}
    assert sorted(a for a, _ in allowed) == ["s3:GetObject"] * 2 + ["s3:ListBucket"] * 2


def test_every_country_of_a_region_goes_there_and_the_rest_by_latency(
    example: Platform, all_templates: Templates
) -> None:
    records = [r["Properties"] for r in of(all_templates["eisbach-edge"], "AWS::Route53::RecordSet")]
    geo = {r["GeoLocation"]["CountryCode"]: r for r in records if "GeoLocation" in r}

    assert set(geo) == {"*", *(c for region in example.region for c in region.countries)}
    assert geo["AT"]["ResourceRecords"] == ["eu-central.tv.example.org"]
    assert "HealthCheckId" in geo["AT"]
    assert geo["*"]["ResourceRecords"] == ["latency.api.tv.example.org"]
    assert {r["Region"] for r in records if "Region" in r} == {"eu-central-1", "eu-west-1"}


def test_equal_platforms_give_equal_templates_and_a_changed_one_tells_what(
    example: Platform, all_templates: Templates, tmp_path: Path
) -> None:
    """The other door, and the accelerator, are synthesised on the way; both are clean."""
    changed = msgspec.structs.replace(
        example,
        compute=msgspec.structs.replace(example.compute, tasks_min=3),
        dns=msgspec.structs.replace(example.dns, accelerator=True),
    )
    made = synthesise(changed, out=tmp_path / "out", package=placeholder(tmp_path / "code"), judged=True)
    new = {name: json.loads(made.template(name).read_text()) for name in made.stacks}
    changes = diff(all_templates, new)

    assert made.findings == ()
    assert {(c.kind, c.what) for c in changes if "GlobalAccelerator" not in c.kind} == {
        ("AWS::ECS::Service", "changed")
    }
    assert {c.where for c in changes if c.kind == "AWS::ECS::Service"} == {("/Properties/DesiredCount",)}
    assert not any(c.grave for c in changes)


def test_behind_an_http_api_there_are_functions_alone_and_it_is_clean_too(example: Platform, tmp_path: Path) -> None:
    platform = msgspec.structs.replace(example, compute=msgspec.structs.replace(example.compute, door="http-api"))
    made = synthesise(platform, out=tmp_path / "out", package=placeholder(tmp_path / "code"), judged=True)
    templates = {name: json.loads(made.template(name).read_text()) for name in made.stacks}

    assert made.findings == ()
    assert broken(platform, templates) == []
    assert of(templates[CENTRAL], "AWS::ECS::Service") == of(templates[CENTRAL], "AWS::EC2::VPC") == []
    assert {r["Properties"]["RouteKey"] for r in of(templates[CENTRAL], "AWS::ApiGatewayV2::Route")} == {
        "ANY /c1/{proxy+}", "ANY /c2/{proxy+}",
    }  # fmt: skip


def test_mediaconvert_reads_uploads_and_writes_pictures_and_a_worker_may_give_it_no_other_role(
    example: Platform, tmp_path: Path
) -> None:
    compute = msgspec.structs.replace(example.compute, media_encoder="mediaconvert")
    platform = msgspec.structs.replace(example, compute=compute, region=example.region[:1])
    made = synthesise(platform, out=tmp_path / "out", package=placeholder(tmp_path / "code"), judged=True)
    template = json.loads(made.template(CENTRAL).read_text())
    policies = {k: r["Properties"]["PolicyDocument"]["Statement"] for k, r in template["Resources"].items() if r["Type"] == "AWS::IAM::Policy"}  # fmt: skip
    own = json.dumps(next(v for k, v in policies.items() if k.startswith("MediaConvert")))
    workers = next(v for k, v in policies.items() if k.startswith("MediaTask"))
    passed = [s for s in workers if s["Action"] == "iam:PassRole"]

    assert made.findings == ()
    assert broken(platform, {name: json.loads(made.template(name).read_text()) for name in made.stacks}) == []
    assert set(re.findall(r"-media/(\w+)/", own)) == {"uploads", "work"}
    assert [s["Resource"] for s in passed] == ["arn:aws:iam::111122223333:role/eisbach-eu-central-mediaconvert"]
    assert passed[0]["Condition"] == {"StringEquals": {"iam:PassedToService": "mediaconvert.amazonaws.com"}}
    assert passed[0]["Resource"] in json.dumps(of(template, "AWS::ECS::TaskDefinition")), "and it is told"


def test_a_table_with_capacity_is_provisioned_and_scales_in_every_region_up_to_what_the_file_says(
    example: Platform, tmp_path: Path
) -> None:
    logs = Capacity(write_least=50, write_most=2000, read_least=10, read_most=400, target=60)
    hubs = Capacity(write_least=20, write_most=500, read_least=20, read_most=100)
    cells = [msgspec.structs.replace(c, capacity=logs if c.name == "c1" else None) for c in example.cell]
    platform = msgspec.structs.replace(example, cell=tuple(cells), hub_capacity=hubs)
    made = synthesise(platform, out=tmp_path / "out", package=placeholder(tmp_path / "code"), judged=True)
    templates = {name: json.loads(made.template(name).read_text()) for name in made.stacks}
    tables = {r["Properties"]["TableName"]: r["Properties"] for t in templates.values() for r in of(t, "AWS::DynamoDB::GlobalTable")}  # fmt: skip

    def scaling(settings: dict[str, Any]) -> tuple[int, int, int]:
        found = next(v for k, v in settings.items() if k.endswith("CapacityAutoScalingSettings"))
        target = found["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]
        return found["MinCapacity"], found["MaxCapacity"], target

    log, hub = tables["eisbach-c1-log"], tables["eisbach-hub"]
    assert made.findings == ()
    assert broken(platform, templates) == []
    assert log["BillingMode"] == hub["BillingMode"] == "PROVISIONED"
    assert scaling(log["WriteProvisionedThroughputSettings"]) == (50, 2000, 60)
    assert scaling(hub["WriteProvisionedThroughputSettings"]) == (20, 500, 70)
    assert [scaling(r["ReadProvisionedThroughputSettings"]) for r in log["Replicas"]] == [(10, 400, 60)] * 2
    assert tables["eisbach-c2-log"]["BillingMode"] == tables["eisbach-c1-state"]["BillingMode"] == "PAY_PER_REQUEST"
    log["WriteProvisionedThroughputSettings"]["WriteCapacityAutoScalingSettings"]["MaxCapacity"] = 9999
    assert any("2000 write units" in told for told in broken(platform, templates))


@pytest.mark.parametrize(
    ("change", "grave"),
    [
        (lambda r: r["Properties"].update(TableName="other"), True),
        (lambda r: r["Properties"].update(Tags=[]), False),
        (lambda r: r.update(Type="AWS::S3::Bucket"), True),
    ],
)
def test_a_change_that_would_cost_data_is_grave(
    all_templates: Templates, change: Callable[[Any], object], grave: bool
) -> None:
    templates = copy.deepcopy(all_templates)
    change(first(templates["eisbach-data"], "AWS::DynamoDB::GlobalTable"))

    assert [c.grave for c in diff(all_templates, templates)] == [grave]


def test_a_table_that_is_gone_is_grave_and_an_alarm_that_is_gone_is_not(all_templates: Templates) -> None:
    templates = copy.deepcopy(all_templates)
    for kind in ("AWS::DynamoDB::GlobalTable", "AWS::CloudWatch::Alarm"):
        resources = templates[CENTRAL]["Resources"]
        resources.pop(next(key for key, r in resources.items() if r["Type"] == kind))

    assert {(c.kind, c.grave) for c in diff(all_templates, templates)} == {
        ("AWS::DynamoDB::GlobalTable", True),
        ("AWS::CloudWatch::Alarm", False),
    }


def test_a_folder_that_is_not_a_synthesis_is_never_deleted(example: Platform, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years")

    with pytest.raises(Invalid, match="not of an earlier synthesis"):
        synthesise(example, out=tmp_path, package=placeholder(tmp_path / "code"))
    assert (tmp_path / "thesis.txt").read_text() == "ten years"


def test_a_package_that_is_not_there_is_named(example: Platform, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=re.escape(f"no package at {tmp_path / 'no'}")):
        synthesise(example, out=tmp_path / "out", package=tmp_path / "no")


def test_the_document_names_every_permission_of_every_role(all_templates: Templates) -> None:
    page = (Path(__file__).parents[3] / "docs" / "aws.md").read_text()
    actions: set[str] = set()
    for template in all_templates.values():
        policies = [policy["Properties"] for policy in of(template, "AWS::IAM::Policy")]
        for role in of(template, "AWS::IAM::Role"):
            policies += role["Properties"].get("Policies", [])
            managed = json.dumps(role["Properties"].get("ManagedPolicyArns", []))
            actions |= set(re.findall(r"(?:policy/|service-role/)(\w+)", managed))
        for policy in policies:
            for statement in policy["PolicyDocument"]["Statement"]:
                given = statement["Action"]
                actions |= set(given if isinstance(given, list) else [given])

    assert {a for a in actions if f"`{a.partition(':')[2]}`" not in page and f"`{a}`" not in page} == set()


def test_every_step_and_every_rehearsal_of_the_document_says_whether_it_ran_on_an_emulator_or_never() -> None:
    page = (Path(__file__).parents[3] / "docs" / "aws.md").read_text().partition("\n## Not built")[0]
    prose = "".join(page.split("```")[::2])
    told = [
        line for line in prose.splitlines() if re.match(r"- |\d+\. |\| (?!part|---|role)[^`]+ \| [^`]+ \| \S", line)
    ]
    unmarked = [line[:80] for line in told if re.search(r"\[(E|T|–)[],]", line) is None]

    assert len(told) > 15
    assert unmarked == []


def test_the_stacks_name_topic_and_queues_as_the_engine_looks_for_them(example: Platform) -> None:
    """Otherwise a relay publishes where nobody listens."""
    from types import SimpleNamespace
    from typing import Any

    from eisbach.engines.aws.queues import Queues, queue_name

    nobody: Any = SimpleNamespace()
    assert Queues(nobody, example.name, receives_max=1)._topic == example.topic()
    for dead in (False, True):
        assert queue_name(example.name, "transcode", dead=dead) == example.queue("transcode", dead=dead)
