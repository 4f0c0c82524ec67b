"""What runners keep for their spokes, in a DynamoDB table: for spokes that run as functions.

Promises: ``ports.spoke_store`` for the spokes it was opened for. A settlement is one transaction. Several instances of
a function may have the same store: what one settles is refused to another that has not read it (``Unavailable``: load
again), so the effects of an event stay one. A spoke has a partition of its own (``spoke/NAME``), which is all that its
role may touch. May not know: hub, handlers.
Bounds: a row has 350 KB at most after compression, a settlement 100 rows and 4 MB; more is ``Invalid``.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from botocore.exceptions import ClientError

from eisbach.engines.aws.clients import AwsClients
from eisbach.engines.aws.errors import aws_errors, reasons_of
from eisbach.engines.aws.spoke_rows import (
    Item,
    at,
    chain_text,
    command_row,
    dead_row,
    held_row,
    key_of,
    num,
    packed,
    read_command,
    read_dead,
    read_held,
    size_of,
    unpacked,
    waiting_claim,
)
from eisbach.kernel.errors import Invalid, NotFound, Unavailable
from eisbach.ports.clock import Clock
from eisbach.ports.spoke_store import (
    Command,
    DeadLetter,
    Held,
    InboxKey,
    InboxRow,
    NewCommand,
    Settlement,
    WaitingClaim,
)

__all__ = ["DynamoSpokeStore"]

_ROWS_MAX: Final = 100
"""Of DynamoDB's transactions."""
_BYTES_MAX: Final = 4_000_000
"""The same: it takes 4 MiB."""
_COMMANDS_LOOKED_AT: Final = 500
_ABOVE_KEPT_S: Final = 30 * 86_400
"""Rows above a watermark that has passed them expire; the op log itself keeps 7 days."""


