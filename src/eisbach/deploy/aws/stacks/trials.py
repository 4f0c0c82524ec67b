"""Fault-injection experiments for game days: what the laptop's ``eisbach fault`` does, as AWS FIS templates.

Each stops by itself after minutes, and at once when a cell's error alarm rings. The role may do what the experiments
do and nothing else. Nothing here starts an experiment.
"""

from collections.abc import Sequence
from typing import Any

from aws_cdk import aws_fis as fis
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs

from eisbach.deploy.aws.platform_file import Platform, Region
from eisbach.deploy.aws.stacks.cells import CellHome
from eisbach.deploy.aws.stacks.exceptions import accept

__all__ = ["add_trials"]


def add_trials(stack: Any, platform: Platform, region: Region, cells: Sequence[CellHome]) -> None:
    """A link that is cut, a cell whose tasks die."""
    role = iam.Role(stack, "TrialRole", assumed_by=iam.ServicePrincipal("fis.amazonaws.com"))
    group = logs.LogGroup(stack, "TrialLog", retention=logs.RetentionDays.ONE_MONTH)
    stops = [
        fis.CfnExperimentTemplate.ExperimentTemplateStopConditionProperty(
            source="aws:cloudwatch:alarm", value=home.function.errors.alarm_arn
        )
        for home in cells[:5]  # an experiment has five stop conditions at most
    ]
    log = fis.CfnExperimentTemplate.ExperimentTemplateLogConfigurationProperty(
        log_schema_version=2,
        cloud_watch_logs_configuration={
            "LogGroupArn": group.log_group_arn
        },  # declared as any: CloudFormation's own case
    )
    common = {"role_arn": role.role_arn, "stop_conditions": stops, "log_configuration": log}
    for home in cells:
        if platform.twins(region):
            _cut(stack, platform, home, common)
        if home.service is not None:
            _kill(stack, home, common)
    _allow(stack, platform, cells, role)
    accept(role, "AwsSolutions-IAM5[Resource::*]", "listing and tag look-ups have no resources; they change nothing")
    tasks = f"arn:<AWS::Partition>:ecs:{region.aws}:{platform.account}:task/{platform.name}/*"
    accept(role, f"AwsSolutions-IAM5[Resource::{tasks}]", "tasks have random ids: this platform's cluster only")
    group.grant_write(role)


def _cut(stack: Any, platform: Platform, home: CellHome, common: dict[str, Any]) -> None:
    """Replication of the cell's log stops for ten minutes: both regions go on alone, and converge afterwards."""
    t = fis.CfnExperimentTemplate
    log = stack.format_arn(service="dynamodb", resource="table", resource_name=platform.log_table(home.cell))
    t(
        stack,
        f"Cut-{home.cell.name}",
        description=f"cut the link of cell {home.cell.name}'s log",
        **common,
        tags={"Name": f"{platform.name}-cut-{home.cell.name}"},
        targets={
            "table": t.ExperimentTemplateTargetProperty(
                resource_type="aws:dynamodb:global-table", resource_arns=[log], selection_mode="ALL"
            )
        },
        actions={
            "cut": t.ExperimentTemplateActionProperty(
                action_id="aws:dynamodb:global-table-pause-replication",
                parameters={"duration": "PT10M"},
                targets={"Tables": "table"},
            )
        },
    )


def _kill(stack: Any, home: CellHome, common: dict[str, Any]) -> None:
    """Half of the cell's tasks end at once."""
    t = fis.CfnExperimentTemplate
    t(
        stack,
        f"Kill-{home.cell.name}",
        description=f"end half of the tasks of cell {home.cell.name}",
        **common,
        tags={"Name": f"kill-{home.cell.name}"},
        targets={
            "tasks": t.ExperimentTemplateTargetProperty(
                resource_type="aws:ecs:task",
                parameters={"cluster": home.service.cluster.cluster_name, "service": home.service.service_name},
                selection_mode="PERCENT(50)",
            )
        },
        actions={"kill": t.ExperimentTemplateActionProperty(action_id="aws:ecs:stop-task", targets={"Tasks": "tasks"})},
    )


def _allow(stack: Any, platform: Platform, cells: Sequence[CellHome], role: Any) -> None:
    logs_of = [
        stack.format_arn(service="dynamodb", resource="table", resource_name=platform.log_table(home.cell))
        for home in cells
    ]
    statements = [
        (["dynamodb:DescribeTable", "dynamodb:GetResourcePolicy", "dynamodb:PutResourcePolicy",
          "dynamodb:DeleteResourcePolicy"], logs_of),
        (["ecs:StopTask", "ecs:DescribeTasks"],
         [stack.format_arn(service="ecs", resource="task", resource_name=f"{platform.name}/*")]),
        (["ecs:ListTasks", "tag:GetResources", "dynamodb:ListTables"], ["*"]),
    ]  # fmt: skip
    for actions, resources in statements:
        role.add_to_policy(iam.PolicyStatement(actions=actions, resources=resources))
