"""The whole application: ground in every region, data once, a stack a region, the edge; in this order.

No stack exports anything: what one needs of another has a name from the platform file, so that each can be changed,
rolled back and deleted by itself.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_codedeploy as codedeploy
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_lambda as lambda_

from eisbach.deploy.aws.platform_file import Platform, Region
from eisbach.deploy.aws.stacks.cells import Around, CellHome, add_cell
from eisbach.deploy.aws.stacks.data import add_log_tables
from eisbach.deploy.aws.stacks.delivery import add_delivery
from eisbach.deploy.aws.stacks.doors import add_balancer, add_http_api
from eisbach.deploy.aws.stacks.edge import add_edge
from eisbach.deploy.aws.stacks.functions import add_canary
from eisbach.deploy.aws.stacks.ground import Ground, add_ground, ground_of
from eisbach.deploy.aws.stacks.hub import add_hub
from eisbach.deploy.aws.stacks.media import add_media
from eisbach.deploy.aws.stacks.network import Network, add_network
from eisbach.deploy.aws.stacks.records import add_accelerator, add_records, add_regional_name
from eisbach.deploy.aws.stacks.spokes import add_archive, add_claims, add_jobs, add_relay, add_spoke, add_sweep
from eisbach.deploy.aws.stacks.trials import add_trials
from eisbach.deploy.aws.stacks.watch import add_budget, add_dashboard, cell_alarms, failures_alarm, spoke_alarms
from eisbach.deploy.aws.stacks.workers import add_workers

__all__ = ["build"]

_FLAGS: Final = (
    "@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy",  # no access control list on the bucket of logs
    "@aws-cdk/aws-iam:minimizePolicies",
    "@aws-cdk/aws-ecs:disableExplicitDeploymentControllerForCircuitBreaker",
    "@aws-cdk/aws-lambda:recognizeLayerVersion",
    "@aws-cdk/aws-route53-patters:useCertificate",
)
"""Of the CDK's own behaviour, as a new application would have them."""


def build(platform: Platform, code: Path, spokes: Mapping[str, Sequence[str]], *, out: Path) -> Any:
    """The application; ``code`` is the folder or archive of the functions, ``spokes`` name -> event types."""
    context: dict[str, Any] = {
        f"availability-zones:account={platform.account}:region={region.aws}": list(region.zones)
        for region in platform.region  # else synthesis would ask the account
    }
    context |= dict.fromkeys(_FLAGS, True)
    app = cdk.App(outdir=str(out), context=context, analytics_reporting=False)
    cdk.Tags.of(app).add("platform", platform.name)
    grounds = []
    for region in platform.region:
        stack = _stack(app, platform, f"ground-{region.name}", region.aws)
        add_ground(stack, platform, region)
        grounds.append(stack)
    home = platform.region[0]
    data = None
    if "logs" not in platform.given:
        data = _stack(app, platform, "data", home.aws)
        add_log_tables(data, platform, home)
    edge = _stack(app, platform, "edge", "us-east-1")
    for region in platform.region:
        stack = _stack(app, platform, f"region-{region.name}", region.aws)
        for other in grounds:
            stack.add_stack_dependency(other)  # copies go to buckets that exist
        if data is not None:
            stack.add_stack_dependency(data)
        _region(stack, platform, region, (code, spokes))
        edge.add_stack_dependency(stack)
    distribution = add_edge(edge, platform)
    add_records(edge, platform, distribution, add_delivery(edge, platform))
    add_budget(edge, platform)
    if platform.dns.accelerator and platform.compute.door == "alb":
        add_accelerator(edge, platform)
    return app


def _stack(app: Any, platform: Platform, what: str, region: str) -> Any:
    return cdk.Stack(
        app,
        f"{platform.name}-{what}",
        env=cdk.Environment(account=platform.account, region=region),
        termination_protection=True,
        description=f"Eisbach {platform.name}: {what}",
    )


def _region(stack: Any, platform: Platform, region: Region, given: tuple[Path, Mapping[str, Sequence[str]]]) -> None:
    code, spokes = given
    ground = ground_of(stack, platform, region)
    hub = add_hub(stack, platform, dict(spokes))
    add_media(stack, platform, region, ground)
    network = add_network(stack, region) if platform.compute.door == "alb" else None
    around = Around(
        platform=platform,
        region=region,
        hub=hub,
        code=lambda_.Code.from_asset(str(code)),
        network=network,
        cluster=_cluster(stack, platform, network),
    )
    homes = [add_cell(stack, around, cell) for cell in platform.cells_of(region)]
    cells, studio = [one for one in homes if one.function], next(one for one in homes if one.cell.is_studio)
    canaries = codedeploy.LambdaApplication(stack, "Canaries", application_name=f"{platform.name}-{region.name}")
    for one in cells:
        add_canary(stack, one.cell.name.title(), one.function, canaries, cell_alarms(stack, one, ground.pager)[:-1])
        relay = add_relay(stack, around, one)
        add_sweep(stack, f"{one.cell.name.title()}Relay", relay)
        failures_alarm(add_archive(stack, around, one), ground.pager)
    if studio.service:
        add_workers(stack, around, studio)
        failures_alarm(add_jobs(stack, around, studio), ground.pager)
    for queue in hub.queues:
        made = add_spoke(stack, around, queue, studio)
        add_sweep(stack, f"{queue.spoke.title()}Spoke", made)
        spoke_alarms(stack, queue, made, ground.pager)
    failures_alarm(add_claims(stack, around, studio), ground.pager)
    target = _door(stack, platform, region, network, (cells, studio, ground))
    add_regional_name(stack, platform, region, target)
    add_dashboard(stack, platform, cells, hub.queues)
    add_trials(stack, platform, region, cells)


def _cluster(stack: Any, platform: Platform, network: Network | None) -> Any:
    if network is None:
        return None
    return ecs.Cluster(
        stack,
        "Cluster",
        cluster_name=platform.name,
        vpc=network.vpc,
        container_insights_v2=ecs.ContainerInsights.ENABLED,
    )


def _door(
    stack: Any,
    platform: Platform,
    region: Region,
    network: Network | None,
    given: tuple[Sequence[CellHome], CellHome, Ground],
) -> dict[str, str]:
    cells, studio, ground = given
    if network is None:
        name = add_http_api(stack, platform, region, cells)
        return {"dns": name.regional_domain_name, "zone": name.regional_hosted_zone_id}
    balancer = add_balancer(stack, platform, region, network, (cells, studio), logs_bucket=ground.logs)
    cdk.CfnOutput(stack, "BalancerArn", value=balancer.load_balancer_arn)
    return {
        "dns": f"dualstack.{balancer.load_balancer_dns_name}",
        "zone": balancer.load_balancer_canonical_hosted_zone_id,
    }
