"""Identifiers: their types, and the one strict form that the border accepts.

Promises: an id that passed ``parse_id`` is 1 to 64 characters of ``[a-z0-9._-]``, starts with a letter or
digit, is safe in a URL path, a file name, a NATS subject token (dots excepted: see ``subject_token``) and a log line.
"""

import hashlib
import re
from typing import NewType

from eisbach.kernel.errors import Invalid

__all__ = [
    "AccountId",
    "AssetId",
    "CellId",
    "ChannelId",
    "DeviceId",
    "EventId",
    "JobId",
    "PlaybackSessionId",
    "ProfileId",
    "RegionId",
    "SpokeName",
    "TitleId",
    "derived_id",
    "parse_id",
    "subject_token",
]

AccountId = NewType("AccountId", str)
AssetId = NewType("AssetId", str)
CellId = NewType("CellId", str)
ChannelId = NewType("ChannelId", str)
DeviceId = NewType("DeviceId", str)
EventId = NewType("EventId", str)
JobId = NewType("JobId", str)
PlaybackSessionId = NewType("PlaybackSessionId", str)
ProfileId = NewType("ProfileId", str)
RegionId = NewType("RegionId", str)
SpokeName = NewType("SpokeName", str)
TitleId = NewType("TitleId", str)

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


def parse_id(text: str, *, what: str) -> str:
    """Return ``text`` when it is a well-formed id.

    Raises:
        Invalid: names ``what`` and the offending text (cut to 80 characters).
    """
    if _ID.fullmatch(text) is None or ".." in text:
        raise Invalid(
            f"{what} {text[:80]!r} is not an id; use 1 to 64 of a-z, 0-9, '.', '_', '-',"
            " starting with a letter or digit, without '..'"
        )
    return text


def derived_id(prefix: str, *parts: str) -> str:
    """An id that the same ``parts`` always give, e.g. a playback session from (account, key).

    This is what lets a repeat at the twin converge to one effect: both regions derive the same id.
    Shape: ``prefix-`` + 26 hexadecimal digits (104 bits of BLAKE2b over length-prefixed parts).
    """
    raw = b""
    for part in map(str.encode, parts):
        raw += len(part).to_bytes(4, "big") + part
    return f"{prefix}-{hashlib.blake2b(raw, digest_size=13).hexdigest()}"


def subject_token(text: str) -> str:
    """``text`` as one token of a NATS subject: dots become underscores."""
    return text.replace(".", "_")
