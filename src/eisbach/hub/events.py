"""The events that Eisbach publishes, as types: what a spoke names in ``on=``.

Every payload is a struct whose fields are its contract; documents travel whole. Account ids only: no name, mail or
address is in any of them. May not know: who publishes, who reads.
"""

from typing import ClassVar, Final

from eisbach.domain.accounts import AccountCreated, AccountDeleted
from eisbach.domain.catalog import Asset, AssetAvailability, Channel, Title
from eisbach.domain.ingest import AssetReceived, AssetRejected
from eisbach.domain.jobs import BatchCompleted, BatchFailed
from eisbach.domain.playback import SessionStarted, SessionStopped
from eisbach.domain.progress import ProgressRecorded, WatchlistChanged
from eisbach.kernel.event_types import EventTypes

__all__ = [
    "BUILT_IN",
    "AccountCreated",
    "AccountDeleted",
    "AssetCopied",
    "AssetReady",
    "AssetReceived",
    "AssetRejected",
    "BatchCompleted",
    "BatchFailed",
    "ChannelUpserted",
    "ProgressRecorded",
    "SessionStarted",
    "SessionStopped",
    "TitlePublished",
    "TitleUnpublished",
    "TitleUpserted",
    "WatchlistAdded",
    "WatchlistRemoved",
]


class TitleUpserted(Title, frozen=True, kw_only=True, omit_defaults=True):
    """A title was written; the whole document."""

    event_type: ClassVar[str] = "tv.catalog.title.upserted.v1"


class TitlePublished(Title, frozen=True, kw_only=True, omit_defaults=True):
    """A title can be watched, inside its rights; the whole document."""

    event_type: ClassVar[str] = "tv.catalog.title.published.v1"


class TitleUnpublished(Title, frozen=True, kw_only=True, omit_defaults=True):
    """A title was taken down; the whole document."""

    event_type: ClassVar[str] = "tv.catalog.title.unpublished.v1"


class ChannelUpserted(Channel, frozen=True, kw_only=True, omit_defaults=True):
    """A channel's schedule was written; the whole document."""

    event_type: ClassVar[str] = "tv.catalog.channel.upserted.v1"


class AssetReady(Asset, frozen=True, kw_only=True, omit_defaults=True):
    """An asset is packaged in the region of origin."""

    event_type: ClassVar[str] = "tv.package.asset.ready.v1"


class AssetCopied(AssetAvailability, frozen=True, kw_only=True):
    """A verified copy of an asset is in ``region``."""

    event_type: ClassVar[str] = "tv.package.asset.copied.v1"


class WatchlistAdded(WatchlistChanged, frozen=True, kw_only=True):
    """A profile remembered a title."""

    event_type: ClassVar[str] = "tv.watchlist.item.added.v1"


class WatchlistRemoved(WatchlistChanged, frozen=True, kw_only=True):
    """A profile forgot a title."""

    event_type: ClassVar[str] = "tv.watchlist.item.removed.v1"


BUILT_IN: Final = EventTypes(
    [
        AccountCreated, AccountDeleted, AssetCopied, AssetReady, AssetReceived, AssetRejected, BatchCompleted,
        BatchFailed,
        ChannelUpserted, ProgressRecorded, SessionStarted, SessionStopped, TitlePublished, TitleUnpublished,
        TitleUpserted, WatchlistAdded, WatchlistRemoved,
    ]
)  # fmt: skip
