"""What every synthesised platform must hold, whatever the policy packs say: our own assertions over the templates.

Promises: pure; each rule is one function over all templates and says what broke, where. ``eisbach deploy check`` runs
them all.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from eisbach.deploy.aws.platform_file import Platform

__all__ = ["PROMISES", "Templates", "broken"]

Template = Mapping[str, Any]
Templates = Mapping[str, Template]
"""Stack name -> template."""
_RESOURCES_MAX: Final = 500
_BYTES_MAX: Final = 1_000_000
_KEPT: Final = ("AWS::DynamoDB::GlobalTable", "AWS::S3::Bucket")


def broken(platform: Platform, templates: Templates) -> list[str]:
    """What does not hold; empty: all does."""
    return [f"{name}: {words}" for name, rule in PROMISES.items() for words in rule(platform, templates)]


def _of(templates: Templates, kind: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for stack, template in templates.items():
        for logical, resource in template["Resources"].items():
            if resource["Type"] == kind:
                yield stack, logical, resource


def _data_outlives_its_stack(_: Platform, templates: Templates) -> Iterator[str]:
    for kind in _KEPT:
        for stack, logical, resource in _of(templates, kind):
            if resource.get("DeletionPolicy") != "Retain" or resource.get("UpdateReplacePolicy") != "Retain":
                yield f"{stack}/{logical} ({kind}) would be deleted with its stack"


def _logs_stay_in_their_residency(platform: Platform, templates: Templates) -> Iterator[str]:
    wanted = {platform.log_table(cell): {r.aws for r in platform.regions_of(cell)} for cell in platform.cell}
    for stack, logical, resource in _of(templates, "AWS::DynamoDB::GlobalTable"):
        name = resource["Properties"]["TableName"]
        found = {replica["Region"] for replica in resource["Properties"]["Replicas"]}
        if name in wanted and found != wanted[name]:
            yield f"{stack}/{logical} {name} is in {sorted(found)}, and must be in {sorted(wanted[name])}"


def _a_bill_has_an_end(platform: Platform, templates: Templates) -> Iterator[str]:
    wanted = {platform.log_table(cell): cell.capacity for cell in platform.cell}
    wanted[platform.hub_table()] = platform.hub_capacity
    for stack, logical, resource in _of(templates, "AWS::DynamoDB::GlobalTable"):
        told, capacity = resource["Properties"], wanted.get(resource["Properties"]["TableName"])
        if capacity is None:
            if not told.get("WriteOnDemandThroughputSettings", {}).get("MaxWriteRequestUnits"):
                yield f"{stack}/{logical} takes as many writes as are asked for"
            continue
        scaling = told.get("WriteProvisionedThroughputSettings", {}).get("WriteCapacityAutoScalingSettings", {})
        if told.get("BillingMode") != "PROVISIONED" or scaling.get("MaxCapacity") != capacity.write_most:
            yield f"{stack}/{logical} does not scale up to the {capacity.write_most} write units of the platform file"


def _a_cell_reaches_its_own_tables_only(platform: Platform, templates: Templates) -> Iterator[str]:
    for stack, logical, resource in _of(templates, "AWS::IAM::Policy"):
        cell = next((c for c in platform.cell if logical.startswith(c.name.title().replace("-", ""))), None)
        if cell is None:
            continue
        text = json.dumps(resource["Properties"]["PolicyDocument"])
        for other in platform.cell:
            if other != cell and (platform.log_table(other) in text or f'"State{other.name}' in text):
                yield f"{stack}/{logical}: the role of cell {cell.name} reaches tables of {other.name}"


def _no_role_may_do_everything(_: Platform, templates: Templates) -> Iterator[str]:
    for stack, logical, resource in _of(templates, "AWS::IAM::Policy"):
        for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            if wide := [a for a in actions if a == "*" or a.endswith(":*")]:
                yield f"{stack}/{logical} allows {wide[0]}"


def _a_spoke_loses_nothing(platform: Platform, templates: Templates) -> Iterator[str]:
    for stack, logical, resource in _of(templates, "AWS::SQS::Queue"):
        name = resource["Properties"].get("QueueName", "")
        if name.startswith(f"{platform.name}-") and not name.endswith("-dead.fifo"):
            if "RedrivePolicy" not in resource["Properties"]:
                yield f"{stack}/{logical} {name} has no dead-letter queue"
            if not resource["Properties"].get("SqsManagedSseEnabled"):
                yield f"{stack}/{logical} {name} is not encrypted"
    for stack, logical, resource in _of(templates, "AWS::SNS::Subscription"):
        if resource["Properties"]["Protocol"] == "sqs" and "RedrivePolicy" not in resource["Properties"]:
            yield f"{stack}/{logical} drops what its queue refuses"


def _a_bad_version_goes_back(_: Platform, templates: Templates) -> Iterator[str]:
    for stack, logical, resource in _of(templates, "AWS::CodeDeploy::DeploymentGroup"):
        given = resource["Properties"]
        events = given.get("AutoRollbackConfiguration", {}).get("Events", [])
        if not given.get("AlarmConfiguration", {}).get("Alarms") or "DEPLOYMENT_STOP_ON_ALARM" not in events:
            yield f"{stack}/{logical} has no alarm that brings the old version back"
    canaries = {stack for stack, _, _ in _of(templates, "AWS::CodeDeploy::DeploymentGroup")}
    yield from (f"{s} has no canary" for s in templates if "-region-" in s and s not in canaries)


def _only_443_is_open(_: Platform, templates: Templates) -> Iterator[str]:
    for stack, logical, resource in _of(templates, "AWS::EC2::SecurityGroup"):
        for rule in resource["Properties"].get("SecurityGroupIngress", []):
            if rule.get("CidrIp") == "0.0.0.0/0" and (rule["FromPort"], rule["ToPort"]) != (443, 443):
                yield f"{stack}/{logical} opens {rule['FromPort']} to {rule['ToPort']} to everybody"


def _media_open_by_a_token_only(platform: Platform, templates: Templates) -> Iterator[str]:
    for stack, logical, resource in _of(templates, "AWS::CloudFront::Distribution"):
        config = resource["Properties"]["DistributionConfig"]
        buckets = {origin["Id"] for origin in config["Origins"] if "S3OriginConfig" in origin}
        groups = config.get("OriginGroups", {}).get("Items", [])
        buckets |= {g["Id"] for g in groups if buckets & {m["OriginId"] for m in g["Members"]["Items"]}}
        for behaviour in (config["DefaultCacheBehavior"], *config.get("CacheBehaviors", [])):
            if behaviour["TargetOriginId"] in buckets and not _judged(platform, templates[stack], behaviour):
                yield f"{stack}/{logical} {behaviour.get('PathPattern', 'default')} reads a bucket without a token"


def _judged(platform: Platform, template: Template, behaviour: Mapping[str, Any]) -> bool:
    """Whether one of our media functions sees a request before the cache does."""
    judges = {
        logical
        for logical, resource in template["Resources"].items()
        if resource["Type"] == "AWS::CloudFront::Function"
        and resource["Properties"]["Name"].startswith(f"{platform.name}-media-")
    }
    return any(
        one["EventType"] == "viewer-request" and one["FunctionARN"]["Fn::GetAtt"][0] in judges
        for one in behaviour.get("FunctionAssociations", [])
    )


def _regions_are_alike(platform: Platform, templates: Templates) -> Iterator[str]:
    counts: dict[str, dict[str, int]] = {}
    for region in platform.region:
        kinds: dict[str, int] = {}
        for resource in templates[f"{platform.name}-region-{region.name}"]["Resources"].values():
            kinds[resource["Type"]] = kinds.get(resource["Type"], 0) + 1
        counts[region.name] = kinds
    same = [r for r in platform.region if platform.cells_of(r) == platform.cells_of(platform.region[0])]
    for region in same[1:]:
        if counts[region.name] != counts[same[0].name] and len(region.zones) == len(same[0].zones):
            differ = sorted(k for k in {*counts[region.name], *counts[same[0].name]}
                            if counts[region.name].get(k) != counts[same[0].name].get(k))  # fmt: skip
            yield f"{region.name} and {same[0].name} have the same cells and differ in {', '.join(differ)}"


def _templates_fit(_: Platform, templates: Templates) -> Iterator[str]:
    for stack, template in templates.items():
        count, size = len(template["Resources"]), len(json.dumps(template))
        if count > _RESOURCES_MAX or size > _BYTES_MAX:
            yield f"{stack} has {count} resources and {size} bytes; CloudFormation takes 500 and 1,000,000"


PROMISES: Final[Mapping[str, Callable[[Platform, Templates], Iterator[str]]]] = {
    "data outlives its stack": _data_outlives_its_stack,
    "a log stays in its residency": _logs_stay_in_their_residency,
    "a bill has an end": _a_bill_has_an_end,
    "a cell reaches its own tables only": _a_cell_reaches_its_own_tables_only,
    "no role may do everything": _no_role_may_do_everything,
    "a spoke loses nothing": _a_spoke_loses_nothing,
    "a bad version goes back": _a_bad_version_goes_back,
    "only 443 is open": _only_443_is_open,
    "media open by a token only": _media_open_by_a_token_only,
    "regions are alike": _regions_are_alike,
    "templates fit": _templates_fit,
}
"""Name -> rule."""
