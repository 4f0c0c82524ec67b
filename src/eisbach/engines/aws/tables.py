"""The two tables of a cell, and the few calls on them that the store makes.

``{prefix}-{cell}-log`` is global and append-only: a row a commit (``log_table``), key ``(region, number)``; the region
is in the key, so no key is ever written by two. ``{prefix}-{cell}-state`` is this region's own: what the log comes to,
written later, each row with the number of the commit (``n``) that it shows.
Promises: every read is consistent; a row of the state never goes back to an older commit.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from botocore.exceptions import ClientError

from eisbach.engines.aws.clients import AwsClients
from eisbach.engines.aws.errors import aws_errors, code_of
from eisbach.kernel.errors import Invalid, Overloaded

__all__ = ["Head", "Put", "Tables", "make_tables"]

_BATCH_GET_MAX: Final = 100
_BATCH_WRITE_MAX: Final = 25
_TRIES: Final = 8
_PARTS_AT_ONCE: Final = 16
_BLANK_KEPT_S: Final = 3 * 86_400
"""A row that is gone is kept blank so long, lest a process that was stopped writes what it was: AWS expires it."""
_NUMBERS: Final = ("number", "hlc", "lsn", "conflicts")
_KEEPER: Final = {"pk": {"S": "keeper"}, "sk": {"S": "keeper"}}
_SAID: Final = {"log": "index of the log", "key": "answer", "conflict": "loser"}
_HEAD: Final = {"pk": {"S": "head"}, "sk": {"S": "head"}}

Row = Mapping[str, Any]


class Put(NamedTuple):
    """A row to write; ``item`` None deletes the row of ``key``."""

    table: str
    key: Row
    item: Row | None


class Head(NamedTuple):
    """Up to where the state shows the log: a start reads on from there. Written by every flush."""

    number: int = 0
    """Of a commit."""
    hlc: int = 0
    lsn: int = 0
    """Of the last op."""
    conflicts: int = 0
    """Ever logged; numbers them."""
    region: str = ""
    beyond: int = 0
    """A row may lack what it was at ``number`` if a commit up to this one wrote it anew: who has read so far may let
    go of what lies before ``number``."""


class Tables:
    """Of one cell in one region."""

    def __init__(self, clients: AwsClients, *, prefix: str, cell: str) -> None:
        self.dynamodb, self.usage = clients.dynamodb, clients.usage
        self.log, self.state = f"{prefix}-{cell}-log", f"{prefix}-{cell}-state"
        self._replicated = frozenset({self.log})

    # --- reading -------------------------------------------------------------------------------------------------

    async def get(self, key: Row) -> Row | None:
        """A row of the state table."""
        with aws_errors(f"read {key} of {self.state}"):
            told = await self.dynamodb.get_item(
                TableName=self.state, Key=key, ConsistentRead=True, ReturnConsumedCapacity="INDEXES"
            )
        self.count(told)
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
                    told = await self.dynamodb.batch_get_item(RequestItems=wanted, ReturnConsumedCapacity="INDEXES")
                self.count(told)
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
                told = await self.dynamodb.query(
                    TableName=table, KeyConditionExpression=condition, ExpressionAttributeValues=values,
                    ConsistentRead=True, ScanIndexForward=not newest, ReturnConsumedCapacity="INDEXES", **more,
                )  # fmt: skip
            self.count(told)
            for row in told["Items"]:
                yield row
            if "LastEvaluatedKey" not in told:
                return
            more["ExclusiveStartKey"] = told["LastEvaluatedKey"]

    async def head(self) -> Head:
        """The head row; number 0 for a cell that never flushed.

        Raises:
            Invalid: the tables were written by a version that kept its commits in another form.
        """
        row = await self.get(_HEAD)
        if row is None:
            return Head()
        if "saved" in row:
            raise Invalid(f"{self.state} is of a version before ADR 0022, which this one does not read; make it anew")
        number, hlc, lsn, conflicts = (int(row[name]["N"]) for name in _NUMBERS)
        return Head(number, hlc, lsn, conflicts, row["region"]["S"], int(row.get("beyond", row["number"])["N"]))

    # --- writing -------------------------------------------------------------------------------------------------

    async def show(self, rows: Sequence[tuple[str, str, int, Row | None]], *, now_ms: int) -> None:
        """Write rows of the state, (pk, sk, number of the commit that it shows, row), each unless it shows a later one.

        A row that is gone stays blank for three days, lest a process that was stopped for a while writes it anew.
        """
        gate = asyncio.Semaphore(_PARTS_AT_ONCE)

        async def one(pk: str, sk: str, number: int, row: Row | None) -> None:
            if row is None:
                row = {"gone": {"N": "1"}, "expires": {"N": str(now_ms // 1000 + _BLANK_KEPT_S)}}
            item = {"pk": {"S": pk}, "sk": {"S": sk}, "n": {"N": str(number)}, **row}
            async with gate:
                await self._put_newer(item, "n")

        await asyncio.gather(*(one(*row) for row in rows))

    async def keeper(self) -> int:
        """How many ops the process that keeps the state lets lie in the log alone; 0 when no such process ever was."""
        row = await self.get(_KEEPER)
        return int(row["ops"]["N"]) if row is not None else 0

    async def keep(self, ops: int) -> None:
        """This process keeps the state: others leave it to it."""
        await self.write_all([Put(self.state, _KEEPER, {"ops": {"N": str(ops)}})])

    async def nudge(self, number: int) -> None:
        """Change a row of the state, for whoever follows its stream."""
        item = {"pk": {"S": "nudge"}, "sk": {"S": "nudge"}, "n": {"N": str(number)}}
        with aws_errors(f"write a row of {self.state}", writes=True):
            told = await self.dynamodb.put_item(TableName=self.state, Item=item, ReturnConsumedCapacity="INDEXES")
        self.count(told, what="state: nudge")

    async def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """Take rows out of the state that no process can write anew with anything of worth."""
        await self.write_all([Put(self.state, {"pk": {"S": pk}, "sk": {"S": sk}}, None) for pk, sk in keys])

    async def show_head(self, head: Head) -> None:
        """The state shows every commit up to ``head``, unless it shows more already."""
        item = _HEAD | {name: {"N": str(getattr(head, name))} for name in (*_NUMBERS, "beyond")}
        item |= {"region": {"S": head.region}}
        await self._put_newer(item, "number")

    async def _put_newer(self, item: dict[str, Any], by: str) -> None:
        what = _kind(item)
        with aws_errors(f"write a row of {self.state}", writes=True):
            try:
                told = await self.dynamodb.put_item(
                    TableName=self.state, Item=item, ConditionExpression="attribute_not_exists(#n) OR #n < :n",
                    ExpressionAttributeNames={"#n": by}, ExpressionAttributeValues={":n": item[by]},
                    ReturnConsumedCapacity="INDEXES",
                )  # fmt: skip
            except ClientError as error:
                if code_of(error) != "ConditionalCheckFailedException":
                    raise
                self.usage.wrote(1, f"{what}, refused")  # that is billed too
                return
        self.count(told, what=what)

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
                told = await self.dynamodb.batch_write_item(RequestItems=wanted, ReturnConsumedCapacity="INDEXES")
            self.count(told, what=_kind(batch[0].key) if batch[0].table == self.state else "log: deleted")
            for table, requests in (told.get("UnprocessedItems") or {}).items():
                rest += [_put_again(table, request) for request in requests]
        if rest:
            raise Overloaded(f"{self.state} did not take {len(rest)} rows in time; they are tried again")

    async def first(self, key: Row, item: Row) -> Row:
        """Write a row of the state table unless there is one; the row that is there then."""
        with aws_errors(f"write {key} of {self.state}", writes=True):
            try:
                told = await self.dynamodb.put_item(
                    TableName=self.state, Item={**key, **item}, ConditionExpression="attribute_not_exists(pk)",
                    ReturnConsumedCapacity="INDEXES",
                )  # fmt: skip
                self.count(told, what=_kind(key))
            except ClientError as error:
                if code_of(error) != "ConditionalCheckFailedException":
                    raise
        return await self.get(key) or item

    def count(self, told: Row, *, what: str = "") -> None:
        """Add what an answer says that it cost; ``what`` was written."""
        self.usage.count(told, what=what, replicated=self._replicated)


def _kind(row: Row) -> str:
    """What a row of the state is, for the bill."""
    kind = row["pk"]["S"].partition("#")[0]
    if kind != "item":
        return f"state: {_SAID.get(kind, kind)}"
    blank = "erased " if "gone" in row else ""
    return f"state: {blank}item {row['sk']['S'].partition(chr(0))[2].partition('/')[0]}"


def _put_again(table: str, request: Mapping[str, Any]) -> Put:
    if "DeleteRequest" in request:
        return Put(table, request["DeleteRequest"]["Key"], None)
    return Put(table, {}, request["PutRequest"]["Item"])


@contextmanager
def _made_by_an_earlier_try() -> Iterator[None]:
    """The SDK's own: the answer to its first came too late, and the second finds what the first has made."""
    try:
        yield
    except ClientError as error:
        if code_of(error) != "ResourceInUseException":
            raise


async def make_tables(clients: Sequence[AwsClients], *, prefix: str, cell: str) -> None:
    """Make a cell's tables as the templates do: the log in the first place with a replica in each other, a state table
    in each. For tests and rehearsals; a deployment makes them from its templates.
    """
    kinds = {"log": "N", "state": "S"}
    for place, one in enumerate(clients):
        for name, kind in kinds.items():
            if name == "log" and place:
                continue
            with aws_errors(f"make table {prefix}-{cell}-{name}"), _made_by_an_earlier_try():
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
