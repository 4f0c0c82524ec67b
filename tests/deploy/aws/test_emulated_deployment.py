"""The synthesised templates, deployed into the emulator's CloudFormation; the list of types it lacks may only shrink."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from eisbach.deploy.aws.deployer import BOOTSTRAP, Deployer, Stack, check_bootstrap, stacks_of
from eisbach.deploy.aws.platform_file import Platform
from eisbach.deploy.aws.synth import Synthesised, placeholder, synthesise
from eisbach.engines.aws.messages import message_of
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.errors import Invalid
from eisbach.ports.event_log import Envelope, encode_envelope
from eisbach.testing.aws.emulator import CREDENTIALS, AwsEmulator
from eisbach.testing.world.genesis import secrets_of

from .test_handlers import PUBLISH, READY, Studio, received

pytestmark = pytest.mark.aws
STRIPPED = {
    "AWS::Budgets::Budget",
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::EC2::FlowLog",
    "AWS::FIS::ExperimentTemplate",
    "AWS::Route53::HealthCheck",
}
"""What ministack 1.5.33 refuses by name. Not one more: a new type that it lacks fails this test."""
ACCOUNT = CREDENTIALS["aws_access_key_id"]


def without(template: dict[str, Any]) -> dict[str, Any]:
    """Without the stripped types, and without what refers to them; the CDK's bootstrap rule is ministack's to lack."""
    gone = {key for key, r in template["Resources"].items() if r["Type"] in STRIPPED}

    def scrub(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("Ref") in gone or (value.get("Fn::GetAtt") or [""])[0] in gone:
                return "stripped"
            return {k: ([x for x in ([v] if isinstance(v, str) else v) if x not in gone] if k == "DependsOn" else scrub(v)) for k, v in value.items()}  # fmt: skip
        return [scrub(one) for one in value] if isinstance(value, list) else value

    kept = {k: v for k, v in template.items() if k != "Rules"}
    return scrub({**kept, "Resources": {k: v for k, v in template["Resources"].items() if k not in gone}})  # type: ignore[no-any-return]


class Account:
    """The emulated account: clients by service and region, and what ``cdk bootstrap`` would have made."""

    def __init__(self, emulator: AwsEmulator, stack: AsyncExitStack) -> None:
        self._emulator, self._stack, self._clients = emulator, stack, dict[tuple[str, str], Any]()

    async def client(self, service: str, region: str) -> Any:
        if (service, region) not in self._clients:
            made = get_session().create_client(
                service, region_name=region, endpoint_url=self._emulator.endpoint(region),
                config=AioConfig(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}), **CREDENTIALS,
            )  # fmt: skip
            self._clients[service, region] = await self._stack.enter_async_context(made)
        return self._clients[service, region]

    async def bootstrap(self, region: str) -> None:
        s3, ssm = await self.client("s3", region), await self.client("ssm", region)
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        await s3.create_bucket(Bucket=f"cdk-hnb659fds-assets-{ACCOUNT}-{region}", **where)
        await ssm.put_parameter(Name=BOOTSTRAP, Value="21", Type="String", Overwrite=True)


@pytest.fixture(scope="module")
def three_regions(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The edge is in us-east-1, so this emulator has a door there too."""
    folder = tmp_path_factory.mktemp("aws3")
    emulator = AwsEmulator(folder, regions=("eu-central-1", "eu-west-1", "us-east-1")).start()
    yield emulator
    emulator.stop()


@pytest_asyncio.fixture
async def account(three_regions: AwsEmulator) -> AsyncIterator[Account]:
    three_regions.wipe()
    async with AsyncExitStack() as stack:
        found = Account(three_regions, stack)
        for region in three_regions.regions:
            await found.bootstrap(region)
        yield found


@pytest.fixture(scope="module")
def emulated(example: Platform, tmp_path_factory: pytest.TempPathFactory) -> tuple[Platform, Synthesised]:
    folder = tmp_path_factory.mktemp("emulated")
    platform = msgspec.structs.replace(example, account=ACCOUNT)
    return platform, synthesise(platform, out=folder / "cdk.out", package=placeholder(folder / "code"))


async def zone(account: Account, stack: Stack) -> Any:
    """The hosted zone exists before the platform; its id is the account's to give."""
    found = await (await account.client("route53", "us-east-1")).create_hosted_zone(
        Name="example.org", CallerReference=stack.name
    )
    return found["HostedZone"]["Id"].rpartition("/")[2]


async def test_every_stack_is_created_with_six_types_stripped_and_not_one_more(
    account: Account, emulated: tuple[Platform, Synthesised]
) -> None:
    platform, made = emulated
    deployer = Deployer(account.client, clock=SystemClock(), seconds_max=60)
    used: set[str] = set()
    for stack in stacks_of(made.folder, made.stacks):
        id_ = await zone(account, stack)

        def change(template: dict[str, Any], id_: str = id_) -> dict[str, Any]:
            used.update(r["Type"] for r in template["Resources"].values())
            return without(json.loads(json.dumps(template).replace(platform.dns.zone_id, id_)))

        assert await deployer.deploy(stack, change=change) == "CREATE_COMPLETE"

    assert used >= STRIPPED
    assert len(STRIPPED) <= 6
    dynamodb = await account.client("dynamodb", "eu-west-1")
    assert "eisbach-c1-state" in (await dynamodb.list_tables())["TableNames"]
    sqs = await account.client("sqs", "eu-central-1")
    url = (await sqs.get_queue_url(QueueName="eisbach-transcode.fifo"))["QueueUrl"]
    attributes = (await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]))["Attributes"]
    assert json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"].endswith(":eisbach-transcode-dead.fifo")