class DynamoSpokeStore:
    """Of one function, or of several spokes in one process."""

    def __init__(
        self, clients: AwsClients, *, table: str, spokes: Sequence[str], clock: Clock, rng: random.Random
    ) -> None:
        """``spokes``: whose commands, dead letters and counts are told; ``rng``: keeps numbers of instances apart."""
        self._clients, self._table, self._spokes, self._clock, self._rng = clients, table, tuple(spokes), clock, rng
        self._seen: dict[tuple[str, str], int] = {}
        """(partition, sort key) -> version of the rows that were read or written here."""
        self._places: dict[tuple[str, str], int] = {}
        """The same -> when a held event came first: kept when it is replaced."""
        self._rows: dict[str, dict[InboxKey, InboxRow]] = {}
        self._last_number = 0
        self._turns: dict[tuple[str, InboxKey], asyncio.Lock] = {}

    async def settle(self, settlement: Settlement) -> None:
        """See ``SpokeStore``.

        Raises:
            Unavailable: another instance has settled it, or AWS did not; load again.
            Invalid: over 100 rows or 4 MB, or a row over 350 KB.
        """
        if settlement.mark is None:
            await self._settle(settlement)
            return
        # One after the other in a chain, in the order of the calls: two at once would take each other for an instance.
        chain = (settlement.spoke, settlement.mark.key)
        async with self._turns.setdefault(chain, asyncio.Lock()):
            await self._settle(settlement)

    async def _settle(self, settlement: Settlement) -> None:
        pk, now = f"spoke/{settlement.spoke}", self._clock.wall_ms()
        writes: list[Item] = []
        if settlement.mark is not None:
            writes += self._marked(pk, settlement, now)
        if settlement.hold is not None:
            at_row = (pk, f"held#{settlement.event_id}")
            place = self._places.setdefault(at_row, self._number())
            writes.append(self._versioned(*at_row, held_row(settlement.hold, place)))
        elif settlement.release:
            writes.append(self._gone(pk, f"held#{settlement.event_id}"))
        for key, value in settlement.state.items():
            sk = f"state#{key}"
            gone: Item = {"Delete": {"TableName": self._table, "Key": at(pk, sk)}}
            writes.append(gone if value is None else self._put(pk, sk, packed(value)))
        for command in settlement.commands:
            number = self._number()
            row = command_row(command, event_id=settlement.event_id, subject=settlement.subject, now_ms=now)
            writes.append(self._put(pk, f"cmd#{number:020d}", row, new=True))
        if settlement.dead is not None:
            writes.append(self._put(pk, f"dead#{self._number():020d}", dead_row(settlement.dead), new=True))
        await self._transact(f"settle {settlement.event_id} for {settlement.spoke}", settlement.spoke, writes)
        self._remember(settlement, pk)

    async def inbox(self, spoke: str) -> Mapping[InboxKey, InboxRow]:
        """See ``SpokeStore``. Read once; then what this instance settled is added."""
        if spoke not in self._rows:
            pk, marks, above = f"spoke/{spoke}", dict[InboxKey, int](), dict[InboxKey, dict[int, int]]()
            async for item in self._query(pk, "inbox#", doing=f"load the inbox of {spoke}"):
                self._seen[pk, item["sk"]["S"]] = int(item["v"]["N"])
                marks[key_of(item["sk"]["S"])] = int(item["watermark"]["N"])
            async for item in self._query(pk, "above#", doing=f"load the inbox of {spoke}"):
                chain, _, seq = item["sk"]["S"].rpartition("#")
                above.setdefault(key_of(chain), {})[int(seq)] = int(item["prev"]["N"])
            self._rows[spoke] = {
                key: InboxRow(mark, {s: p for s, p in above.get(key, {}).items() if s > mark})
                for key, mark in marks.items()
            }
        return self._rows[spoke]

    async def held(self, spoke: str) -> Sequence[Held]:
        """See ``SpokeStore``."""
        pk, found = f"spoke/{spoke}", list[Held]()
        async for item in self._query(pk, "held#", doing=f"load what {spoke} holds"):
            self._seen[pk, item["sk"]["S"]] = int(item["v"]["N"])
            found.append(read_held(item))
            self._places[pk, item["sk"]["S"]] = found[-1].place
        return sorted(found, key=lambda held: held.place)

    async def get(self, spoke: str, key: str) -> bytes | None:
        """See ``SpokeStore``."""
        item = await self._get(f"spoke/{spoke}", f"state#{key}", doing=f"read {key} of {spoke}")
        return unpacked(item) if item else None

    async def doubt(self, spoke: str) -> str:
        """See ``SpokeStore``: a table that is put back from a backup has another name."""
        del spoke
        return ""

    async def asked_anew(self, spoke: str) -> None:
        """See ``SpokeStore``."""

    async def commands(self, *, limit: int) -> Sequence[Command]:
        """See ``SpokeStore``. Looks at the oldest 500 of each spoke."""
        found: list[Command] = []
        for spoke in self._spokes:
            subjects: set[str] = set()
            looked = 0
            async for item in self._query(f"spoke/{spoke}", "cmd#", doing=f"read the commands of {spoke}"):
                looked += 1
                if (subject := item["subject"]["S"]) not in subjects:
                    subjects.add(subject)
                    found.append(read_command(spoke, item))
                if looked >= _COMMANDS_LOOKED_AT:
                    break
        return sorted(found, key=lambda command: command.number)[:limit]

    async def command_answered(self, number: int, *, dead: DeadLetter | None = None) -> None:
        """See ``SpokeStore``."""
        spoke = await self._spoke_of("cmd", number)
        if spoke is None:
            return
        pk = f"spoke/{spoke}"
        writes: list[Item] = [{"Delete": {"TableName": self._table, "Key": at(pk, f"cmd#{number:020d}")}}]
        if dead is not None:
            writes.append(self._put(pk, f"dead#{self._number():020d}", dead_row(dead), new=True))
        await self._transact(f"forget command {number}", spoke, writes)

    async def command_postponed(self, number: int, *, attempt: int, due_ms: int) -> None:
        """See ``SpokeStore``."""
        spoke = await self._spoke_of("cmd", number)
        if spoke is None:
            return
        update = {
            "TableName": self._table,
            "Key": at(f"spoke/{spoke}", f"cmd#{number:020d}"),
            "UpdateExpression": "SET attempt = :attempt, due_ms = :due",
            "ConditionExpression": "attribute_exists(pk)",
            "ExpressionAttributeValues": {":attempt": num(attempt), ":due": num(due_ms)},
        }
        await self._transact(f"postpone command {number}", spoke, [{"Update": update}])

    async def dead_letters(self, *, spoke: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """See ``SpokeStore``."""
        found: list[DeadLetter] = []
        for name in self._spokes if spoke is None else (spoke,):
            async for item in self._query(
                f"spoke/{name}", "dead#", doing=f"read the dead letters of {name}", last=True
            ):
                found.append(read_dead(name, item))
                if len(found) >= limit:
                    break
        return sorted(found, key=lambda letter: -letter.number)[:limit]

    async def dead_letter(self, number: int) -> DeadLetter:
        """See ``SpokeStore``."""
        for spoke in self._spokes:
            item = await self._get(f"spoke/{spoke}", f"dead#{number:020d}", doing=f"read dead letter {number}")
            if item:
                return read_dead(spoke, item)
        raise NotFound(f"no dead letter {number} of {', '.join(self._spokes)}")

    async def drop(self, number: int, *, reason: str, now_ms: int) -> DeadLetter:
        """See ``SpokeStore``."""
        letter = await self.dead_letter(number)
        row = {**dead_row(letter), "dropped_why": {"S": reason}, "dropped_ms": num(now_ms)}
        await self._moved(letter, [self._put(f"spoke/{letter.spoke}", f"dropped#{number:020d}", row)])
        return letter

    async def redrive(self, number: int, *, now_ms: int) -> DeadLetter:
        """See ``SpokeStore``."""
        letter = await self.dead_letter(number)
        pk = f"spoke/{letter.spoke}"
        if letter.kind == "envelope":
            raise Invalid(f"dead letter {number} is an unreadable envelope; no repeat makes it readable")
        if letter.kind == "event":
            held = Held(
                event_id=letter.event_id, subject=letter.subject, why="retry", attempt=0, due_ms=now_ms,
                event=letter.body, history=letter.history,
            )  # fmt: skip
            back = self._put(pk, f"held#{letter.event_id}", {**held_row(held, self._number()), "v": num(1)})
            self._seen[pk, f"held#{letter.event_id}"] = 1
        else:
            said = msgspec.json.decode(letter.body)
            command = NewCommand(said["path"], msgspec.json.encode(said["body"]), said["key"])
            back = self._put(
                pk,
                f"cmd#{self._number():020d}",
                command_row(command, event_id=letter.event_id, subject=letter.subject, now_ms=now_ms),
                new=True,
            )
        await self._moved(letter, [back])
        return letter

    async def claims(self) -> Collection[WaitingClaim]:
        """See ``SpokeStore``."""
        found: set[WaitingClaim] = set()
        for spoke in self._spokes:
            # The held ones twice: what a redrive or a last attempt moves meanwhile is seen on one side at least.
            for prefix in ("held#", "dead#", "held#"):
                async for item in self._query(f"spoke/{spoke}", prefix, doing=f"read the claims of {spoke}"):
                    if prefix == "held#" or item["kind"]["S"] == "event":
                        claim = waiting_claim(unpacked(item))
                        found.update([claim] if claim else [])
        return found

    async def counts(self) -> Mapping[str, Mapping[str, int]]:
        """See ``SpokeStore``."""
        found: dict[str, dict[str, int]] = {}
        for spoke in self._spokes:
            words = {"held": "held#", "commands": "cmd#", "dead_letters": "dead#"}
            found[spoke] = {word: await self._count(f"spoke/{spoke}", prefix) for word, prefix in words.items()}
        return found

    async def aclose(self) -> None:
        """See ``SpokeStore``. The clients are whose who made them."""
        self.forget()

    def forget(self) -> None:
        """Read everything anew at the next use."""
        self._seen.clear()
        self._places.clear()
        self._rows.clear()

    # --- the table -----------------------------------------------------------------------------------------------

    def _marked(self, pk: str, settlement: Settlement, now_ms: int) -> list[Item]:
        """The row of the chain, if nobody changed it since; and the event's own, if it is above the watermark."""
        assert settlement.mark is not None
        key, watermark, above = settlement.mark
        chain = chain_text(key)
        writes = [self._versioned(pk, f"inbox#{chain}", {"watermark": num(watermark)})]
        if above is not None:
            seq, prev = above
            row = {"prev": num(prev), "expires": num(now_ms // 1000 + _ABOVE_KEPT_S)}
            writes.append(self._put(pk, f"above#{chain}#{seq:015d}", row))
        return writes

    def _remember(self, settlement: Settlement, pk: str) -> None:
        """What a settlement changed, in what this instance has read."""
        if settlement.mark is not None:
            key, watermark, above = settlement.mark
            row = (pk, f"inbox#{chain_text(key)}")
            self._seen[row] = self._seen.get(row, 0) + 1
            rows = self._rows.setdefault(settlement.spoke, {})
            kept = {s: p for s, p in (rows[key].above if key in rows else {}).items() if s > watermark}
            rows[key] = InboxRow(watermark, {**kept, **({above[0]: above[1]} if above is not None else {})})
        place = (pk, f"held#{settlement.event_id}")
        if settlement.hold is not None:
            self._seen[place] = self._seen.get(place, 0) + 1
        elif settlement.release:
            self._seen.pop(place, None)
            self._places.pop(place, None)

    def _put(self, pk: str, sk: str, row: Item, *, new: bool = False) -> Item:
        condition = {"ConditionExpression": "attribute_not_exists(pk)"} if new else {}
        return {"Put": {"TableName": self._table, "Item": {**at(pk, sk), **row}, **condition}}

    def _versioned(self, pk: str, sk: str, row: Item) -> Item:
        """A row that must still be what this instance knows of it."""
        seen = self._seen.get((pk, sk), 0)
        put: Item = {"TableName": self._table, "Item": {**at(pk, sk), **row, "v": num(seen + 1)}}
        put["ConditionExpression"] = "v = :seen" if seen else "attribute_not_exists(pk)"
        if seen:
            put["ExpressionAttributeValues"] = {":seen": num(seen)}
        return {"Put": put}

    def _gone(self, pk: str, sk: str) -> Item:
        delete: Item = {"TableName": self._table, "Key": at(pk, sk), "ConditionExpression": "v = :seen"}
        return {"Delete": {**delete, "ExpressionAttributeValues": {":seen": num(self._seen.get((pk, sk), 0))}}}

    def _number(self) -> int:
        """Rising in this instance, by time between instances, never given twice (a new row refuses a taken one)."""
        self._last_number = max(self._last_number + 1, (self._clock.wall_ms() << 16) | self._rng.getrandbits(16))
        return self._last_number

    async def _moved(self, letter: DeadLetter, writes: list[Item]) -> None:
        delete: Item = {"TableName": self._table, "Key": at(f"spoke/{letter.spoke}", f"dead#{letter.number:020d}")}
        delete["ConditionExpression"] = "attribute_exists(pk)"
        await self._transact(f"move dead letter {letter.number}", letter.spoke, [{"Delete": delete}, *writes])

    async def _spoke_of(self, kind: str, number: int) -> str | None:
        for spoke in self._spokes:
            if await self._get(f"spoke/{spoke}", f"{kind}#{number:020d}", doing=f"look for {kind} {number}"):
                return spoke
        return None

    async def _transact(self, doing: str, spoke: str, writes: list[Item]) -> None:
        if len(writes) > _ROWS_MAX:
            raise Invalid(f"{doing}: {len(writes)} rows; a transaction of DynamoDB has {_ROWS_MAX} at most")
        size = sum(size_of(write["Put"]["Item"]) for write in writes if "Put" in write)
        if size > _BYTES_MAX:
            raise Invalid(f"{doing}: {size} bytes; a transaction of DynamoDB takes {_BYTES_MAX}")
        if not writes:
            return
        with aws_errors(doing, writes=True):
            try:
                told = await self._clients.dynamodb.transact_write_items(
                    TransactItems=writes, ReturnConsumedCapacity="INDEXES"
                )
            except ClientError as error:
                if "ConditionalCheckFailed" not in reasons_of(error):
                    raise
                self.forget()
                raise Unavailable(
                    f"{doing}: another instance of spoke {spoke} has changed it; load it again and go on"
                ) from error
        self._clients.usage.count(told, what="spoke")

    async def _get(self, pk: str, sk: str, *, doing: str) -> Mapping[str, Any] | None:
        with aws_errors(doing):
            told = await self._clients.dynamodb.get_item(
                TableName=self._table, Key=at(pk, sk), ConsistentRead=True, ReturnConsumedCapacity="INDEXES"
            )
        self._clients.usage.count(told)
        found: Mapping[str, Any] | None = told.get("Item")
        return found

    async def _query(self, pk: str, prefix: str, *, doing: str, last: bool = False) -> AsyncIterator[Mapping[str, Any]]:
        more: Item = {}
        while True:
            with aws_errors(doing):
                told = await self._clients.dynamodb.query(
                    TableName=self._table,
                    KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
                    ExpressionAttributeValues={":pk": {"S": pk}, ":prefix": {"S": prefix}},
                    ConsistentRead=True,
                    ScanIndexForward=not last,
                    ReturnConsumedCapacity="INDEXES",
                    **more,
                )
            self._clients.usage.count(told)
            for item in told["Items"]:
                yield item
            if "LastEvaluatedKey" not in told:
                return
            more = {"ExclusiveStartKey": told["LastEvaluatedKey"]}

    async def _count(self, pk: str, prefix: str) -> int:
        return sum([1 async for _ in self._query(pk, prefix, doing=f"count {prefix} of {pk}")])
