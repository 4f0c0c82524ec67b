"""Where the CDN asks: a region's door, and another one behind it for the answers that say nobody is there."""

from collections.abc import Sequence
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins

from eisbach.deploy.aws.platform_file import Platform, Region

__all__ = ["door", "one_after_the_other"]


def door(platform: Platform, region: Region, what: str) -> Any:
    """The region's own name, asked once and not for long; ``what`` begins its id, one of its own a distribution."""
    return origins.HttpOrigin(
        platform.dns.regional(region.name),
        origin_id=f"{what}-{region.name}",
        protocol_policy=cloudfront.OriginProtocolPolicy.HTTPS_ONLY,
        origin_ssl_protocols=[cloudfront.OriginSslPolicy.TLS_V1_2],
        connection_attempts=1,
        connection_timeout=cdk.Duration.seconds(1),
        read_timeout=cdk.Duration.seconds(2),
        keepalive_timeout=cdk.Duration.seconds(50),
    )


def one_after_the_other(found: Sequence[Any], fails: Sequence[int]) -> Any:
    """The first, and the second where the first is silent or answers one of ``fails``; CloudFront takes two at most."""
    if len(found) < 2:
        return found[0]
    return origins.OriginGroup(primary_origin=found[0], fallback_origin=found[1], fallback_status_codes=[*fails])
