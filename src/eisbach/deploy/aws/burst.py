"""Makes the burst controller's decisions true on AWS: weights of two target groups, desired count of a service.

Promises: what is already so is not set again; weights go before the count, so that units end only when calls have
left them; a metric that is missing is no load of zero: the reading fails, and what runs stays as it is. ``steer`` never
ends by a failure that may pass, and counts it.

Source: Elastic Load Balancing API, ``TargetGroupTuple``: weights are 0 to 999.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from eisbach.control.burst import WEIGHT_MAX, BurstPolicy, BurstState, Decision, Expected, Reading, decide
from eisbach.deploy.aws.errors import aws_errors
from eisbach.kernel.errors import Invalid, NotFound, Retryable, Unavailable
from eisbach.ports.clock import Clock

__all__ = ["AwsBurst", "Placement", "Steered", "open_burst", "steer"]

_ALB_WEIGHT_MAX: Final = 999
_PERIODS_BACK: Final = 3
"""A load that is older is none: nothing is changed by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Which resources the controller steers; all in one region."""

    region: str
    cluster: str
    service: str
    """ECS service of the base."""
    rule: str
    """ARN of the rule, or of the listener whose default action forwards."""
    base_group: str
    """ARN of the target group of the containers."""
    spill_group: str
    """ARN of the target group of the functions."""
    metric: Mapping[str, str] = field(default_factory=dict)
    """Dimensions of a metric of one's own. Empty: what the balancer counts for the two target groups, together: a
    balancer may carry other cells' calls, too, and what spills is load as well."""
    namespace: str = "AWS/ApplicationELB"
    name: str = "RequestCount"
    period_s: int = 60
    """60 for the balancer's own metrics; 10 for a metric of one's own in high resolution."""

    def __post_init__(self) -> None:
        """Refuse what CloudWatch does not have.

        Raises:
            Invalid: with the value.
        """
        self.dimensions()
        if self.period_s not in (10, 30) and (self.period_s < 60 or self.period_s % 60 or self.period_s > 3600):
            raise Invalid(f"burst placement: period_s is {self.period_s}; it must be 10, 30 or whole minutes to 3600")
        if self.base_group == self.spill_group:
            raise Invalid(f"burst placement: base and spill are the same target group {self.base_group!r}")

    def dimensions(self) -> list[Mapping[str, str]]:
        """Of each metric whose sum is the load.

        Raises:
            Invalid: no metric is said, and the ARNs do not tell one.
        """
        if self.metric:
            return [self.metric]
        balancer = re.search(r":listener(?:-rule)?/(app/[^/]+/[^/]+)/", self.rule)
        groups = [re.search(r":(targetgroup/[^/]+/[^/]+)$", arn) for arn in (self.base_group, self.spill_group)]
        for found, arn in zip((balancer, *groups), (self.rule, self.base_group, self.spill_group), strict=True):
            if found is None:
                raise Invalid(f"burst placement: {arn[:120]!r} is no ARN of a rule, listener or target group")
        return [{"LoadBalancer": balancer[1], "TargetGroup": found[1]} for found in groups if balancer and found]


@dataclass(frozen=True, slots=True)
class Steered:
    """One step: what was wanted, what had to be changed."""

    reading: Reading
    decision: Decision
    weights_set: bool
    count_set: bool


