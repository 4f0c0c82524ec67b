"""A cell's op log in S3, by the archive's function in the real runtime client: an account, and a cell, back to a second.

The cell answers as a function too; operators call it as docs/aws.md says.
"""

import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import msgspec
import pytest

from eisbach.deploy.aws.documents import CellDocument
from eisbach.testing.aws.emulator import CREDENTIALS, AwsEmulator
from eisbach.testing.world.genesis import secrets_of

from .lambda_runtime import LambdaRuntime
from .test_handlers import REGION, SECRET, balancer, body_of, cell_document, environment

pytestmark = pytest.mark.aws
BUCKET, HOME = "eb-backups", "eisbach.deploy.aws.handlers"
KEYS = (("log", "N"), ("state", "S"))
OPERATOR = {"authorization": "Bearer operator"}


@dataclass
class Region:
    """A cell, its archive, and the bucket between them."""

    aws: AwsEmulator
    document: CellDocument
    cell: LambdaRuntime
    archive: LambdaRuntime
    s3: Any

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self.cell.call(balancer(method, path, body=body, **headers))
        assert answer["statusCode"] in (200, 204), answer
        return body_of(answer) if answer["body"] else None

    def viewer(self, number: int) -> tuple[dict[str, str], str]:
        told = self.call("POST", "/v1/auth/anonymous", {"device_id": f"tv-{number:06d}", "mkt": "de"})
        return {"authorization": f"Bearer {told['access']}", "eisbach-slot": told["slot"]}, told["account"]

    def stopped_at(self, headers: dict[str, str]) -> float:
        return float(self.call("GET", "/v1/me/progress/tears", **headers)["pos_s"])

    def stop_at(self, headers: dict[str, str], pos_s: int) -> None:
        self.call("PUT", "/v1/me/progress/tears", {"pos_s": pos_s, "dur_s": 100}, **headers)

    def keys(self, prefix: str) -> list[str]:
        return [one["Key"] for one in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]


def key_material() -> bytes:
    """With a key for backups, as the ceremony makes it."""
    secrets = secrets_of("eu-central")
    return msgspec.json.encode(msgspec.structs.replace(secrets, backup_key=random.Random(1).randbytes(32).hex()))


@pytest.fixture
def region(aws: AwsEmulator) -> Iterator[Region]:
    def client(service: str) -> Any:
        return boto3.client(service, region_name=REGION, endpoint_url=aws.endpoint(REGION), **CREDENTIALS)

    for name, kind in KEYS:
        client("dynamodb").create_table(
            TableName=f"eisbach-c1-{name}",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": kind},
            ],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
    client("secretsmanager").create_secret(Name=SECRET, SecretString=key_material().decode())
    client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    document = cell_document(backups=f"s3:{REGION}/{BUCKET}")
    told = environment(aws, document)
    cell, archive = (LambdaRuntime(f"{HOME}.{name}.handle", told, timeout_s=30) for name in ("http", "archive"))
    yield Region(aws, document, cell, archive, client("s3"))
    cell.close()
    archive.close()


def a_moment() -> int:
    """A time that lies between what was written before and what is written after."""
    time.sleep(0.02)
    now = time.time_ns() // 1_000_000
    time.sleep(0.02)
    return now


def test_an_account_on_dynamodb_goes_back_to_a_second_from_what_lies_in_s3(region: Region) -> None:
    viewer, account = region.viewer(1)
    region.stop_at(viewer, 10)
    then = a_moment()
    region.stop_at(viewer, 90)
    archived = region.archive.call({"sweep": True})
    path, body = f"/ops/accounts/{account}/restore", {"at_ms": then}

    tried = region.call("POST", path, body, **OPERATOR)
    untouched = region.stopped_at(viewer)
    done = region.call("POST", path, {**body, "dry_run": False}, **OPERATOR)

    assert archived["ops"] == 3  # the account, and where it stopped, twice
    assert (tried["set"], tried["deleted"]) == (["progress/p1/tears"], [])
    assert (untouched, region.stopped_at(viewer)) == (90, 10)
    assert {**done, "dry_run": True} == tried
    for key in region.keys(""):  # nobody reads of whom it is
        assert account.encode() not in region.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()


