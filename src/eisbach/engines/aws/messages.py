"""An envelope as a message of SNS and SQS, and back: pure.

Promises: every envelope has a message that both services take, whatever its events hold: characters that SQS refuses
are written as JSON escapes, and what has then outgrown SNS travels as its place in the archive.
The message's deduplication id is its content's digest, never its number: after a crash the same number may be published
again with more in it, and SNS would drop that as a repeat within its five minutes.
"""

import hashlib
import zlib
from typing import Any, Final, NamedTuple

import msgspec

from eisbach.kernel.limits import ENVELOPE_BYTES_MAX

__all__ = ["Arrived", "Message", "arrived", "message_of", "place_of", "sequence_of", "types_in"]

_SIZE_MAX: Final = ENVELOPE_BYTES_MAX + 32 * 1024
"""SNS allows 256 KiB with attributes; those of an envelope with 64 types take less than the rest."""
_BITS: Final = 32


class Message(NamedTuple):
    """What is sent."""

    body: str
    attributes: dict[str, dict[str, str]]
    group: str
    """Order holds within it: the source."""
    deduplication: str


class _Types(msgspec.Struct):
    type: str


class _Head(msgspec.Struct):
    events: list[_Types]


_heads = msgspec.json.Decoder(_Head)


def sequence_of(source: str, number: int) -> int:
    """The place in the log of envelope ``number`` of ``source``: 0 for number 0, rising in a source, and another in
    every source (but for one chance in 4e9 for each pair of sources: the low bits are a CRC-32 of its name).
    """
    return (number << _BITS) | zlib.crc32(source.encode()) if number else 0


def place_of(sequence: int) -> int:
    """The number in a ``sequence``."""
    return sequence >> _BITS


def types_in(body: bytes) -> list[str]:
    """The event types of an encoded envelope."""
    return sorted({event.type for event in _heads.decode(body).events})


def message_of(source: str, number: int, body: bytes) -> Message:
    """The message of an encoded envelope."""
    text = body.decode().replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
    attributes = {
        "types": {"DataType": "String.Array", "StringValue": msgspec.json.encode(types_in(body)).decode()},
        "sequence": {"DataType": "Number", "StringValue": str(sequence_of(source, number))},
    }
    if len(text.encode()) > _SIZE_MAX:
        attributes["archived"] = {"DataType": "Number", "StringValue": str(number)}
        text = "archived"
    digest = hashlib.sha256(body).hexdigest()
    return Message(text, attributes, source, f"{number}-{digest[:64]}")


class Arrived(NamedTuple):
    """A message as a reader gets it."""

    source: str
    sequence: int
    archived: int
    """Number of the envelope in the archive whose place the message is; 0 when the body is the envelope."""
    body: bytes


def arrived(raw: dict[str, Any]) -> Arrived:
    """Read a message of ``ReceiveMessage``; one that nobody of ours sent has a sequence below zero."""
    told = {name: value.get("StringValue", "") for name, value in raw.get("MessageAttributes", {}).items()}
    source = raw.get("Attributes", {}).get("MessageGroupId", "")
    sequence = told.get("sequence", "")
    archived = told.get("archived", "")
    stranger = -1 - zlib.crc32(raw["MessageId"].encode())
    return Arrived(
        source,
        int(sequence) if sequence.isdecimal() else stranger,
        int(archived) if archived.isdecimal() else 0,
        raw["Body"].encode(),
    )
