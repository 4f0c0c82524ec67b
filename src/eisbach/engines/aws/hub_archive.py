"""The hub's own table: every envelope of seven days, the cursor of every source, what is known of every subscription.

SNS and SQS remember nothing that one could ask for, so this is the log: an append is on disk when it is here. Its row
is put if its number is free, which only one can have, then the cursor is moved: two plain writes, since each row of a
transaction is billed twice. What ended between the two is found by ``recover``. Cursor and rows carry the token of the
source's first envelope: a hub that was wiped has another, and takes no row of before. A reader that comes late is given
the envelopes from here.

One DynamoDB table a region, keys ``(pk, sk)``: ``("cursor", source)``, ``("log#" + source, number)``,
``("subscription", name)``. Envelopes expire by DynamoDB's own expiry.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, NamedTuple

from botocore.exceptions import ClientError

from eisbach.engines.aws.clients import AwsClients
from eisbach.engines.aws.errors import aws_errors, code_of
from eisbach.engines.aws.spoke_rows import packed, unpacked
from eisbach.kernel.errors import Unavailable, VersionConflict
from eisbach.kernel.limits import OPLOG_KEPT

__all__ = ["Archived", "HubArchive", "SubscriptionRecord"]

_KEPT_S: Final = int(OPLOG_KEPT.total_seconds())
_READY_TRIES: Final = 120
_PACKED_FROM: Final = 1024
"""Bytes of a body: below, it is a unit in any case, but for its row's names."""


class Archived(NamedTuple):
    """An envelope in the archive."""

    number: int
    """Dense from 1 within its source."""
    body: bytes
    at_ms: int


