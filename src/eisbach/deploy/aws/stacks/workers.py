"""Media workers of a region: containers that lease jobs from the studio and work on the region's blobs.

A worker reads its studio's secret and the blobs; it reaches no table, topic or queue.
"""

from typing import Any

from aws_cdk import aws_iam as iam

from eisbach.deploy.aws.documents import media_document
from eisbach.deploy.aws.stacks.cells import Around, CellHome, Task, grant_sources, make_task, run_tasks
from eisbach.deploy.aws.stacks.exceptions import accept
from eisbach.deploy.aws.stacks.media import grant_blobs

__all__ = ["add_workers"]


def add_workers(stack: Any, around: Around, studio: CellHome) -> Any:
    """The service; one job a task at a time."""
    platform, region = around.platform, around.region
    compute = platform.compute
    task = make_task(
        stack,
        around,
        Task(
            name="media",
            module="media",
            document=media_document(platform, region),
            vcpu=compute.media_vcpu,
            gb=compute.media_gb,
            disk_gb=compute.media_disk_gb,
        ),
    )
    studio.secret.grant_read(task.task_role)
    made = ("media/", "work/", ".digests/media/", ".digests/work/")
    grant_blobs(
        stack, task.task_role, platform.bucket(region, "media"),
        read=("uploads/", ".digests/uploads/", *made), write=made, delete=("work/", ".digests/work/"),
    )  # fmt: skip
    grant_sources(stack, around, task.task_role)
    if platform.convert_role(region):
        _grant_convert(stack, around, task.task_role)
    return run_tasks(stack, around, "media", task, count=compute.media_tasks)


def _grant_convert(stack: Any, around: Around, worker: Any) -> None:
    """MediaConvert's own role: reads uploads, writes pictures in work; and what a worker may ask of the service."""
    platform, region = around.platform, around.region
    arn = platform.convert_role(region)
    role = iam.Role(
        stack,
        "MediaConvert",
        role_name=arn.rpartition("/")[2],
        assumed_by=iam.ServicePrincipal(
            "mediaconvert.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": platform.account}}
        ),
    )
    grant_blobs(stack, role, platform.bucket(region, "media"), read=("uploads/",), write=("work/",))
    worker.add_to_principal_policy(
        iam.PolicyStatement(
            actions=["iam:PassRole"],
            resources=[arn],
            conditions={"StringEquals": {"iam:PassedToService": "mediaconvert.amazonaws.com"}},
        )
    )
    base = f"arn:{stack.partition}:mediaconvert:{region.aws}:{platform.account}"
    worker.add_to_principal_policy(
        iam.PolicyStatement(actions=["mediaconvert:CreateJob"], resources=[f"{base}:queues/Default", f"{base}:jobs/*"])
    )
    worker.add_to_principal_policy(
        iam.PolicyStatement(actions=["mediaconvert:GetJob", "mediaconvert:CancelJob"], resources=[f"{base}:jobs/*"])
    )
    wildcard = f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:mediaconvert:{region.aws}:{platform.account}:jobs/*]"
    accept(worker, wildcard, "a job's id is made by the service; the account has no other use for its default queue")