async def test_a_stack_that_fails_names_the_first_reason_and_leaves_the_old_one_serving(
    account: Account, emulated: tuple[Platform, Synthesised]
) -> None:
    _, made = emulated
    ground = stacks_of(made.folder, made.stacks)[0]
    deployer = Deployer(account.client, clock=SystemClock(), seconds_max=60)
    await deployer.deploy(ground, change=without)

    def break_it(template: dict[str, Any]) -> dict[str, Any]:
        changed = without(template)
        changed["Resources"]["Bad"] = {"Type": "AWS::CloudWatch::Alarm", "Properties": {"Metrics": [{"Id": "m1", "Expression": "1"}], "ComparisonOperator": "GreaterThanThreshold", "EvaluationPeriods": 1}}  # fmt: skip
        return changed

    with pytest.raises(
        Invalid, match=r"deploy eisbach-ground-eu-central in eu-central-1: UPDATE_ROLLBACK_COMPLETE; Bad"
    ):
        await deployer.deploy(ground, change=break_it)
    tables = await (await account.client("dynamodb", "eu-central-1")).list_tables()
    assert "eisbach-control" in tables["TableNames"]


async def test_deleting_goes_backwards_and_leaves_no_stack(
    account: Account, emulated: tuple[Platform, Synthesised]
) -> None:
    _, made = emulated
    grounds = stacks_of(made.folder, made.stacks)[:2]
    deployer = Deployer(account.client, clock=SystemClock(), seconds_max=60)
    for stack in grounds:
        await deployer.deploy(stack, change=without)

    assert await deployer.destroy(grounds) == []
    assert [await deployer.status(stack) for stack in grounds] == [None, None]


async def test_an_account_that_is_not_bootstrapped_is_told_the_command(account: Account) -> None:
    await check_bootstrap(account.client, "eu-west-1")
    await (await account.client("ssm", "eu-west-1")).delete_parameter(Name=BOOTSTRAP)

    with pytest.raises(Invalid, match=f"run: npx aws-cdk@2.1148.1 bootstrap aws://{ACCOUNT}/eu-west-1"):
        await check_bootstrap(account.client, "eu-west-1")


async def test_an_old_bootstrap_is_told_its_version(account: Account) -> None:
    ssm = await account.client("ssm", "eu-west-1")
    await ssm.put_parameter(Name=BOOTSTRAP, Value="3", Type="String", Overwrite=True)

    with pytest.raises(Invalid, match="in eu-west-1 is version 3, too old"):
        await check_bootstrap(account.client, "eu-west-1")


@pytest.mark.parametrize(("mode", "says"), [("cut", "eu-central-1 does not answer"), ("throttle", "asks to slow down")])
async def test_a_region_that_does_not_answer_is_one_sentence(
    account: Account, three_regions: AwsEmulator, mode: str, says: str
) -> None:
    from eisbach.kernel.errors import Unavailable

    three_regions.fault("eu-central-1", mode)
    with pytest.raises(Unavailable, match=says):
        await check_bootstrap(account.client, "eu-central-1")


async def test_an_event_goes_from_the_hub_through_what_was_deployed_to_the_studio(
    account: Account, example: Platform, here_package: Path, tmp_path: Path
) -> None:
    """Topic, filter, queue, mapping, function with its own code from the package, table; and a command at the end."""
    platform = msgspec.structs.replace(example, account=ACCOUNT)
    made = synthesise(platform, out=tmp_path / "cdk.out", package=here_package)
    deployer = Deployer(account.client, clock=SystemClock(), seconds_max=60)
    studio, ids = Studio(), dict[str, str]()

    def change(template: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(without(template)).replace("https://eu-central.tv.example.org", studio.url)
        return json.loads(text.replace(platform.dns.zone_id, ids["zone"]))  # type: ignore[no-any-return]

    for stack in stacks_of(made.folder, made.stacks):
        if stack.region == "eu-central-1":
            ids["zone"] = await zone(account, stack)
            await deployer.deploy(stack, change=change)
    secrets = await account.client("secretsmanager", "eu-central-1")
    told = msgspec.json.encode(secrets_of("eu-central")).decode()
    await secrets.put_secret_value(SecretId="eisbach/eu-central/studio", SecretString=told)
    sns = await account.client("sns", "eu-central-1")
    topics = (await sns.list_topics())["Topics"]
    topic = next(t["TopicArn"] for t in topics if t["TopicArn"].endswith(":eisbach-hub.fifo"))
    envelope = Envelope(source="eu-central/studio", first_lsn=1, last_lsn=2, events=[received(1, 0), READY])
    message = message_of("eu-central/studio", 1, encode_envelope(envelope))
    for _ in range(2):  # the same once more, as after a lost answer
        await sns.publish(
            TopicArn=topic, Message=message.body, MessageAttributes=message.attributes, MessageGroupId=message.group,
            MessageDeduplicationId=message.deduplication,
        )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            while len(studio.posts) < 2:
                await asyncio.sleep(0.2)
        await asyncio.sleep(1)  # anything done twice would come now
    finally:
        studio.shutdown()
        studio.server_close()

    assert sorted(path for path, _, _ in studio.posts) == ["/studio/jobs", PUBLISH]
