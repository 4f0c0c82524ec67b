"""What a real account would be asked, asked of the emulated one: is it fit, is the proof allowed, is all of it gone?"""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from aiohttp.abc import AbstractResolver
from typer.testing import CliRunner

from eisbach.cli.app import application
from eisbach.deploy.aws.account import lacks
from eisbach.deploy.aws.errors import sentence
from eisbach.deploy.aws.key_material import put_key_material, put_media_keys
from eisbach.deploy.aws.platform_file import Platform
from eisbach.deploy.aws.proof import Consent, Proof, consent, proof_platform
from eisbach.deploy.aws.synth import placeholder
from eisbach.deploy.laptop.ceremony import ensure_secrets
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.errors import Denied, EisbachError, Invalid, NotFound, Unavailable
from eisbach.settings import Secrets
from eisbach.testing.aws.emulator import CREDENTIALS, AwsEmulator

from .test_emulated_deployment import ACCOUNT, Account, three_regions, without

__all__ = ["three_regions"]  # a fixture of the same emulator
STARTED = datetime(2026, 11, 26, 5, 0, tzinfo=UTC)
AGREED = {"EISBACH_AWS_PROOF": "this-costs-money", "EISBACH_AWS_ACCOUNT": ACCOUNT, "EISBACH_AWS_BUDGET_USD": "5"}


# --- consent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"EISBACH_AWS_PROOF": "yes"}, "set EISBACH_AWS_PROOF=this-costs-money"),
        ({"EISBACH_AWS_PROOF": ""}, "set EISBACH_AWS_PROOF=this-costs-money"),
        ({"EISBACH_AWS_ACCOUNT": "me"}, "EISBACH_AWS_ACCOUNT, 12 digits; it is 'me'"),
        ({"EISBACH_AWS_BUDGET_USD": "500"}, "EISBACH_AWS_BUDGET_USD, 1 to 50; it is '500'"),
        ({"EISBACH_AWS_BUDGET_USD": ""}, "EISBACH_AWS_BUDGET_USD, 1 to 50; it is ''"),
    ],
)
def test_without_all_three_nothing_is_asked_of_aws(change: dict[str, str], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        consent({**AGREED, **change})


def test_the_budget_is_the_time_it_may_stand() -> None:
    assert consent(AGREED).seconds_max == 2.5 * 3600


def test_the_command_refuses_before_it_reads_or_builds_anything(tmp_path: Path) -> None:
    platform = Path(__file__).parents[3] / "examples" / "aws" / "platform.toml"
    done = CliRunner().invoke(application(), ["deploy", "prove", str(platform), "--folder", str(tmp_path / "x")])

    assert done.exit_code == 2
    assert "creates resources that cost money" in done.output
    assert not (tmp_path / "x").exists()


# --- sentences -------------------------------------------------------------------------------------------------------


def client_error(code: str, message: str) -> Any:
    from botocore.exceptions import ClientError

    return ClientError({"Error": {"Code": code, "Message": message}}, "DescribeTable")


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (client_error("AccessDeniedException", "User: arn:aws:sts::1:assumed-role/dev/me is not authorized to perform: dynamodb:DescribeTable on resource: arn:aws:dynamodb:x:1:table/t because no"), Denied, "arn:aws:sts::1:assumed-role/dev/me lacks the permission dynamodb:DescribeTable on arn:aws:dynamodb:x:1:table/t"),
        (client_error("AccessDenied", "no"), Denied, "the role may not call DescribeTable"),
        (client_error("ExpiredToken", "old"), Invalid, "the AWS session has expired; sign in again"),
        (client_error("UnrecognizedClientException", "who"), Invalid, "AWS does not know these credentials in eu-central-1"),
        (client_error("OptInRequired", "off"), Invalid, "region eu-central-1 is not switched on in this account"),
        (client_error("ThrottlingException", "slow"), Unavailable, "asks to slow down"),
        (client_error("ResourceNotFoundException", "no table"), NotFound, "is it another region or account?"),
    ],
)  # fmt: skip
def test_each_refusal_of_aws_is_one_clear_sentence(error: Exception, kind: type[EisbachError], says: str) -> None:
    told = sentence(error, "look at the table", "eu-central-1")

    assert type(told) is kind
    assert str(told).startswith("look at the table: ")
    assert says in str(told)
    assert "\n" not in str(told)


