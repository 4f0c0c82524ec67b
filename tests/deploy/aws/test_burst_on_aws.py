"""Decisions made true: weights and counts are read back from a control plane that keeps them (moto, over HTTP)."""

import asyncio
import dataclasses
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiobotocore.session import get_session
from typer.testing import CliRunner

from eisbach.cli.app import application
from eisbach.control.burst import BurstPolicy, BurstState, Decision, Reading, decide
from eisbach.deploy.aws.burst import AwsBurst, Placement, Steered, open_burst, steer
from eisbach.deploy.aws.burst_file import expected_of, load_burst_file
from eisbach.kernel.errors import Invalid, NotFound, Unavailable
from eisbach.testing.manual_clock import ManualClock

ROOT = Path(__file__).parents[3]
REGION = "eu-central-1"
POLICY = BurstPolicy(unit_rate=100, unit_price_hour=0.036, spill_price_call=1e-6, spill_rate_max=5_000, units_max=40)


class Ground:
    """A balancer with two target groups and a service of two tasks, made over the same API."""

    def __init__(self, clients: dict[str, Any]) -> None:
        self.c = clients

    async def build(self) -> Placement:
        vpc = (await self.c["ec2"].create_vpc(CidrBlock="10.0.0.0/16"))["Vpc"]["VpcId"]
        subnets = [
            (await self.c["ec2"].create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{REGION}{z}"))
            for n, z in enumerate("ab")
        ]
        ids = [s["Subnet"]["SubnetId"] for s in subnets]
        elb = self.c["elbv2"]
        lb = (await elb.create_load_balancer(Name="cell", Subnets=ids))["LoadBalancers"][0]["LoadBalancerArn"]
        groups = [
            (await elb.create_target_group(Name=n, Protocol="HTTP", Port=80, VpcId=vpc, TargetType=t))["TargetGroups"][
                0
            ]
            for n, t in (("base", "ip"), ("spill", "ip"))
        ]
        base, spill = (g["TargetGroupArn"] for g in groups)
        listener = await elb.create_listener(
            LoadBalancerArn=lb,
            Protocol="HTTP",
            Port=80,
            DefaultActions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": base, "Weight": 999}, {"TargetGroupArn": spill, "Weight": 0}]}}],
        )  # fmt: skip
        await self.c["ecs"].create_cluster(clusterName="cell")
        await self.c["ecs"].register_task_definition(
            family="cell", containerDefinitions=[{"name": "cell", "image": "cell", "memory": 1024}]
        )
        await self.c["ecs"].create_service(cluster="cell", serviceName="base", taskDefinition="cell", desiredCount=2)
        return Placement(
            region=REGION, cluster="cell", service="base", rule=listener["Listeners"][0]["ListenerArn"],
            base_group=base, spill_group=spill, metric={"Cell": "c1"}, namespace="Eisbach", name="Calls", period_s=60,
        )  # fmt: skip

    async def weights(self, at: Placement) -> tuple[int, int]:
        found = await self.c["elbv2"].describe_listeners(ListenerArns=[at.rule])
        groups = found["Listeners"][0]["DefaultActions"][0]["ForwardConfig"]["TargetGroups"]
        by = {g["TargetGroupArn"]: g["Weight"] for g in groups}
        return by[at.base_group], by[at.spill_group]

    async def desired(self) -> int:
        found = await self.c["ecs"].describe_services(cluster="cell", services=["base"])
        return int(found["services"][0]["desiredCount"])

    async def calls(self, count: float, at_s: float, **of: str) -> None:
        dimensions = [{"Name": name, "Value": value} for name, value in sorted((of or {"Cell": "c1"}).items())]
        await self.c["cloudwatch"].put_metric_data(
            Namespace="Eisbach",
            MetricData=[{"MetricName": "Calls", "Dimensions": dimensions, "Timestamp": datetime.fromtimestamp(at_s, UTC), "Value": count}],
        )  # fmt: skip


@pytest_asyncio.fixture
async def ground(moto: str) -> AsyncIterator[Ground]:
    async with AsyncExitStack() as stack:
        yield Ground(
            {
                name: await stack.enter_async_context(
                    get_session().create_client(name, region_name=REGION, endpoint_url=moto)
                )
                for name in ("ec2", "elbv2", "ecs", "cloudwatch")
            }
        )


def decision(units: int, spill: int) -> Decision:
    return Decision(units=units, spill=spill, why="test", state=BurstState())


READING = Reading(at_s=1.0, rate=10.0, units=2)


async def test_a_decision_is_read_back_as_weights_and_count(ground: Ground, moto: str) -> None:
    at = await ground.build()
    async with open_burst(at, endpoint=moto) as burst:
        made = await burst.apply(READING, decision(7, 250))

    assert (made.weights_set, made.count_set) == (True, True)
    assert await ground.weights(at) == (750, 250)
    assert await ground.desired() == 7


async def test_what_is_already_so_is_not_set_again(ground: Ground, moto: str) -> None:
    """Each setting is a call of a control plane with a quota."""
    at = await ground.build()
    async with open_burst(at, endpoint=moto) as burst:
        await burst.apply(READING, decision(7, 250))
        again = await burst.apply(READING, decision(7, 250))

    assert (again.weights_set, again.count_set) == (False, False)


@pytest.mark.parametrize(("spill", "weights"), [(0, (999, 0)), (1000, (0, 999)), (1, (999, 1))])
async def test_a_whole_share_fits_the_balancers_weights(
    ground: Ground, moto: str, spill: int, weights: tuple[int, int]
) -> None:
    at = await ground.build()
    async with open_burst(at, endpoint=moto) as burst:
        await burst.apply(READING, decision(2, 500))
        await burst.apply(READING, decision(2, spill))

    assert await ground.weights(at) == weights


async def test_weights_leave_before_units_end(ground: Ground, moto: str) -> None:
    """The count fails; calls have already been taken from the units that were to end."""
    at = await ground.build()
    gone = Placement(**{**{f: getattr(at, f) for f in at.__dataclass_fields__}, "service": "gone"})
    async with open_burst(gone, endpoint=moto) as burst:
        with pytest.raises(NotFound, match="service gone is not in cluster cell of eu-central-1"):
            await burst.apply(READING, decision(1, 600))

    assert await ground.weights(at) == (400, 600)


async def test_the_load_of_the_last_whole_period_is_read(ground: Ground, moto: str) -> None:
    at = await ground.build()
    await ground.calls(18_000, 1_800_000_010)
    async with open_burst(at, endpoint=moto) as burst:
        reading = await burst.read(wall_ms=1_800_000_065_000, monotonic_ms=5_000)

    assert (reading.rate, reading.at_s) == (300.0, 5.0)


async def test_the_load_of_a_cell_is_that_of_its_two_target_groups_and_not_of_the_whole_balancer(
    ground: Ground, moto: str
) -> None:
    at = dataclasses.replace(await ground.build(), metric={})
    balancer = at.rule.split(":listener/")[1].rpartition("/")[0]
    base, spill = (arn.rpartition(":")[2] for arn in (at.base_group, at.spill_group))
    await ground.calls(12_000, 1_800_000_010, LoadBalancer=balancer, TargetGroup=base)
    await ground.calls(6_000, 1_800_000_010, LoadBalancer=balancer, TargetGroup=spill)
    await ground.calls(90_000, 1_800_000_010, LoadBalancer=balancer, TargetGroup="targetgroup/another-cell/1")
    await ground.calls(99_000, 1_800_000_010, LoadBalancer=balancer)
    async with open_burst(at, endpoint=moto) as burst:
        reading = await burst.read(wall_ms=1_800_000_065_000, monotonic_ms=5_000)

    assert reading.rate == 300.0


async def test_a_metric_that_comes_a_period_late_is_read_and_the_newest_counts(ground: Ground, moto: str) -> None:
    """As the balancer's do: at the minute's end its metric is not there yet."""
    at = await ground.build()
    await ground.calls(99_000, 1_800_000_010 - 60)
    await ground.calls(18_000, 1_800_000_010)
    async with open_burst(at, endpoint=moto) as burst:
        reading = await burst.read(wall_ms=1_800_000_125_000, monotonic_ms=5_000)
        with pytest.raises(Unavailable, match="no data for the 180 s before"):
            await burst.read(wall_ms=1_800_000_245_000, monotonic_ms=5_000)

    assert reading.rate == 300.0


def test_arns_that_tell_no_metric_are_refused() -> None:
    words = dict.fromkeys(("cluster", "service"), "c")
    rule, group = "arn:aws:elasticloadbalancing:x:1:listener-rule/app/a/b/c/d", "arn:aws:x:1:targetgroup/a/1"

    with pytest.raises(Invalid, match="'spill' is no ARN"):
        Placement(region=REGION, rule=rule, base_group=group, spill_group="spill", **words)


async def test_no_data_is_not_a_load_of_zero(ground: Ground, moto: str) -> None:
    at = await ground.build()
    async with open_burst(at, endpoint=moto) as burst:
        with pytest.raises(Unavailable, match=r"Eisbach Calls has no data for the 180 s before .* nothing is changed"):
            await burst.read(wall_ms=1_800_000_065_000, monotonic_ms=5_000)


async def test_steering_holds_while_the_metric_is_away_and_goes_on_when_it_is_back(ground: Ground, moto: str) -> None:
    at, clock = await ground.build(), ManualClock()
    start_s = clock.wall_ms() / 1000
    await ground.calls(60_000, start_s - 30 - 120)  # 1,000 calls a second, seen late; then none is new, then again
    await ground.calls(60_000, start_s + 90)
    seen: list[object] = []
    async with open_burst(at, endpoint=moto) as burst:
        steps = steer(burst, POLICY, clock=clock, every_s=60)
        seen.append(await anext(steps))
        for _ in range(2):
            following = asyncio.ensure_future(anext(steps))
            await clock.advance(60)
            seen.append(await following)
        await steps.aclose()

    assert isinstance(seen[0], Steered)
    assert isinstance(seen[1], Unavailable)
    assert isinstance(seen[2], Steered)
    assert await ground.weights(at) == (1000 - seen[2].decision.spill, seen[2].decision.spill)
    assert seen[2].decision.spill > 0


async def test_one_step_of_the_command_moves_what_the_controller_decided(
    ground: Ground, moto: str, tmp_path: Path
) -> None:
    at = await ground.build()
    import time

    for back in (30, 60, 90, 120):
        await ground.calls(60_000, time.time() - back)
    file = tmp_path / "burst.toml"
    file.write_text(
        f'[placement]\nregion = "{REGION}"\ncluster = "cell"\nservice = "base"\nrule = "{at.rule}"\n'
        f'base_group = "{at.base_group}"\nspill_group = "{at.spill_group}"\nmetric = {{ Cell = "c1" }}\n'
        'namespace = "Eisbach"\nname = "Calls"\n[handler]\ncpu_ms = 4\n'
    )
    words = ["burst", "steer", str(file), "--once", "--json", "--endpoint", moto]
    done = await asyncio.to_thread(CliRunner().invoke, application(), words)

    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    assert await ground.weights(at) == (min(999, 1000 - said["spill_thousandths"]), min(999, said["spill_thousandths"]))
    assert said["spill_thousandths"] > 0
    assert await ground.desired() == said["units"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[placement]\nregion='x'\n", "cluster"),
        ("speed = 1\n", "speed"),
        ("not toml", "Expected '='"),
    ],
)
def test_a_wrong_file_is_refused_with_its_key(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "b.toml"
    file.write_text(text)

    with pytest.raises(Invalid, match=re.escape(says)):
        load_burst_file(file)


def test_a_booking_at_a_wall_time_brings_units_a_boot_time_before(tmp_path: Path) -> None:
    file = tmp_path / "b.toml"
    file.write_text(
        '[placement]\nregion="eu-central-1"\ncluster="c"\nservice="s"\nrule="r"\nbase_group="a"\nspill_group="b"\n'
        'metric={LoadBalancer="app/x/1"}\n[[bookings]]\nbegins=2027-01-15T20:45:00+01:00\n'
        "ends=2027-01-15T23:00:00+01:00\nrate=1800\n"
    )
    wall = int(datetime(2027, 1, 15, 19, 44, 0, tzinfo=UTC).timestamp() * 1000)
    expected = expected_of(load_burst_file(file), wall_ms=wall, monotonic_ms=7_000)

    made = decide(POLICY, BurstState(), Reading(at_s=7.0, rate=10.0, units=2), expected)
    assert expected[0].from_s == pytest.approx(67.0)
    assert made.units == POLICY.units_that_pay(1800)


def test_an_unknown_client_is_never_needed_to_name_the_listener() -> None:
    """A rule and a listener are told apart by their ARN alone."""
    place = Placement(
        region=REGION, cluster="c", service="s", rule="arn:aws:elasticloadbalancing:x:1:listener-rule/app/a/b/c/d",
        base_group="a", spill_group="b", metric={"Cell": "c1"},
    )  # fmt: skip

    assert not AwsBurst(place, elb=None, ecs=None, cloudwatch=None)._is_listener


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"AWS_PROFILE": "nobody's"}, "open elbv2 in eu-central-1: The config profile (nobody's) could not be found; sign in"),
        ({"AWS_PROFILE": None, "AWS_ACCESS_KEY_ID": "half", "AWS_SECRET_ACCESS_KEY": None}, "open elbv2 in eu-central-1: no AWS credentials; sign in"),
        ({"AWS_PROFILE": None, "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_EC2_METADATA_DISABLED": "true"}, "no AWS credentials; sign in"),
    ],
)  # fmt: skip
def test_credentials_that_are_none_are_one_sentence(
    tmp_path: Path, environment: dict[str, str | None], says: str
) -> None:
    shown = re.search(r"```toml\n(.*?)```", (ROOT / "docs" / "burst.md").read_text(), re.DOTALL)
    assert shown is not None
    (tmp_path / "burst.toml").write_text(shown[1])
    nothing = {"AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}

    done = CliRunner(env={**nothing, **environment}).invoke(
        application(), ["burst", "steer", str(tmp_path / "burst.toml"), "--once"]
    )

    assert (done.exit_code, done.output.count("\n")) == (2, 1), done.exception
    assert says in done.output
