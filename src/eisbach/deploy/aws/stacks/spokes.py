"""Spokes as functions behind their queues; the relay behind the table's stream; archive and sweeps behind schedules.

A batch fails message by message; what fails stays in its queue, and after its last receive in its dead-letter queue.
Only the studio cell's table and the spoke's own queue are in a spoke's reach.
"""

from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from aws_cdk import aws_sqs as sqs

from eisbach.deploy.aws.documents import cell_document, claims_document, jobs_document, spoke_document
from eisbach.deploy.aws.stacks.cells import Around, CellHome, backups_of, grant_cell, grant_tables
from eisbach.deploy.aws.stacks.exceptions import accept
from eisbach.deploy.aws.stacks.functions import Function, Made, make_function
from eisbach.deploy.aws.stacks.hub import HANDLE_S, SpokeQueue
from eisbach.deploy.aws.stacks.media import grant_blobs

__all__ = ["add_archive", "add_claims", "add_jobs", "add_relay", "add_spoke", "add_sweep"]

_SPOKE_MEMORY_MB: Final = 512
_RELAY_MEMORY_MB: Final = 256
_INSTANCES_MAX: Final = 10
"""Of one spoke's function: sources are apart, so they do not meet; more would only wait for the studio."""
_ARCHIVE_MEMORY_MB: Final = 1024
"""A base of the whole cell is made in memory, once a day."""
_CLAIMS_MINUTES: Final = 60
"""Between two sweeps of payloads above 64 KiB; what waits for one of another region is brought here as often."""


def add_spoke(stack: Any, around: Around, queue: SpokeQueue, studio: CellHome) -> Made:
    """The function that handles one spoke's queue."""
    title = queue.spoke.title().replace("-", "")
    made = make_function(
        stack,
        Function(
            id=f"{title}Spoke",
            handler="eisbach.deploy.aws.handlers.spoke.handle",
            document=spoke_document(around.platform, around.region, queue.spoke),
            code=around.code,
            memory_mb=_SPOKE_MEMORY_MB,
            timeout_s=HANDLE_S,
        ),
    )
    mapping = lambda_.EventSourceMapping(
        stack,
        f"{title}Feed",
        target=made.alias,
        event_source_arn=queue.queue.queue_arn,
        batch_size=10,
        max_concurrency=_INSTANCES_MAX,
        report_batch_item_failures=True,
    )
    queue.queue.grant_consume_messages(made.role)
    made.role.add_to_principal_policy(
        iam.PolicyStatement(
            actions=["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem",
                     "dynamodb:Query", "dynamodb:ConditionCheckItem"],
            resources=[studio.state.table_arn],
            conditions={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [f"spoke/{queue.spoke}*"]}},
        )
    )  # fmt: skip
    made.role.add_to_principal_policy(
        iam.PolicyStatement(actions=["dynamodb:GetItem"], resources=[around.hub.table.table_arn])
    )
    studio.secret.grant_read(made.role)
    platform, region, claims = around.platform, around.region, ("claims/",)
    grant_blobs(stack, made.role, platform.bucket(region, "media"), read=claims, write=claims)
    for twin in platform.twins(region):
        grant_blobs(stack, made.role, platform.copies(region, of=twin), read=claims)
    accept(
        mapping,
        "Serverless-LambdaEventSourceMappingDestination",
        "SQS: the queue's own dead-letter queue is where it goes",
    )
    accept(made.function, "Serverless-LambdaDLQ", "called by its queue, never asynchronously")
    return made


def add_claims(stack: Any, around: Around, studio: CellHome) -> Made:
    """The function that brings and sweeps payloads above 64 KiB: the only one that may delete them."""
    platform, region, claims = around.platform, around.region, ("claims/",)
    spokes = [queue.spoke for queue in around.hub.queues]
    made = make_function(
        stack,
        Function(
            id="Claims",
            handler="eisbach.deploy.aws.handlers.claims.handle",
            document=claims_document(platform, region, spokes),
            code=around.code,
            memory_mb=_RELAY_MEMORY_MB,
            timeout_s=600,
            called_every_minutes=_CLAIMS_MINUTES,
        ),
    )
    made.role.add_to_principal_policy(
        iam.PolicyStatement(
            actions=["dynamodb:Query"],
            resources=[studio.state.table_arn],
            conditions={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [f"spoke/{spoke}" for spoke in spokes]}},
        )
    )
    grant_blobs(stack, made.role, platform.bucket(region, "media"), read=claims, write=claims, delete=claims)
    for twin in platform.twins(region):
        grant_blobs(stack, made.role, platform.copies(region, of=twin), read=claims)
    accept(made.function, "Serverless-LambdaDLQ", "what a schedule could not do is done by the next one, an hour later")
    add_sweep(stack, "Claims", made, minutes=_CLAIMS_MINUTES)
    return made


