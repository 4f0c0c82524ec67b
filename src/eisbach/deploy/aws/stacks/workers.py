"""Media workers of a region: containers that lease jobs from the studio and work on the region's blobs.

A worker reads its studio's secret and the blobs; it reaches no table, topic or queue.
"""

from typing import Any

from eisbach.deploy.aws.documents import media_document
from eisbach.deploy.aws.stacks.cells import Around, CellHome, Task, make_task, run_tasks
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
    return run_tasks(stack, around, "media", task, count=compute.media_tasks)
