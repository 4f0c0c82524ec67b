"""The inbox rows of a group commit in the spoke store. Promises: ``ports.spoke_store``."""

from collections.abc import Sequence

import apsw

from eisbach.ports.spoke_store import InboxKey, Settlement

__all__ = ["mark_group"]


def mark_group(database: apsw.Connection, group: Sequence[Settlement]) -> None:
    """The inbox rows of a group commit: of each chain the last watermark only, since all become true at once."""
    last: dict[tuple[str, InboxKey], int] = {}
    for settlement in group:
        mark = settlement.mark
        if mark is not None:
            last[settlement.spoke, mark.key] = mark.watermark
            if mark.above is not None:
                database.execute(
                    "INSERT OR REPLACE INTO above VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (settlement.spoke, *mark.key, *mark.above),
                )
    for (spoke, key), watermark in last.items():
        database.execute(
            "INSERT INTO inbox VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET watermark = excluded.watermark",
            (spoke, *key, watermark),
        )
        database.execute(
            "DELETE FROM above WHERE spoke = ? AND slot = ? AND origin = ? AND epoch = ? AND type = ? AND seq <= ?",
            (spoke, *key, watermark),
        )