def add_jobs(stack: Any, around: Around, studio: CellHome) -> Made:
    """The function that begins media work anew which events, or a region that was left, have lost."""
    platform, region = around.platform, around.region
    made = make_function(
        stack,
        Function(
            id="Jobs",
            handler="eisbach.deploy.aws.handlers.jobs.handle",
            document=jobs_document(platform, region),
            code=around.code,
            memory_mb=_RELAY_MEMORY_MB,
            timeout_s=50,
            concurrency=1,
        ),
    )
    studio.secret.grant_read(made.role)
    read = (".digests/media/", ".digests/work/", "media/", "work/")
    grant_blobs(stack, made.role, platform.bucket(region, "media"), read=read)
    accept(made.function, "Serverless-LambdaDLQ", "what one call could not do is done by the next, a minute later")
    add_sweep(stack, "Jobs", made)
    return made


def add_archive(stack: Any, around: Around, home: CellHome) -> Made:
    """The function that seals the cell's log into the region's backups: one call at a time, and nobody else writes."""
    title, own = home.cell.name.title().replace("-", ""), backups_of(home.cell)
    made = make_function(
        stack,
        Function(
            id=f"{title}Archive",
            handler="eisbach.deploy.aws.handlers.archive.handle",
            document=cell_document(around.platform, around.region, home.cell),
            code=around.code,
            memory_mb=_ARCHIVE_MEMORY_MB,
            timeout_s=840,
            concurrency=1,
        ),
    )
    grant_tables(stack, around, home.cell, role=made.role, state=home.state)
    home.secret.grant_read(made.role)
    bucket = around.platform.bucket(around.region, "backups")
    grant_blobs(stack, made.role, bucket, read=own, write=own, delete=own)
    accept(made.function, "Serverless-LambdaDLQ", "what one call could not do is done by the next, a minute later")
    add_sweep(stack, f"{title}Archive", made)
    return made


def add_relay(stack: Any, around: Around, home: CellHome) -> Made:
    """The function that is nudged by the table's stream, and publishes what the cursor has not seen."""
    title = home.cell.name.title().replace("-", "")
    made = make_function(
        stack,
        Function(
            id=f"{title}Relay",
            handler="eisbach.deploy.aws.handlers.relay.handle",
            document=cell_document(around.platform, around.region, home.cell),
            code=around.code,
            memory_mb=_RELAY_MEMORY_MB,
            timeout_s=60,
        ),
    )
    lost = _last_queue(stack, f"{title}RelayLost", "it is where failed nudges go")
    lost.grant_send_messages(made.role)
    lambda_.CfnEventSourceMapping(
        stack,
        f"{title}RelayFeed",
        function_name=made.alias.function_arn,
        event_source_arn=home.state.table_stream_arn,
        starting_position="TRIM_HORIZON",
        batch_size=100,
        # A call reads the cell's head whatever it finds; beside a task, which relays by itself, it is a second chance.
        maximum_batching_window_in_seconds=1 if around.platform.compute.door == "http-api" else 5,
        parallelization_factor=1,
        bisect_batch_on_function_error=True,
        maximum_retry_attempts=10,
        function_response_types=["ReportBatchItemFailures"],
        destination_config=lambda_.CfnEventSourceMapping.DestinationConfigProperty(
            on_failure=lambda_.CfnEventSourceMapping.OnFailureProperty(destination=lost.queue_arn)
        ),
    )
    grant_cell(stack, around, home.cell, role=made.role, state=home.state)
    made.role.add_to_principal_policy(
        iam.PolicyStatement(
            actions=["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"],
            resources=[home.state.table_stream_arn],
        )
    )
    made.role.add_to_principal_policy(iam.PolicyStatement(actions=["dynamodb:ListStreams"], resources=["*"]))
    accept(made.role, "AwsSolutions-IAM5[Resource::*]", "dynamodb:ListStreams has no resources")
    accept(made.function, "Serverless-LambdaDLQ", "failed nudges go to the queue of the event source mapping")
    return made


def add_sweep(stack: Any, title: str, made: Made, *, minutes: int = 1) -> None:
    """Every minute: what a lost nudge left behind is published, what a spoke held back is tried again."""
    dead = _last_queue(stack, f"{title}SweepDead", "it is the dead-letter queue")
    scheduler.Schedule(
        stack,
        f"{title}Sweep",
        schedule=scheduler.ScheduleExpression.rate(cdk.Duration.minutes(minutes)),
        target=targets.LambdaInvoke(
            made.alias,
            dead_letter_queue=dead,
            retry_attempts=0,
            max_event_age=cdk.Duration.minutes(1),
            input=scheduler.ScheduleTargetInput.from_object({"sweep": True}),
        ),
    )


def _last_queue(stack: Any, name: str, reason: str) -> Any:
    """Where things end, behind which there is no other queue: ``reason`` says why."""
    queue = sqs.Queue(
        stack,
        name,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        retention_period=cdk.Duration.days(14),
    )
    accept(queue, "AwsSolutions-SQS3", reason)
    accept(queue, "Serverless-SQSRedrivePolicy", reason)
    return queue
