"""What a region needs before its cells: buckets for media, backups and logs, the topic for alarms, the control table.

Media are copied between regions by rules that never meet: each region writes ``media`` and receives the other's in
``copies-of-OTHER``. So no object is written by two regions, and no rule waits for a bucket that waits for the rule.
"""

from dataclasses import dataclass
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions

from eisbach.deploy.aws.platform_file import Platform, Region
from eisbach.deploy.aws.stacks.data import STATE_KEYS, table_keys
from eisbach.deploy.aws.stacks.exceptions import accept

__all__ = ["Ground", "add_ground", "copies_name", "ground_of", "media_bucket"]


@dataclass(frozen=True)
class Ground:
    """What the region's stack refers to, by name: nothing is exported."""

    logs: Any
    pager: Any


def ground_of(stack: Any, platform: Platform, region: Region) -> Ground:
    """The ground as another stack of the same region knows it."""
    arn = f"arn:{stack.partition}:sns:{region.aws}:{platform.account}:{platform.name}-pager"
    return Ground(
        logs=s3.Bucket.from_bucket_name(stack, "GroundLogs", platform.bucket(region, "logs")),
        pager=sns.Topic.from_topic_arn(stack, "GroundPager", arn),
    )


def copies_name(platform: Platform, at: Region, of: Region) -> str:
    """The bucket in ``at`` that holds the media of ``of``."""
    return platform.copies(at, of=of)


def add_ground(stack: Any, platform: Platform, region: Region) -> None:
    """Buckets, pager and control table of one region."""
    logs = s3.Bucket(
        stack,
        "Logs",
        bucket_name=platform.bucket(region, "logs"),
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.S3_MANAGED,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_PREFERRED,  # access logs of CDN and balancer need it
        enforce_ssl=True,
        lifecycle_rules=[s3.LifecycleRule(expiration=cdk.Duration.days(30))],
        removal_policy=cdk.RemovalPolicy.RETAIN,
    )
    for writer in ("logging.s3", "logdelivery.elasticloadbalancing"):
        logs.add_to_resource_policy(
            iam.PolicyStatement(
                actions=["s3:PutObject"],
                principals=[iam.ServicePrincipal(f"{writer}.amazonaws.com")],
                resources=[logs.arn_for_objects("*")],
                conditions={"StringEquals": {"aws:SourceAccount": stack.account}},
            )
        )
    for of in platform.twins(region):
        media_bucket(stack, f"Copies-{of.name}", copies_name(platform, region, of), logs)
    _backups_bucket(stack, platform.bucket(region, "backups"), logs)
    pager = sns.Topic(stack, "Pager", topic_name=f"{platform.name}-pager", enforce_ssl=True)
    pager.add_subscription(subscriptions.EmailSubscription(platform.watch.mail))
    accept(pager, "Serverless-SNSRedrivePolicy", "mail to people; AWS retries, and the alarm itself stays visible")
    dynamodb.TableV2(
        stack,
        "Control",
        table_name=f"{platform.name}-control",
        **table_keys(STATE_KEYS),
        billing=dynamodb.Billing.on_demand(max_write_request_units=1_000),
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=True
        ),
        deletion_protection=True,
        removal_policy=cdk.RemovalPolicy.RETAIN,
    )


def _backups_bucket(stack: Any, name: str, logs: Any) -> None:
    """A region's backups. No versions and no copies: an old book of keys would keep erased accounts readable."""
    s3.Bucket(
        stack,
        "Backups",
        bucket_name=name,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.S3_MANAGED,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        server_access_logs_bucket=logs,
        server_access_logs_prefix="s3/backups/",
        lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=cdk.Duration.days(1))],
        removal_policy=cdk.RemovalPolicy.RETAIN,
    )


def media_bucket(stack: Any, id_: str, name: str, logs: Any) -> Any:
    """A region's blobs: versioned for replication, old versions gone after a week; the CDN reads media only."""
    bucket = s3.Bucket(
        stack,
        id_,
        bucket_name=name,
        versioned=True,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.S3_MANAGED,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        server_access_logs_bucket=logs,
        server_access_logs_prefix=f"s3/{id_.lower()}/",
        lifecycle_rules=[
            s3.LifecycleRule(
                noncurrent_version_expiration=cdk.Duration.days(7),
                expired_object_delete_marker=True,  # else each that was swept stays a name to list, for ever
                abort_incomplete_multipart_upload_after=cdk.Duration.days(1),
            )
        ],
        removal_policy=cdk.RemovalPolicy.RETAIN,
    )
    bucket.add_to_resource_policy(
        iam.PolicyStatement(
            actions=["s3:GetObject"],
            principals=[iam.ServicePrincipal("cloudfront.amazonaws.com")],
            resources=[bucket.arn_for_objects("media/*")],
            conditions={"StringEquals": {"aws:SourceAccount": stack.account}},  # the distribution's id is random
        )
    )
    # Else S3 answers 403 for what is not there, and players give up at once on a 403. The CDN's function lets no path
    # through that would list anything.
    bucket.add_to_resource_policy(
        iam.PolicyStatement(
            actions=["s3:ListBucket"],
            principals=[iam.ServicePrincipal("cloudfront.amazonaws.com")],
            resources=[bucket.bucket_arn],
            conditions={"StringEquals": {"aws:SourceAccount": stack.account}},
        )
    )
    return bucket
