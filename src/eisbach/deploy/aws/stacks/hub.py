"""A region's hub: one topic, and for every spoke a queue of its own with a dead-letter queue behind it.

FIFO throughout: order within a slot (the message group), doubles within five minutes dropped, those after it by the
spoke's inbox. A queue is pruned by type at the subscription; a spoke that is down fills its own queue only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs

from eisbach.deploy.aws.platform_file import Platform
from eisbach.deploy.aws.stacks.data import EXPIRY, STATE_KEYS, billing, table_keys
from eisbach.deploy.aws.stacks.exceptions import accept

__all__ = ["Hub", "SpokeQueue", "add_hub"]

RECEIVES_MAX: Final = 100
"""Of a message before it is set aside: it kills its readers. Failing events never come that far (engines/aws)."""
HANDLE_S: Final = 60
"""A spoke's handler has this long; its queue hides a message six times as long (Lambda's advice)."""


@dataclass(frozen=True)
class SpokeQueue:
    """One spoke's."""

    spoke: str
    queue: Any
    dead: Any


@dataclass(frozen=True)
class Hub:
    """Topic and queues."""

    topic: Any
    table: Any
    """The log's memory: cursors of relays, envelopes of seven days."""
    queues: tuple[SpokeQueue, ...]


def add_hub(stack: Any, platform: Platform, spokes: dict[str, Sequence[str]]) -> Hub:
    """``spokes``: name -> event types; none: all."""
    given = "hub" in platform.given
    topic = (
        _given_topic(stack, platform)
        if given
        else sns.Topic(
            stack,
            "Hub",
            topic_name=platform.topic(),
            fifo=True,
            content_based_deduplication=False,  # the relay says the id: first and last op of the envelope
            fifo_throughput_scope=sns.FifoThroughputScope.MESSAGE_GROUP,
            enforce_ssl=True,
        )
    )
    table = dynamodb.TableV2(
        stack,
        "HubTable",
        table_name=platform.hub_table(),
        **table_keys(STATE_KEYS),
        billing=billing(platform.hub_capacity, most=10_000),
        time_to_live_attribute=EXPIRY,
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=True
        ),
        removal_policy=cdk.RemovalPolicy.RETAIN,  # lost, it is filled again from the op logs
    )
    queues = [
        _given_queue(stack, platform, name) if given else _queue(stack, platform, topic, name, types)
        for name, types in spokes.items()
    ]
    return Hub(topic=topic, table=table, queues=tuple(queues))


def _given_topic(stack: Any, platform: Platform) -> Any:
    arn = stack.format_arn(service="sns", resource=platform.topic())
    return sns.Topic.from_topic_arn(stack, "Hub", arn)


def _given_queue(stack: Any, platform: Platform, spoke: str) -> SpokeQueue:
    """Queue and dead-letter queue under their names, made by somebody else."""
    title = spoke.title().replace("-", "")
    queue, dead = (
        sqs.Queue.from_queue_attributes(
            stack,
            f"{title}{word}",
            queue_arn=stack.format_arn(service="sqs", resource=platform.queue(spoke, dead=word == "Dead")),
            fifo=True,
        )
        for word in ("Queue", "Dead")
    )
    return SpokeQueue(spoke, queue, dead)


def _queue(stack: Any, platform: Platform, topic: Any, spoke: str, types: Sequence[str]) -> SpokeQueue:
    made = _pair(stack, platform, spoke)
    wanted = {"types": sns.SubscriptionFilter.string_filter(allowlist=sorted(types))} if types else None
    topic.add_subscription(
        subscriptions.SqsSubscription(
            made.queue,
            raw_message_delivery=True,
            dead_letter_queue=made.dead,
            filter_policy=wanted,
        )
    )
    return made


def _pair(stack: Any, platform: Platform, name: str) -> SpokeQueue:
    """A queue and its dead-letter queue."""
    common: dict[str, Any] = {
        "fifo": True,
        "encryption": sqs.QueueEncryption.SQS_MANAGED,
        "enforce_ssl": True,
        "deduplication_scope": sqs.DeduplicationScope.MESSAGE_GROUP,
        "fifo_throughput_limit": sqs.FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
        "retention_period": cdk.Duration.days(14),
    }
    title = name.title().replace("-", "")
    dead = sqs.Queue(stack, f"{title}Dead", queue_name=platform.queue(name, dead=True), **common)
    accept(dead, "Serverless-SQSRedrivePolicy", "it is the dead-letter queue")
    queue = sqs.Queue(
        stack,
        f"{title}Queue",
        queue_name=platform.queue(name),
        visibility_timeout=cdk.Duration.seconds(6 * HANDLE_S),
        dead_letter_queue=sqs.DeadLetterQueue(queue=dead, max_receive_count=RECEIVES_MAX),
        **common,
    )
    return SpokeQueue(name, queue, dead)