class Shown(NamedTuple):
    """The last envelope of a source, as its cursor says."""

    number: int
    last_lsn: int
    first: bytes
    """Token of the source's first envelope; empty: none was noted, or there is no envelope."""


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
        self._firsts: dict[str, bytes] = {}
        """Source -> token of its first envelope; empty in a hub of before there was one."""

    async def cursor(self, source: str) -> tuple[int, int]:
        """(number, last lsn) of a source's last envelope; (0, 0) for none."""
        shown = await self._shown(source, doing=f"read the last envelope of {source}")
        return shown.number, shown.last_lsn

    async def cursors(self) -> dict[str, int]:
        """The last number of every source."""
        found: dict[str, int] = {}
        async for item in self._query("cursor", "", doing="read the sources of the log"):
            found[item["sk"]["S"]] = int(item["number"]["N"])
        return found

    async def append(self, source: str, number: int, body: bytes, *, last_lsn: int, now_ms: int) -> None:
        """Keep envelope ``number`` if the source's last is the one before it: its row first, then the cursor.

        Raises:
            VersionConflict, Overloaded, Unavailable, OutcomeUnknown: see ``ports.event_log``.
        """
        doing = f"append envelope {number} of {source}"
        refused = VersionConflict(f"{doing}: {number - 1} is not the last of this source; read the last again")
        token, key = uuid.uuid4().bytes, {"pk": {"S": f"log#{source}"}, "sk": {"S": _sort(number)}}
        first = token if number == 1 else await self._first_of(source)
        row = {
            **key, **packed(body, least=_PACKED_FROM), "at_ms": {"N": str(now_ms)}, "lsn": {"N": str(last_lsn)},
            "token": {"B": token}, "first": {"B": first}, "expires": {"N": str(now_ms // 1000 + _KEPT_S)},
        }  # fmt: skip
        with aws_errors(doing, writes=True):
            if not await self._put("hub: envelope", row, "attribute_not_exists(pk)", {}):
                there = await self._get(key["pk"]["S"], key["sk"]["S"], doing=doing)
                if there is None or there.get("token", {}).get("B") != token:  # else its own, whose answer was lost
                    raise refused
        shown = await self._show(source, Shown(number, last_lsn, first), doing=doing)
        if shown.first != first:  # the hub was wiped, and this row is of before
            await self._delete(key, doing=doing)
        if shown.first != first or shown.number != number:
            raise refused

    async def recover(self, source: str) -> tuple[int, int]:
        """The cursor, after it was brought up to an envelope whose append ended between its row and the cursor."""
        doing, key = f"read the last envelope of {source}", f"log#{source}"
        shown = await self._shown(source, doing=doing)
        row = await self._get(key, _sort(shown.number + 1), doing=doing)
        if row is not None:
            found = Shown(shown.number + 1, int(row["lsn"]["N"]), row["first"]["B"])
            if shown.number == 0 or found.first == shown.first:
                shown = await self._show(source, found, doing=doing)
            else:
                await self._delete({"pk": {"S": key}, "sk": {"S": _sort(found.number)}}, doing=doing)
        return shown.number, shown.last_lsn

    async def _first_of(self, source: str) -> bytes:
        if source not in self._firsts:
            self._firsts[source] = (await self._shown(source, doing=f"read the last envelope of {source}")).first
        return self._firsts[source]

    async def _shown(self, source: str, *, doing: str) -> "Shown":
        item = await self._get("cursor", source, doing=doing)
        if item is None:
            return Shown(0, 0, b"")
        found = Shown(int(item["number"]["N"]), int(item["last_lsn"]["N"]), item.get("first", {}).get("B", b""))
        self._firsts[source] = found.first
        return found

    async def _show(self, source: str, shown: "Shown", *, doing: str) -> "Shown":
        """Bring the cursor up to an envelope, never back, and not that of a hub made anew: what it is then."""
        row = {
            "pk": {"S": "cursor"}, "sk": {"S": source}, "number": {"N": str(shown.number)},
            "last_lsn": {"N": str(shown.last_lsn)}, **({"first": {"B": shown.first}} if shown.first else {}),
        }  # fmt: skip
        more: dict[str, Any] = {}
        if shown.number == 1:
            condition = "attribute_not_exists(pk)"
        else:
            condition = "#n < :n AND " + ("#f = :f" if shown.first else "attribute_not_exists(#f)")
            more["ExpressionAttributeNames"] = {"#n": "number", "#f": "first"}
            values = {":n": row["number"]} | ({":f": row["first"]} if shown.first else {})
            more["ExpressionAttributeValues"] = values
        with aws_errors(doing, writes=True):
            put = await self._put("hub: cursor", row, condition, more)
        if not put:
            return await self._shown(source, doing=doing)
        self._firsts[source] = shown.first
        return shown

    async def _delete(self, key: Mapping[str, Any], *, doing: str) -> None:
        with aws_errors(doing, writes=True):
            await self._called("delete_item", what="hub: envelope", Key=key)

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
            more = {"ExpressionAttributeValues": values} if values else {}
            return await self._put("hub: subscription", item, condition, more)

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

    async def _put(self, what: str, item: Mapping[str, Any], condition: str, more: Mapping[str, Any]) -> bool:
        """Put a row; False: its condition did not hold."""
        try:
            await self._called("put_item", what=what, Item=item, ConditionExpression=condition, **more)
        except ClientError as error:
            if code_of(error) != "ConditionalCheckFailedException":
                raise
            self._clients.usage.wrote(1, f"{what}, refused")  # that is billed too; the emulator does not say it
            return False
        return True

    async def _called(self, operation: str, *, what: str = "", **more: Any) -> Mapping[str, Any]:
        """One call on the table, which is made when it is absent; ``what`` it writes."""
        call = getattr(self._clients.dynamodb, operation)
        more |= {"TableName": self._table, "ReturnConsumedCapacity": "INDEXES"}
        try:
            told: Mapping[str, Any] = await call(**more)
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            await self.ensure()
            told = await call(**more)
        self._clients.usage.count(told, what=what)
        return told


def _sort(number: int) -> str:
    return f"{number:015d}"


def _archived(item: Mapping[str, Any]) -> Archived:
    return Archived(int(item["sk"]["S"]), unpacked(item), int(item["at_ms"]["N"]))


def _record(item: Mapping[str, Any]) -> SubscriptionRecord:
    copied = {source: int(number["N"]) for source, number in item["copied"]["M"].items()}
    return SubscriptionRecord(item["sk"]["S"], int(item["generation"]["N"]), item["stage"]["S"], copied)