def test_no_credentials_and_a_wrong_region_are_told_apart() -> None:
    from botocore.exceptions import EndpointConnectionError, NoCredentialsError

    assert "sign in (aws sso login)" in str(sentence(NoCredentialsError(), "ask", "eu-central-1"))
    away = sentence(EndpointConnectionError(endpoint_url="https://sts.eu-centrl-1.amazonaws.com"), "ask", "eu-centrl-1")
    assert "a wrong region's name looks like this" in str(away)


# --- the account -----------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def account(three_regions: AwsEmulator) -> AsyncIterator[Account]:
    three_regions.wipe()
    async with AsyncExitStack() as stack:
        found = Account(three_regions, stack)
        for region in three_regions.regions:
            await found.bootstrap(region)
        yield found


async def fit(account: Account, example: Platform) -> Platform:
    """The example with a zone and certificates that the emulated account has."""
    dns = example.dns
    made = await (await account.client("route53", "us-east-1")).create_hosted_zone(Name=dns.zone, CallerReference="1")
    certificates = {}
    for region in example.region:
        acm = await account.client("acm", region.aws)
        told = await acm.request_certificate(
            DomainName=dns.regional(region.name), SubjectAlternativeNames=[dns.calls], ValidationMethod="DNS"
        )
        certificates[region.name] = told["CertificateArn"]
    zone = made["HostedZone"]["Id"].rpartition("/")[2]
    cdn = await (await account.client("acm", "us-east-1")).request_certificate(
        DomainName=dns.viewers, SubjectAlternativeNames=[f"*.{dns.viewers}"], ValidationMethod="DNS"
    )
    changed = msgspec.structs.replace(
        dns, zone_id=zone, regional_certificates=certificates, certificate=cdn["CertificateArn"]
    )
    return msgspec.structs.replace(example, account=ACCOUNT, dns=changed)


@pytest.mark.aws
async def test_a_fit_account_lacks_nothing_and_an_unfit_one_is_told_all_at_once(
    account: Account, example: Platform
) -> None:
    platform = await fit(account, example)
    assert await lacks(platform, account.client) == []

    for region in ("eu-west-1", "us-east-1"):
        await (await account.client("ssm", region)).delete_parameter(Name="/cdk-bootstrap/hnb659fds/version")
    other = msgspec.structs.replace(platform, dns=msgspec.structs.replace(platform.dns, zone="example.com"))
    wrong = await lacks(other, account.client)

    assert [w for w in wrong if "is not bootstrapped for the CDK in eu-west-1" in w]
    assert [w for w in wrong if "is not bootstrapped for the CDK in us-east-1" in w]
    assert [w for w in wrong if f"hosted zone {platform.dns.zone_id} is example.org, the platform file says" in w]
    assert [w for w in wrong if "it lacks eu-central.tv.example.com" in w]
    assert [w for w in wrong if "it lacks tv.example.com, media-eu-central.tv.example.com, media-eu-west." in w]


@pytest.mark.aws
async def test_another_account_is_the_only_thing_told(account: Account, example: Platform) -> None:
    wrong = await lacks(example, account.client)

    told = f"these credentials are of account {ACCOUNT}, the platform file is for 111122223333; set AWS_PROFILE"
    assert wrong == [f"{told} to the right one"]


