"""The two tables of a cell, and the few calls on them that the store makes.

``{prefix}-{cell}-log`` is global and append-only: the ops this region wrote, key ``(slot#origin, place)``; the origin
is in the key, so no key is ever written by two regions. ``{prefix}-{cell}-state`` is this region's own: all the rest.
Promises: every read is consistent; a commit is one transaction over both tables, refused as a whole when somebody else
committed since; a commit whose answer was lost is settled before anything else is written.
"""

import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from botocore.exceptions import ClientError

from eisbach.engines.aws.clients import AwsClients
from eisbach.engines.aws.errors import aws_errors, code_of, reasons_of
from eisbach.kernel.errors import Overloaded, Unavailable
from eisbach.kernel.versions import Mark

__all__ = ["ACTIONS_MAX", "BYTES_MAX", "Conflicted", "Head", "Put", "Tables", "make_tables", "op_place"]

ACTIONS_MAX: Final = 100
"""DynamoDB's bound on a transaction."""
BYTES_MAX: Final = 900_000
"""Of a commit of several callers. DynamoDB allows 4 MB, which the largest transaction needs nearly half of; over 1 MiB
aiohttp sends in one piece, and says so."""
_EPOCH: Final = 10**15
_BATCH_GET_MAX: Final = 100
_BATCH_WRITE_MAX: Final = 25
_TRIES: Final = 8
_NUMBERS: Final = ("number", "hlc", "lsn", "conflicts", "saved")
_HEAD: Final = {"pk": {"S": "head"}, "sk": {"S": "head"}}

Row = Mapping[str, Any]


class Conflicted(Exception):
    """Somebody else committed since the head was read: nothing was written."""


class Put(NamedTuple):
    """A row to write; ``item`` None deletes the row of ``key``."""

    table: str
    key: Row
    item: Row | None


class Head(NamedTuple):
    """The row that every commit compares and moves."""

    number: int = 0
    """Of the last commit."""
    hlc: int = 0
    lsn: int = 0
    conflicts: int = 0
    """Ever logged; numbers them."""
    region: str = ""
    saved: int = 0
    """The slots' own rows are whole up to this lsn; what follows is replayed from the log."""
    token: str = ""
    """Of the last commit: whether one whose answer was lost was done."""


def op_place(mark: Mark) -> int:
    """The sort key of an op: rises with (epoch, seq)."""
    return mark.epoch * _EPOCH + mark.seq


