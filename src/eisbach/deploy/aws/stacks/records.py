"""Names: each region by its own, ``api.`` by country and by latency, each record with a health check of a journey.

A region whose check fails is left out of the answers within a minute (30 s checks, 10 s if fast, TTL 30 s); with all
failing, Route 53 answers as if all were well: nothing is moved, as in ``kernel/routing.py``.
"""

from collections.abc import Mapping
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_globalaccelerator as accelerator
from aws_cdk import aws_route53 as route53

from eisbach.deploy.aws.platform_file import Platform, Region

__all__ = ["add_accelerator", "add_records", "add_regional_name"]

_TTL: Final = "30"


def add_regional_name(stack: Any, platform: Platform, region: Region, target: Mapping[str, str]) -> None:
    """``REGION.host.zone`` -> the region's balancer or API; ``target``: ``dns`` name and hosted ``zone``."""
    route53.CfnRecordSet(
        stack,
        "Name-A",
        hosted_zone_id=platform.dns.zone_id,
        name=f"{platform.dns.regional(region.name)}.",
        type="A",
        alias_target=route53.CfnRecordSet.AliasTargetProperty(
            dns_name=target["dns"], hosted_zone_id=target["zone"], evaluate_target_health=True
        ),
    )


def add_records(stack: Any, platform: Platform, distribution: Any, media: Mapping[str, Any]) -> dict[str, Any]:
    """Health checks, ``api.`` by geography and latency, the viewers' name, the media hosts; health checks by region."""
    checks: dict[str, Any] = {}
    if "names" not in platform.given:
        checks = {region.name: _check(stack, platform, region) for region in platform.region}
        for region in platform.region:
            _latency(stack, platform, region, checks[region.name])
            for country in region.countries:
                _geo(stack, platform, region, country, checks[region.name])
        _geo(stack, platform, platform.region[0], "*", None, by_latency=True)
    _cdn_name(stack, platform, "Viewers", platform.dns.viewers, distribution)
    for where, one in media.items():
        _cdn_name(stack, platform, f"Media-{where}", platform.dns.media(where), one)
    return checks


def _cdn_name(stack: Any, platform: Platform, what: str, name: str, distribution: Any) -> None:
    for kind in ("A", "AAAA"):
        route53.CfnRecordSet(
            stack,
            f"{what}-{kind}",
            hosted_zone_id=platform.dns.zone_id,
            name=f"{name}.",
            type=kind,
            alias_target=route53.CfnRecordSet.AliasTargetProperty(
                dns_name=distribution.distribution_domain_name, hosted_zone_id="Z2FDTNDATAQYW2"
            ),
        )


def _check(stack: Any, platform: Platform, region: Region) -> Any:
    """Signs in, starts playing, reads back: ``/readyz`` of a cell says whether those work."""
    return route53.CfnHealthCheck(
        stack,
        f"Health-{region.name}",
        health_check_config=route53.CfnHealthCheck.HealthCheckConfigProperty(
            type="HTTPS",
            fully_qualified_domain_name=platform.dns.regional(region.name),
            resource_path="/readyz",
            port=443,
            request_interval=10,
            failure_threshold=3,
            enable_sni=True,
            regions=["eu-west-1", "us-east-1", "us-west-2"],
        ),
        health_check_tags=[
            route53.CfnHealthCheck.HealthCheckTagProperty(key="Name", value=f"{platform.name}-{region.name}")
        ],
    )


def _latency(stack: Any, platform: Platform, region: Region, check: Any) -> None:
    route53.CfnRecordSet(
        stack,
        f"Latency-{region.name}",
        hosted_zone_id=platform.dns.zone_id,
        name=f"latency.{platform.dns.calls}.",
        type="CNAME",
        ttl=_TTL,
        region=region.aws,
        set_identifier=region.name,
        resource_records=[platform.dns.regional(region.name)],
        health_check_id=check.attr_health_check_id,
    )


def _geo(stack: Any, platform: Platform, region: Region, country: str, check: Any, *, by_latency: bool = False) -> None:
    """A country's record; unhealthy or not listed, the default answers, which goes by latency and health."""
    target = f"latency.{platform.dns.calls}" if by_latency else platform.dns.regional(region.name)
    route53.CfnRecordSet(
        stack,
        f"Geo-{'any' if country == '*' else country}",
        hosted_zone_id=platform.dns.zone_id,
        name=f"{platform.dns.calls}.",
        type="CNAME",
        ttl=_TTL,
        geo_location=route53.CfnRecordSet.GeoLocationProperty(country_code=country),
        set_identifier="any" if country == "*" else f"{region.name}-{country}",
        resource_records=[target],
        health_check_id=check.attr_health_check_id if check is not None else None,
    )


def add_accelerator(stack: Any, platform: Platform) -> None:
    """Two fixed addresses before all regions' balancers; the nearest healthy one answers.

    A balancer's ARN has a random end, so the stack is told by parameters: the regions' output ``BalancerArn``.
    """
    found = accelerator.Accelerator(stack, "Accelerator", accelerator_name=platform.name)
    listener = found.add_listener("Https", port_ranges=[accelerator.PortRange(from_port=443)])
    for region in platform.region:
        listener.add_endpoint_group(
            f"Group-{region.name}",
            region=region.aws,
            health_check_path="/readyz",
            health_check_protocol=accelerator.HealthCheckProtocol.HTTPS,
            endpoints=[accelerator.RawEndpoint(endpoint_id=_balancer(stack, region))],
        )


def _balancer(stack: Any, region: Region) -> str:
    title = region.name.title().replace("-", "")
    parameter = cdk.CfnParameter(
        stack,
        f"Balancer{title}",
        description=f"output BalancerArn of the stack of region {region.name}",
        allowed_pattern=r"arn:aws[\w-]*:elasticloadbalancing:[\w-]+:\d{12}:loadbalancer/app/.+",
    )
    return str(parameter.value_as_string)