def test_every_account_of_a_cell_goes_back_slot_by_slot(region: Region) -> None:
    viewers = [region.viewer(number)[0] for number in range(4)]
    for viewer in viewers:
        region.stop_at(viewer, 10)
    then = a_moment()
    for viewer in viewers:
        region.stop_at(viewer, 90)
    region.archive.call({"sweep": True})
    after, more, changed = "", True, 0
    while more:
        event = balancer("POST", "/ops/restore", body={"at_ms": then, "after": after, "dry_run": False}, **OPERATOR)
        answer = region.cell.call(event)
        if answer["statusCode"] == 503:  # a slot that was restored within 2 s of ``then`` is itself not archived yet
            assert re.search("brought up once a minute", body_of(answer)["detail"])
            region.archive.call({"sweep": True})
            answer = region.cell.call(event)
        assert answer["statusCode"] == 200, answer
        told = body_of(answer)
        after, more, changed = told["slot"], told["more"], changed + told["changed"]

    assert changed == 4
    assert [region.stopped_at(viewer) for viewer in viewers] == [10] * 4


def test_a_second_that_is_not_archived_yet_is_refused_until_the_next_minute(region: Region) -> None:
    viewer, account = region.viewer(1)
    region.stop_at(viewer, 10)
    event = balancer("POST", f"/ops/accounts/{account}/restore", body={"at_ms": a_moment()}, **OPERATOR)
    early = region.cell.call(event)
    region.archive.call({"sweep": True})
    late = region.cell.call(event)

    assert early["statusCode"] == 503
    assert re.search("brought up once a minute", body_of(early)["detail"])
    assert late["statusCode"] == 200, late


def test_calls_go_on_where_the_last_one_stopped_whichever_sandbox_has_them(region: Region) -> None:
    """Two sandboxes in turn, as when AWS replaces one: nothing twice, and no book of keys is written over."""
    other = LambdaRuntime(f"{HOME}.archive.handle", environment(region.aws, region.document), timeout_s=30)
    accounts, moments = [], []
    try:
        for number, archive in enumerate([region.archive, other] * 3):
            viewer, account = region.viewer(number)
            region.stop_at(viewer, 10)
            moments.append(a_moment())
            accounts.append((viewer, account))
            assert (archive.call({"sweep": True})["ops"], archive.call({"sweep": True})["ops"]) == (2, 0)
            region.stop_at(viewer, 90)
            assert archive.call({"sweep": True})["ops"] == 1
    finally:
        other.close()
    for (viewer, account), then in zip(accounts, moments, strict=True):
        region.archive.call({"sweep": True})
        region.call("POST", f"/ops/accounts/{account}/restore", {"at_ms": then, "dry_run": False}, **OPERATOR)

        assert region.stopped_at(viewer) == 10


def test_an_erased_accounts_key_is_gone_within_the_minute_and_what_is_in_s3_is_noise(region: Region) -> None:
    viewer, account = region.viewer(1)
    region.stop_at(viewer, 10)
    then = a_moment()
    region.archive.call({"sweep": True})
    region.call("POST", f"/ops/accounts/{account}/erase", {"dry_run": False}, **OPERATOR)
    told = region.archive.call({"sweep": True})
    answer = region.cell.call(
        balancer("POST", f"/ops/accounts/{account}/restore", body={"at_ms": then, "dry_run": False}, **OPERATOR)
    )

    assert told["erased"] == 1
    assert (answer["statusCode"], "never archived, or it is erased" in body_of(answer)["detail"]) == (404, True)


def test_without_a_key_for_backups_it_fails_and_names_the_secret(region: Region) -> None:
    secrets = boto3.client("secretsmanager", region_name=REGION, endpoint_url=region.aws.endpoint(REGION), **CREDENTIALS)  # fmt: skip
    bare = msgspec.structs.replace(msgspec.json.decode(key_material(), type=type(secrets_of("eu-central"))), backup_key="")  # fmt: skip
    secrets.put_secret_value(SecretId=SECRET, SecretString=msgspec.json.encode(bare).decode())

    with pytest.raises(RuntimeError, match=f"secret {SECRET} has no backup_key"):
        region.archive.call({"sweep": True})


def test_a_document_without_backups_is_refused(region: Region) -> None:
    runtime = LambdaRuntime(f"{HOME}.archive.handle", environment(region.aws, cell_document()))
    try:
        with pytest.raises(RuntimeError, match="its document names no backups"):
            runtime.call({"sweep": True})
    finally:
        runtime.close()