@pytest.mark.aws
async def test_key_material_is_written_once_and_never_told(account: Account, example: Platform, tmp_path: Path) -> None:
    platform = msgspec.structs.replace(example, account=ACCOUNT)
    for region in platform.region:
        manager = await account.client("secretsmanager", region.aws)
        for cell in platform.cells_of(region):
            await manager.create_secret(Name=f"eisbach/{region.name}/{cell.name}", SecretString="x")
    first = await put_key_material(platform, account.client, tmp_path / "keys")
    again = await put_key_material(platform, account.client, tmp_path / "keys")
    manager = await account.client("secretsmanager", "eu-west-1")
    kept = (await manager.get_secret_value(SecretId="eisbach/eu-west/c1"))["SecretString"]

    assert (len(first), again) == (6, [])
    assert msgspec.json.decode(kept, type=Secrets).jwt_private["kid"].startswith("eu-west-")


class Loopback(AbstractResolver):
    """The store of keys is asked at ``ACCOUNT.host``; every name is this machine."""

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> Any:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": family, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        return


@pytest.mark.aws
async def test_the_cdn_is_given_the_keys_of_media_tokens_and_no_others(
    account: Account, example: Platform, three_regions: AwsEmulator, tmp_path: Path
) -> None:
    platform = msgspec.structs.replace(example, account=ACCOUNT)
    ensure_secrets([(r.name, tmp_path / r.name) for r in platform.region], operator_token="o" * 40)
    ours = msgspec.json.decode((tmp_path / "eu-west" / "secrets.json").read_bytes(), type=Secrets)
    # The emulator reads no account out of a signature for all regions: what it takes then is this one.
    who = {**CREDENTIALS, "aws_access_key_id": "000000000000"}
    endpoint = three_regions.endpoint("us-east-1")
    there, config = endpoint.replace("127.0.0.1", "aws.internal"), AioConfig(connector_args={"resolver": Loopback()})
    async with (
        get_session().create_client("cloudfront", "us-east-1", endpoint_url=endpoint, **who) as cloudfront,
        get_session().create_client(
            "cloudfront-keyvaluestore", "us-east-1", endpoint_url=there, config=config, **who
        ) as store,
    ):

        async def client(service: str, region: str) -> Any:
            return {"cloudfront": cloudfront, "cloudfront-keyvaluestore": store}[service]

        with pytest.raises(NotFound, match="look for the CDN's store eisbach-media-keys"):
            await put_media_keys(platform, client, tmp_path)
        arn = (await cloudfront.create_key_value_store(Name="eisbach-media-keys"))["KeyValueStore"]["ARN"]
        first, again = [await put_media_keys(platform, client, tmp_path) for _ in range(2)]
        kept = {one["Key"]: one["Value"] for one in (await store.list_keys(KvsARN=arn))["Items"]}

    assert (first, again) == (True, False)
    assert {key: json.loads(value) for key, value in kept.items()} == {"media-keys": ours.media_keys}
    assert len(ours.media_keys) == 2, "both live ones"


# --- the proof -------------------------------------------------------------------------------------------------------


def proof_of(account: Account, example: Platform, folder: Path, package: Path) -> Proof:
    platform = proof_platform(msgspec.structs.replace(example, account=ACCOUNT), STARTED)
    zone = platform.dns.zone_id

    def change(template: dict[str, Any]) -> dict[str, Any]:
        kept = without(template)
        gone = {
            k for k, r in kept["Resources"].items() if r["Type"] == "AWS::Route53::RecordSet" and zone in json.dumps(r)
        }
        return {**kept, "Resources": {k: r for k, r in kept["Resources"].items() if k not in gone}}

    return Proof(
        platform, Consent(ACCOUNT, 5), account.client, SystemClock(), package, folder, change=change,
        check_account=False,
    )  # fmt: skip


