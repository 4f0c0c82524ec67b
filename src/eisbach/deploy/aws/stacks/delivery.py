"""Media by the CDN: a host of its own for each region's media, as the nginx origins are elsewhere.

Promises: nothing of a bucket is had without a media token, but images; no token is in a cache key or in a log; what a
region made and what was copied to it are under its one host; manifests come from its cells, then from the twin's.
A host a region, since players give up hosts: when one fails, they go on to the other region's.
"""

import json
from pathlib import Path
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as certificates
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_s3 as s3

from eisbach.deploy.aws.platform_file import Platform, Region
from eisbach.deploy.aws.stacks.exceptions import accept
from eisbach.deploy.aws.stacks.origins import door, one_after_the_other
from eisbach.edge.nginx_origin import token_codec

__all__ = ["LIVE_PATHS", "MANIFEST_PATHS", "add_delivery", "delivery_code"]

MANIFEST_PATHS: Final = ("/t/*/master.m3u8", "/t/*/manifest.mpd")
LIVE_PATHS: Final = ("/t/*/ch/*.m3u8",)
"""What goes to cells, the first in order; the rest goes to the buckets. The function has all kinds, so all have it."""
_LIVE_S: Final = 1
"""A channel's playlist is fetched so often, however many ask; the cell says the same (media.manifests)."""
_CODE: Final = Path(__file__).parent / "delivery.js"
# A bucket that lacks the object is no failure: the region's other bucket has what was copied here.
_ELSEWHERE: Final = [404, 500, 502, 504]
# 503 too, unlike calls: a balancer says it when no task of the cell is healthy, and a manifest costs microseconds.
_SILENT: Final = [500, 502, 503, 504]


def delivery_code(platform: Platform, region: Region) -> str:
    """The function's code: imports, the codec of media tokens, and what is said of this region."""
    cells = [cell.name for cell in platform.cells_of(region) if not cell.is_studio]
    code = _CODE.read_text(encoding="utf-8").replace("__CELLS__", json.dumps(cells))
    code = code.replace("__DOOR__", json.dumps(platform.compute.door))
    return f"import cf from 'cloudfront';\nimport crypto from 'crypto';\n{_bare(token_codec())}{_bare(code)}"


def _bare(code: str) -> str:
    """Without whole lines of comment: CloudFront takes 10 KB of code, and counts them."""
    return "\n".join(line for line in code.splitlines() if line.strip() and not line.lstrip().startswith("//")) + "\n"


def add_delivery(stack: Any, platform: Platform) -> dict[str, Any]:
    """Region -> its media distribution. The store of keys is empty until ``eisbach deploy secrets``."""
    keys = cloudfront.KeyValueStore(
        stack,
        "MediaKeys",
        key_value_store_name=platform.media_keys(),
        comment="keys of media tokens, both live ones; eisbach deploy secrets writes them",
    )
    manifests = cloudfront.OriginRequestPolicy(
        stack,
        "ManifestRequests",
        origin_request_policy_name=f"{platform.name}-manifests",
        comment="the token, and the cell that the function chose; nothing of the viewer's",
        query_string_behavior=cloudfront.OriginRequestQueryStringBehavior.allow_list("t"),
        header_behavior=cloudfront.OriginRequestHeaderBehavior.allow_list("Eisbach-Cell"),
        cookie_behavior=cloudfront.OriginRequestCookieBehavior.none(),
    )
    live = cloudfront.CachePolicy(
        stack,
        "LivePlaylists",
        cache_policy_name=f"{platform.name}-live",
        comment="a playlist of a channel, by its path alone: the function has taken the token out of it",
        min_ttl=cdk.Duration.seconds(0),
        default_ttl=cdk.Duration.seconds(_LIVE_S),
        max_ttl=cdk.Duration.seconds(_LIVE_S),
        enable_accept_encoding_gzip=True,
        enable_accept_encoding_brotli=True,
    )
    certificate = certificates.Certificate.from_certificate_arn(stack, "MediaCertificate", platform.dns.certificate)
    found: dict[str, Any] = {}
    for region in platform.region:
        function = cloudfront.Function(
            stack,
            f"Delivery-{region.name}",
            function_name=f"{platform.name}-media-{region.name}",
            code=cloudfront.FunctionCode.from_inline(delivery_code(platform, region)),
            runtime=cloudfront.FunctionRuntime.JS_2_0,
            key_value_store=keys,
        )
        found[region.name] = _distribution(stack, platform, region, (function, manifests, live, certificate))
    return found


