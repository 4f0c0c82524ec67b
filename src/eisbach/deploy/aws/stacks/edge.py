"""The CDN for calls and pages: public pages from a region and then its twin. Media have hosts of their own (delivery).

A routing function maps the slot in the request to a cell and a region by a key-value store: the slot map. Only silence
and a broken gateway move a request to the twin (500, 502, 504), never a refusal: shed is not dead.
"""

import json
from pathlib import Path
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as certificates
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_wafv2 as waf

from eisbach.deploy.aws.platform_file import Platform
from eisbach.deploy.aws.stacks.exceptions import accept
from eisbach.deploy.aws.stacks.origins import door, one_after_the_other

__all__ = ["add_edge", "routing_code", "slot_map"]

_FAILS: Final = [500, 502, 504]
_CODE: Final = Path(__file__).parent / "routing.js"


def slot_map(platform: Platform) -> dict[str, str]:
    """Slot -> regions and cells in the order of tries, e.g. ``eu-central/c1 eu-west/c1``; half prefer each region."""
    found: dict[str, str] = {}
    for cell in platform.cell:
        regions = platform.regions_of(cell)
        for slot in platform.slots_of(cell):
            turn = slot % len(regions)
            order = [*regions[turn:], *regions[:turn]]
            found[f"{cell.group}/{slot}"] = " ".join(f"{r.name}/{cell.name}" for r in order)
    return found


def routing_code(platform: Platform) -> str:
    """The function's code, with the names of the regions' origins in it."""
    names = {region.name: platform.dns.regional(region.name) for region in platform.region}
    code = _CODE.read_text(encoding="utf-8").replace("__REGIONS__", json.dumps(names, sort_keys=True))
    return code.replace("__DOOR__", json.dumps(platform.compute.door))


def add_edge(stack: Any, platform: Platform) -> Any:
    """Distribution, routing function and slot map."""
    store = cloudfront.KeyValueStore(
        stack,
        "SlotMap",
        key_value_store_name=f"{platform.name}-slots",
        comment="slot -> region/cell, the preferred one first; eisbach writes it after a move",
        source=cloudfront.ImportSource.from_inline(
            json.dumps({"data": [{"key": key, "value": value} for key, value in slot_map(platform).items()]})
        ),
    )
    routing = cloudfront.Function(
        stack,
        "Routing",
        function_name=f"{platform.name}-routing",
        code=cloudfront.FunctionCode.from_inline(routing_code(platform)),
        runtime=cloudfront.FunctionRuntime.JS_2_0,
        key_value_store=store,
    )
    pages = one_after_the_other([door(platform, region, "pages") for region in platform.region], _FAILS)
    logs = _log_bucket(stack, platform)
    distribution = cloudfront.Distribution(
        stack,
        "Cdn",
        comment=f"{platform.name}: pages, calls",
        domain_names=[platform.dns.viewers],
        certificate=certificates.Certificate.from_certificate_arn(stack, "Certificate", platform.dns.certificate),
        minimum_protocol_version=cloudfront.SecurityPolicyProtocol.TLS_V1_2_2021,
        http_version=cloudfront.HttpVersion.HTTP2_AND_3,
        price_class=cloudfront.PriceClass.PRICE_CLASS_100,
        enable_logging=True,
        log_bucket=logs,
        web_acl_id=_firewall(stack, platform),
        default_behavior=_behaviour(pages, cloudfront.CachePolicy.USE_ORIGIN_CACHE_CONTROL_HEADERS_QUERY_STRINGS),
        additional_behaviors={
            "/v1/*": _calls_behaviour(door(platform, platform.region[0], "calls"), routing),
        },
    )
    accept(distribution, "AwsSolutions-CFR1", "viewers travel; rights windows are judged per playback session")
    return distribution


def _behaviour(origin: Any, cache: Any, **more: Any) -> Any:
    return cloudfront.BehaviorOptions(
        origin=origin,
        cache_policy=cache,
        viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
        response_headers_policy=cloudfront.ResponseHeadersPolicy.CORS_ALLOW_ALL_ORIGINS_WITH_PREFLIGHT_AND_SECURITY_HEADERS,
        compress=True,
        **more,
    )


def _calls_behaviour(origin: Any, routing: Any) -> Any:
    return _behaviour(
        origin,
        cloudfront.CachePolicy.CACHING_DISABLED,
        allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
        origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
        function_associations=[
            cloudfront.FunctionAssociation(function=routing, event_type=cloudfront.FunctionEventType.VIEWER_REQUEST)
        ],
    )


def _log_bucket(stack: Any, platform: Platform) -> Any:
    bucket = s3.Bucket(
        stack,
        "Logs",
        bucket_name=f"{platform.name}-{platform.account}-cdn-logs",
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.S3_MANAGED,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_PREFERRED,
        enforce_ssl=True,
        lifecycle_rules=[s3.LifecycleRule(expiration=cdk.Duration.days(30))],
        removal_policy=cdk.RemovalPolicy.RETAIN,
    )
    accept(bucket, "AwsSolutions-S1", "it is the bucket of access logs; a log of the log would never end")
    return bucket


def _firewall(stack: Any, platform: Platform) -> str:
    """2,000 calls in five minutes an address, and AWS's list of known bad inputs."""
    seen = waf.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=f"{platform.name}-edge", sampled_requests_enabled=False
    )
    rate = waf.CfnWebACL.RuleProperty(
        name="rate",
        priority=0,
        action=waf.CfnWebACL.RuleActionProperty(block={}),
        statement=waf.CfnWebACL.StatementProperty(
            rate_based_statement=waf.CfnWebACL.RateBasedStatementProperty(limit=2_000, aggregate_key_type="IP")
        ),
        visibility_config=seen,
    )
    known = waf.CfnWebACL.RuleProperty(
        name="known-bad",
        priority=1,
        override_action=waf.CfnWebACL.OverrideActionProperty(none={}),
        statement=waf.CfnWebACL.StatementProperty(
            managed_rule_group_statement=waf.CfnWebACL.ManagedRuleGroupStatementProperty(
                vendor_name="AWS", name="AWSManagedRulesKnownBadInputsRuleSet"
            )
        ),
        visibility_config=seen,
    )
    acl = waf.CfnWebACL(
        stack,
        "Firewall",
        name=f"{platform.name}-edge",
        scope="CLOUDFRONT",
        default_action=waf.CfnWebACL.DefaultActionProperty(allow={}),
        visibility_config=seen,
        rules=[rate, known],
    )
    return str(acl.attr_arn)
