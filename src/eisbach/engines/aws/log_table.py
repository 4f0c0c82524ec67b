"""The log of a cell as one region writes it: a row a commit, key ``(region, number)``, in the global table.

Promises: a commit is one row, refused as a whole when somebody else has taken its number; one whose answer was lost is
settled before anything else is written. A body that is too long for a row lies in parts that are written first, and
that nobody sees before the row is there. May not know: what a body means.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from eisbach.engines.aws.errors import aws_errors, code_of
from eisbach.engines.aws.log_row import BODY_MAX, CommitBody, encode_body
from eisbach.engines.aws.tables import Put, Row, Tables
from eisbach.kernel.errors import Overloaded, Unavailable

__all__ = ["Conflicted", "LogRow", "LogTable"]


class Conflicted(Exception):
    """Somebody else has taken the number: nothing was written."""


class LogRow(NamedTuple):
    """A row of the log as it lies there."""

    number: int
    body: bytes
    lsn: int
    token: bytes
    written: int
    """How often its body was replaced."""
    parts: str
    """Where its parts lie, if it has any."""


class LogTable:
    """``region`` is whose rows: this region's own, or another's as the replica here has them."""

    def __init__(self, tables: Tables, *, region: str) -> None:
        self._tables, self._region = tables, region
        self.own = b""
        """Token of this process's last commit, or of the one that is under way."""

    async def rows(self, low: int, *, page: int = 0) -> AsyncIterator[LogRow]:
        """Rows of the log from number ``low`` on, in order; ends before one that is not whole."""
        async for row in self._tables.query(self._tables.log, self._region, low=low, page=page):
            made = await self._whole(row)
            if made is None:
                return
            yield made

    async def rows_at(self, numbers: Sequence[int]) -> list[LogRow]:
        """Those of these rows that are there, in order."""
        places = [(self._tables.log, self._key(number)) for number in sorted(set(numbers))]
        found = [await self._whole(row) for row in await self._tables.get_all(places)]
        return sorted(row for row in found if row is not None)

    async def row(self, number: int) -> LogRow | None:
        """One row of the log."""
        with aws_errors(f"read commit {number} of {self._tables.log}"):
            told = await self._tables.dynamodb.get_item(
                TableName=self._tables.log, Key=self._key(number), ConsistentRead=True,
                ReturnConsumedCapacity="INDEXES",
            )  # fmt: skip
        self._tables.count(told)
        return await self._whole(told["Item"]) if "Item" in told else None

    async def _whole(self, row: Row) -> LogRow | None:
        """With its parts; None when one of them has not come to this region yet, or is gone."""
        parts = int(row["parts"]["N"]) if "parts" in row else 0
        name, body = row["p"]["S"] if parts else "", row["b"]["B"] if not parts else b""
        if parts:
            pieces = [one["b"]["B"] async for one in self._tables.query(self._tables.log, self._part_key(name))]
            if len(pieces) != parts:
                return None
            body = b"".join(pieces)
        number, lsn, written = (int(row[field]["N"]) for field in ("sk", "l", "w"))
        return LogRow(number, body, lsn, row["t"]["B"], written, name)

    def _key(self, number: int) -> dict[str, Any]:
        return {"pk": {"S": self._region}, "sk": {"N": str(number)}}

    # --- writing -----------------------------------------------------------------------------------------------------

    async def append(self, number: int, body: CommitBody) -> int:
        """Make ``body`` commit ``number``, unless there is one; its bytes before they were deflated.

        Raises:
            Conflicted: somebody else has taken the number; nothing was written.
            Overloaded, Unavailable: nothing was written.
            OutcomeUnknown: the commit may have been done, and AWS does not say.
        """
        token, (raw, size) = uuid.uuid4().bytes, encode_body(body)
        item = await self._item(number, raw, body.last_lsn, token)
        self.own = token
        try:
            with aws_errors(f"commit {number} to {self._tables.log}", writes=True):
                told = await self._tables.dynamodb.put_item(
                    TableName=self._tables.log, Item=item, ConditionExpression="attribute_not_exists(pk)",
                    ReturnConsumedCapacity="INDEXES",
                )  # fmt: skip
        except Exception as error:
            if isinstance(error, Overloaded):
                raise
            await self._settle(number, body.first_lsn - 1, token, error)
        else:
            self._tables.count(told, what="log: commit")
        return size

    async def _settle(self, number: int, lsn: int, token: bytes, error: Exception) -> None:
        """A commit was refused, or its answer is missing: return when it was done; else see that it never will be, and
        raise.
        """
        found = await self._row_or(number, error)
        if found is None:
            # It may still be on its way. A commit of nothing takes its number, and then it can only be refused.
            fence, _ = encode_body(CommitBody(lsn + 1, 0, 0, []))
            item = await self._item(number, fence, lsn, uuid.uuid4().bytes)
            try:
                await self._tables.dynamodb.put_item(
                    TableName=self._tables.log, Item=item, ConditionExpression="attribute_not_exists(pk)"
                )
            except Exception as again:
                found = await self._row_or(number, error)
                if found is None:
                    raise error from again
            else:
                raise Unavailable(f"commit {number} to {self._tables.log} was not done; nothing was written") from error
        if found.token != token:
            self._tables.usage.wrote(1, "log: refused")  # that is billed too; the emulator does not say it
            raise Conflicted from error

    async def _row_or(self, number: int, error: Exception) -> LogRow | None:
        """A row of the log; when AWS does not even tell that, ``error`` is raised."""
        try:
            return await self.row(number)
        except Exception as again:
            raise error from again

    async def _item(self, number: int, body: bytes, lsn: int, token: bytes) -> dict[str, Any]:
        """The row; a body that is too long for one is written before it, and nobody sees it until the row is there."""
        item: dict[str, Any] = self._key(number)
        item |= {"l": {"N": str(lsn)}, "t": {"B": token}, "w": {"N": "0"}}
        if len(body) <= BODY_MAX:
            return item | {"b": {"B": body}}
        parts, name = [body[at : at + BODY_MAX] for at in range(0, len(body), BODY_MAX)], uuid.uuid4().hex
        for place, part in enumerate(parts):
            key = {"pk": {"S": self._part_key(name)}, "sk": {"N": str(place)}}
            with aws_errors(f"write part {place} of commit {number} to {self._tables.log}"):
                told = await self._tables.dynamodb.put_item(
                    TableName=self._tables.log, Item={**key, "b": {"B": part}}, ReturnConsumedCapacity="INDEXES"
                )
            self._tables.count(told, what="log: commit")
        return item | {"parts": {"N": str(len(parts))}, "p": {"S": name}}

    async def replace(self, row: LogRow, body: bytes) -> bool:
        """Set the body of a row that is still there as it was read; False when somebody else has changed it."""
        item = await self._item(row.number, body, row.lsn, row.token)
        item["w"] = {"N": str(row.written + 1)}
        with aws_errors(f"replace commit {row.number} of {self._tables.log}", writes=True):
            try:
                told = await self._tables.dynamodb.put_item(
                    TableName=self._tables.log, Item=item, ConditionExpression="w = :w",
                    ExpressionAttributeValues={":w": {"N": str(row.written)}}, ReturnConsumedCapacity="INDEXES",
                )  # fmt: skip
            except ClientError as error:
                if code_of(error) != "ConditionalCheckFailedException":
                    raise
                return False
        self._tables.count(told, what="log: replaced")
        await self._delete_parts(row)
        return True

    async def delete(self, rows: Sequence[LogRow]) -> None:
        """Take rows out of the log, their parts first."""
        for row in rows:
            await self._delete_parts(row)
        await self._tables.write_all([Put(self._tables.log, self._key(row.number), None) for row in rows])

    async def _delete_parts(self, row: LogRow) -> None:
        log = self._tables.log
        if row.parts:
            found = self._tables.query(log, self._part_key(row.parts))
            await self._tables.write_all([Put(log, {"pk": one["pk"], "sk": one["sk"]}, None) async for one in found])

    def _part_key(self, name: str) -> str:
        """Partition of a long body's parts."""
        return f"{self._region}#part#{name}"
