"""From an upload to a title: what the studio keeps of a work on its way, and the words of its events.

Pure. May not know: stores, HTTP, jobs.
"""

import hashlib
import re
from typing import ClassVar, Final

import msgspec

from eisbach.domain.catalog import Asset, RightsWindow, Title
from eisbach.kernel.errors import Invalid
from eisbach.kernel.ids import derived_id, parse_id
from eisbach.kernel.priority import Priority

__all__ = [
    "ASSET_COPIED",
    "ASSET_READY",
    "ASSET_RECEIVED",
    "ASSET_REJECTED",
    "AssetCopied",
    "AssetReceived",
    "AssetRecord",
    "AssetRejected",
    "NewUpload",
    "Upload",
    "first_title",
    "new_upload",
    "plain_id",
    "received_event",
]

ASSET_RECEIVED: Final = "tv.ingest.asset.received.v1"
ASSET_REJECTED: Final = "tv.ingest.asset.rejected.v1"
ASSET_COPIED: Final = "tv.package.asset.copied.v1"
ASSET_READY: Final = "tv.package.asset.ready.v1"

_AGES: Final = (0, 6, 12, 16, 18)
_SPELLED: Final = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"}
_MARKET: Final = re.compile(r"[a-z]{2}", re.ASCII)


class NewUpload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is about to be uploaded."""

    name: str
    """Of the file; shown, never used as a path."""
    title: str = ""
    """Id of the title it becomes; empty: made from the name."""
    names: dict[str, str] = {}
    """Language -> what viewers read; empty: the file's name without its ending."""
    market: str = "de"
    age: int = 0
    publish: bool = False
    """Publish the title by itself as soon as the asset is ready."""
    credit: str = ""
    priority: Priority = "on_demand"
    """``live``: its jobs go before all others, e.g. for a programme that begins in minutes."""


class Upload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An upload that was announced."""

    id: str
    asset: str
    title: str
    name: str
    names: dict[str, str]
    market: str
    age: int
    publish: bool
    credit: str = ""
    priority: Priority = "on_demand"


class AssetRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An asset on its way, as people see it."""

    id: str
    home: str
    """Region that works on it."""
    state: str
    """``received``, ``rejected``, ``ready``."""
    upload: str = ""
    """Empty for an asset that was packaged elsewhere."""
    title: str = ""
    name: str = ""
    bytes: int = 0
    sha256: str = ""
    publish: bool = False
    credit: str = ""
    reason: str = ""
    """Why it was rejected, for the person who uploaded; or why it was begun anew."""
    asset: Asset | None = None
    priority: Priority = "on_demand"
    tenant: str = ""
    """The market that uploaded it; its jobs take turns with those of others."""
    round: int = 0
    """Times the work on it was begun anew."""


class AssetReceived(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``tv.ingest.asset.received.v1``: the content is whole and on disk."""

    event_type: ClassVar[str] = ASSET_RECEIVED

    asset: str
    title: str
    upload: str
    source: str
    """Blob key."""
    bytes: int
    sha256: str
    home: str
    name: str = ""
    publish: bool = False
    credit: str = ""
    priority: Priority = "on_demand"
    tenant: str = ""


class AssetRejected(msgspec.Struct, frozen=True, kw_only=True):
    """``tv.ingest.asset.rejected.v1``."""

    event_type: ClassVar[str] = ASSET_REJECTED

    asset: str
    title: str
    reason: str


class AssetCopied(msgspec.Struct, frozen=True, kw_only=True):
    """``tv.package.asset.copied.v1``: a region holds a verified copy."""

    asset: str
    region: str
    files_sha256: str


def plain_id(text: str, *, what: str) -> str:
    """An id without dots: media tokens and paths name it.

    Raises:
        Invalid: it is none.
    """
    if "." in parse_id(text, what=what):
        raise Invalid(f"{what} {text!r} has a dot; media tokens need ids without")
    return text


def new_upload(asked: NewUpload, *, seed: str) -> Upload:
    """The upload with its ids, the same for the same ``seed``.

    Raises:
        Invalid: a field breaks its rule.
    """
    if not 1 <= len(asked.name) <= 255 or any(ord(c) < 32 for c in asked.name):
        raise Invalid(f"name {asked.name[:80]!r} is not 1 to 255 printable characters")
    if asked.age not in _AGES:
        raise Invalid(f"age {asked.age} is not one of {_AGES}")
    if _MARKET.fullmatch(asked.market) is None:
        raise Invalid(f"market {asked.market[:80]!r} is not a country like 'de'")
    names = dict(asked.names) or {"en": asked.name.rsplit(".", 1)[0] or asked.name}
    if len(names) > 20 or not all(1 <= len(k) <= 16 and 1 <= len(v) <= 200 for k, v in names.items()):
        raise Invalid("names: at most 20 languages, each name 1 to 200 characters")
    names.setdefault("en", next(iter(names.values())))
    stem = plain_id(asked.title, what="title") if asked.title else _slug(names["en"])
    mark = hashlib.blake2b(seed.encode(), digest_size=4).hexdigest()
    return Upload(
        id=derived_id("up", seed),
        asset=f"{stem[:48]}-{mark}",
        title=asked.title or f"{stem[:48]}-{mark}",
        name=asked.name,
        names=names,
        market=asked.market,
        age=asked.age,
        publish=asked.publish,
        credit=asked.credit[:500],
        priority=asked.priority,
    )


def received_event(record: AssetRecord) -> AssetReceived:
    """What starts the work on it, at the region that is its home."""
    return AssetReceived(
        asset=record.id, title=record.title, upload=record.upload, source=f"uploads/{record.upload}",
        bytes=record.bytes, sha256=record.sha256, home=record.home, name=record.name, publish=record.publish,
        credit=record.credit, priority=record.priority, tenant=record.tenant,
    )  # fmt: skip


def first_title(upload: Upload, *, revision: int) -> Title:
    """The draft that an upload begins with."""
    return Title(
        id=upload.title,
        revision=revision,
        names=upload.names,
        age=upload.age,
        rights=[RightsWindow(markets=[upload.market])],
        credit=upload.credit,
    )


def _slug(text: str) -> str:
    spelled = "".join(_SPELLED.get(c, c) for c in text.lower())
    return re.sub(r"[^a-z0-9]+", "-", spelled, flags=re.ASCII).strip("-")[:48].strip("-") or "title"
