"""A cell's projection of the catalogue in its own table on DynamoDB: what tasks and functions of a cell share.

Promises: ``ports.projection_store``, but for one thing: documents are written one by one, each kept only if it is newer
than what is there, so a writer that is behind puts nothing back; a crash in the middle leaves some of them, and the
envelope, which was not acknowledged, brings the rest. May not know: what the documents are.
"""

from collections.abc import Sequence
from typing import Any, Final

from botocore.exceptions import ClientError

from eisbach.engines.aws.clients import AwsClients
from eisbach.engines.aws.errors import aws_errors, code_of
from eisbach.engines.aws.spoke_rows import num, packed, unpacked
from eisbach.ports.projection_store import Kept

__all__ = ["DynamoProjectionStore"]

_PK: Final = "catalogue"
_NEWER: Final = (
    "attribute_not_exists(pk) OR revision < :r OR (revision = :r AND (hlc < :h OR (hlc = :h AND "
    "(origin < :o OR (origin = :o AND seq <= :s)))))"
)


class DynamoProjectionStore:
    """Of one cell, in its state table."""

    def __init__(self, clients: AwsClients, *, table: str) -> None:
        self._clients, self._table = clients, table

    async def load(self) -> Sequence[Kept]:
        """See ``ports.projection_store``."""
        found: list[Kept] = []
        more: dict[str, Any] = {}
        while True:
            with aws_errors(f"read the catalogue in {self._table}"):
                told = await self._clients.dynamodb.query(
                    TableName=self._table, KeyConditionExpression="pk = :pk",
                    ExpressionAttributeValues={":pk": {"S": _PK}}, ReturnConsumedCapacity="INDEXES", **more,
                )  # fmt: skip
            self._clients.usage.count(told)
            for item in told["Items"]:
                kind, _, id_ = item["sk"]["S"].partition("#")
                revision, hlc, seq = (int(item[name]["N"]) for name in ("revision", "hlc", "seq"))
                found.append(Kept(kind, id_, (revision, hlc, item["origin"]["S"], seq), unpacked(item)))
            if "LastEvaluatedKey" not in told:
                return found
            more = {"ExclusiveStartKey": told["LastEvaluatedKey"]}

    async def doubt(self) -> str:
        """See ``ports.projection_store``: a table that is put back from a backup has another name."""
        return ""

    async def asked_anew(self) -> None:
        """See ``ports.projection_store``."""

    async def keep(self, changes: Sequence[Kept]) -> None:
        """See ``ports.projection_store``."""
        for change in changes:
            revision, hlc, origin, seq = change.version
            row = {"revision": num(revision), "hlc": num(hlc), "origin": {"S": origin}, "seq": num(seq)}
            values = {":r": num(revision), ":h": num(hlc), ":o": {"S": origin}, ":s": num(seq)}
            key = {"pk": {"S": _PK}, "sk": {"S": f"{change.kind}#{change.id}"}}
            with aws_errors(f"keep {change.kind} {change.id} in {self._table}", writes=True):
                try:
                    told = await self._clients.dynamodb.put_item(
                        TableName=self._table, Item={**key, **row, **packed(change.body)}, ConditionExpression=_NEWER,
                        ExpressionAttributeValues=values, ReturnConsumedCapacity="INDEXES",
                    )  # fmt: skip
                except ClientError as error:
                    if code_of(error) != "ConditionalCheckFailedException":
                        raise
                    continue  # a newer one is there
            self._clients.usage.count(told, what="catalogue")
