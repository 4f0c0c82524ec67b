"""The Terraform module of what platform teams own: read, held to the stacks' names, and to the provider's words.

Never applied: no provider can be had here. What is checked is its syntax, that every argument is one of the provider's
documentation (hashicorp/aws 6), and that it makes what the stacks would otherwise make, under the same names.
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
from eisbach.deploy.aws.synth import Synthesised, placeholder, synthesise

MODULE = Path(__file__).parents[3] / "examples" / "terraform"
META = {"provider", "for_each", "count", "lifecycle", "depends_on"}
PROVIDER: dict[str, set[str]] = {
    "aws_dynamodb_table": {"name", "billing_mode", "hash_key", "range_key", "stream_enabled", "stream_view_type", "deletion_protection_enabled", "attribute", "ttl", "point_in_time_recovery", "replica"},
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
"""Arguments from the provider's documentation that the module may use."""


def bare(word: str) -> str:
    return word.strip('"')


def resources() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(MODULE.glob("*.tf")):
        for block in hcl2.loads(path.read_text()).get("resource", []):
            for kind, named in block.items():
                for name, body in named.items():
                    if not name.startswith("__"):
                        found[f"{bare(kind)}.{bare(name)}"] = body
    return found


def test_every_argument_is_one_of_the_providers() -> None:
    wrong = {
        address: unknown
        for address, body in resources().items()
        if (unknown := {k for k in body if not k.startswith("__")} - META - PROVIDER[address.partition(".")[0]])
    }

    assert wrong == {}
    assert {address.partition(".")[0] for address in resources()} == set(PROVIDER)


def test_every_reference_is_to_something_that_is_there() -> None:
    text = "\n".join(path.read_text() for path in MODULE.glob("*.tf"))
    known = set(resources()) | {f"var.{name}" for name in re.findall(r'^variable "(\w+)"', text, re.MULTILINE)}
    used = set(re.findall(r"(?<![\w.\"])((?:var|aws_\w+)\.\w+)", text)) - {"aws.home", "aws.twin"}

    assert {u for u in used if u not in known} == set()


def test_both_regions_have_the_same_hub() -> None:
    home, twin = ((MODULE / f"hub_{side}.tf").read_text() for side in ("home", "twin"))

    assert home.replace("home", "twin") == twin


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

    tf = resources()
    cells, spokes = [c.name for c in example.cell], ["transcode", "package", "publish"]
    theirs = names(tf["aws_dynamodb_table.log"]["name"], example, cells)
    theirs |= names(tf["aws_sns_topic.hub_home"]["name"], example, [""])
    theirs |= names(tf["aws_sqs_queue.spoke_home"]["name"], example, spokes)
    theirs |= names(tf["aws_sqs_queue.dead_home"]["name"], example, spokes)
    records = [json.loads(made.template(s).read_text()) for s in made.stacks if s.endswith("-edge")]

    assert named(synthesised) - named(made) == theirs
    assert made.findings == ()
    assert not any(r["Type"] == "AWS::Route53::HealthCheck" for t in records for r in t["Resources"].values())


def test_assess_reads_it() -> None:
    done = CliRunner().invoke(application(), ["assess", str(MODULE), "--json"])
    told = json.loads(done.output)

    assert "error" not in told, told
    assert any("log" in str(c) for c in told["components"])


def test_it_is_formatted_as_terraform_does(tmp_path: Path) -> None:
    """By terraform itself where there is one; else by its plainest rules."""
    if (terraform := shutil.which("terraform")) is not None:
        done = subprocess.run([terraform, "fmt", "-check", str(MODULE)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")
    for path in MODULE.glob("*.tf"):
        text = path.read_text()
        assert "\t" not in text
        assert re.search(r" +$", text, re.MULTILINE) is None
        assert text.endswith("\n")


@pytest.mark.parametrize("path", sorted(MODULE.glob("*.tf")), ids=lambda path: path.name)
def test_the_module_says_that_it_was_never_applied(path: Path) -> None:
    assert "ever applied" in (MODULE / "versions.tf").read_text()
    assert hcl2.loads(path.read_text())
