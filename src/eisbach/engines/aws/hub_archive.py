"""The hub's own table: every envelope of seven days, the cursor of every source, what is known of every subscription.

SNS and SQS remember nothing that one could ask for, so this is the log: an append is on disk when it is here, compared
with the source's last number in the same transaction. A reader that comes late is given it from here.

One DynamoDB table a region, keys ``(pk, sk)``: ``("cursor", source)``, ``("log#" + source, number)``,
``("subscription", name)``. Envelopes expire by DynamoDB's own expiry.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, NamedTuple

from botocore.exceptions import ClientError

from eisbach.engines.aws.clients import AwsClients
from eisbach.engines.aws.errors import aws_errors, code_of, reasons_of
from eisbach.kernel.errors import Unavailable, VersionConflict
from eisbach.kernel.limits import OPLOG_KEPT

__all__ = ["Archived", "HubArchive", "SubscriptionRecord"]

_KEPT_S: Final = int(OPLOG_KEPT.total_seconds())
_READY_TRIES: Final = 120


class Archived(NamedTuple):
    """An envelope in the archive."""

    number: int
    """Dense from 1 within its source."""
    body: bytes
    at_ms: int


class SubscriptionRecord(NamedTuple):
    """What is known of a durable subscription."""

    name: str
    generation: int
    """Rises when it is made anew; a queue belongs to one generation."""
    stage: str
    """``new``: it has no queue yet. ``copying``: the archive goes into it. ``live``: what is published does."""
    copied: Mapping[str, int]
    """Source -> number of the last envelope that was copied from the archive."""


class HubArchive:
    """One region's."""

    def __init__(self, clients: AwsClients, table: str) -> None:
        self._clients, self._table = clients, table

    async def cursor(self, source: str) -> tuple[int, int]:
        """(number, last lsn) of a source's last envelope; (0, 0) for none."""
        item = await self._get("cursor", source, doing=f"read the last envelope of {source}")
        return (int(item["number"]["N"]), int(item["last_lsn"]["N"])) if item else (0, 0)

    async def cursors(self) -> dict[str, int]:
        """The last number of every source."""
        found: dict[str, int] = {}
        async for item in self._query("cursor", "", doing="read the sources of the log"):
            found[item["sk"]["S"]] = int(item["number"]["N"])
        return found

    async def append(self, source: str, number: int, body: bytes, *, last_lsn: int, now_ms: int) -> None:
        """Keep envelope ``number`` if the source's last is the one before it.

        Raises:
            VersionConflict, Overloaded, Unavailable, OutcomeUnknown: see ``ports.event_log``.
        """
        doing = f"append envelope {number} of {source}"
        cursor: dict[str, Any] = {
            "TableName": self._table,
            "Item": {
                "pk": {"S": "cursor"}, "sk": {"S": source},
                "number": {"N": str(number)}, "last_lsn": {"N": str(last_lsn)},
            },
            "ConditionExpression": "attribute_not_exists(pk)",
        }  # fmt: skip
        if number > 1:
            cursor["ConditionExpression"] = "#n = :before"
            cursor["ExpressionAttributeNames"] = {"#n": "number"}
            cursor["ExpressionAttributeValues"] = {":before": {"N": str(number - 1)}}
        kept = {
            "Put": {
                "TableName": self._table,
                "Item": {
                    "pk": {"S": f"log#{source}"}, "sk": {"S": _sort(number)}, "body": {"B": body},
                    "at_ms": {"N": str(now_ms)}, "expires": {"N": str(now_ms // 1000 + _KEPT_S)},
                },
            }
        }  # fmt: skip
        try:
            with aws_errors(doing, writes=True):
                await self._transact([{"Put": cursor}, kept])
        except _Refused as refused:
            raise VersionConflict(
                f"{doing}: {number - 1} is not the last of this source; read the last again"
            ) from refused

    async def get(self, source: str, number: int) -> Archived | None:
        """An envelope, None when it is not there (any more)."""
        item = await self._get(f"log#{source}", _sort(number), doing=f"read envelope {number} of {source}")
        return _archived(item) if item else None

    async def after(self, source: str, number: int) -> AsyncIterator[Archived]:
        """The envelopes behind ``number``, in order."""
        doing = f"read the envelopes of {source} behind {number}"
        async for item in self._query(f"log#{source}", _sort(number), doing=doing):
            yield _archived(item)

    async def subscription(self, name: str) -> SubscriptionRecord | None:
        """What is known of a subscription."""
        item = await self._get("subscription", name, doing=f"read subscription {name}")
        return _record(item) if item else None

    async def subscriptions(self) -> list[SubscriptionRecord]:
        """Every one, by name."""
        return [_record(i) async for i in self._query("subscription", "", doing="read the subscriptions")]

    async def save(self, record: SubscriptionRecord, *, new: bool = False) -> bool:
        """Write what is known; False when another generation is there by now, and nothing was written."""
        generation = record.generation - 1 if new else record.generation
        condition = "attribute_not_exists(pk)" if generation < 0 else "generation = :generation"
        item = {
            "pk": {"S": "subscription"}, "sk": {"S": record.name}, "generation": {"N": str(record.generation)},
            "stage": {"S": record.stage}, "copied": {"M": {s: {"N": str(n)} for s, n in record.copied.items()}},
        }  # fmt: skip
        values = {":generation": {"N": str(generation)}} if generation >= 0 else {}
        with aws_errors(f"save subscription {record.name}"):
            try:
                told = await self._called(
                    "put_item", Item=item, ConditionExpression=condition,
                    **({"ExpressionAttributeValues": values} if values else {}),
                )  # fmt: skip
            except ClientError as error:
                if code_of(error) != "ConditionalCheckFailedException":
                    raise
                return False
        return bool(told)

    async def ensure(self) -> None:
        """Make the table when it is absent, and wait until it takes writes.

        Raises:
            Unavailable: it is not ready yet.
        """
        client = self._clients.dynamodb
        with aws_errors(f"make table {self._table}"):
            try:
                await client.create_table(
                    TableName=self._table,
                    BillingMode="PAY_PER_REQUEST",
                    AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
                    KeySchema=[
                        {"AttributeName": "pk", "KeyType": "HASH"},
                        {"AttributeName": "sk", "KeyType": "RANGE"},
                    ],
                )
            except ClientError as error:
                if code_of(error) != "ResourceInUseException":
                    raise
            for _ in range(_READY_TRIES):
                found = await client.describe_table(TableName=self._table)
                if found["Table"]["TableStatus"] == "ACTIVE":
                    break
                await asyncio.sleep(0.5)
            else:
                raise Unavailable(f"table {self._table} is not ready after 60 s; try again")
            expiry = {"Enabled": True, "AttributeName": "expires"}
            try:
                await client.update_time_to_live(TableName=self._table, TimeToLiveSpecification=expiry)
            except ClientError as error:
                if code_of(error) != "ValidationException":  # it is on already
                    raise

    # --- the table -----------------------------------------------------------------------------------------------

    async def _get(self, pk: str, sk: str, *, doing: str) -> dict[str, Any] | None:
        with aws_errors(doing):
            told = await self._called("get_item", Key={"pk": {"S": pk}, "sk": {"S": sk}}, ConsistentRead=True)
        item: dict[str, Any] | None = told.get("Item")
        return item

    async def _query(self, pk: str, after: str, *, doing: str) -> AsyncIterator[dict[str, Any]]:
        values = {":pk": {"S": pk}} | ({":sk": {"S": after}} if after else {})
        more: dict[str, Any] = {}
        while True:
            with aws_errors(doing):
                told = await self._called(
                    "query", KeyConditionExpression="pk = :pk AND sk > :sk" if after else "pk = :pk",
                    ExpressionAttributeValues=values, ConsistentRead=True, **more,
                )  # fmt: skip
            for item in told["Items"]:
                yield item
            if "LastEvaluatedKey" not in told:
                return
            more = {"ExclusiveStartKey": told["LastEvaluatedKey"]}

    async def _called(self, operation: str, **what: Any) -> Mapping[str, Any]:
        """One call on the table, which is made when it is absent."""
        call = getattr(self._clients.dynamodb, operation)
        what |= {"TableName": self._table, "ReturnConsumedCapacity": "INDEXES"}
        try:
            told: Mapping[str, Any] = await call(**what)
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            await self.ensure()
            told = await call(**what)
        self._clients.usage.count(told, writes=operation == "put_item")
        return told

    async def _transact(self, items: list[dict[str, Any]]) -> None:
        client = self._clients.dynamodb
        for last in (False, True):
            try:
                told = await client.transact_write_items(TransactItems=items, ReturnConsumedCapacity="INDEXES")
                self._clients.usage.count(told, writes=True)
                return  # noqa: TRY300 - the loop ends here
            except ClientError as error:
                if code_of(error) == "TransactionCanceledException" and "ConditionalCheckFailed" in reasons_of(error):
                    raise _Refused from error
                if last or code_of(error) != "ResourceNotFoundException":
                    raise
            await self.ensure()


class _Refused(Exception):
    """A condition of a transaction did not hold."""


def _sort(number: int) -> str:
    return f"{number:015d}"


def _archived(item: Mapping[str, Any]) -> Archived:
    return Archived(int(item["sk"]["S"]), item["body"]["B"], int(item["at_ms"]["N"]))


def _record(item: Mapping[str, Any]) -> SubscriptionRecord:
    copied = {source: int(number["N"]) for source, number in item["copied"]["M"].items()}
    return SubscriptionRecord(item["sk"]["S"], int(item["generation"]["N"]), item["stage"]["S"], copied)
