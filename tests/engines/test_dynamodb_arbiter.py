"""What our engines send to DynamoDB is taken, and what it cannot take is refused before, by AWS's own implementation.

DynamoDB Local is the arbiter: it judges every expression, reserved words, sizes and reasons. Tests of other modules
that are imported here run against it, with fixtures of the same names; the spoke store's run against it where they are.
"""

import contextlib
import random
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from test_projection_store_aws import *  # noqa: F403
from test_store_aws import (  # noqa: F401
    test_a_process_that_refreshes_knows_what_others_committed,
    test_a_process_that_was_overtaken_decides_again_and_not_on_what_it_remembers,
    test_a_read_of_a_small_item_costs_a_unit,
    test_a_slot_is_frozen_once_and_settled_upwards_only,
    test_a_store_opens_only_in_its_region_and_with_its_tables,
    test_a_write_costs_the_units_that_the_bill_will_have,
    test_an_item_that_was_written_ten_times_is_flushed_once,
    test_an_op_of_a_left_epoch_that_was_pruned_is_not_logged_again,
    test_tables_have_one_name_for_life,
    test_two_processes_that_write_one_slot_leave_a_dense_log_and_lose_nothing,
)
from test_store_aws_flush import (  # noqa: F401
    test_a_process_that_stopped_in_a_flush_and_wakes_up_writes_nothing_old_over_new,
    test_a_process_that_stopped_in_a_flush_brings_back_nothing_of_an_erased_account,
    test_where_a_task_keeps_the_state_a_function_leaves_it_to_the_task,
)

from eisbach.engines.aws.clients import AwsPlace, open_clients
from eisbach.engines.aws.errors import code_of, reasons_of
from eisbach.engines.aws.event_log import SnsSqsEventLog
from eisbach.engines.aws.log_row import BODY_MAX
from eisbach.engines.aws.tables import Put, Tables, make_tables
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.limits import ITEM_BYTES_MAX
from eisbach.ports.store import IdempotencyKey
from eisbach.testing.aws.dynamodb_local import DynamoDbLocal, LocalStoreHost
from eisbach.testing.aws.emulator import AwsEmulator
from eisbach.testing.aws.hub_host import AwsHubHost
from eisbach.testing.event_log_promises import SOURCE, EventLogPromises, fill, lsns, take
from eisbach.testing.store_erase_promises import ErasePromises
from eisbach.testing.store_host import HERE, SLOT, items, owned, put, write
from eisbach.testing.store_promises import StorePromises

