"""The door of a region: one balancer with a rule a cell, which shares its calls between tasks and functions by weight.

Or an HTTP API with a route a cell, functions alone. Both are told the cell by the header ``Eisbach-Cell``, which the
CDN's routing function sets; without it, any cell of the region answers.
"""

from collections.abc import Sequence
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as http
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_certificatemanager as certificates
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_elasticloadbalancingv2_targets as targets
from aws_cdk import aws_logs as logs

from eisbach.deploy.aws.platform_file import Platform, Region
from eisbach.deploy.aws.stacks.cells import PORT, CellHome
from eisbach.deploy.aws.stacks.exceptions import accept
from eisbach.deploy.aws.stacks.network import Network

__all__ = ["add_balancer", "add_http_api"]

_WEIGHT_MAX: Final = 999
_CALLS_A_SECOND: Final = 10_000
_LOG_LINE: Final = (
    '{"t":"$context.requestTime","id":"$context.requestId","route":"$context.routeKey",'
    '"status":"$context.status","ms":"$context.responseLatency"}'
)
"""No path, no address, no token."""


def add_balancer(
    stack: Any,
    platform: Platform,
    region: Region,
    network: Network,
    homes: tuple[Sequence[CellHome], CellHome],
    *,
    logs_bucket: Any,
) -> Any:
    """Listener on 443 with the region's certificate; a rule a cell, weights as the platform file says.

    ``homes``: the cells, and the studio. What the other region pulls, and what is the studio's, goes to tasks only.
    """
    cells, studio = homes
    balancer = elb.ApplicationLoadBalancer(
        stack,
        "Balancer",
        load_balancer_name=f"{platform.name}-{region.name}",
        vpc=network.vpc,
        internet_facing=True,
        security_group=network.balancer_group,
        deletion_protection=True,
        drop_invalid_header_fields=True,
        idle_timeout=cdk.Duration.seconds(60),
    )
    balancer.log_access_logs(logs_bucket, prefix="balancer")
    certificate = certificates.Certificate.from_certificate_arn(
        stack, "Certificate", platform.dns.regional_certificates[region.name]
    )
    shares = {home.cell.name: _shares(stack, platform, network, home) for home in cells}
    first = cells[0].cell.name
    listener = balancer.add_listener(
        "Https",
        port=443,
        open=False,
        certificates=[certificate],
        ssl_policy=elb.SslPolicy.RECOMMENDED_TLS,
        default_action=elb.ListenerAction.weighted_forward(shares[first]),
    )
    by_header, by_path = elb.ListenerCondition.http_header, elb.ListenerCondition.path_patterns
    rules = [(f"Twin-{name}", by_path([f"/peer/cells/{name}/*"]), groups[:1]) for name, groups in shares.items()]
    if studio.service:
        group = _tasks(stack, network, studio)
        paths = ["/studio/*", f"/peer/cells/{studio.cell.name}/*"]
        rules.append(("Studio", by_path(paths), [elb.WeightedTargetGroup(target_group=group, weight=1)]))
    rules += [(f"Rule-{name}", by_header("Eisbach-Cell", [name]), groups) for name, groups in shares.items()]
    for number, (name, condition, groups) in enumerate(rules, 1):
        rule = elb.ApplicationListenerRule(
            stack,
            name,
            listener=listener,
            priority=number,
            conditions=[condition],
            action=elb.ListenerAction.weighted_forward(groups),
        )
        if name.startswith("Rule-"):
            _tell_burst(stack, name.removeprefix("Rule-"), rule, groups)
    return balancer


def _tell_burst(stack: Any, cell: str, rule: Any, groups: Sequence[Any]) -> None:
    """What ``eisbach burst steer`` must be told, as outputs of the stack (docs/burst.md)."""
    title = cell.title().replace("-", "")
    arns = {"Rule": rule.listener_rule_arn} | {
        what: share.target_group.target_group_arn for what, share in zip(("Base", "Spill"), groups, strict=True)
    }
    for what, arn in arns.items():
        cdk.CfnOutput(stack, f"{title}Burst{what}", value=arn)


def _tasks(stack: Any, network: Network, home: CellHome) -> Any:
    """The target group of a cell's containers."""
    return elb.ApplicationTargetGroup(
        stack,
        f"{home.cell.name.title().replace('-', '')}Tasks",
        vpc=network.vpc,
        port=PORT,
        protocol=elb.ApplicationProtocol.HTTP,
        targets=[home.service],
        deregistration_delay=cdk.Duration.seconds(30),
        health_check=elb.HealthCheck(
            path="/readyz",
            interval=cdk.Duration.seconds(10),
            timeout=cdk.Duration.seconds(2),
            healthy_threshold_count=2,
            unhealthy_threshold_count=2,
        ),
    )


def _shares(stack: Any, platform: Platform, network: Network, home: CellHome) -> list[Any]:
    """Target group of the tasks and of the function, with the weights at the start."""
    title = home.cell.name.title().replace("-", "")
    base = _tasks(stack, network, home)
    spill = elb.ApplicationTargetGroup(
        stack,
        f"{title}Functions",
        target_type=elb.TargetType.LAMBDA,
        targets=[targets.LambdaTarget(home.function.alias)],
    )
    share = platform.compute.spill_weight
    weights = (min(_WEIGHT_MAX, 1000 - share), min(_WEIGHT_MAX, share))
    return [
        elb.WeightedTargetGroup(target_group=group, weight=weight)
        for group, weight in zip((base, spill), weights, strict=True)
    ]


def add_http_api(stack: Any, platform: Platform, region: Region, cells: Sequence[CellHome]) -> Any:
    """``/{cell}/...`` to each cell's function; the routing function writes the cell into the path."""
    certificate = certificates.Certificate.from_certificate_arn(
        stack, "Certificate", platform.dns.regional_certificates[region.name]
    )
    name = http.DomainName(stack, "Name", domain_name=platform.dns.regional(region.name), certificate=certificate)
    api = http.HttpApi(
        stack,
        "Calls",
        api_name=f"{platform.name}-{region.name}",
        create_default_stage=False,
        disable_execute_api_endpoint=True,
    )
    for home in cells:
        api.add_routes(
            path=f"/{home.cell.name}/{{proxy+}}",
            integration=integrations.HttpLambdaIntegration(f"To-{home.cell.name}", home.function.alias),
        )
    group = logs.LogGroup(stack, "CallsLog", retention=logs.RetentionDays.TWO_WEEKS)
    stage = http.HttpStage(
        stack,
        "Live",
        http_api=api,
        stage_name="$default",
        auto_deploy=True,
        domain_mapping=http.DomainMappingOptions(domain_name=name),
        throttle=http.ThrottleSettings(rate_limit=_CALLS_A_SECOND, burst_limit=_CALLS_A_SECOND // 2),
    )
    stage.node.default_child.access_log_settings = http.CfnStage.AccessLogSettingsProperty(
        destination_arn=group.log_group_arn, format=_LOG_LINE
    )
    accept(api, "AwsSolutions-APIG4", "the cell judges tokens itself: it is the authority, a door is not")
    return name
