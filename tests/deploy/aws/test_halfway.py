"""A deployment that fails half-way: what was deployed before goes on serving, by its own code."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from eisbach.deploy.aws.deployer import Deployer, Stack, stacks_of
from eisbach.deploy.aws.platform_file import Platform
from eisbach.deploy.aws.synth import placeholder, synthesise
from eisbach.engines.aws.messages import message_of
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.errors import Invalid
from eisbach.ports.event_log import Envelope, encode_envelope
from eisbach.testing.world.genesis import secrets_of

from .test_emulated_deployment import ACCOUNT, Account, account, three_regions, without, zone
from .test_handlers import READY, Studio, received

__all__ = ["account", "three_regions"]  # fixtures
pytestmark = pytest.mark.aws
BAD = {
    "Type": "AWS::CloudWatch::Alarm",
    "Properties": {
        "Metrics": [{"Id": "m1", "Expression": "1"}],
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
    },
}
"""A resource that is refused, after others of its stack were changed."""


@pytest_asyncio.fixture
async def studio() -> AsyncIterator[Studio]:
    server = Studio()
    yield server
    server.shutdown()
    server.server_close()


async def published(account: Account, number: int) -> None:
    sns = await account.client("sns", "eu-central-1")
    topic = next(
        t["TopicArn"] for t in (await sns.list_topics())["Topics"] if t["TopicArn"].endswith(":eisbach-hub.fifo")
    )
    first = received(2 * number - 1, max(0, 2 * number - 3), asset=f"a-{number}")
    ready = msgspec.structs.replace(
        READY, id=f"any/all/studio/3:eu-central:1:{2 * number}", seq=2 * number, prev=max(0, 2 * number - 2),
        data=msgspec.Raw(msgspec.json.encode({"id": f"a-{number}"})),
    )  # fmt: skip
    both = [msgspec.structs.replace(one, subject=f"a-{number}") for one in (first, ready)]
    envelope = Envelope(source="eu-central/studio", first_lsn=number, last_lsn=number, events=both)
    message = message_of("eu-central/studio", number, encode_envelope(envelope))
    await sns.publish(
        TopicArn=topic, Message=message.body, MessageAttributes=message.attributes, MessageGroupId=message.group,
        MessageDeduplicationId=message.deduplication,
    )  # fmt: skip


async def commands(studio: Studio, least: int) -> list[str]:
    async with asyncio.timeout(40):
        while len(studio.posts) < least:
            await asyncio.sleep(0.2)
    return [path for path, _, _ in studio.posts]


async def test_an_event_has_its_effects_by_the_old_code_after_a_deployment_that_failed_half_way(
    account: Account, example: Platform, here_package: Path, tmp_path: Path, studio: Studio
) -> None:
    platform = msgspec.structs.replace(example, account=ACCOUNT)
    made = synthesise(platform, out=tmp_path / "cdk.out", package=here_package)
    broken = synthesise(platform, out=tmp_path / "broken", package=placeholder(tmp_path / "code"))
    deployer = Deployer(account.client, clock=SystemClock(), seconds_max=60)
    here = [s for s in stacks_of(made.folder, made.stacks) if s.region == "eu-central-1"]
    ids: dict[str, str] = {}

    def change(template: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(without(template)).replace("https://eu-central.tv.example.org", studio.url)
        return json.loads(text.replace(platform.dns.zone_id, ids["zone"]))  # type: ignore[no-any-return]

    def fails(template: dict[str, Any]) -> dict[str, Any]:
        changed = change(template)
        return {**changed, "Resources": {**changed["Resources"], "Zzz": BAD}}

    for stack in here:
        ids["zone"] = await zone(account, stack)
        await deployer.deploy(stack, change=change)
    secrets = await account.client("secretsmanager", "eu-central-1")
    told = msgspec.json.encode(secrets_of("eu-central")).decode()
    await secrets.put_secret_value(SecretId="eisbach/eu-central/studio", SecretString=told)
    await published(account, 1)
    before = await commands(studio, 2)

    again = next(s for s in stacks_of(broken.folder, broken.stacks) if s.name.endswith("-region-eu-central"))
    with pytest.raises(Invalid, match=r"UPDATE_ROLLBACK_COMPLETE; Zzz \(AWS::CloudWatch::Alarm\)"):
        await deployer.deploy(again, change=fails)
    await published(account, 2)

    assert len(await commands(studio, len(before) + 2)) == len(before) + 2
    assert await _serving(account, again) == "UPDATE_ROLLBACK_COMPLETE"


async def _serving(account: Account, stack: Stack) -> str:
    found = await (await account.client("cloudformation", stack.region)).describe_stacks(StackName=stack.name)
    status: str = found["Stacks"][0]["StackStatus"]
    return status