pytestmark = [pytest.mark.aws, pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")]
ROW_MAX = 400 * 1024
"""Bytes, AWS's own bound: names, keys and values."""
KEYS = {"pk": {"S": "p"}, "sk": {"S": "s"}}


@pytest.fixture
def aws(arbiter: DynamoDbLocal) -> DynamoDbLocal:
    """For tests that were written for the emulator, and break nothing in it."""
    return arbiter


@pytest.fixture
async def host(arbiter: DynamoDbLocal) -> AsyncIterator[LocalStoreHost]:
    host = LocalStoreHost(arbiter)
    yield host
    await host.aclose()


class TestStoreBeforeTheArbiter(StorePromises, ErasePromises):
    """All of them: twins in them exchange ops by calls, so none needs a replica."""

    @pytest.fixture
    async def host(self, arbiter: DynamoDbLocal) -> AsyncIterator[LocalStoreHost]:
        host = LocalStoreHost(arbiter, flushes=True)
        yield host
        await host.aclose()


# --- the hub: its table at the arbiter, its topic and queues at the emulator ----------------------------------------


class JudgedHubHost(AwsHubHost):
    """SNS and SQS are where ``AWS_ENDPOINT_URL`` says, DynamoDB where ``AWS_ENDPOINT_URL_DYNAMODB`` does."""

    arbiter: DynamoDbLocal

    async def open(self, **more: object) -> SnsSqsEventLog:
        log = await SnsSqsEventLog(AwsPlace(region=self.region), prefix="eb", clock=SystemClock(), **more).open()  # type: ignore[arg-type]
        self._logs.append(log)
        return log

    async def wipe(self) -> None:
        self.aws.wipe()
        self.arbiter.wipe()


class TestEventLogBeforeTheArbiter(EventLogPromises):
    """All of them."""

    @pytest.fixture
    async def host(
        self, arbiter: DynamoDbLocal, aws_process: AwsEmulator, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[JudgedHubHost]:
        aws_process.wipe()
        host = JudgedHubHost(aws_process)
        host.arbiter = arbiter
        monkeypatch.setenv("AWS_ENDPOINT_URL", aws_process.endpoint(host.region))
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", arbiter.endpoint(host.region))
        yield host
        await host.aclose()

    async def test_a_subscription_made_anew_gets_all_of_it_again(self, host: JudgedHubHost) -> None:
        log = await host.open()
        await fill(log, 2)
        await log.subscribe("reader")
        again = await log.subscribe("reader", anew=True)

        assert lsns(await take(again, 2)) == [1, 2]
        assert (await (await host.open()).last(SOURCE)).last_lsn == 2

    async def test_a_table_that_is_there_already_is_left_as_it_is(self, host: JudgedHubHost) -> None:
        """The arbiter refuses an expiry that is on already; the emulator does not."""
        log = await host.open()
        await fill(log, 1)

        await log._archive.ensure()

        assert (await log.last(SOURCE)).last_lsn == 1


# --- bounds ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def tables(arbiter: DynamoDbLocal) -> AsyncIterator[Tables]:
    region = arbiter.regions[0]
    async with open_clients(AwsPlace(region=region, endpoint=arbiter.endpoint(region))) as clients:
        await make_tables([clients], prefix="eb", cell="c1")
        yield Tables(clients, prefix="eb", cell="c1")


async def _refused(call: Any) -> ClientError:
    with pytest.raises(ClientError) as told:
        await call
    return told.value


async def test_a_row_takes_400_kib_with_its_names_and_not_one_more(tables: Tables) -> None:
    names = len("pk" + "p" + "sk" + "s" + "b")
    call = tables.dynamodb.put_item

    await call(TableName=tables.state, Item={**KEYS, "b": {"B": b"x" * (ROW_MAX - names)}})
    error = await _refused(call(TableName=tables.state, Item={**KEYS, "b": {"B": b"x" * (ROW_MAX - names + 1)}}))

    assert code_of(error) == "ValidationException"
    assert "Item size has exceeded" in str(error)


async def test_100_rows_are_a_transaction_and_101_are_none(tables: Tables) -> None:
    rows = [{"Put": {"TableName": tables.state, "Item": {**KEYS, "sk": {"S": f"{n}"}}}} for n in range(101)]
    call = tables.dynamodb.transact_write_items

    await call(TransactItems=rows[:100])

    assert code_of(await _refused(call(TransactItems=rows))) == "ValidationException"
    assert "multiple operations on one item" in str(await _refused(call(TransactItems=[rows[0]] * 2)))


async def test_a_cancelled_transaction_names_the_reason_of_each_row(tables: Tables) -> None:
    there = {"TableName": tables.state, "Item": KEYS}
    other = {"TableName": tables.state, "Item": {**KEYS, "sk": {"S": "other"}}}
    await tables.dynamodb.put_item(**there)

    error = await _refused(
        tables.dynamodb.transact_write_items(
            TransactItems=[{"Put": other}, {"Put": {**there, "ConditionExpression": "attribute_not_exists(pk)"}}]
        )
    )

    assert (code_of(error), reasons_of(error)) == ("TransactionCanceledException", ["None", "ConditionalCheckFailed"])


@pytest.mark.parametrize("name", ["number", "first"])
async def test_words_that_are_reserved_are_refused_unless_they_are_names(tables: Tables, name: str) -> None:
    """Those of ours that are: whoever takes a name away from an expression fails here and in the suites above."""
    asked = {"TableName": tables.state, "Item": KEYS}

    error = await _refused(tables.dynamodb.put_item(**asked, ConditionExpression=f"attribute_not_exists({name})"))
    await tables.dynamodb.put_item(
        **asked, ConditionExpression="attribute_not_exists(#n)", ExpressionAttributeNames={"#n": name}
    )

    assert f"reserved keyword: {name}" in str(error)


async def test_more_rows_than_a_batch_takes_are_written_read_and_deleted(tables: Tables) -> None:
    keys = [{"pk": {"S": "p"}, "sk": {"S": f"{n}"}} for n in range(230)]
    row = {"b": {"B": b"x" * 90_000}}  # more than the 16 MB that a batch answers at once

    await tables.write_all([Put(tables.state, key, row) for key in keys])
    found = await tables.get_all([(tables.state, key) for key in keys])
    paged = [one["sk"]["S"] async for one in tables.query(tables.state, "p")]
    await tables.write_all([Put(tables.state, key, None) for key in keys])

    assert len(found) == len(keys)
    assert paged == sorted(key["sk"]["S"] for key in keys)
    assert await tables.get_all([(tables.state, key) for key in keys]) == []


@pytest.mark.parametrize("size", [BODY_MAX - 1000, BODY_MAX + 1000, 20 * ITEM_BYTES_MAX], ids=["a row", "two", "most"])
async def test_a_commit_at_the_bound_of_a_row_is_one_row_and_the_largest_lies_in_parts(
    host: LocalStoreHost, size: int
) -> None:
    store, noise = await owned(host), random.Random(1).randbytes(size)
    parts = [noise[at : at + ITEM_BYTES_MAX] for at in range(0, size, ITEM_BYTES_MAX)]

    await write(store, *(put(f"{n:02}", part) for n, part in enumerate(parts)))

    store = await host.restart()
    assert [item.value for item in await items(store)] == parts
    async with open_clients(host.place()) as clients:
        log = [row async for row in Tables(clients, prefix="eb", cell="c1").query("eb-c1-log", HERE, low=1)]
    assert [("parts" in row) for row in log[-1:]] == [size > BODY_MAX]


async def test_the_longest_keys_and_the_largest_item_are_a_row_of_the_state(host: LocalStoreHost) -> None:
    """Bytes, not letters: what a sort key takes is 1,024 of them."""
    store, pk, sk = await owned(host), "ü" * 128, "ü" * 256
    await write(store, put(sk, b"x" * ITEM_BYTES_MAX, pk=pk), key=IdempotencyKey("ü" * 128, "ü" * 128))

    assert await store.flush()

    (item,) = await items(await host.restart(), pk=pk)
    assert (item.key.sk, len(item.value)) == (sk, ITEM_BYTES_MAX)
    assert (await write(await host.open(), put(), slot=SLOT)).mark.seq == 2


async def test_large_rows_and_batches_cost_the_read_units_that_the_bill_will_have(tables: Tables) -> None:
    """The emulator reports one unit and none."""
    await tables.write_all([Put(tables.state, KEYS, {"b": {"B": b"x" * 100_000}})])
    before = tables.usage.read_units

    await tables.get(KEYS)
    await tables.get_all([(tables.state, KEYS)])

    assert tables.usage.read_units - before == 2 * 25


# --- the arbiter itself ---------------------------------------------------------------------------------------------


async def test_it_answers_nobody_but_this_machine(arbiter: DynamoDbLocal) -> None:
    """It listens on every address and has no option for it: Java's policy refuses."""
    own = _other_address()
    if not own:
        pytest.skip("this machine has no address but its own 127.0.0.1, so there is nobody to refuse")

    with pytest.raises(OSError), socket.create_connection((own, arbiter.port), timeout=5) as caller:  # noqa: PT011
        caller.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert caller.recv(1) == b"", "it answered"
        raise ConnectionResetError


def _other_address() -> str:
    """Of this machine, as others would reach it; empty: none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return str(probe.getsockname()[0])
    return ""