async def standing(account: Account, prefix: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for region in ("eu-central-1", "eu-west-1"):
        stacks = (await (await account.client("cloudformation", region)).list_stacks())["StackSummaries"]
        tables = (await (await account.client("dynamodb", region)).list_tables())["TableNames"]
        buckets = (await (await account.client("s3", region)).list_buckets())["Buckets"]
        groups = (await (await account.client("logs", region)).describe_log_groups())["logGroups"]
        names = [s["StackName"] for s in stacks if s["StackStatus"] != "DELETE_COMPLETE"]
        names += [*tables, *(b["Name"] for b in buckets), *(g["logGroupName"].rpartition("/")[2] for g in groups)]
        found[region] = [n for n in names if n.startswith(prefix)]
    return found


@pytest.mark.aws
async def test_a_proof_sends_its_event_through_both_regions_and_leaves_nothing(
    account: Account, three_regions: AwsEmulator, example: Platform, here_package: Path, tmp_path: Path
) -> None:
    proof = proof_of(account, example, tmp_path, here_package)
    before = called(three_regions)

    assert await proof.run(), proof.steps
    told = json.loads(proof.write(STARTED).read_text())
    assert (told["ok"], told["at"], told["left_standing"]) == (True, "2026-11-26T05:00:00+00:00", [])
    assert [s["what"] for s in told["steps"]][-3:] == ["one event in eu-central", "one event in eu-west", "tear down"]
    asked = {call.partition("/")[2] for call, count in called(three_regions).items() if count > before[call]}
    assert await standing(account, proof.platform.name) == {"eu-central-1": [], "eu-west-1": []}
    page = (
        (Path(__file__).parents[3] / "docs" / "aws.md").read_text().partition("## The proof")[2].partition("\n## ")[0]
    )
    named = {name for name in asked if len(name) > 6 and name.isalpha() and name[1].islower()}  # not S3's GET and PUT
    assert len(named) > 12
    assert sorted(name for name in named if f"`{name}`" not in page and f":{name}`" not in page) == []


def called(emulator: AwsEmulator) -> Counter[str]:
    """By service and operation, in all regions."""
    found: Counter[str] = Counter()
    for door in emulator.statistics()["doors"].values():
        found.update(door["calls"])
    return found


@pytest.mark.aws
async def test_an_interrupted_proof_is_torn_down_however_often_it_is_interrupted(
    account: Account, example: Platform, tmp_path: Path
) -> None:
    proof = proof_of(account, example, tmp_path, placeholder(tmp_path / "code"))
    running = asyncio.ensure_future(proof.run())
    while not any(s.what.startswith("deploy") for s in proof.steps):
        await asyncio.sleep(0.01)
    for _ in range(3):
        running.cancel()
        await asyncio.sleep(0.05)
    with pytest.raises(asyncio.CancelledError):
        await running

    assert proof.result(STARTED)["ok"] is False
    assert proof.steps[-1].what == "tear down"
    assert await standing(account, proof.platform.name) == {"eu-central-1": [], "eu-west-1": []}


@pytest.mark.aws
async def test_a_proof_whose_deployment_fails_is_torn_down_and_says_where(
    account: Account, example: Platform, tmp_path: Path
) -> None:
    proof = proof_of(account, example, tmp_path, placeholder(tmp_path / "code"))
    good = proof.change
    assert good is not None

    def bad(template: dict[str, Any]) -> dict[str, Any]:
        changed = good(template)
        if "HubTable" in json.dumps(list(changed["Resources"])):
            changed["Resources"]["Bad"] = {"Type": "AWS::CloudWatch::Alarm", "Properties": {"Metrics": [{"Id": "m1", "Expression": "1"}], "ComparisonOperator": "GreaterThanThreshold", "EvaluationPeriods": 1}}  # fmt: skip
        return changed

    proof.change = bad

    assert await proof.run() is False
    failed = [s for s in proof.steps if not s.ok]
    assert [s.what for s in failed] == [f"deploy {proof.platform.name}-region-eu-central"]
    assert "Bad (AWS::CloudWatch::Alarm)" in failed[0].said
    assert await standing(account, proof.platform.name) == {"eu-central-1": [], "eu-west-1": []}


@pytest.mark.aws
async def test_a_proof_on_another_account_creates_nothing(account: Account, example: Platform, tmp_path: Path) -> None:
    proof = proof_of(account, example, tmp_path, placeholder(tmp_path / "code"))
    proof.consent = Consent("111122223333", 5)

    with pytest.raises(Invalid, match="all three must be the same; nothing was created"):
        await proof.run()
    assert await standing(account, proof.platform.name) == {"eu-central-1": [], "eu-west-1": []}
