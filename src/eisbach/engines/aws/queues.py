"""The hub's topic, and a queue with a dead-letter queue per subscription: names, policies, filters.

What is absent is made, with exactly what a deployment's templates make; what is there is used as it is.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from botocore.exceptions import ClientError

from eisbach.engines.aws.clients import AwsClients
from eisbach.engines.aws.errors import aws_errors, code_of
from eisbach.kernel.errors import Invalid
from eisbach.kernel.limits import OPLOG_KEPT

__all__ = ["RECEIVES_MAX", "VISIBLE_AGAIN_S", "Queues", "queue_name", "topic_name"]

VISIBLE_AGAIN_S: Final = 30
"""A killed reader's deliveries come again after this; a living one prolongs them."""
RECEIVES_MAX: Final = 100
"""Then an envelope goes to the dead-letter queue: it kills its readers. Failing events never come that far, the spoke's
own retry table has them. 1 to 1000."""
_DEAD_KEPT_S: Final = 14 * 86_400
_NAME_CHARS_MAX: Final = 80
"""SQS's bound on a queue's name."""
_PREFIX: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}", re.ASCII)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)


def topic_name(prefix: str) -> str:
    """The name of the hub's topic; ``prefix`` is the deployment's, e.g. ``eisbach``."""
    if _PREFIX.fullmatch(prefix) is None:
        raise Invalid(f"hub prefix {prefix[:80]!r} is not 1 to 31 of a-z, 0-9, '-'")
    return f"{prefix}-hub.fifo"


def queue_name(prefix: str, name: str, *, generation: int = 0, dead: bool = False) -> str:
    """The name of a subscription's queue; generation 0 is what a deployment makes.

    Raises:
        Invalid: it would not be a name for SQS.
    """
    topic_name(prefix)
    text = f"{prefix}-{name}{'-dead' if dead else f'-{generation}' if generation else ''}.fifo"
    if _NAME.fullmatch(name) is None or len(text) > _NAME_CHARS_MAX:
        raise Invalid(f"subscription {name[:80]!r} is not a-z, 0-9, '_', '-', or queue {text!r} has over 80 characters")
    return text


class Queues:
    """Of one hub."""

    def __init__(self, clients: AwsClients, prefix: str, *, receives_max: int = RECEIVES_MAX) -> None:
        if not 1 <= receives_max <= 1000:
            raise Invalid(f"an envelope is received {receives_max} times at most; use 1 to 1000")
        self._clients, self._prefix, self._receives_max = clients, prefix, receives_max
        self._topic = topic_name(prefix)
        self._topic_arn: str | None = None

    async def topic(self) -> str:
        """The topic's ARN; the topic is made when it is absent."""
        if self._topic_arn is None:
            attributes = {"FifoTopic": "true", "ContentBasedDeduplication": "false"}
            with aws_errors(f"make topic {self._topic}"):
                told = await self._clients.sns.create_topic(Name=self._topic, Attributes=attributes)
            self._topic_arn = told["TopicArn"]
        return self._topic_arn

    def forget_topic(self) -> None:
        """It was said to be absent: make it anew at the next use."""
        self._topic_arn = None

    async def find(self, name: str, generation: int) -> str | None:
        """The URL of a subscription's queue, None when there is none."""
        text = queue_name(self._prefix, name, generation=generation)
        with aws_errors(f"find queue {text}"):
            return await self._url(text)

    async def make(self, name: str, generation: int) -> str:
        """Make a subscription's queue, and its dead-letter queue when that is absent; the URL."""
        text = queue_name(self._prefix, name, generation=generation)
        with aws_errors(f"make queue {text}"):
            dead = await self._make(queue_name(self._prefix, name, dead=True), kept_s=_DEAD_KEPT_S)
            redrive = {"deadLetterTargetArn": await self._arn(dead), "maxReceiveCount": self._receives_max}
            topic = await self.topic()
            return await self._make(text, kept_s=int(OPLOG_KEPT.total_seconds()), redrive=redrive, topic=topic)

    async def subscribe(self, url: str, types: Sequence[str] | None) -> None:
        """Let the topic's envelopes into a queue: all, or those with an event of one of ``types``."""
        attributes = {"RawMessageDelivery": "true"}
        if types:
            attributes["FilterPolicy"] = json.dumps({"types": list(types)})
        with aws_errors("subscribe a queue to the hub's topic"):
            await self._clients.sns.subscribe(
                TopicArn=await self.topic(), Protocol="sqs", Endpoint=await self._arn(url), Attributes=attributes
            )

    async def drop(self, name: str, generation: int) -> None:
        """Delete a queue that nobody reads any more, and its place at the topic."""
        text = queue_name(self._prefix, name, generation=generation)
        sns = self._clients.sns
        with aws_errors(f"delete queue {text}"):
            url = await self._url(text)
            if url is None:
                return
            arn, pages = await self._arn(url), sns.get_paginator("list_subscriptions_by_topic")
            async for page in pages.paginate(TopicArn=await self.topic()):
                for found in page["Subscriptions"]:
                    if found["Endpoint"] == arn:
                        await sns.unsubscribe(SubscriptionArn=found["SubscriptionArn"])
            await self._clients.sqs.delete_queue(QueueUrl=url)

    async def _url(self, text: str) -> str | None:
        try:
            url: str = (await self._clients.sqs.get_queue_url(QueueName=text))["QueueUrl"]
        except ClientError as error:
            if code_of(error) not in ("QueueDoesNotExist", "NonExistentQueue"):
                raise
            return None
        return url

    async def _arn(self, url: str) -> str:
        told = await self._clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        arn: str = told["Attributes"]["QueueArn"]
        return arn

    async def _make(
        self, text: str, *, kept_s: int, redrive: dict[str, Any] | None = None, topic: str | None = None
    ) -> str:
        attributes = {
            "FifoQueue": "true",
            "DeduplicationScope": "messageGroup",
            "FifoThroughputLimit": "perMessageGroupId",
            "MessageRetentionPeriod": str(kept_s),
            "VisibilityTimeout": str(VISIBLE_AGAIN_S),
            "SqsManagedSseEnabled": "true",
        }
        if redrive is not None:
            attributes["RedrivePolicy"] = json.dumps(redrive)
        told = await self._clients.sqs.create_queue(QueueName=text, Attributes=attributes)
        url: str = told["QueueUrl"]
        if topic is not None:
            allow = {
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": await self._arn(url),
                "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
            }
            policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
            await self._clients.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        return url