class AwsBurst:
    """Reads and writes the three resources of a placement."""

    def __init__(self, placement: Placement, *, elb: Any, ecs: Any, cloudwatch: Any) -> None:
        """Clients of aiobotocore (which ships no types) for the placement's region."""
        self._at, self._elb, self._ecs, self._cloudwatch = placement, elb, ecs, cloudwatch

    async def read(self, *, wall_ms: int, monotonic_ms: int) -> Reading:
        """Load of the newest whole period that there is, and the tasks that run: metrics come late.

        Raises:
            Unavailable: AWS does not answer, or has no data of that period.
            NotFound: the service is not there.
        """
        at = self._at
        end = datetime.fromtimestamp(wall_ms // 1000 // at.period_s * at.period_s, UTC)
        queries = [
            {
                "Id": f"calls{number}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": at.namespace,
                        "MetricName": at.name,
                        "Dimensions": [{"Name": k, "Value": v} for k, v in sorted(dimensions.items())],
                    },
                    "Period": at.period_s,
                    "Stat": "Sum",
                },
            }
            for number, dimensions in enumerate(at.dimensions())
        ]
        with aws_errors(f"read {at.namespace} {at.name}", region=at.region):
            answer = await self._cloudwatch.get_metric_data(
                MetricDataQueries=queries, StartTime=end - timedelta(seconds=_PERIODS_BACK * at.period_s), EndTime=end
            )
        sums: Counter[datetime] = Counter()
        for series in answer["MetricDataResults"]:
            sums.update(dict(zip(series["Timestamps"], series["Values"], strict=True)))
        if not sums:
            raise Unavailable(
                f"{at.namespace} {at.name} has no data for the {_PERIODS_BACK * at.period_s} s before {end:%H:%M:%S} "
                "UTC; nothing is changed"
            )
        rate = float(sums[max(sums)]) / at.period_s
        return Reading(at_s=monotonic_ms / 1000, rate=rate, units=int((await self._service())["runningCount"]))

    async def apply(self, reading: Reading, decision: Decision) -> Steered:
        """Set what differs: weights first, then the count.

        Raises:
            Unavailable, Denied, NotFound, Invalid: as ``aws_errors`` says; weights may be set and the count not.
        """
        wanted = self._weights(decision.spill)
        weights_set = await self._current_weights() != wanted
        if weights_set:
            await self._set_weights(wanted)
        desired = int((await self._service())["desiredCount"])
        if count_set := desired != decision.units:
            with aws_errors(f"set {self._at.service} to {decision.units} tasks", region=self._at.region):
                await self._ecs.update_service(
                    cluster=self._at.cluster, service=self._at.service, desiredCount=decision.units
                )
        return Steered(reading, decision, weights_set, count_set)

    def _weights(self, spill: int) -> dict[str, int]:
        shares = {self._at.base_group: WEIGHT_MAX - spill, self._at.spill_group: spill}
        return {arn: min(share, _ALB_WEIGHT_MAX) for arn, share in shares.items()}

    @property
    def _is_listener(self) -> bool:
        return ":listener/" in self._at.rule

    async def _current_weights(self) -> dict[str, int]:
        at = self._at
        with aws_errors(f"read the weights of {at.rule}", region=at.region):
            if self._is_listener:
                found = (await self._elb.describe_listeners(ListenerArns=[at.rule]))["Listeners"]
                actions = found[0]["DefaultActions"] if found else None
            else:
                found = (await self._elb.describe_rules(RuleArns=[at.rule]))["Rules"]
                actions = found[0]["Actions"] if found else None
        if actions is None:
            raise NotFound(f"{at.rule} is not in {at.region} of this account; is it another region or account?")
        groups = actions[-1].get("ForwardConfig", {}).get("TargetGroups", [])
        return {group["TargetGroupArn"]: int(group.get("Weight", 1)) for group in groups}

    async def _set_weights(self, wanted: Mapping[str, int]) -> None:
        at = self._at
        groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in wanted.items()]
        forward = [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]
        with aws_errors(f"set the weights of {at.rule}", region=at.region):
            if self._is_listener:
                await self._elb.modify_listener(ListenerArn=at.rule, DefaultActions=forward)
            else:
                await self._elb.modify_rule(RuleArn=at.rule, Actions=forward)

    async def _service(self) -> Mapping[str, Any]:
        at = self._at
        with aws_errors(f"look at service {at.service}", region=at.region):
            answer = await self._ecs.describe_services(cluster=at.cluster, services=[at.service])
        if not answer["services"]:
            raise NotFound(f"service {at.service} is not in cluster {at.cluster} of {at.region}; is it another region?")
        service: Mapping[str, Any] = answer["services"][0]
        return service


@asynccontextmanager
async def open_burst(placement: Placement, *, endpoint: str | None = None) -> AsyncIterator[AwsBurst]:
    """Clients for the placement's region with the credentials of the environment; ``endpoint`` for an emulator."""
    from contextlib import AsyncExitStack

    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    config = AioConfig(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "max_attempts": 3})
    async with AsyncExitStack() as stack:
        clients = []
        for name in ("elbv2", "ecs", "cloudwatch"):
            with aws_errors(f"open {name} in {placement.region}", region=placement.region):
                opening = get_session().create_client(
                    name, region_name=placement.region, endpoint_url=endpoint, config=config
                )
                clients.append(await stack.enter_async_context(opening))
        yield AwsBurst(placement, elb=clients[0], ecs=clients[1], cloudwatch=clients[2])


async def steer(
    burst: AwsBurst, policy: BurstPolicy, *, clock: Clock, every_s: float, expected: Sequence[Expected] = ()
) -> AsyncIterator[Steered | Retryable]:
    """Read, decide, apply, wait; for ever. Yields each step, or what kept it from being made.

    ``expected`` is in seconds of the clock's monotonic time.

    Raises:
        Rejected: what does not pass by waiting: a missing permission, a resource that is not there.
    """
    state = BurstState()
    while True:
        try:
            reading = await burst.read(wall_ms=clock.wall_ms(), monotonic_ms=clock.monotonic_ms())
            decision = decide(policy, state, reading, expected)
            made = await burst.apply(reading, decision)
            state = decision.state
            yield made
        except Retryable as error:
            yield error
        await clock.sleep(every_s)