class Tables:
    """Of one cell in one region."""

    def __init__(self, clients: AwsClients, *, prefix: str, cell: str) -> None:
        self._dynamodb, self.usage = clients.dynamodb, clients.usage
        self.log, self.state = f"{prefix}-{cell}-log", f"{prefix}-{cell}-state"
        self._replicated = frozenset({self.log})

    # --- reading -------------------------------------------------------------------------------------------------

    async def get(self, key: Row) -> Row | None:
        """A row of the state table."""
        with aws_errors(f"read {key} of {self.state}"):
            told = await self._dynamodb.get_item(
                TableName=self.state, Key=key, ConsistentRead=True, ReturnConsumedCapacity="INDEXES"
            )
        self._count(told, writes=False)
        row: Row | None = told.get("Item")
        return row

    async def get_all(self, places: Sequence[tuple[str, Row]]) -> list[Row]:
        """The rows that exist, in any order; ``places``: (table, key), each once."""
        found: list[Row] = []
        self.usage.batch_rows += len(places)
        for start in range(0, len(places), _BATCH_GET_MAX):
            wanted: dict[str, Any] = {}
            for table, key in places[start : start + _BATCH_GET_MAX]:
                wanted.setdefault(table, {"Keys": [], "ConsistentRead": True})["Keys"].append(key)
            for _ in range(_TRIES):
                with aws_errors(f"read {len(places)} rows of {self.state}"):
                    told = await self._dynamodb.batch_get_item(RequestItems=wanted, ReturnConsumedCapacity="INDEXES")
                self._count(told, writes=False)
                found += [row for rows in told["Responses"].values() for row in rows]
                wanted = told.get("UnprocessedKeys") or {}
                if not wanted:
                    break
            else:
                raise Overloaded(f"{self.state} gave only {len(found)} of {len(places)} rows in {_TRIES} tries")
        return found

    async def query(
        self, table: str, pk: str, *, low: Any = None, high: Any = None, page: int = 0, newest: bool = False
    ) -> AsyncIterator[Row]:
        """Rows of a partition, by sort key, from ``low`` to ``high`` inclusive; pages come as they are needed."""
        condition, values = "pk = :pk", {":pk": {"S": pk}}
        kind = "N" if table == self.log else "S"
        if low is not None:
            condition += " AND sk BETWEEN :low AND :high" if high is not None else " AND sk >= :low"
            values[":low"] = {kind: str(low)}
            if high is not None:
                values[":high"] = {kind: str(high)}
        more: dict[str, Any] = {"Limit": page} if page else {}
        while True:
            with aws_errors(f"read {pk} of {table}"):
                told = await self._dynamodb.query(
                    TableName=table, KeyConditionExpression=condition, ExpressionAttributeValues=values,
                    ConsistentRead=True, ScanIndexForward=not newest, ReturnConsumedCapacity="INDEXES", **more,
                )  # fmt: skip
            self._count(told, writes=False)
            for row in told["Items"]:
                yield row
            if "LastEvaluatedKey" not in told:
                return
            more["ExclusiveStartKey"] = told["LastEvaluatedKey"]

    async def head(self) -> Head:
        """The head row; number 0 for a cell that never committed."""
        row = await self.get(_HEAD)
        if row is None:
            return Head()
        number, hlc, lsn, conflicts, saved = (int(row[name]["N"]) for name in _NUMBERS)
        return Head(number, hlc, lsn, conflicts, row["region"]["S"], saved, row["token"]["S"])

    # --- writing -------------------------------------------------------------------------------------------------

    async def commit(self, before: Head, after: Head, puts: Sequence[Put]) -> Head:
        """Move the head and write the rows, all or nothing; the head as it is then.

        Raises:
            Conflicted: the head is not ``before`` any more; nothing was written.
            Overloaded, Unavailable: nothing was written.
            OutcomeUnknown: the commit may have been done, and AWS does not say.
        """
        after = after._replace(number=before.number + 1, token=uuid.uuid4().hex)
        actions = [self._head_put(before, after), *map(_action, puts)]
        try:
            with aws_errors(f"commit {after.number} to {self.state}", writes=True):
                told = await self._dynamodb.transact_write_items(
                    TransactItems=actions, ClientRequestToken=after.token, ReturnConsumedCapacity="INDEXES"
                )
        except Exception as error:
            cause = error.__cause__
            if isinstance(cause, ClientError) and code_of(cause) == "TransactionCanceledException":
                if "ConditionalCheckFailed" in reasons_of(cause):
                    raise Conflicted from error
                raise
            if isinstance(error, Overloaded):
                raise
            await self._settle(before, after, error)
            return after
        self._count(told, writes=True)
        return after

    async def _settle(self, before: Head, after: Head, error: Exception) -> None:
        """A commit's answer is missing: return when it was done; else see that it never will be, and raise."""
        found = await self.head_or(error)
        if found.token == after.token:
            return
        if found.number == before.number:
            # It may still be on its way. A commit of nothing takes its number, and then it can only be refused.
            fence = found._replace(number=found.number + 1, token=uuid.uuid4().hex, region=after.region)
            try:
                await self._dynamodb.transact_write_items(TransactItems=[self._head_put(before, fence)])
            except Exception as again:
                if (await self.head_or(error)).token == after.token:
                    return
                raise error from again
        elif found.number > after.number:
            raise error  # others have committed since, perhaps after this one
        raise Unavailable(f"commit {after.number} to {self.state} was not done; nothing was written") from error

    async def head_or(self, error: Exception) -> Head:
        """The head; when AWS does not even tell that, ``error`` is raised."""
        try:
            return await self.head()
        except Exception as again:
            raise error from again

    def _head_put(self, before: Head, after: Head) -> dict[str, Any]:
        item = _HEAD | {name: {"N": str(getattr(after, name))} for name in _NUMBERS}
        item |= {"region": {"S": after.region}, "token": {"S": after.token}}
        put: dict[str, Any] = {"TableName": self.state, "Item": item}
        if before.number == 0:
            put["ConditionExpression"] = "attribute_not_exists(pk)"
        else:
            put["ConditionExpression"] = "#n = :n"
            put["ExpressionAttributeNames"] = {"#n": "number"}
            put["ExpressionAttributeValues"] = {":n": {"N": str(before.number)}}
        return {"Put": put}

    async def write_all(self, puts: Iterable[Put]) -> None:
        """Write or delete rows, each by itself: for what may be done twice."""
        rest = list(puts)
        for _ in range(_TRIES + len(rest) // _BATCH_WRITE_MAX):
            batch, rest = rest[:_BATCH_WRITE_MAX], rest[_BATCH_WRITE_MAX:]
            if not batch:
                return
            wanted: dict[str, list[Any]] = {}
            for put in batch:
                request = {"DeleteRequest": {"Key": put.key}} if put.item is None else {
                    "PutRequest": {"Item": {**put.key, **put.item}}
                }  # fmt: skip
                wanted.setdefault(put.table, []).append(request)
            with aws_errors(f"write {len(batch)} rows of {self.state}", writes=True):
                told = await self._dynamodb.batch_write_item(RequestItems=wanted, ReturnConsumedCapacity="INDEXES")
            self._count(told, writes=True)
            for table, requests in (told.get("UnprocessedItems") or {}).items():
                rest += [_put_again(table, request) for request in requests]
        if rest:
            raise Overloaded(f"{self.state} did not take {len(rest)} rows in time; they are tried again")

    async def first(self, key: Row, item: Row) -> Row:
        """Write a row of the state table unless there is one; the row that is there then."""
        with aws_errors(f"write {key} of {self.state}", writes=True):
            try:
                told = await self._dynamodb.put_item(
                    TableName=self.state, Item={**key, **item}, ConditionExpression="attribute_not_exists(pk)",
                    ReturnConsumedCapacity="INDEXES",
                )  # fmt: skip
                self._count(told, writes=True)
            except ClientError as error:
                if code_of(error) != "ConditionalCheckFailedException":
                    raise
        return await self.get(key) or item

    async def replace_body(self, table: str, key: Row, body: bytes) -> None:
        """Set the body of an op row that still exists."""
        with aws_errors(f"replace a row of {table}", writes=True):
            try:
                told = await self._dynamodb.update_item(
                    TableName=table, Key=key, UpdateExpression="SET body = :body",
                    ConditionExpression="attribute_exists(pk)", ExpressionAttributeValues={":body": {"B": body}},
                    ReturnConsumedCapacity="INDEXES",
                )  # fmt: skip
            except ClientError as error:
                if code_of(error) != "ConditionalCheckFailedException":
                    raise
                return
        self._count(told, writes=True)

    def _count(self, told: Row, *, writes: bool) -> None:
        self.usage.count(told, writes=writes, replicated=self._replicated)


def _action(put: Put) -> dict[str, Any]:
    if put.item is None:
        return {"Delete": {"TableName": put.table, "Key": put.key}}
    return {"Put": {"TableName": put.table, "Item": {**put.key, **put.item}}}


def _put_again(table: str, request: Mapping[str, Any]) -> Put:
    if "DeleteRequest" in request:
        return Put(table, request["DeleteRequest"]["Key"], None)
    return Put(table, {}, request["PutRequest"]["Item"])


async def make_tables(clients: Sequence[AwsClients], *, prefix: str, cell: str) -> None:
    """Make a cell's tables as the templates do: the log in the first place with a replica in each other, a state table
    in each. For tests and rehearsals; a deployment makes them from its templates.
    """
    kinds = {"log": "N", "state": "S"}
    for place, one in enumerate(clients):
        for name, kind in kinds.items():
            if name == "log" and place:
                continue
            with aws_errors(f"make table {prefix}-{cell}-{name}"):
                await one.dynamodb.create_table(
                    TableName=f"{prefix}-{cell}-{name}",
                    BillingMode="PAY_PER_REQUEST",
                    AttributeDefinitions=[
                        {"AttributeName": "pk", "AttributeType": "S"},
                        {"AttributeName": "sk", "AttributeType": kind},
                    ],
                    KeySchema=[
                        {"AttributeName": "pk", "KeyType": "HASH"},
                        {"AttributeName": "sk", "KeyType": "RANGE"},
                    ],
                    StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
                )
    for other in clients[1:]:
        with aws_errors(f"replicate table {prefix}-{cell}-log"):
            await clients[0].dynamodb.update_table(
                TableName=f"{prefix}-{cell}-log", ReplicaUpdates=[{"Create": {"RegionName": other.place.region}}]
            )
