"""AWS Elemental MediaConvert as ``ports.converter.Converter``: jobs on the default queue, billed by the minute.

Never run on AWS, and no emulator has it: requests and answers are held to botocore's model of the service, and a
stand-in that encodes for real plays its part in tests. May not know: plans, blobs.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import ClientError

from eisbach.engines.aws.clients import AwsPlace
from eisbach.engines.aws.errors import aws_errors, code_of
from eisbach.ports.converter import Seen

__all__ = ["MediaConvert", "open_media_convert"]

_STATES: Final = {"SUBMITTED": "running", "PROGRESSING": "running", "COMPLETE": "done", "CANCELED": "gone"}
_ANSWER_S: Final = 10.0


@asynccontextmanager
async def open_media_convert(place: AwsPlace, *, role: str) -> AsyncIterator["MediaConvert"]:
    """For one region; ``role``: ARN of what MediaConvert reads and writes the bucket with."""
    config = AioConfig(
        retries={"total_max_attempts": place.tries, "mode": "standard"}, connect_timeout=1.0, read_timeout=_ANSWER_S
    )
    making = AioSession().create_client(
        "mediaconvert", region_name=place.region, endpoint_url=place.endpoint, config=config
    )
    async with making as client:
        yield MediaConvert(client, role=role)


class MediaConvert:
    """See ``Converter``."""

    def __init__(self, client: Any, *, role: str) -> None:
        self._client, self._role = client, role

    async def start(self, settings: Mapping[str, Any], *, token: str) -> str:
        """See ``Converter``."""
        with aws_errors("begin of an encoding", writes=True):
            told = await self._client.create_job(Role=self._role, Settings=settings, ClientRequestToken=token)
        job: str = told["Job"]["Id"]
        return job

    async def look(self, job: str) -> Seen:
        """See ``Converter``."""
        with aws_errors(f"look at encoding {job}"):
            try:
                told = (await self._client.get_job(Id=job))["Job"]
            except ClientError as error:
                if code_of(error) == "NotFoundException":  # 90 days later
                    return Seen("gone", 0.0, f"MediaConvert knows no job {job}")
                raise
        share = told.get("JobPercentComplete", 0) / 100
        state = _STATES.get(told["Status"], "failed")
        detail = f"job {job} is {told['Status']}: {told.get('ErrorCode', '')} {told.get('ErrorMessage', '')}".strip()
        return Seen(state, share, detail if state in ("failed", "gone") else "")

    async def cancel(self, job: str) -> None:
        """See ``Converter``."""
        with aws_errors(f"end of encoding {job}"):
            try:
                await self._client.cancel_job(Id=job)
            except ClientError as error:
                if code_of(error) not in ("ConflictException", "NotFoundException"):  # ended already
                    raise
