"""Functions, all made alike: ARM64, a version an alias ``live`` points to, its own log and role, a canary a release.

A new version gets a tenth of the calls for five minutes; an alarm in that time brings the old one back (CodeDeploy).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_codedeploy as codedeploy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs

from eisbach.deploy.aws.package import PYTHON
from eisbach.deploy.aws.stacks.exceptions import accept

__all__ = ["Function", "Made", "add_canary", "make_function"]

RUNTIME: Final = f"PYTHON_{PYTHON.replace('.', '_')}"
_DOCUMENT: Final = "PROCESS_DOCUMENT"


@dataclass(frozen=True, kw_only=True)
class Function:
    """What differs from one function to another."""

    id: str
    handler: str
    """``package.module.function``."""
    document: str
    """JSON that the handler reads strictly at its start."""
    code: Any
    memory_mb: int
    timeout_s: int
    concurrency: int | None = None
    """Reserved; None: what the account has left."""
    called_every_minutes: int = 1
    """At least; an alarm sees two of these."""


@dataclass(frozen=True)
class Made:
    """A function and what points to it."""

    function: Any
    alias: Any
    role: Any
    errors: Any
    """Alarm: the alias fails."""


def make_function(stack: Any, wanted: Function, *, environment: Mapping[str, str] = {}) -> Made:
    """Function, role, log group, version, alias, alarm."""
    group = logs.LogGroup(
        stack, f"{wanted.id}Log", retention=logs.RetentionDays.TWO_WEEKS, removal_policy=cdk.RemovalPolicy.DESTROY
    )
    role = iam.Role(stack, f"{wanted.id}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    group.grant_write(role)
    function = lambda_.Function(
        stack,
        wanted.id,
        runtime=getattr(lambda_.Runtime, RUNTIME),
        architecture=lambda_.Architecture.ARM_64,
        code=wanted.code,
        handler=wanted.handler,
        role=role,
        memory_size=wanted.memory_mb,
        timeout=cdk.Duration.seconds(wanted.timeout_s),
        reserved_concurrent_executions=wanted.concurrency,
        environment={_DOCUMENT: wanted.document, **environment},
        log_group=group,
        logging_format=lambda_.LoggingFormat.JSON,
        tracing=lambda_.Tracing.DISABLED,  # it would add a grant on everything; our own ids are in the log
    )
    accept(function, "Serverless-LambdaTracing", "traces cost more than the calls; request ids are logged")
    for rule in ("AwsSolutions-L1", "Serverless-LambdaLatestVersion"):
        accept(function, rule, "the newest whose interpreter compiles and runs the package in tests (ADR 0025)")
    alias = lambda_.Alias(stack, f"{wanted.id}Live", alias_name="live", version=function.current_version)
    errors = cloudwatch.Alarm(
        stack,
        f"{wanted.id}Errors",
        metric=alias.metric_errors(period=cdk.Duration.minutes(wanted.called_every_minutes)),
        threshold=1,
        evaluation_periods=2,
        datapoints_to_alarm=2,
        treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        alarm_description=f"{wanted.id}: calls fail for {2 * wanted.called_every_minutes} minutes",
    )
    return Made(function=function, alias=alias, role=role, errors=errors)


def add_canary(stack: Any, id_: str, made: Made, application: Any, alarms: Sequence[Any]) -> None:
    """Shift the alias a tenth at first; any of ``alarms`` shifts it back."""
    group = codedeploy.LambdaDeploymentGroup(
        stack,
        f"{id_}Canary",
        application=application,
        alias=made.alias,
        deployment_config=codedeploy.LambdaDeploymentConfig.CANARY_10_PERCENT_5_MINUTES,
        alarms=[made.errors, *alarms],
        auto_rollback=codedeploy.AutoRollbackConfig(
            failed_deployment=True, stopped_deployment=True, deployment_in_alarm=True
        ),
    )
    policy = "arn:<AWS::Partition>:iam::aws:policy/service-role/AWSCodeDeployRoleForLambdaLimited"
    accept(group, f"AwsSolutions-IAM4[Policy::{policy}]", "AWS's own, made for this: update an alias and read alarms")