def _distribution(stack: Any, platform: Platform, region: Region, given: tuple[Any, Any, Any, Any]) -> Any:
    function, manifests, live, certificate = given
    doors = _cells(platform, region)
    cells = _behaviour(doors, function, cloudfront.CachePolicy.CACHING_DISABLED, origin_request_policy=manifests)
    lists = _behaviour(doors, function, live, origin_request_policy=manifests)
    files = _behaviour(_buckets(stack, platform, region), function, cloudfront.CachePolicy.CACHING_OPTIMIZED)
    made = cloudfront.Distribution(
        stack,
        f"Media-{region.name}",
        comment=f"{platform.name}: media of {region.name}",
        domain_names=[platform.dns.media(region.name)],
        certificate=certificate,
        minimum_protocol_version=cloudfront.SecurityPolicyProtocol.TLS_V1_2_2021,
        http_version=cloudfront.HttpVersion.HTTP2_AND_3,
        price_class=cloudfront.PriceClass.PRICE_CLASS_100,
        default_behavior=files,
        additional_behaviors=dict.fromkeys(MANIFEST_PATHS, cells) | dict.fromkeys(LIVE_PATHS, lists),
    )
    accept(made, "AwsSolutions-CFR1", "viewers travel; rights windows are judged per playback session")
    accept(made, "AwsSolutions-CFR2", "a token opens each path; a limit an address would stop a household's players")
    accept(made, "AwsSolutions-CFR3", "its log would hold every viewer's token; the buckets log what was read")
    return made


def _behaviour(origin: Any, function: Any, cache: Any, **more: Any) -> Any:
    return cloudfront.BehaviorOptions(
        origin=origin,
        cache_policy=cache,
        allowed_methods=cloudfront.AllowedMethods.ALLOW_GET_HEAD_OPTIONS,
        viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
        response_headers_policy=cloudfront.ResponseHeadersPolicy.CORS_ALLOW_ALL_ORIGINS_AND_SECURITY_HEADERS,
        compress=True,
        function_associations=[
            cloudfront.FunctionAssociation(function=function, event_type=cloudfront.FunctionEventType.VIEWER_REQUEST)
        ],
        **more,
    )


def _next_twin(platform: Platform, region: Region) -> Region | None:
    """The twin after it in the file, round: with more than two regions, each one's media are copied to one host."""
    twins = platform.twins(region)
    place = platform.region.index(region)
    after = [r for r in (*platform.region[place + 1 :], *platform.region[:place]) if r in twins]
    return after[0] if after else None


def _cells(platform: Platform, region: Region) -> Any:
    twin = _next_twin(platform, region)
    doors = [door(platform, one, "cells") for one in (region, twin) if one is not None]
    return one_after_the_other(doors, _SILENT)


def _buckets(stack: Any, platform: Platform, region: Region) -> Any:
    """What the region made, then what was copied to it."""
    twin = _next_twin(platform, region)
    names = [platform.bucket(region, "media")] + ([platform.copies(region, of=twin)] if twin else [])
    found = []
    for name in names:
        bucket = s3.Bucket.from_bucket_attributes(
            stack, f"Origin-{name}", bucket_name=name, region=region.aws, account=platform.account
        )
        control = cloudfront.S3OriginAccessControl(stack, f"Access-{name}", origin_access_control_name=name[-64:])
        levels = [cloudfront.AccessLevel.READ, cloudfront.AccessLevel.LIST]
        found.append(
            origins.S3BucketOrigin.with_origin_access_control(
                bucket, origin_access_control=control, origin_id=name, origin_access_levels=levels
            )
        )
    return one_after_the_other(found, _ELSEWHERE)
