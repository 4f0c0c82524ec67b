"""Which engine a process's ``blobs`` names: a folder, or ``s3:REGION/BUCKET``, with ``+BUCKET`` for each of copies."""

from contextlib import AsyncExitStack
from pathlib import Path

from eisbach.bootstrap.cell_ground import aws_place
from eisbach.bootstrap.copied_blobs import CopiedBlobs
from eisbach.engines.embedded.blobs import FileBlobs
from eisbach.engines.embedded.disk import Disk
from eisbach.ports.blobs import Blobs

__all__ = ["in_bucket", "open_blobs"]


def in_bucket(place: str) -> bool:
    """Whether ``place`` names a bucket and no folder."""
    return place.startswith("s3:")


async def open_blobs(place: str, stack: AsyncExitStack, *, scratch: Path, disk: Disk) -> Blobs:
    """The blobs at ``place``, closed with ``stack``; copies of what is in a bucket go to ``scratch``.

    Raises:
        Invalid: ``s3:`` without region and bucket.
    """
    if not in_bucket(place):
        return FileBlobs(Path(place), disk=disk)
    from eisbach.engines.aws.blobs import S3Blobs
    from eisbach.engines.aws.clients import AwsPlace, open_clients

    region, buckets = aws_place(place, "s3")
    clients = await stack.enter_async_context(open_clients(AwsPlace(region=region), blobs=True))
    own, *copies = (S3Blobs(clients, bucket, scratch=scratch) for bucket in buckets.split("+"))
    return CopiedBlobs(own, copies) if copies else own
