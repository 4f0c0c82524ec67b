"""A region's network: tasks that nobody but the balancer reaches, and that reach others on 443 only.

A cell pulls its twin's log from the other region's name, so it needs a way out. It has an address of its own for it,
and a group that lets nothing in (docs/decisions/0014): a NAT would cost a fee a zone and a gigabyte, and be the same
way out. DynamoDB and S3 are reached by gateways, which cost nothing.
"""

from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs

from eisbach.deploy.aws.platform_file import Region
from eisbach.deploy.aws.stacks.exceptions import accept

__all__ = ["Network", "add_network"]

_RANGE: Final = "10.0.0.0/16"
_Rule = tuple[str, int, Any, str]
"""Protocol, port, address range or group, why."""
_NOTHING: Final = {
    "cidrIp": "255.255.255.255/32",
    "ipProtocol": "icmp",
    "fromPort": 252,
    "toPort": 86,
    "description": "nothing",
}
"""Without a rule CloudFormation allows all; the CDK says nothing in these words."""


@dataclass(frozen=True)
class Network:
    """Where tasks and the balancer are."""

    vpc: Any
    balancer_group: Any
    task_group: Any


def add_network(stack: Any, region: Region) -> Network:
    """A subnet a zone, gateways to the tables and buckets, and groups that say who reaches whom."""
    vpc = ec2.Vpc(
        stack,
        "Network",
        ip_addresses=ec2.IpAddresses.cidr(_RANGE),
        availability_zones=list(region.zones),
        nat_gateways=0,
        restrict_default_security_group=False,  # it would need a custom resource; nothing uses the default group
        subnet_configuration=[
            ec2.SubnetConfiguration(name="cells", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=22),
        ],
        gateway_endpoints={
            "DynamoDb": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.DYNAMODB),
            "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3),
        },
    )
    vpc.add_flow_log(
        "Flow",
        destination=ec2.FlowLogDestination.to_cloud_watch_logs(
            logs.LogGroup(stack, "FlowLog", retention=logs.RetentionDays.ONE_WEEK)
        ),
        traffic_type=ec2.FlowLogTrafficType.REJECT,
    )
    anyone, inside = "0.0.0.0/0", _RANGE
    balancer = _group(
        stack, "BalancerGroup", vpc, ([("tcp", 443, anyone, "viewers")], [("tcp", 8080, inside, "cells")])
    )
    accept(stack.node.find_child("BalancerGroup"), "AwsSolutions-EC23", "the balancer is the public door; 443 only")
    tasks = _group(
        stack, "TaskGroup", vpc,
        ([("tcp", 8080, balancer, "calls")], [("tcp", 443, anyone, "AWS, and the other regions")]),
    )  # fmt: skip
    return Network(vpc=vpc, balancer_group=balancer, task_group=tasks)


def _group(stack: Any, id_: str, vpc: Any, rules: tuple[list[_Rule], list[_Rule]]) -> Any:
    """A security group with its rules inside: rules of their own would make it depend on whoever it names.

    Imported again, because the CDK would add rules of its own to it for every target and endpoint.
    """
    ingress, egress = ([_rule(rule, index) for rule in side] for index, side in enumerate(rules))
    made = ec2.CfnSecurityGroup(
        stack,
        id_,
        group_description=id_,
        vpc_id=vpc.vpc_id,
        security_group_ingress=ingress,
        security_group_egress=egress or [_NOTHING],
    )
    return ec2.SecurityGroup.from_security_group_id(stack, f"{id_}Known", made.attr_group_id, mutable=False)


def _rule(rule: _Rule, side: int) -> dict[str, Any]:
    protocol, port, peer, why = rule
    where = (
        {"cidrIp": peer}
        if isinstance(peer, str)
        else {("sourceSecurityGroupId", "destinationSecurityGroupId")[side]: peer.security_group_id}
    )
    return {"ipProtocol": protocol, "fromPort": port, "toPort": port, "description": why, **where}
