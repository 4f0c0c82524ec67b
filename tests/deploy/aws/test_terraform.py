"""The Terraform module of what platform teams own: read, held to the stacks' names, and to the provider's words.

Never applied: no provider can be had here. What is checked is its syntax, that every argument is one of the provider's
documentation (hashicorp/aws 6.9), and that it makes what the stacks would otherwise make, under the same names.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import hcl2
import msgspec
import pytest
from typer.testing import CliRunner

from eisbach.cli.app import application
from eisbach.deploy.aws.platform_file import Platform
from eisbach.deploy.aws.stacks.data import WRITES_MAX
from eisbach.deploy.aws.synth import Synthesised, placeholder, synthesise

MODULE = Path(__file__).parents[3] / "examples" / "terraform"
HUB = MODULE / "modules" / "hub"
FILES = sorted(MODULE.rglob("*.tf"))
META = {"provider", "for_each", "count", "lifecycle", "depends_on", "dynamic"}
PROVIDER: dict[str, set[str]] = {
    "aws_dynamodb_table": {"name", "billing_mode", "hash_key", "range_key", "stream_enabled", "stream_view_type", "deletion_protection_enabled", "attribute", "ttl", "point_in_time_recovery", "replica", "write_capacity", "read_capacity", "on_demand_throughput"},
    "aws_appautoscaling_target": {"service_namespace", "resource_id", "scalable_dimension", "min_capacity", "max_capacity"},
    "aws_appautoscaling_policy": {"name", "policy_type", "service_namespace", "resource_id", "scalable_dimension", "target_tracking_scaling_policy_configuration"},
    "aws_appautoscaling_scheduled_action": {"name", "service_namespace", "resource_id", "scalable_dimension", "schedule", "scalable_target_action"},
    "aws_sns_topic": {"name", "fifo_topic", "content_based_deduplication", "fifo_throughput_scope"},
    "aws_sqs_queue": {"name", "fifo_queue", "deduplication_scope", "fifo_throughput_limit", "message_retention_seconds", "visibility_timeout_seconds", "sqs_managed_sse_enabled", "redrive_policy"},
    "aws_sqs_queue_policy": {"queue_url", "policy"},
    "aws_sns_topic_subscription": {"topic_arn", "protocol", "endpoint", "raw_message_delivery", "filter_policy", "redrive_policy"},
    "aws_route53_health_check": {"type", "fqdn", "resource_path", "port", "request_interval", "failure_threshold", "regions"},
    "aws_route53_record": {"zone_id", "name", "type", "ttl", "set_identifier", "records", "health_check_id", "latency_routing_policy"},
    "aws_globalaccelerator_accelerator": {"name", "ip_address_type", "enabled"},
    "aws_globalaccelerator_listener": {"accelerator_arn", "protocol", "port_range"},
    "aws_globalaccelerator_endpoint_group": {"listener_arn", "endpoint_group_region", "health_check_protocol", "health_check_path", "endpoint_configuration"},
    "aws_s3_object": {"bucket", "key", "source", "etag"},
    "aws_cloudformation_stack": {"name", "template_url", "capabilities", "on_failure"},
}  # fmt: skip
"""Arguments that the module may use, each found in website/docs/r of hashicorp/terraform-provider-aws on 2026-11-26; but
``fifo_throughput_scope``, which the stored page of the topic is too old for, in modules that use it."""
BLOCKS: dict[str, dict[str, set[str]]] = {
    "aws_dynamodb_table": {"attribute": {"name", "type"}, "ttl": {"attribute_name", "enabled"}, "point_in_time_recovery": {"enabled"}, "replica": {"region_name", "point_in_time_recovery", "deletion_protection_enabled"}},
    "aws_appautoscaling_policy": {"target_tracking_scaling_policy_configuration": {"target_value", "predefined_metric_specification"}},
    "aws_appautoscaling_scheduled_action": {"scalable_target_action": {"min_capacity"}},
    "aws_route53_record": {"latency_routing_policy": {"region"}},
    "aws_globalaccelerator_listener": {"port_range": {"from_port", "to_port"}},
    "aws_globalaccelerator_endpoint_group": {"endpoint_configuration": {"endpoint_id", "weight"}},
}  # fmt: skip
"""Of the blocks inside. ``deletion_protection_enabled`` of a replica came with 6.9.0 (its changelog)."""


def bare(word: str) -> str:
    return word.strip('"')


def resources(folder: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.tf")):
        for block in hcl2.loads(path.read_text()).get("resource", []):
            for kind, named in block.items():
                for name, body in named.items():
                    if not name.startswith("__"):
                        found[f"{bare(kind)}.{bare(name)}"] = body
    return found


def declared(folder: Path, word: str) -> set[str]:
    text = "\n".join(path.read_text() for path in folder.glob("*.tf"))
    return set(re.findall(rf'^{word} "(\w+)"', text, re.MULTILINE))


def test_every_argument_is_one_of_the_providers() -> None:
    everything = {**resources(MODULE), **resources(HUB)}
    wrong = {
        address: unknown
        for address, body in everything.items()
        if (unknown := {k for k in body if not k.startswith("__")} - META - PROVIDER[address.partition(".")[0]])
    }

    assert wrong == {}
    assert {address.partition(".")[0] for address in everything} == set(PROVIDER)


def test_every_argument_of_a_block_inside_is_one_of_the_providers() -> None:
    found: dict[str, dict[str, set[str]]] = {}
    for address, body in {**resources(MODULE), **resources(HUB)}.items():
        kind = address.partition(".")[0]
        for name in PROVIDER[kind]:
            if isinstance(body.get(name), list) and all(isinstance(one, dict) for one in body[name]):
                keys = {k for one in body[name] for k in one if not k.startswith("__")}
                found.setdefault(kind, {}).setdefault(name, set()).update(keys)

    assert found == BLOCKS


@pytest.mark.parametrize("folder", [MODULE, HUB], ids=["all", "hub"])
def test_every_reference_is_to_something_that_is_there(folder: Path) -> None:
    text = "\n".join(path.read_text() for path in folder.glob("*.tf"))
    known = set(resources(folder)) | {f"var.{name}" for name in declared(folder, "variable")}
    known |= {f"module.{name}" for name in declared(folder, "module")}
    used = set(re.findall(r"(?<![\w.\"])((?:var|module|aws_\w+)\.\w+)", text)) - {"aws.home", "aws.twin"}

    assert {u for u in used if u not in known} == set()


def test_each_region_has_the_same_hub_by_its_own_provider() -> None:
    calls = {
        bare(name): body
        for block in hcl2.loads((MODULE / "hubs.tf").read_text())["module"]
        for name, body in block.items()
    }
    given = {name: {k: v for k, v in body.items() if not k.startswith("__")} for name, body in calls.items()}
    providers = {name: str(body.pop("providers")) for name, body in given.items()}

    assert given["hub_home"] == given["hub_twin"]
    assert set(given["hub_home"]) == {"source"} | declared(HUB, "variable")
    assert "aws.home" in providers["hub_home"]
    assert "aws.twin" in providers["hub_twin"]
    assert not any("provider" in body for body in resources(HUB).values()), "what it is called with"
    asked = re.findall(r"module\.hub_\w+\.(\w+)", (MODULE / "outputs.tf").read_text())
    assert set(asked) == declared(HUB, "output")


def names(pattern: str, platform: Platform, each: list[str]) -> set[str]:
    text = bare(pattern).replace("${var.name}", platform.name)
    return {text.replace("${each.key}", key) for key in each}


def test_it_makes_what_the_stacks_then_no_longer_make_under_the_same_names(
    example: Platform, synthesised: Synthesised, tmp_path: Path
) -> None:
    given = msgspec.structs.replace(example, given=("logs", "hub", "names"))
    made = synthesise(given, out=tmp_path / "out", package=placeholder(tmp_path / "code"), judged=True)

    def named(found: Synthesised) -> set[str]:
        keys = {
            "AWS::DynamoDB::GlobalTable": "TableName",
            "AWS::SNS::Topic": "TopicName",
            "AWS::SQS::Queue": "QueueName",
        }
        all_ = [r for s in found.stacks for r in json.loads(found.template(s).read_text())["Resources"].values()]
        return {
            r["Properties"][keys[r["Type"]]] for r in all_ if r["Type"] in keys and keys[r["Type"]] in r["Properties"]
        }

    tf = {**resources(MODULE), **resources(HUB)}
    cells, spokes = [c.name for c in example.cell], ["transcode", "package", "publish"]
    theirs = names(tf["aws_dynamodb_table.log"]["name"], example, cells)
    theirs |= names(tf["aws_sns_topic.events"]["name"], example, [""])
    theirs |= names(tf["aws_sqs_queue.spoke"]["name"], example, spokes)
    theirs |= names(tf["aws_sqs_queue.dead"]["name"], example, spokes)
    records = [json.loads(made.template(s).read_text()) for s in made.stacks if s.endswith("-edge")]

    assert named(synthesised) - named(made) == theirs
    assert made.findings == ()
    assert not any(r["Type"] == "AWS::Route53::HealthCheck" for t in records for r in t["Resources"].values())


def test_a_log_on_demand_has_the_same_end_to_its_bill_as_in_the_stacks() -> None:
    log = resources(MODULE)["aws_dynamodb_table.log"]
    ((name, dynamic),) = log["dynamic"][0].items()

    assert bare(name) == "on_demand_throughput"
    assert str(WRITES_MAX) in dynamic["for_each"]
    assert dynamic["content"][0]["max_write_request_units"] == "${on_demand_throughput.value}"
    scaled = {k.partition(".")[0] for k in resources(MODULE) if k.startswith("aws_appautoscaling")}
    assert scaled == {"aws_appautoscaling_target", "aws_appautoscaling_policy", "aws_appautoscaling_scheduled_action"}
    home, twin = (resources(MODULE)[f"aws_appautoscaling_target.{name}"] for name in ("home", "twin"))
    assert {k: v for k, v in home.items() if k != "provider"} == {k: v for k, v in twin.items() if k != "provider"}


def test_assess_reads_it() -> None:
    done = CliRunner().invoke(application(), ["assess", str(MODULE), "--json"])
    told = json.loads(done.output)

    assert "error" not in told, told
    assert any("log" in str(c) for c in told["components"])


def test_it_is_formatted_as_terraform_does(tmp_path: Path) -> None:
    """By terraform itself where there is one; else by its plainest rules."""
    if (terraform := shutil.which("terraform")) is not None:
        done = subprocess.run(
            [terraform, "fmt", "-check", "-recursive", str(MODULE)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "")
    for path in FILES:
        text = path.read_text()
        assert "\t" not in text
        assert re.search(r" +$", text, re.MULTILINE) is None
        assert text.endswith("\n")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(MODULE)))
def test_the_module_says_that_it_was_never_applied(path: Path) -> None:
    assert "ever applied" in (MODULE / "versions.tf").read_text()
    assert hcl2.loads(path.read_text())
