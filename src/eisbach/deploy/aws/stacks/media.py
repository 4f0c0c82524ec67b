"""A region's own blobs: written here, copied to the twins' buckets within 15 minutes (S3 RTC), judged by its metric.

Media, uploads and claims are copied; chunks in work are not: they are of no use elsewhere, and gone within the hour.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any, Final

from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3

from eisbach.deploy.aws.platform_file import Platform, Region
from eisbach.deploy.aws.stacks.exceptions import accept
from eisbach.deploy.aws.stacks.ground import Ground, copies_name, media_bucket

__all__ = ["add_media", "grant_blobs"]

COPIED: Final = ("media/", "uploads/", "claims/", ".digests/")
_ACTIONS: Final = {
    "read": ["s3:GetObject"],
    "write": ["s3:PutObject", "s3:AbortMultipartUpload"],
    "delete": ["s3:DeleteObject"],
}


def grant_blobs(stack: Any, role: Any, bucket: str, **given: Sequence[str]) -> None:
    """Let a role ``read``, ``write`` and ``delete`` what begins so in a bucket, and ask which keys there are."""
    arn = f"arn:{stack.partition}:s3:::{bucket}"
    role.add_to_principal_policy(iam.PolicyStatement(actions=["s3:ListBucket"], resources=[arn]))
    for what, prefixes in given.items():
        resources = [f"{arn}/{prefix}*" for prefix in prefixes]
        role.add_to_principal_policy(iam.PolicyStatement(actions=_ACTIONS[what], resources=resources))
    for prefix in sorted({prefix for prefixes in given.values() for prefix in prefixes}):
        wildcard = f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:s3:::{bucket}/{prefix}*]"
        accept(role, wildcard, "a blob's key is made when it is stored; what it begins with says whose it is")


def add_media(stack: Any, platform: Platform, region: Region, ground: Ground) -> Any:
    """The bucket, and the rule and role that copy it."""
    bucket = media_bucket(stack, "Media", platform.bucket(region, "media"), ground.logs)
    twins = platform.twins(region)
    if not twins:
        return bucket
    role = iam.Role(stack, "MediaCopier", assumed_by=iam.ServicePrincipal("s3.amazonaws.com"))
    targets = [f"arn:{stack.partition}:s3:::{copies_name(platform, twin, region)}" for twin in twins]
    bucket_arn = f"arn:{stack.partition}:s3:::{platform.bucket(region, 'media')}"
    for actions, resources in (
        (["s3:GetReplicationConfiguration", "s3:ListBucket"], [bucket_arn]),
        (
            ["s3:GetObjectVersionForReplication", "s3:GetObjectVersionAcl", "s3:GetObjectVersionTagging"],
            [f"{bucket_arn}/*"],
        ),
        (["s3:ReplicateObject", "s3:ReplicateDelete", "s3:ReplicateTags"], [f"{target}/*" for target in targets]),
    ):
        role.add_to_policy(iam.PolicyStatement(actions=actions, resources=resources))
    for name in (platform.bucket(region, "media"), *(copies_name(platform, twin, region) for twin in twins)):
        wildcard = f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:s3:::{name}/*]"
        accept(role, wildcard, "replication reads every object of this bucket and writes every copy of it")
    resource = bucket.node.default_child
    resource.replication_configuration = s3.CfnBucket.ReplicationConfigurationProperty(
        role=role.role_arn,
        rules=[_rule(n, target, prefix) for n, (target, prefix) in enumerate(product(targets, COPIED))],
    )
    return bucket


def _rule(number: int, target: str, prefix: str) -> Any:
    minutes = s3.CfnBucket.ReplicationTimeValueProperty(minutes=15)
    return s3.CfnBucket.ReplicationRuleProperty(
        id=f"twin-{number}",
        status="Enabled",
        priority=number,
        filter=s3.CfnBucket.ReplicationRuleFilterProperty(prefix=prefix),
        delete_marker_replication=s3.CfnBucket.DeleteMarkerReplicationProperty(status="Enabled"),
        destination=s3.CfnBucket.ReplicationDestinationProperty(
            bucket=target,
            replication_time=s3.CfnBucket.ReplicationTimeProperty(status="Enabled", time=minutes),
            metrics=s3.CfnBucket.MetricsProperty(status="Enabled", event_threshold=minutes),
        ),
    )
