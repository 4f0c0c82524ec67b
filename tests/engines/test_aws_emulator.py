"""The emulated AWS regions fail like real ones: without these, a green test of an AWS engine would prove little."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from eisbach.kernel.errors import Unavailable
from eisbach.testing.aws.emulator import CREDENTIALS, REGIONS, AwsEmulator, emulator_python

pytestmark = pytest.mark.aws
CENTRAL, WEST = REGIONS
KEY = {"pk": {"S": "a"}, "sk": {"N": "1"}}


def client(aws: AwsEmulator, region: str, *, tries: int = 1, service: str = "dynamodb") -> Any:
    config = AioConfig(retries={"total_max_attempts": tries, "mode": "standard"}, read_timeout=0.3, connect_timeout=1)
    session = get_session()
    return session.create_client(
        service, region_name=region, endpoint_url=aws.endpoint(region), config=config, **CREDENTIALS
    )


@pytest.fixture
async def both(aws: AwsEmulator) -> AsyncIterator[tuple[Any, Any]]:
    """Clients of the two regions, and in both a global table ``log``."""
    async with client(aws, CENTRAL) as central, client(aws, WEST) as west:
        await central.create_table(
            TableName="log",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "N"},
            ],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        await central.update_table(TableName="log", ReplicaUpdates=[{"Create": {"RegionName": WEST}}])
        yield central, west


async def value(region: Any) -> str | None:
    found = (await region.get_item(TableName="log", Key=KEY, ConsistentRead=True)).get("Item")
    return found["v"]["S"] if found else None


async def put(region: Any, text: str, **more: Any) -> None:
    await region.put_item(TableName="log", Item=KEY | {"v": {"S": text}}, **more)


async def until_replicated(aws: AwsEmulator) -> None:
    async with asyncio.timeout(10):
        while aws.statistics()["replication"]["queued"]:
            await asyncio.sleep(0.005)


async def test_a_write_is_not_in_the_other_region_before_the_lag_and_is_there_after_it(
    aws: AwsEmulator, both: tuple[Any, Any]
) -> None:
    central, west = both
    aws.lag(2.0)  # longer than the client waits for an answer, so what is read before it was asked before it
    await put(central, "one")

    before = await value(west)
    await until_replicated(aws)

    assert (before, await value(west)) == (None, "one")


async def test_a_lease_is_won_on_both_sides_of_a_cut_and_after_the_heal_the_later_writer_stands_in_both(
    aws: AwsEmulator, both: tuple[Any, Any]
) -> None:
    """Why no key of a global table may be written by two regions."""
    central, west = both
    aws.cut_link(CENTRAL, WEST)
    await put(central, "central", ConditionExpression="attribute_not_exists(pk)")
    await put(west, "west", ConditionExpression="attribute_not_exists(pk)")
    apart = (await value(central), await value(west))

    aws.heal_link(CENTRAL, WEST)
    await until_replicated(aws)

    assert apart == ("central", "west")
    assert (await value(central), await value(west)) == ("west", "west")


async def test_the_items_of_one_transaction_arrive_apart(aws: AwsEmulator, both: tuple[Any, Any]) -> None:
    central, west = both
    aws.lag(0.02, spread=0.3, seed=1)
    items = [{"pk": {"S": "t"}, "sk": {"N": str(n)}} for n in range(1, 9)]
    await central.transact_write_items(TransactItems=[{"Put": {"TableName": "log", "Item": item}} for item in items])

    seen: set[tuple[int, ...]] = set()
    async with asyncio.timeout(5):
        while tuple(range(1, 9)) not in seen:
            page = await west.query(
                TableName="log", KeyConditionExpression="pk = :t", ExpressionAttributeValues={":t": {"S": "t"}}
            )
            seen.add(tuple(int(item["sk"]["N"]) for item in page["Items"]))

    assert any(found and found != tuple(range(1, len(found) + 1)) for found in seen), seen  # a later one came first


@pytest.mark.parametrize(
    ("mode", "error"),
    [("cut", ConnectionClosedError), ("hang", ReadTimeoutError), ("error", ClientError), ("throttle", ClientError)],
)
async def test_a_fault_hits_one_region_only(
    aws: AwsEmulator, both: tuple[Any, Any], mode: str, error: type[Exception]
) -> None:
    central, west = both
    aws.fault(CENTRAL, mode)

    with pytest.raises(error):
        await put(central, "one")
    await put(west, "two")
    aws.heal(CENTRAL)

    await put(central, "three")


async def test_a_muted_call_is_done_but_nobody_hears_of_it(aws: AwsEmulator, both: tuple[Any, Any]) -> None:
    central, _ = both
    aws.fault(CENTRAL, "mute", operation="PutItem", count=1)

    with pytest.raises(ConnectionClosedError):
        await put(central, "one")

    assert await value(central) == "one"


async def test_the_clients_own_retries_are_counted_at_the_door(aws: AwsEmulator, both: tuple[Any, Any]) -> None:
    aws.fault(WEST, "throttle", service="dynamodb", count=2)

    async with client(aws, WEST, tries=3) as patient:
        await put(patient, "one")

    doors = aws.statistics()["doors"]
    assert doors[WEST]["calls"]["dynamodb/PutItem"] == 3
    assert doors[WEST]["broken"] == {"throttle": 2}


def test_it_ends_with_who_started_it(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from eisbach.testing.aws.emulator import AwsEmulator;"
        f"print(AwsEmulator(Path({str(tmp_path)!r})).start().pid, flush=True); os._exit(0)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=40)
    pid = int(said.stdout)

    gone = subprocess.run(["tail", f"--pid={pid}", "-f", "/dev/null"], timeout=10, check=False)

    assert gone.returncode == 0


def test_without_its_environment_it_says_how_to_make_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "EISBACH_AWS_VENV", str(tmp_path))

    with pytest.raises(Unavailable, match=r"make \.venv-aws"):
        emulator_python()
