"""Rows of the spoke store in DynamoDB's own form, and back: pure.

Bodies are compressed, most from 4 KB on (a film's list of jobs shrinks twentyfold); over 350 KB even so is ``Invalid``.
Of a history that does not fit beside its event the newest attempts are kept.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from eisbach.kernel.errors import Invalid
from eisbach.ports.spoke_store import Command, DeadLetter, FailedAttempt, Held, InboxKey, NewCommand, WaitingClaim

__all__ = [
    "Item",
    "at",
    "chain_text",
    "command_row",
    "dead_row",
    "held_row",
    "key_of",
    "num",
    "packed",
    "read_command",
    "read_dead",
    "read_held",
    "size_of",
    "unpacked",
    "waiting_claim",
]

_BYTES_MAX: Final = 350_000
"""Of a row's body; DynamoDB takes 400 KB with names and keys."""
_TOLD_MAX: Final = 390_000
"""Of a row's body and history; a reason, of 2,000 characters of up to four bytes, and the names come on top."""
_UNPACKED_MAX: Final = 8 * 1024 * 1024
_COMPRESSED_FROM: Final = 4_096
Item = dict[str, Any]
_history = msgspec.json.Decoder(list[FailedAttempt])


def at(pk: str, sk: str) -> Item:
    """A key."""
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def num(value: int) -> Item:
    """A number."""
    return {"N": str(value)}


def chain_text(key: InboxKey) -> str:
    """Part of a sort key; none of its words may hold a ``#``."""
    return f"{key.slot}#{key.origin}#{key.epoch}#{key.type}"


def key_of(sk: str) -> InboxKey:
    """From ``inbox#...`` or ``above#...``."""
    _, slot, origin, epoch, type_ = sk.split("#")
    return InboxKey(slot, origin, int(epoch), type_)


def packed(body: bytes, *, least: int = _COMPRESSED_FROM) -> Item:
    """A body as attributes; compressed from ``least`` bytes on.

    Raises:
        Invalid: it does not fit a row.
    """
    if len(body) < least:
        return {"body": {"B": body}}
    small = zlib.compress(body, 6)
    if len(small) > _BYTES_MAX:
        raise Invalid(f"a body of {len(body)} bytes has {len(small)} compressed; a row of DynamoDB takes {_BYTES_MAX}")
    return {"body": {"B": small}, "packed": {"S": "zlib"}}


def size_of(row: Item) -> int:
    """Bytes of a row of texts, bytes and numbers; a number is fewer to DynamoDB."""
    return sum(
        len(name) + len(v if type(v) is bytes else v.encode()) for name, told in row.items() for v in told.values()
    )


def _with_history(history: Sequence[FailedAttempt], body: Item) -> Item:
    """A body and the newest attempts at it, as many as fit."""
    left, kept = _TOLD_MAX - size_of(body), list[FailedAttempt]()
    for attempt in reversed(history):
        left -= len(msgspec.json.encode(attempt)) + 1
        if left < 0:
            break
        kept.append(attempt)
    return {"history": {"B": msgspec.json.encode(kept[::-1])}, **body}


def unpacked(item: Mapping[str, Any]) -> bytes:
    """The body of a row."""
    body: bytes = item["body"]["B"]
    return zlib.decompressobj().decompress(body, _UNPACKED_MAX) if "packed" in item else body


def held_row(held: Held, place: int) -> Item:
    """``place``: used when it has none yet."""
    return {
        "subject": {"S": held.subject}, "why": {"S": held.why}, "attempt": num(held.attempt),
        "due_ms": num(held.due_ms), "place": num(held.place or place),
        **_with_history(held.history, packed(held.event)),
    }  # fmt: skip


def read_held(item: Mapping[str, Any]) -> Held:
    """From a row."""
    return Held(
        event_id=item["sk"]["S"].removeprefix("held#"), subject=item["subject"]["S"], why=item["why"]["S"],
        attempt=int(item["attempt"]["N"]), due_ms=int(item["due_ms"]["N"]), place=int(item["place"]["N"]),
        history=_history.decode(item["history"]["B"]), event=unpacked(item),
    )  # fmt: skip


def command_row(command: NewCommand, *, event_id: str, subject: str, now_ms: int) -> Item:
    """Due at once."""
    return {
        "event_id": {"S": event_id}, "subject": {"S": subject}, "path": {"S": command.path},
        "key": {"S": command.key}, "attempt": num(0), "due_ms": num(now_ms), **packed(command.body),
    }  # fmt: skip


def read_command(spoke: str, item: Mapping[str, Any]) -> Command:
    """From a row."""
    return Command(
        number=int(item["sk"]["S"].removeprefix("cmd#")), spoke=spoke, event_id=item["event_id"]["S"],
        subject=item["subject"]["S"], path=item["path"]["S"], body=unpacked(item), key=item["key"]["S"],
        attempt=int(item["attempt"]["N"]), due_ms=int(item["due_ms"]["N"]),
    )  # fmt: skip


def dead_row(letter: DeadLetter) -> Item:
    """As it is kept."""
    return {
        "event_id": {"S": letter.event_id}, "kind": {"S": letter.kind}, "subject": {"S": letter.subject},
        "reason": {"S": letter.reason}, "at_ms": num(letter.at_ms),
        **_with_history(letter.history, packed(letter.body)),
    }  # fmt: skip


def read_dead(spoke: str, item: Mapping[str, Any]) -> DeadLetter:
    """From a row."""
    return DeadLetter(
        spoke=spoke, event_id=item["event_id"]["S"], kind=item["kind"]["S"], subject=item["subject"]["S"],
        reason=item["reason"]["S"], at_ms=int(item["at_ms"]["N"]), body=unpacked(item),
        history=_history.decode(item["history"]["B"]), number=int(item["sk"]["S"].removeprefix("dead#")),
    )  # fmt: skip


class _Referring(msgspec.Struct):
    origin: str
    dataref: str | None = None


def waiting_claim(event: bytes) -> WaitingClaim | None:
    """The claim check of an event, if it has one."""
    found = msgspec.json.decode(event, type=_Referring)
    return WaitingClaim(found.origin, found.dataref) if found.dataref else None
