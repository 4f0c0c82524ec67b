"""The slow part of an erasure: the log is searched for the account's ops, whose bodies are emptied, a step a group.

The mark and the deletion of items, keys and conflicts are one commit (``Group.erase``). The log has no index by
account, so it is read from its beginning, 4,096 places a step (about 5 ms of the writer), between the groups of others.
``scrubs`` keeps the place, so a crash goes on where it was. May not know: asyncio, the write-ahead log.
"""

from typing import Final

from eisbach.engines.embedded.disk import rows
from eisbach.engines.embedded.group import Group
from eisbach.engines.embedded.works import Desk, Work
from eisbach.kernel.erasure import erases, scrubbed
from eisbach.kernel.ops import decode_op, encode_op

__all__ = ["ForgetScrubsWork", "ScrubWork"]

_PLACES: Final = 4096
_OPS: Final = (
    "SELECT lsn, body FROM ops WHERE lsn > ? AND lsn <= ? AND slot = ? AND instr(body, CAST(? AS BLOB)) ORDER BY lsn"
)


class ScrubWork(Work):
    """One step of one erasure."""

    __slots__ = ()

    def decide(self, desk: Desk, group: Group) -> bool:
        """Whether there was anything left to search."""
        found = rows(desk.database, "SELECT slot, pk, lsn, until FROM scrubs WHERE lsn < until LIMIT 1")
        if not found:
            return False
        number, pk, lsn, until = found[0]
        first = rows(desk.database, "SELECT coalesce(min(lsn), ?) FROM ops WHERE lsn > ?", (until, lsn))[0][0]
        end = min(until, max(lsn, first - 1) + _PLACES)
        for place, body in rows(desk.database, _OPS, (lsn, end, number, pk)):
            op = decode_op(body)
            if op.change is not None and op.change.pk == pk and not erases(op.change):
                group.rows["scrubbed"].append((encode_op(scrubbed(op)), place))
        group.rows["scrub_moved"].append((end, number, pk))
        return True


class ForgetScrubsWork(Work):
    """Erasures whose search has ended are over; the caller has emptied the write-ahead log since."""

    __slots__ = ()

    def decide(self, desk: Desk, group: Group) -> None:
        """Forget them."""
        for place in rows(desk.database, "SELECT slot, pk FROM scrubs WHERE lsn >= until"):
            group.rows["scrub_ended"].append(place)
